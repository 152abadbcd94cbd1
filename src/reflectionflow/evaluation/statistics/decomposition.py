"""Where the points are lost: what a random picture gives, what the verifier picks, what could have been picked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reflectionflow.evaluation.statistics.bootstrap import Bootstrap, Estimate


@dataclass(frozen=True)
class Gap:
    """The parts of a score.

    Attributes:
        base: Correctness of a random picture among those painted.
        picked: Of the one the verifier picks.
        possible: Of the best one, picked by the judge itself.
        efficiency: (picked - base) / (possible - base): how much of what could be gained the verifier gains; without
            an interval (not numbers) where it is the same on every resample, or the only prompt of one tag weighs in.
        verifier_gap: possible - picked: what a perfect verifier would add.
        headroom: 1 - possible: what only better pictures could add.
    """

    base: Estimate
    picked: Estimate
    possible: Estimate
    efficiency: Estimate
    verifier_gap: Estimate
    headroom: Estimate


def decompose(
    bootstrap: Bootstrap, base: ArrayLike, picked: ArrayLike, possible: ArrayLike, tags: Sequence[str] | None = None
) -> Gap:
    """Return the parts of a macro score with intervals.

    Args:
        bootstrap: Resamples of the prompts.
        base: Each prompt's share of right pictures, [prompts].
        picked: Whether the picked one is right, mean over replicates, [prompts].
        possible: Whether any is, mean over replicates, [prompts].
        tags: Which tags; all by default.
    """
    columns = np.stack([np.asarray(values, dtype=float) for values in (base, picked, possible)], axis=1)
    low, middle, high = (bootstrap.macro(column, tags) for column in columns.T)
    gained = ((middle - low) / (high - low)).estimate
    shares = np.c_[columns, columns[:, 2] - columns[:, 1], 1 - columns[:, 2]]
    told = not gained.is_flat and not bootstrap.has_lone(tags)
    random, taken, best, gap, headroom = bootstrap.shares(shares, tags)
    return Gap(
        base=random,
        picked=taken,
        possible=best,
        efficiency=gained if told else Estimate(gained.value, np.nan, np.nan),
        verifier_gap=gap,
        headroom=headroom,
    )
