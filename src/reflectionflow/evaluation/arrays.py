"""The outcomes of an evaluation as arrays, one row per prompt: what the statistics take."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reflectionflow.evaluation.results import MethodInfo, Outcome, Results, Row, painted, tags_of
from reflectionflow.evaluation.statistics import Bootstrap, Estimate, best_of, pass_at, tag_interval

Floats = NDArray[np.float64]
SIX = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
"""GenEval's tags, over which its overall score is the mean."""
NONE = Estimate(0.0, 0.0, 0.0)
"""The difference of a thing to itself."""


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
        """Return macro means of shares, one per column; every interval has a width.

        Args:
            values: Each prompt's mean over its seeds, in [0, 1], [prompts, k].
            tags: Which tags.
        """
        return tuple(self.bootstrap.shares(values, tags))

    def prompt_average(self, values: Floats, tags: Sequence[str]) -> tuple[Estimate, ...]:
        """Return means of shares over all prompts of some tags, one per column; every interval has a width.

        Where a tag has few prompts, or nothing varies, the interval is that of a single tag with all of the prompts.

        Args:
            values: Each prompt's mean over its seeds, in [0, 1], [prompts, k].
            tags: Which tags.
        """
        few = self.bootstrap.has_few(tags)
        here = np.isin(self.prompt_tags, tags)[:, None]
        hits, prompts = (self.bootstrap.pooled(here * some) for some in (values, np.ones_like(values)))
        found = (hits / prompts).estimates()
        return tuple(
            tag_interval(column[here[:, 0]], len(self.about.seeds)) if few or item.is_flat else item
            for item, column in zip(found, values.T, strict=True)
        )

    def change(self, method: str, other: str, tags: Sequence[str]) -> tuple[Estimate, ...]:
        """Return how much higher a method's macro mean is than another's, one per budget; none for the same pictures.

        Args:
            method: Its name.
            other: The other's.
            tags: Which tags.
        """
        moved = self.mean(method, is_correct) - self.mean(other, is_correct)
        found, same = self.bootstrap.changes(moved, tags), self.same_pictures(method, other)
        return tuple(NONE if alike else item for alike, item in zip(same, found, strict=True))

    def same_pictures(self, first: str, second: str) -> tuple[bool, ...]:
        """Return, for each budget, whether two methods painted the same pictures for every prompt and seed.

        Methods that share their drafts do so until one of them paints something else.
        """
        keys = [(prompt, seed) for prompt in range(len(self.prompt_tags)) for seed in self.about.seeds]
        return tuple(
            all(self._painted(first, *key, budget) == self._painted(second, *key, budget) for key in keys)
            for budget in self.about.budgets
        )

    def _painted(self, method: str, prompt: int, seed: int, budget: int) -> Hashable:
        rows = self._rows[method, prompt, seed]
        return next(found for row in rows if (found := painted(row, budget)) is not None)

    def curve(self, method: MethodInfo) -> Floats:
        """Return a method's score by budget, [prompts, budgets]: of exchangeable drafts over all choices of them."""
        return self.expected(method)[0] if method.exchangeable else self.mean(method.name, is_correct)

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
