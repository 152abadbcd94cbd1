"""The official result file: one JSON object a line, metadata and details as JSON *strings* inside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from reflectionflow.geneval.types import Decision, Metadata


@dataclass(frozen=True)
class ResultRecord:
    """One judged picture, with the keys of the official result file in their order.

    Attributes:
        filename: The picture's path.
        tag: The prompt's task.
        prompt: The prompt.
        correct: Whether the picture satisfies it.
        reason: What fails, one clause a line.
        metadata: The prompt's metadata as a JSON string; pictures of one prompt share it.
        details: The detections that counted, as a JSON string.
    """

    filename: str
    tag: str
    prompt: str
    correct: bool
    reason: str
    metadata: str
    details: str

    @classmethod
    def of(cls, filename: str, metadata: Metadata, decision: Decision) -> Self:
        """Return the record of one decision."""
        return cls(
            filename=filename,
            tag=metadata.tag,
            prompt=metadata.prompt,
            correct=decision.correct,
            reason=decision.reason,
            metadata=metadata.line(),
            details=json.dumps(decision.details),
        )

    def line(self) -> str:
        """Return the record as a line of the file, without the line's end."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_line(cls, text: str) -> Self:
        """Read one line of a result file, ours or the official program's.

        Raises:
            TypeError: if a key is missing or unknown.
        """
        return cls(**json.loads(text))


def write_records(path: Path, records: Iterable[ResultRecord]) -> None:
    """Write a result file, replacing an existing one."""
    path.write_text("".join(record.line() + "\n" for record in records), encoding="utf-8")


def read_records(path: Path) -> tuple[ResultRecord, ...]:
    """Read a result file; blank lines are passed over.

    Raises:
        TypeError: if a record has missing or unknown keys.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(ResultRecord.from_line(line) for line in lines if line.strip())
