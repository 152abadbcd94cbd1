"""A run on disk: the journal of calls, the pictures, the results, and reading them back."""

from reflectionflow.runs.directory import RunDirectory, RunReader, RunSpec
from reflectionflow.runs.journal import ResultRow, Row
from reflectionflow.runs.results import StoredResult
from reflectionflow.runs.verify import VerifyReport, verify

__all__ = ["ResultRow", "Row", "RunDirectory", "RunReader", "RunSpec", "StoredResult", "VerifyReport", "verify"]
