"""Shares of trials of which several belong to one prompt, with intervals whose unit is the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reflectionflow.evaluation.statistics.bootstrap import Estimate, clustered


@dataclass(frozen=True)
class Rate(Estimate):
    """A share of trials with its 95 % interval; not a number without trials.

    Attributes:
        trials: How many trials there were.
    """

    trials: int


class Tallies:
    """Hits and trials by name, kept apart by prompt."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[int, list[int]]] = {}

    def add(self, name: str, prompt: int, hits: int, trials: int = 1) -> None:
        """Count some trials of a prompt."""
        counts = self._counts.setdefault(name, {}).setdefault(prompt, [0, 0])
        counts[0] += hits
        counts[1] += trials

    def rates(self) -> dict[str, Rate]:
        """Return each share of hits, in the order of first mention."""
        return {name: rate(list(counts.values())) for name, counts in self._counts.items()}


def rate(counts: Sequence[Sequence[int]]) -> Rate:
    """Return the share of hits over all prompts, with a 95 % interval whose unit is the prompt.

    It is Wilson's for as many independent trials as would vary as the prompts do, at most all of them, and as many as
    there are prompts where nothing varies; its quantile is Student's (Korn and Graubard 1998).

    Args:
        counts: (hits, trials) of each prompt.

    Returns:
        The rate; not a number without trials.
    """
    tried = np.array([pair for pair in counts if pair[1]], dtype=float).reshape(-1, 2)
    total = float(tried[:, 1].sum())
    if not total:
        return Rate(np.nan, np.nan, np.nan, 0)
    share, prompts = float(tried[:, 0].sum() / total), len(tried)
    residuals = tried[:, 0] - share * tried[:, 1]
    variance = float((residuals**2).sum()) / total**2 * prompts / max(1, prompts - 1)
    trials = min(share * (1 - share) / variance, total) if variance > 0 else float(prompts)
    found = clustered(share, trials, prompts)
    return Rate(share, found.low, found.high, int(total))
