"""What a teacher is: it compares two pictures without being told which is better; and what its answer decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from reflectionflow.genref.graph import Graph, match
from reflectionflow.genref.teacher import Thought, differences, think

if TYPE_CHECKING:
    from reflectionflow.genref.pool import Picture

PREFERS_FLAWED = "the teacher prefers the flawed picture or neither"
ViewT = TypeVar("ViewT")
ViewT_co = TypeVar("ViewT_co", covariant=True)
ViewT_contra = TypeVar("ViewT_contra", contravariant=True)


@dataclass(frozen=True)
class Untaught:
    """Why a teacher has no answer for a pair, in a few words that are counted."""

    reason: str


@dataclass(frozen=True)
class Comparison(Generic[ViewT_co]):
    """Two pictures of one prompt, in the order in which a teacher sees them."""

    prompt: str
    first: ViewT_co
    second: ViewT_co


class Teacher(Protocol[ViewT_contra]):
    """Writes GenRef-CoT: the differences of two pictures, which is better, and what leads there."""

    def compare(self, asked: Sequence[Comparison[ViewT_contra]]) -> Sequence[Thought | Untaught]:
        """Answer each comparison, in order, without knowing which picture is meant to be better."""

    def exchanged(self, thought: Thought, asked: Comparison[ViewT_contra]) -> Thought:
        """Return a thought about a comparison as if the pictures had been shown in the other order."""


def flawed_first(teacher: Teacher[ViewT], asked: Comparison[ViewT], swapped: bool, thought: Thought) -> Thought | None:
    """Return a thought as readers of a sample want it, the flawed picture first; none where it contradicts the pair.

    Args:
        teacher: Who thought it.
        asked: What it was asked.
        swapped: Whether the enhanced picture was shown first.
        thought: What it answered.
    """
    if thought.better != (1 if swapped else 2):
        return None
    return teacher.exchanged(thought, asked) if swapped else thought


class GraphTeacher:
    """The teacher of Scenes: compares what a detector sees in two pictures.

    Args:
        rank: How well a picture does, larger is better.
        edits: The edits that lead from a worse picture to a better one.
    """

    def __init__(self, rank: Callable[[Picture], float], edits: Callable[[Graph, Graph], tuple[str, ...]]) -> None:
        self._rank, self._edits = rank, edits

    def compare(self, asked: Sequence[Comparison[Picture]]) -> list[Thought | Untaught]:
        """Answer each comparison."""
        return [self._compare(item.first, item.second) for item in asked]

    def _compare(self, first: Picture, second: Picture) -> Thought:
        ranks = {picture.graph: self._rank(picture) for picture in (first, second)}
        return think(first.graph, second.graph, ranks.__getitem__, self._edits)

    def exchanged(self, thought: Thought, asked: Comparison[Picture]) -> Thought:
        """Return the thought with its differences told anew; the edits do not depend on the order."""
        told = differences(match(asked.second.graph, asked.first.graph))
        return Thought(told, 3 - thought.better if thought.better else 0, thought.edits)
