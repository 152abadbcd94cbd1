"""Search results as they stand in the journal, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reflectionflow.runs.journal import ResultRow
from reflectionflow.types import (
    Candidate,
    FailedCall,
    Failure,
    RefinedPrompt,
    Reflection,
    SearchResult,
    Spend,
    Step,
    StopReason,
    Verdict,
)


@dataclass(frozen=True)
class StoredResult:
    """One finished search, read back from a run.

    Attributes:
        id: Content id of the search.
        position: Index of the search among those it ran with.
        label: What tells it apart from searches that are otherwise equal.
        search: What was searched, as JSON data: `task` (with the budget), `strategy`, `options`.
        result: Its outcome.
        time: When it was stored, seconds since 1970.
    """

    id: str
    position: int
    label: str
    search: Mapping[str, Any]
    result: SearchResult
    time: float


def stored_result(row: ResultRow) -> StoredResult:
    """Return a journal's result row with its outcome as types."""
    return StoredResult(row.id, row.position, row.label, row.search, result_from_json(row.result), row.time)


def result_from_json(data: Mapping[str, Any]) -> SearchResult:
    """Rebuild a search result from its `to_json` form."""
    return SearchResult(
        prompt=data["prompt"],
        strategy=data["strategy"],
        best=None if data["best"] is None else step_from_json(data["best"]),
        steps=tuple(step_from_json(step) for step in data["steps"]),
        stop=StopReason[data["stop"].upper()],
        charged=Spend(**data["charged"]),
        paid=Spend(**data["paid"]),
        failed_calls=tuple(FailedCall(**call) for call in data.get("failed_calls", ())),  # absent from older runs
    )


def step_from_json(data: Mapping[str, Any]) -> Step:
    """Rebuild a step from its `to_json` form."""

    def part(name: str, build: Any) -> Any:
        return None if data[name] is None else build(data[name])

    return Step(
        place=(data["place"][0], data["place"][1]),
        candidate=part("candidate", Candidate.from_json),
        verdict=part("verdict", Verdict.from_json),
        reflection=part("reflection", Reflection.from_json),
        refined=part("refined", RefinedPrompt.from_json),
        failure=part("failure", lambda value: Failure(**value)),
    )
