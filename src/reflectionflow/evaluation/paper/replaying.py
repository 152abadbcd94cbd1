"""Recorded searches once more: their pictures come back from the run's journal, and other models see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reflectionflow.evaluation.results import Row
from reflectionflow.evaluation.running import distinct
from reflectionflow.runs import RunReader
from reflectionflow.runtime import Tools
from reflectionflow.types import RefinedPrompt, SearchResult, Step

Say = Callable[[str], None]
"""Takes a sentence about what is done now."""


async def again(step: Step, steps: Sequence[Step], tools: Tools) -> None:
    """Have a recorded picture back in its place; the journal holds it, so nothing is painted.

    Args:
        step: The picture.
        steps: What it came of is among them and was brought back before.
        tools: Of the search that replays.
    """
    assert step.candidate is not None
    recipe = step.candidate.recipe
    prompt: str | RefinedPrompt = recipe.prompt if step.refined is None else step.refined
    if recipe.parent is None:
        same = await tools.draft(prompt, recipe.seed, step.place)
    else:
        known = {other.candidate.id: other.candidate for other in steps if other.candidate is not None}
        same = await tools.correct(known[recipe.parent], step.reflection, prompt, recipe.seed, step.place)
    assert same == step.candidate, "a recorded picture is that of its recipe"


def recorded(run: RunReader, search: str) -> SearchResult:
    """Return the result of a search of a finished evaluation."""
    stored = run.result(search)
    assert stored is not None, "the evaluation was carried out"
    return stored.result


def decisions_on(row: Row, result: SearchResult) -> dict[str, bool]:
    """Return the judge's decision on each picture of a search, by candidate."""
    painted = [step.candidate.id for step in distinct(result.steps) if step.candidate]
    return {candidate: bit == "1" for candidate, bit in zip(painted, row.correct, strict=True)}
