"""The facts a report is drawn from, and the few questions every drawing asks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

from reflectionflow.types import Candidate, SearchResult, Step

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Story:
    """One search as a report tells it.

    Attributes:
        result: The search: every step in its place, the best, the spend, why it stopped.
        run: Id of the run.
        stack: Name of the stack that ran it.
        version: Package version that ran it.
        command: The command line that repeats it.
        png: Returns the PNG file of a candidate.
    """

    result: SearchResult
    run: str
    stack: str
    version: str
    command: str
    png: Callable[[Candidate], bytes] = field(repr=False)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each painted candidate, by id, counted from 1 in the order of place."""
        return {step.candidate.id: number for number, step in self.numbered if step.candidate}

    @property
    def numbered(self) -> list[tuple[int, Step]]:
        """Every step with its number, counted from 1 in the order of place."""
        return list(enumerate(sorted(self.result.steps, key=lambda step: step.place), start=1))

    def is_best(self, step: Step) -> bool:
        """Return whether this step was chosen."""
        best = self.result.best
        return best is not None and step.place == best.place

    @property
    def failures(self) -> tuple[str, ...]:
        """The distinct reasons why pictures could not be painted or judged, in the order of place."""
        reasons = [why_not(step) for _, step in self.numbered]
        return tuple(dict.fromkeys(reason for reason in reasons if reason))

    def open(self, candidate: Candidate) -> Image:
        """Return the pixels of a candidate (RGB)."""
        from PIL import Image

        with Image.open(BytesIO(self.png(candidate))) as picture:
            return picture.convert("RGB")


def said_of(step: Step) -> str:
    """Return the score of a step, or why it has none, in a few words."""
    if step.failure is not None:
        return "not painted"
    if step.verdict is None or step.verdict.score is None:
        return "not judged"
    return f"{step.verdict.score:.4f}"


def why_not(step: Step) -> str:
    """Return why a step has no picture or no score; empty when it has both."""
    if step.failure is not None:
        return step.failure.reason
    if step.verdict is None:
        return "The search ended before this picture was judged."
    return step.verdict.failure or ""
