"""Which pictures a search keeps: the rules of `reflectionflow.ranking`, and the widening of a search into chains."""

from __future__ import annotations

from collections.abc import Iterable

from reflectionflow.ranking import best, judged, ranked
from reflectionflow.types import Step

__all__ = ["best", "judged", "ranked", "top"]


def top(steps: Iterable[Step], width: int) -> list[Step]:
    """Return the `width` best judged steps, best first; fewer when fewer were painted and judged."""
    return ranked(steps)[:width]
