"""Two evaluations of the same prompts: the paired difference, its tests, and where the two differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.arrays import SIX
from reflectionflow.evaluation.results import Outcome, Results, Row, read_results, tags_of
from reflectionflow.evaluation.statistics import Bootstrap, Estimate, sign_flip, sign_test
from reflectionflow.geneval import Metadata


@dataclass(frozen=True)
class Side:
    """One evaluation of the two: its directory, its results, and the method that is looked at."""

    folder: Path
    results: Results
    method: str


@dataclass(frozen=True)
class Point:
    """Both scores and their difference (second minus first) at one budget.

    Attributes:
        budget: Pictures.
        first: Score of the first.
        second: Score of the second.
        difference: Paired.
        p: Of the randomisation test of the macro mean difference.
        p_exact: McNemar's test with one seed, the sign test over prompts with several.
        better: Prompts on which the second is right more often.
        worse: Prompts on which it is right less often.
    """

    budget: int
    first: Estimate
    second: Estimate
    difference: Estimate
    p: float
    p_exact: float
    better: int
    worse: int


@dataclass(frozen=True)
class Disagreement:
    """A prompt and seed on which one is right and the other is not, at the largest common budget."""

    item: Metadata
    seed: int
    first: Outcome
    second: Outcome


@dataclass(frozen=True)
class Comparison:
    """What came of comparing two evaluations.

    Attributes:
        first: The one.
        second: The other.
        prompts: Prompts that both asked.
        seeds: Seeds that both ran.
        group: What scores are averaged over.
        points: One per common budget.
        tags: Difference by tag at the largest common budget.
        disagreements: Where they differ, the second's losses first.
    """

    first: Side
    second: Side
    prompts: int
    seeds: tuple[int, ...]
    group: str
    points: tuple[Point, ...]
    tags: Mapping[str, Estimate]
    disagreements: tuple[Disagreement, ...]

    @property
    def oracle(self) -> bool:
        """Whether either is an oracle's."""
        return self.first.results.about.oracle or self.second.results.about.oracle


def compare(first: Path, second: Path, methods: tuple[str, str] | None = None) -> list[Comparison]:
    """Compare two evaluations on the prompts, seeds and budgets they share.

    Args:
        first: Directory of one evaluation.
        second: Directory of the other.
        methods: A method of each; every method that both have when none.

    Returns:
        One comparison for each pair of methods.

    Raises:
        MisuseError: if one is no finished evaluation, their judges differ, or they share nothing to compare.
    """
    one, other = read_results(first), read_results(second)
    if one.about.judge != other.about.judge:
        raise MisuseError(
            f"{first} was judged by {one.about.judge}, {second} by {other.about.judge}; repeat one of the two, so that "
            "one judge decides about both."
        )
    pairs = [methods] if methods else _common_methods(first, one, second, other)
    return [_compare(Side(first, one, a), Side(second, other, b)) for a, b in pairs]


def _common_methods(first: Path, one: Results, second: Path, other: Results) -> list[tuple[str, str]]:
    names = [[method.name for method in results.about.methods] for results in (one, other)]
    common = [(name, name) for name in names[0] if name in names[1]]
    if not common and len(names[0]) == len(names[1]) == 1:
        common = [(names[0][0], names[1][0])]
    if not common:
        raise MisuseError(
            f"{first} has {', '.join(names[0])} and {second} has {', '.join(names[1])}; say which to compare with "
            "--methods FIRST,SECOND."
        )
    return common


def _compare(first: Side, second: Side) -> Comparison:
    for side in (first, second):
        known = [method.name for method in side.results.about.methods]
        if side.method not in known:
            raise MisuseError(f"{side.folder} has no method {side.method}; it has {', '.join(known)}.")
    items = [item for item in first.results.prompts if item in set(second.results.prompts)]
    seeds = tuple(seed for seed in first.results.about.seeds if seed in second.results.about.seeds)
    budgets = tuple(size for size in first.results.about.budgets if size in second.results.about.budgets)
    for what, found in (("prompt", items), ("seed", seeds), ("budget", budgets)):
        if not found:
            raise MisuseError(f"{first.folder} and {second.folder} have no {what} in common; nothing can be paired.")
    tables = [_outcomes(side, items, seeds) for side in (first, second)]
    right = [
        np.array(
            [[[float(table[i, seed, size].correct) for size in budgets] for seed in seeds] for i in range(len(items))]
        )
        for table in tables
    ]
    six = [index for index, item in enumerate(items) if item.tag in SIX] or list(range(len(items)))
    chosen = tuple(dict.fromkeys(items[index].tag for index in six))
    bootstrap = Bootstrap([item.tag for item in items])
    means = [values.mean(axis=1) for values in right]
    moved = means[1] - means[0]
    tags = tags_of(items)
    sampled = [bootstrap.macro(values, chosen) for values in means]
    ps = sign_flip(moved[six], [items[index].tag for index in six])
    points = tuple(
        Point(
            budget=budget,
            first=sampled[0][place].estimate,
            second=sampled[1][place].estimate,
            difference=(sampled[1] - sampled[0])[place].estimate,
            p=float(ps[place]),
            p_exact=sign_test(moved[six, place]),
            better=int((moved[six, place] > 0).sum()),
            worse=int((moved[six, place] < 0).sum()),
        )
        for place, budget in enumerate(budgets)
    )
    return Comparison(
        first=first,
        second=second,
        prompts=len(items),
        seeds=seeds,
        group="all tags" if chosen == tags else "GenEval's tags",
        points=points,
        tags={tag: bootstrap.macro(moved[:, -1], [tag]).estimate for tag in tags},
        disagreements=_disagreements(items, seeds, budgets[-1], tables),
    )


Table = dict[tuple[int, int, int], Outcome]


def _outcomes(side: Side, items: list[Metadata], seeds: tuple[int, ...]) -> Table:
    """Return a side's outcomes by (index of the prompt among the common ones, seed, budget)."""
    places = {item: index for index, item in enumerate(items)}

    def wanted(row: Row) -> int | None:
        item = side.results.prompts[row.prompt]
        return places.get(item) if row.method == side.method and row.seed in seeds else None

    return {
        (index, row.seed, outcome.budget): outcome
        for row in side.results.rows
        if (index := wanted(row)) is not None
        for outcome in row.outcomes
    }


def _disagreements(
    items: list[Metadata], seeds: tuple[int, ...], budget: int, tables: list[Table]
) -> tuple[Disagreement, ...]:
    found = [
        Disagreement(item, seed, tables[0][index, seed, budget], tables[1][index, seed, budget])
        for index, item in enumerate(items)
        for seed in seeds
        if tables[0][index, seed, budget].correct != tables[1][index, seed, budget].correct
    ]
    return tuple(sorted(found, key=lambda item: item.second.correct))
