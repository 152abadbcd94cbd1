"""What to expect of the best of n, estimated without bias from N ≥ n exchangeable pictures of one prompt.

Averages over all subsets of n pictures in closed form (the estimators of pass@k in arXiv 2107.03374 and of max@k in
arXiv 2505.15201), which is far less noisy than the first n of one run. Only for exchangeable pictures, that is for
drafts: the rounds of a sequential method are not exchangeable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]


def best_of(scores: ArrayLike, correct: ArrayLike, sizes: Sequence[int]) -> Floats:
    """Return the expected correctness of the verifier's pick among n pictures, for each n of `sizes`.

    Pictures whose scores tie for the best share the pick.

    Args:
        scores: What the verifier gave each of N pictures, [N].
        correct: Whether, or how far, each is right, in [0, 1], [N].
        sizes: Numbers of pictures, 1 ≤ n ≤ N.

    Raises:
        ValueError: if the two differ in length, or a size is out of range.
    """
    given, right = np.asarray(scores, dtype=float), np.asarray(correct, dtype=float)
    if given.shape != right.shape or given.ndim != 1:
        raise ValueError(f"There are scores of shape {given.shape} and outcomes of shape {right.shape}; give one each.")
    _, group, counts = np.unique(given, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=right) / counts
    upper = np.cumsum(counts)
    picks = [
        _within(upper, given.size, n) - _within(upper - counts, given.size, n) for n in _checked(sizes, given.size)
    ]
    return np.array([float(pick @ means) for pick in picks])


def pass_at(correct: ArrayLike, sizes: Sequence[int]) -> Floats:
    """Return pass@n for each n of `sizes`: the probability that any of n pictures drawn from N is right.

    Args:
        correct: Whether each of N pictures is right, [N].
        sizes: Numbers of pictures, 1 ≤ n ≤ N.

    Raises:
        ValueError: if a size is out of range.
    """
    right = np.asarray(correct, dtype=bool)
    wrong = right.size - int(right.sum())
    return np.array([1.0 - float(_within(np.array(wrong), right.size, n)) for n in _checked(sizes, right.size)])


def _within(part: NDArray[np.int64], whole: int, n: int) -> Floats:
    """Return the probability that n distinct items drawn from `whole` all lie among `part` of them."""
    # gammaln is infinite at 0, -1, …, so parts smaller than n give exp(-inf) = 0.
    log = gammaln(part + 1.0) - gammaln(part - n + 1.0) - gammaln(whole + 1.0) + gammaln(whole - n + 1.0)
    return np.asarray(np.exp(log), dtype=float)


def _checked(sizes: Sequence[int], most: int) -> Sequence[int]:
    wrong = [n for n in sizes if not 1 <= n <= most]
    if wrong:
        raise ValueError(f"The best of {wrong[0]} cannot be estimated from {most} pictures; ask for 1 to {most}.")
    return sizes
