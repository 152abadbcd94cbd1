"""Confidence intervals of shares."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """`hits` of `trials`, with its 95 % Wilson score interval."""

    hits: int
    trials: int

    @property
    def value(self) -> float:
        """The share itself, in [0, 1]; 0 when nothing was tried."""
        return self.hits / self.trials if self.trials else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % Wilson score interval; (0, 1) when nothing was tried."""
        return wilson(self.hits, self.trials)


def wilson(hits: float, trials: float, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson 1927); z is 1.96 for 95 %; trials may be an effective number.

    Raises:
        ValueError: if there are more hits than trials, or less than none.
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"There are {hits} hits in {trials} trials; count hits from 0 to the number of trials.")
    if trials == 0:
        return 0.0, 1.0
    share, weight = hits / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    # At the ends the formula gives 0 and 1 up to rounding.
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == trials else centre + half)
