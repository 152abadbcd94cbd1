"""Tests of "no difference" between two methods on the same prompts, and what several of them together allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from reflectionflow.evaluation.statistics.bootstrap import AT_ONCE

DRAWS = 10_000


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Return the exact two-sided p of McNemar's test.

    Args:
        first: One method's outcome, one per prompt, [prompts].
        second: The other's, for the same prompts.

    Raises:
        ValueError: if an outcome is neither 0 nor 1.
    """
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if not np.isin(one, (0, 1)).all() or not np.isin(other, (0, 1)).all():
        raise ValueError("McNemar's test takes one yes or no per prompt; use the sign test for shares.")
    return sign_test(other - one)


def sign_test(differences: ArrayLike) -> float:
    """Return the exact two-sided p of the sign test over prompts; of yes-or-no outcomes it is McNemar's test.

    Replicates enter as their prompt's mean difference, so prompts stay the unit. With no difference anywhere p is 1.

    Args:
        differences: Second method minus first, one per prompt, [prompts].
    """
    found = np.asarray(differences, dtype=float)
    better, worse = int((found > 0).sum()), int((found < 0).sum())
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def sign_flip(differences: ArrayLike, tags: Sequence[str], draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """Return the two-sided p of the randomisation test of the macro mean difference.

    If the methods do not differ, each prompt's difference might as well have the other sign; p is the share of random
    signs that move the macro mean at least as far from zero as the data do (the data counted among them).

    Args:
        differences: Second method minus first, [prompts] or [prompts, k] for k tests at once.
        tags: Tag of each prompt, [prompts].
        draws: Number of random sign patterns.
        seed: Their seed.

    Returns:
        One p per test, [k].
    """
    found = np.asarray(differences, dtype=float).reshape(len(tags), -1)
    sizes = {tag: list(tags).count(tag) for tag in dict.fromkeys(tags)}
    weighted = found / np.array([sizes[tag] * len(sizes) for tag in tags])[:, None]
    observed = np.abs(weighted.sum(axis=0))
    rng, as_far = np.random.default_rng(seed), np.zeros(found.shape[1])
    step = max(1, AT_ONCE // len(tags))
    for start in range(0, draws, step):  # in parts, so that memory does not grow with the prompts
        signs = rng.choice((-1.0, 1.0), size=(min(step, draws - start), len(tags)))
        as_far += (np.abs(signs @ weighted) >= observed - 1e-12).sum(axis=0)
    return np.asarray((1 + as_far) / (1 + draws), dtype=float)


def holm(values: Sequence[float]) -> list[float]:
    """Return p values adjusted by Holm's method for having asked all these questions, in the order given."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    adjusted = [0.0] * len(values)
    least = 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = least
    return adjusted
