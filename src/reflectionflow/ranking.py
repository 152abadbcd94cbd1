"""Which picture is better: by rounded score, ties by the smaller place in the search.

Only a step that was painted *and* judged takes part: a picture without a score is not a bad picture, it is an unknown
one, so it is never chosen and never counted as zero.
"""

from __future__ import annotations

from collections.abc import Iterable

from reflectionflow.types import Step


def judged(step: Step) -> bool:
    """Return whether the step has a picture and a score."""
    return step.candidate is not None and step.verdict is not None and step.verdict.score is not None


def ranked(steps: Iterable[Step]) -> list[Step]:
    """Return the judged steps, best first; equal scores in the order of their places."""

    def key(step: Step) -> tuple[float, tuple[int, int]]:
        score = step.verdict.score if step.verdict is not None else None
        return (-score if score is not None else 0.0, step.place)

    return sorted(filter(judged, steps), key=key)


def best(steps: Iterable[Step]) -> Step | None:
    """Return the best judged step, or none when nothing was painted and judged."""
    return next(iter(ranked(steps)), None)
