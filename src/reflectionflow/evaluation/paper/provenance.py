"""By what command, with which models and when the exhibits came about."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reflectionflow.runs import RunReader


@dataclass(frozen=True)
class Provenance:
    """How the exhibits came about.

    Attributes:
        command: What repeats them.
        began: When the first model call of the directory ended, in UTC to the minute; empty where there was none.
        ended: When the last one did.
        beside: Names and versions of the models besides those of the search, by what they do.
    """

    command: str
    began: str
    ended: str
    beside: Mapping[str, tuple[str, ...]]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The same as names and values."""
        when = [("Model calls", f"{self.began} to {self.ended} UTC")] if self.began else []
        others = [(name, ", ".join(models)) for name, models in self.beside.items() if models]
        return [*others, ("Command", self.command), *when]


def provenance(run: RunReader, beside: Mapping[str, tuple[str, ...]]) -> Provenance:
    """Return how the exhibits of a run came about; repeating a finished one changes none of it.

    Args:
        run: The evaluation's run.
        beside: Names and versions of models besides those of the search, by what they do.

    Raises:
        StorageError: if the run cannot be read.
    """
    period = run.journal.period()
    began, ended = ("", "") if period is None else map(_minute, period)
    return Provenance(command_line(run.spec.passed), began, ended, beside)


def command_line(passed: Mapping[str, Any]) -> str:
    """Return the command from what was passed to it: its name under `command`, and its options."""
    parts = ["reflectionflow", str(passed.get("command", ""))]
    for name, value in passed.items():
        if name == "command" or value is None or value is False:
            continue
        parts.append(f"--{name.replace('_', '-')}")
        if value is not True:
            parts.append(",".join(map(str, value)) if isinstance(value, list) else str(value))
    return shlex.join(parts)


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
