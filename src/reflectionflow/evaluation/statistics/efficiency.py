"""How many pictures a method needs for a score, and how many fewer than another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reflectionflow.evaluation.statistics.bootstrap import Estimate, Sampled

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Efficiency:
    """How cheaply a method reaches the score that a baseline has at its largest budget.

    Attributes:
        target: That score.
        pictures: What the method needs for it; infinite where it is not reached within the largest budget.
        ratio: The baseline's need over the method's: above 1 the method needs fewer; 0 where it never gets there.
    """

    target: Estimate
    pictures: Estimate
    ratio: Estimate


def pictures_to_reach(budgets: Sequence[int], curves: ArrayLike, target: ArrayLike) -> Floats:
    """Return how many pictures it takes to reach a score: interpolated over the logarithm of the budget.

    Args:
        budgets: Numbers of pictures, ascending, [k].
        curves: Scores at these budgets, [..., k].
        target: The score to reach, [...].

    Returns:
        The first number of pictures at which the curve is at the target: the smallest budget where it starts there,
        infinity where it never gets there, [...].
    """
    scores, wanted = np.asarray(curves, dtype=float), np.asarray(target, dtype=float)
    sizes = np.log2(np.asarray(budgets, dtype=float))
    there = scores >= wanted[..., None] - 1e-12
    first = there.argmax(axis=-1)
    before = np.maximum(first - 1, 0)
    low, high = (np.take_along_axis(scores, at[..., None], axis=-1)[..., 0] for at in (before, first))
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(first > 0, np.clip((wanted - low) / rise, 0, 1), 0)
    needed = 2 ** (sizes[before] + share * (sizes[first] - sizes[before]))
    return np.asarray(np.where(there.any(axis=-1), needed, np.inf), dtype=float)


def sample_efficiency(budgets: Sequence[int], baseline: Sampled, method: Sampled) -> Efficiency:
    """Return how cheaply a method reaches the baseline's score at the largest budget, on paired resamples.

    Args:
        budgets: Numbers of pictures, ascending, [k].
        baseline: Its scores at these budgets, k columns.
        method: The method's.
    """

    def needs(curves: Floats) -> Floats:
        """Return what the method and the baseline need, [..., 2], from both curves side by side, [..., 2k]."""
        own, other = curves[..., len(budgets) :], curves[..., : len(budgets)]
        return np.stack([pictures_to_reach(budgets, curve, other[..., -1]) for curve in (own, other)], axis=-1)

    joined = Sampled(np.r_[baseline.point, method.point], np.c_[baseline.draws, method.draws])
    needed = joined.map(needs)
    return Efficiency(baseline[len(budgets) - 1].estimate, needed[0].estimate, (needed[1] / needed[0]).estimate)
