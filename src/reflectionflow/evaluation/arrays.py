"""The outcomes of an evaluation as arrays, one row per prompt: what the statistics take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reflectionflow.evaluation.results import MethodInfo, Outcome, Results, Row, tags_of
from reflectionflow.evaluation.statistics import Bootstrap, Estimate, best_of, pass_at, tag_interval

Floats = NDArray[np.float64]
SIX = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
"""GenEval's tags, over which its overall score is the mean."""


@dataclass(frozen=True)
class Pictures:
    """All judged pictures of one search: the verifier's scores and the judge's decisions, [n] each."""

    scores: Floats
    correct: NDArray[np.bool_]


class Arrays:
    """Arrays over the results of an evaluation, and the resamples that all its statistics share."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.about = results.about
        self.prompt_tags = tuple(item.tag for item in results.prompts)
        self.tags = tags_of(results.prompts)
        self._rows: dict[tuple[str, int, int], list[Row]] = {}
        for row in results.rows:
            self._rows.setdefault((row.method, row.prompt, row.seed), []).append(row)

    @cached_property
    def bootstrap(self) -> Bootstrap:
        """The resamples."""
        return Bootstrap(self.prompt_tags)

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """What scores are averaged over, the declared one first: GenEval's six tags where there are any, all tags."""
        six = tuple(tag for tag in self.tags if tag in SIX)
        every = {"all tags": self.tags}
        return every if not six or six == self.tags else {"GenEval's tags": six, **every}

    @property
    def primary(self) -> tuple[str, ...]:
        """The tags of the declared score."""
        return next(iter(self.groups.values()))

    def each(self, method: str, value: Callable[[Outcome], float]) -> Floats:
        """Return a number of every outcome of a method, [prompts, seeds, budgets]."""
        about = self.about
        found = np.empty((len(self.prompt_tags), len(about.seeds), len(about.budgets)))
        for prompt in range(len(self.prompt_tags)):
            for place, seed in enumerate(about.seeds):
                by_budget = {item.budget: item for row in self._rows[method, prompt, seed] for item in row.outcomes}
                found[prompt, place] = [value(by_budget[budget]) for budget in about.budgets]
        return found

    def mean(self, method: str, value: Callable[[Outcome], float]) -> Floats:
        """Return the mean over seeds of a number of every outcome, [prompts, budgets]."""
        return np.asarray(self.each(method, value).mean(axis=1), dtype=float)

    def shares(self, values: Floats, tags: Sequence[str]) -> tuple[Estimate, ...]:
        """Return macro means of shares, one per column.

        Where all prompts agree a bootstrap has no width; the interval is then that of the prompts as one tag.

        Args:
            values: Each prompt's mean over its seeds, in [0, 1], [prompts, k].
            tags: Which tags.
        """
        rows = np.concatenate([self.bootstrap.rows(tag) for tag in tags])
        found = self.bootstrap.macro(values, tags).estimates()
        return tuple(
            tag_interval(column[rows]) if estimate.low == estimate.high and estimate.value in (0, 1) else estimate
            for estimate, column in zip(found, values.T, strict=True)
        )

    def pictures(self, method: str, prompt: int, seed: int) -> Pictures:
        """Return the pictures of a search at the largest budget, without those that the verifier could not judge."""
        row = self._rows[method, prompt, seed][-1]
        known = [(score, bit == "1") for score, bit in zip(row.scores, row.correct, strict=True) if score is not None]
        return Pictures(np.array([score for score, _ in known]), np.array([bit for _, bit in known], dtype=bool))

    def expected(self, method: MethodInfo) -> tuple[Floats, Floats]:
        """Return what to expect of an exchangeable method: the pick of n, and pass@n, [prompts, budgets] each.

        Searches with fewer pictures than a budget (failed ones) count as many as they have.
        """
        picks, anything = [], []
        for prompt in range(len(self.prompt_tags)):
            found = [self.pictures(method.name, prompt, seed) for seed in self.about.seeds]
            sizes = [[min(budget, item.scores.size) for budget in self.about.budgets] for item in found]
            pairs = [(item, size) for item, size in zip(found, sizes, strict=True) if item.scores.size]
            nothing = np.zeros(len(self.about.budgets))
            picks.append(sum((best_of(i.scores, i.correct, size) for i, size in pairs), nothing) / len(found))
            anything.append(sum((pass_at(i.correct, size) for i, size in pairs), nothing) / len(found))
        return np.array(picks), np.array(anything)


def is_correct(outcome: Outcome) -> float:
    """Return 1 when the judge accepts the pick."""
    return float(outcome.correct)


def is_possible(outcome: Outcome) -> float:
    """Return 1 when any of the pictures is right."""
    return float(outcome.right is not None)


def base_rate(outcome: Outcome) -> float:
    """Return the share of the pictures that are right."""
    return outcome.base
