"""The exceptions a caller can meet, drawn as a tree.

    ReflectionFlowError
    ├── MisuseError            the caller asked for something that cannot be done; exit code 2
    │   ├── ConfigError        one or more faults in a stack, tuning or evaluation file, all listed
    │   └── RunMismatchError   a run directory belongs to another command, version or process
    ├── ModelError             a model, its files or its endpoint failed; exit code 1
    │   ├── CheckpointError    weights are missing, truncated or of another shape
    │   └── ContractError      an adapter answered with wrong, missing or duplicated ids: a bug in the adapter
    ├── TransientError         worth trying again: time-out, rate limit, malformed answer (runtime retries it)
    └── StorageError           the run cannot be written or read: full disk, no permission, damaged journal

Every message is a sentence that says what is wrong with which value, and what to do about it. Running out of
budget is no error: it is an ordinary ending (`types.StopReason`).
"""

from __future__ import annotations

from collections.abc import Sequence


class ReflectionFlowError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class MisuseError(ReflectionFlowError):
    """The caller asked for something that cannot be done; nothing was started."""

    exit_code = 2


class ConfigError(MisuseError):
    """A configuration file has faults; `problems` lists all of them, one sentence each."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{source} has {count} problem{'s' if count != 1 else ''}:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, tuple[str, ...]]]:
        """Travel to another process as what it was made of."""
        return type(self), (self.source, self.problems)


class RunMismatchError(MisuseError):
    """A run directory belongs to another command, to another version, or to a process that is still running."""


class ModelError(ReflectionFlowError):
    """A model, its files or its endpoint failed."""


class CheckpointError(ModelError):
    """Weights are missing, truncated or of another shape than their configuration says."""


class ContractError(ModelError):
    """An adapter broke the contract of its role: answers must match the questions' ids one to one."""


class TransientError(ReflectionFlowError):
    """A call failed for a reason that may pass: a time-out, a rate limit, a malformed answer."""


class StorageError(ReflectionFlowError):
    """A run cannot be written or read."""
