"""Which pictures a search keeps: the rules of `reflectionflow.ranking`, and the widening of a search into chains."""

from __future__ import annotations

import math
from collections.abc import Iterable

from reflectionflow.ranking import best, judged, ranked
from reflectionflow.types import Reflection, Step

__all__ = ["best", "edits_asked", "judged", "ranked", "top"]


def top(steps: Iterable[Step], width: int) -> list[Step]:
    """Return the `width` best judged steps, best first; fewer when fewer were painted and judged."""
    return ranked(steps)[:width]


def edits_asked(reflection: Reflection) -> float:
    """Return how many edits a reflection asks for, one where it lists none; infinitely many where it failed."""
    return math.inf if reflection.failure is not None else len(reflection.edits) or int(bool(reflection.text.strip()))
