"""How far a verifier's score can be trusted, measured against the judge."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import mannwhitneyu

BINS = 10


def auroc(scores: ArrayLike, correct: ArrayLike) -> float:
    """Return the probability that a right picture scores above a wrong one, ties counted half.

    Args:
        scores: What the verifier gave each picture, [n].
        correct: Whether each is right, [n].

    Returns:
        In [0, 1]; not a number when all are right or all are wrong.
    """
    given, right = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool)
    if right.all() or not right.any():
        return float("nan")
    statistic = mannwhitneyu(given[right], given[~right], method="asymptotic").statistic
    return float(statistic) / (int(right.sum()) * int((~right).sum()))


def calibration_error(scores: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """Return the expected calibration error of scores read as probabilities (arXiv 1706.04599, equation 5).

    Args:
        scores: In [0, 1], [n].
        correct: Whether each is right, [n].
        bins: Number of bins of equal width.

    Returns:
        In [0, 1]; not a number without pictures.
    """
    given, right = np.asarray(scores, dtype=float), np.asarray(correct, dtype=float)
    if not given.size:
        return float("nan")
    number = np.minimum((given * bins).astype(int), bins - 1)
    sums = np.bincount(number, weights=given - right, minlength=bins)
    return float(np.abs(sums).sum() / given.size)
