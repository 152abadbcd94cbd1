"""Two evaluations of the same prompts: the paired difference, its tests, and where the two differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.arrays import NONE, SIX
from reflectionflow.evaluation.results import Outcome, Results, Row, painted, read_results, tags_of
from reflectionflow.evaluation.statistics import Bootstrap, Estimate, holm, sign_flip, sign_test
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
        against: The second's score at this budget minus the first's at the largest common one, paired.
        same: Whether both painted the same pictures everywhere: the difference is then exactly none.
        p: Of the randomisation test of the macro mean difference.
        p_holm: The same, adjusted for the number of pairs of methods that are compared.
        p_exact: McNemar's test with one seed, the sign test over prompts with several.
        better: Prompts on which the second is right more often.
        worse: Prompts on which it is right less often.
    """

    budget: int
    first: Estimate
    second: Estimate
    difference: Estimate
    against: Estimate
    same: bool
    p: float
    p_holm: float
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
class Setting:
    """Something in which the two evaluations differ beside what is compared: its name, and what either has."""

    name: str
    first: str
    second: str


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
        settings: Everything else that differs: steps, guidance, size, models, options of the methods, versions.
    """

    first: Side
    second: Side
    prompts: int
    seeds: tuple[int, ...]
    group: str
    points: tuple[Point, ...]
    tags: Mapping[str, Estimate]
    disagreements: tuple[Disagreement, ...]
    settings: tuple[Setting, ...]

    @property
    def oracle(self) -> bool:
        """Whether either is an oracle's."""
        return bool(self.roles)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are related to the judge in either."""
        return tuple(sorted({**self.first.results.about.related, **self.second.results.about.related}))


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
    return _adjusted([_compare(Side(first, one, a), Side(second, other, b)) for a, b in pairs])


def _adjusted(found: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons with p values adjusted for their number, at each budget for itself."""
    columns = [holm([item.points[place].p for item in found]) for place in range(len(found[0].points))]
    return [
        replace(
            item,
            points=tuple(
                replace(point, p_holm=column[index]) for point, column in zip(item.points, columns, strict=True)
            ),
        )
        for index, item in enumerate(found)
    ]


def _settings(first: Side, second: Side) -> tuple[Setting, ...]:
    """Return in what two evaluations differ beside the method, its seeds and its prompts."""
    one, other = (_told(side) for side in (first, second))
    names = list(dict.fromkeys([*one, *other]))
    return tuple(
        Setting(name, one.get(name, "none"), other.get(name, "none"))
        for name in names
        if one.get(name, "none") != other.get(name, "none")
    )


def _told(side: Side) -> dict[str, str]:
    about = side.results.about
    method = next(method for method in about.methods if method.name == side.method)
    return {
        "size": f"{about.task['width']} × {about.task['height']}",
        "steps": str(about.task["steps"]),
        "guidance": f"{about.task['guidance']:g}",
        "stack": about.stack,
        **{role: name or "none" for role, name in about.models.items()},
        "strategy": method.strategy,
        **{f"{method.strategy}'s {name}": _in_words(value) for name, value in method.options.items()},
        "version": about.version,
    }


def _in_words(value: Any) -> str:
    """Return an option's value as tables show it: one that is not set reads as one that is missing."""
    return "none" if value is None else str(value)


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
    items, seeds, budgets = _common(first, second)
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
    scores = [bootstrap.shares(values, chosen) for values in means]
    changes = bootstrap.changes(moved, chosen)
    against = bootstrap.changes(means[1] - means[0][:, -1:], chosen)
    same = [_same_pictures(first, second, items, seeds, size) for size in budgets]
    ps = sign_flip(moved[six], [items[index].tag for index in six])
    points = tuple(
        Point(
            budget=budget,
            first=scores[0][place],
            second=scores[1][place],
            difference=NONE if same[place] else changes[place],
            against=NONE if same[place] and place == len(budgets) - 1 else against[place],
            same=same[place],
            p=float(ps[place]),
            p_holm=float(ps[place]),
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
        tags={tag: NONE if same[-1] else bootstrap.changes(moved[:, -1], [tag])[0] for tag in tags},
        disagreements=_disagreements(items, seeds, budgets[-1], tables),
        settings=_settings(first, second),
    )


def _common(first: Side, second: Side) -> tuple[list[Metadata], tuple[int, ...], tuple[int, ...]]:
    """Return the prompts, seeds and budgets that two evaluations share.

    Raises:
        MisuseError: if one has not the method, or they share none of one kind.
    """
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
    return items, seeds, budgets


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


def _same_pictures(first: Side, second: Side, items: list[Metadata], seeds: tuple[int, ...], budget: int) -> bool:
    """Return whether both sides painted the same pictures for every common prompt and seed."""
    one, other = (
        {
            (places[item], row.seed): found
            for row in side.results.rows
            if row.method == side.method
            and row.seed in seeds
            and (item := side.results.prompts[row.prompt]) in places
            and (found := painted(row, budget)) is not None
        }
        for side in (first, second)
        for places in [{item: index for index, item in enumerate(items)}]
    )
    return one == other


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
