"""Scores of easy, medium and hard prompts, by the pass rate of a single picture.

How hard a prompt is with one seed is told by the drafts of the *other* seeds: told by the same drafts, a prompt would
count as hard because its drafts happened to fail, and every method would seem to gain on it (regression to the mean).
With a single seed that cannot be helped, and `crossed` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reflectionflow.evaluation.arrays import Arrays, is_correct
from reflectionflow.evaluation.statistics import Estimate, rate

LEVELS = ("easy", "medium", "hard")
MEDIUM, EASY = 1 / 3, 2 / 3


@dataclass(frozen=True)
class Difficulty:
    """Scores by difficulty at the smallest and at the largest budget.

    Attributes:
        drafts_of: The method whose drafts tell the pass rate.
        crossed: Whether they are those of other seeds.
        units: Pairs of prompt and seed by level: easy from two thirds, hard below one third.
        first: By method and level, at the smallest budget.
        last: By method and level, at the largest budget.
    """

    drafts_of: str
    crossed: bool
    units: Mapping[str, int]
    first: Mapping[str, Mapping[str, Estimate | None]]
    last: Mapping[str, Mapping[str, Estimate | None]]


def difficulty(arrays: Arrays) -> Difficulty | None:
    """Return the scores by difficulty, or none when no method paints exchangeable drafts."""
    source = next((method for method in arrays.about.methods if method.exchangeable), None)
    if source is None:
        return None
    rates = _rates(arrays, source.name)
    level = np.where(rates >= EASY, 0, np.where(rates >= MEDIUM, 1, 2))
    first: dict[str, dict[str, Estimate | None]] = {}
    last: dict[str, dict[str, Estimate | None]] = {}
    for method in arrays.about.methods:
        correct = arrays.each(method.name, is_correct)
        first[method.name] = _by_level(arrays, level, correct[..., 0])
        last[method.name] = _by_level(arrays, level, correct[..., -1])
    units = {name: int((level == index).sum()) for index, name in enumerate(LEVELS)}
    return Difficulty(source.name, len(arrays.about.seeds) > 1, units, first, last)


def _rates(arrays: Arrays, method: str) -> np.ndarray:
    """Return the pass rate of one picture for every prompt and seed, told by the other seeds, [prompts, seeds]."""
    seeds = arrays.about.seeds
    found = [[arrays.pictures(method, row, seed).correct for seed in seeds] for row in range(len(arrays.prompt_tags))]
    right = np.array([[item.sum() for item in group] for group in found], dtype=float)
    painted = np.array([[item.size for item in group] for group in found], dtype=float)
    if len(seeds) > 1:
        right, painted = (values.sum(axis=1, keepdims=True) - values for values in (right, painted))
    return np.asarray(right / np.maximum(painted, 1), dtype=float)


def _by_level(arrays: Arrays, level: np.ndarray, correct: np.ndarray) -> dict[str, Estimate | None]:
    """Return the mean over the pairs of prompt and seed of each level, prompts resampled; Wilson's interval of it where
    no resample differs.
    """
    found: dict[str, Estimate | None] = {}
    for index, name in enumerate(LEVELS):
        here = level == index
        counts = [(here * values).sum(axis=1) for values in (correct, np.ones_like(correct))]
        hits, units = map(arrays.bootstrap.pooled, counts)
        estimate = (hits / units).estimate
        if estimate.is_flat:
            counted = rate(np.stack(counts, axis=1).tolist())
            estimate = Estimate(counted.value, counted.low, counted.high)
        found[name] = estimate if here.any() else None
    return found
