"""Every table of an evaluation, computed from its outcomes: plain numbers with intervals, ready to be printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reflectionflow.evaluation.arrays import NONE, Arrays, base_rate, is_correct, is_possible
from reflectionflow.evaluation.difficulty import Difficulty, difficulty
from reflectionflow.evaluation.results import MethodInfo, Outcome, Results
from reflectionflow.evaluation.statistics import (
    Efficiency,
    Estimate,
    Gap,
    auroc,
    calibration_error,
    decompose,
    holm,
    sample_efficiency,
    sign_flip,
    sign_test,
    tag_interval,
)
from reflectionflow.search import at_default
from reflectionflow.types import to_json

DIGITS = 6


@dataclass(frozen=True)
class Scores:
    """One method's scores, one per budget.

    Attributes:
        method: Its name.
        groups: Macro means by group of tags.
        tags: Means by tag.
        possible: Macro means, by group, of the best picture painted: what the judge itself would have picked.
        expected: For exchangeable drafts: macro means by group, estimated over all subsets of drafts; else none.
        prompts: Means over all prompts of a group, whatever their tags, as GenEval's prompt average.
    """

    method: str
    groups: Mapping[str, tuple[Estimate, ...]]
    tags: Mapping[str, tuple[Estimate, ...]]
    possible: Mapping[str, tuple[Estimate, ...]]
    expected: Mapping[str, tuple[Estimate, ...]] | None
    prompts: Mapping[str, tuple[Estimate, ...]]


@dataclass(frozen=True)
class Difference:
    """One method against the baseline on the same prompts.

    Attributes:
        method: Its name.
        baseline: The baseline's.
        groups: Difference of the macro means by group, one per budget.
        tags: By tag, at the largest budget.
        same: For each budget, whether both painted the same pictures everywhere: the difference is then exactly none.
        p: Of the randomisation test of the declared score at the largest budget.
        p_holm: The same, adjusted for the number of methods compared.
        p_exact: Of the exact sign test over prompts; McNemar's test where there is one seed.
        better: Prompts on which the method is right more often, at the largest budget.
        worse: Prompts on which it is right less often.
    """

    method: str
    baseline: str
    groups: Mapping[str, tuple[Estimate, ...]]
    tags: Mapping[str, Estimate]
    same: tuple[bool, ...]
    p: float
    p_holm: float
    p_exact: float
    better: int
    worse: int


@dataclass(frozen=True)
class Reliability:
    """How far the verifier can be trusted, on one tag's pictures.

    Attributes:
        tag: The tag.
        pictures: How many.
        right: How many of them the judge accepts.
        auroc: Over all pictures of the tag.
        within: The same within prompts, which is what picking needs: mean over prompts with right and wrong pictures.
        calibration: Expected calibration error.
    """

    tag: str
    pictures: int
    right: int
    auroc: float
    within: Estimate | None
    calibration: float


@dataclass(frozen=True)
class SpendLine:
    """What one method spends on a prompt at one budget, on average.

    Attributes:
        method: Its name.
        budget: Pictures allowed.
        images: Pictures painted.
        verifier_calls: Pictures judged.
        reflector_calls: Reflections asked for.
        refiner_calls: Rewritten prompts asked for.
        denoiser_evaluations: Forward passes of the denoisers.
    """

    method: str
    budget: int
    images: float
    verifier_calls: float
    reflector_calls: float
    refiner_calls: float
    denoiser_evaluations: float


@dataclass(frozen=True)
class Tables:
    """All tables.

    Attributes:
        groups: Tags by group, the declared one first.
        counts: Prompts by tag.
        scores: One per method.
        differences: One per method but the baseline.
        against: By method, the baseline too: the declared score at each budget minus the baseline's at the largest.
        gaps: By method: where its points are lost, by group and tag, at the largest budget.
        efficiency: By method but the baseline, on the declared score; none with a single budget.
        difficulty: Scores by the base's pass rate; none without exchangeable drafts.
        grid: Width × budget for methods that differ in their width and in what follows from it; empty otherwise.
        reliability: One per tag, on the pictures of `reliability_of`.
        reliability_of: The method whose pictures they are.
        spend: One line per method and budget.
        charged: What each method cost as if it ran alone, all prompts and seeds together.
    """

    groups: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, int]
    scores: tuple[Scores, ...]
    differences: tuple[Difference, ...]
    against: Mapping[str, tuple[Estimate, ...]]
    gaps: Mapping[str, Mapping[str, Gap]]
    efficiency: Mapping[str, Efficiency]
    difficulty: Difficulty | None
    grid: Mapping[int, tuple[Estimate, ...]]
    reliability: tuple[Reliability, ...]
    reliability_of: str
    spend: tuple[SpendLine, ...]
    charged: Mapping[str, Mapping[str, int]]

    def json(self) -> Any:
        """Return the tables as JSON data: rounded, null for what is no number or never reached."""
        return plain(to_json(self))


def tables(results: Results) -> Tables:
    """Compute every table of an evaluation."""
    arrays = Arrays(results)
    methods = results.about.methods
    source = next((method for method in methods if method.exchangeable), methods[0])
    return Tables(
        groups=arrays.groups,
        counts={tag: arrays.prompt_tags.count(tag) for tag in arrays.tags},
        scores=tuple(_scores(arrays, method) for method in methods),
        differences=_differences(arrays, methods),
        against=_against(arrays, methods),
        gaps={method.name: _gaps(arrays, method) for method in methods},
        efficiency=efficiency_of(arrays, methods, arrays.primary),
        difficulty=difficulty(arrays),
        grid=_grid(arrays, methods),
        reliability=tuple(_reliability(arrays, source, tag) for tag in arrays.tags),
        reliability_of=source.name,
        spend=tuple(line for method in methods for line in _spend(arrays, method)),
        charged={method.name: _charged(results, method) for method in methods},
    )


def _scores(arrays: Arrays, method: MethodInfo) -> Scores:
    correct, possible = (arrays.mean(method.name, value) for value in (is_correct, is_possible))
    expected = arrays.expected(method)[0] if method.exchangeable else None

    def macro(values: np.ndarray) -> dict[str, tuple[Estimate, ...]]:
        return {name: arrays.shares(values, tags) for name, tags in arrays.groups.items()}

    seeds = len(arrays.about.seeds)
    return Scores(
        method=method.name,
        groups=macro(correct),
        tags={
            tag: tuple(tag_interval(column, seeds) for column in correct[arrays.bootstrap.rows(tag)].T)
            for tag in arrays.tags
        },
        possible=macro(possible),
        expected=None if expected is None else macro(expected),
        prompts={name: arrays.prompt_average(correct, tags) for name, tags in arrays.groups.items()},
    )


def _differences(arrays: Arrays, methods: Sequence[MethodInfo]) -> tuple[Difference, ...]:
    base = arrays.mean(methods[0].name, is_correct)
    in_primary = [index for index, tag in enumerate(arrays.prompt_tags) if tag in arrays.primary]
    tags = [arrays.prompt_tags[index] for index in in_primary]
    moved = {method.name: arrays.mean(method.name, is_correct) - base for method in methods[1:]}
    ps = {name: float(sign_flip(values[in_primary, -1], tags)[0]) for name, values in moved.items()}
    adjusted = dict(zip(ps, holm(list(ps.values())), strict=True))
    baseline = methods[0].name
    return tuple(
        Difference(
            method=name,
            baseline=baseline,
            groups={group: arrays.change(name, baseline, of) for group, of in arrays.groups.items()},
            tags={tag: arrays.change(name, baseline, [tag])[-1] for tag in arrays.tags},
            same=arrays.same_pictures(baseline, name),
            p=ps[name],
            p_holm=adjusted[name],
            p_exact=sign_test(values[in_primary, -1]),
            better=int((values[in_primary, -1] > 0).sum()),
            worse=int((values[in_primary, -1] < 0).sum()),
        )
        for name, values in moved.items()
    )


def _against(arrays: Arrays, methods: Sequence[MethodInfo]) -> dict[str, tuple[Estimate, ...]]:
    most = arrays.mean(methods[0].name, is_correct)[:, -1:]
    found = {m.name: arrays.bootstrap.changes(arrays.mean(m.name, is_correct) - most, arrays.primary) for m in methods}
    found[methods[0].name][-1] = NONE  # against itself
    return {name: tuple(items) for name, items in found.items()}


def _gaps(arrays: Arrays, method: MethodInfo) -> dict[str, Gap]:
    base, picked, possible = (arrays.mean(method.name, value)[:, -1] for value in (base_rate, is_correct, is_possible))
    named = {**arrays.groups, **{tag: (tag,) for tag in arrays.tags}}
    return {name: decompose(arrays.bootstrap, base, picked, possible, tags) for name, tags in named.items()}


def efficiency_of(arrays: Arrays, methods: Sequence[MethodInfo], tags: Sequence[str]) -> dict[str, Efficiency]:
    """Return how cheaply each method but the baseline reaches its score over some tags; nothing for a single budget.

    The pictures needed have no interval (not numbers) where the only prompt of one tag weighs in.
    """
    budgets = arrays.about.budgets
    if len(budgets) < 2:
        return {}
    curves = {m.name: arrays.bootstrap.macro(arrays.curve(m), tags) for m in methods}
    baseline, target = curves[methods[0].name], arrays.shares(arrays.curve(methods[0]), tags)[-1]
    found = {method.name: sample_efficiency(budgets, baseline, curves[method.name]) for method in methods[1:]}
    found = {name: replace(item, target=target) for name, item in found.items()}
    if not arrays.bootstrap.has_lone(tags):
        return found
    return {
        name: replace(item, pictures=_without_interval(item.pictures), ratio=_without_interval(item.ratio))
        for name, item in found.items()
    }


def _without_interval(item: Estimate) -> Estimate:
    return Estimate(item.value, np.nan, np.nan)


def _grid(arrays: Arrays, methods: Sequence[MethodInfo]) -> dict[int, tuple[Estimate, ...]]:
    """Return the declared score by width and budget, for methods that differ in it and in what follows from it."""
    wide = [method for method in methods if "width" in method.options]
    rest = {tuple(sorted(_beside_width(method).items())) for method in wide}
    if len(wide) < 2 or len(rest) != 1:
        return {}
    values = {int(m.options["width"]): arrays.mean(m.name, is_correct) for m in wide}
    return {width: arrays.shares(values[width], arrays.primary) for width in sorted(values)}


def _beside_width(method: MethodInfo) -> dict[str, str]:
    """Return a method's strategy and its options but the width; those with the value it gives them are alike."""
    usual = at_default(method.strategy, method.options)
    rest = {name: "" if name in usual else repr(value) for name, value in method.options.items() if name != "width"}
    return {**rest, "": method.strategy}


def _reliability(arrays: Arrays, method: MethodInfo, tag: str) -> Reliability:
    rows = arrays.bootstrap.rows(tag).tolist()
    found = [[arrays.pictures(method.name, row, seed) for seed in arrays.about.seeds] for row in rows]
    scores = np.concatenate([item.scores for group in found for item in group])
    correct = np.concatenate([item.correct for group in found for item in group])
    pooled = [
        auroc(np.concatenate([i.scores for i in group]), np.concatenate([i.correct for i in group])) for group in found
    ]
    told = [value for value in pooled if not np.isnan(value)]
    return Reliability(
        tag=tag,
        pictures=int(scores.size),
        right=int(correct.sum()),
        auroc=auroc(scores, correct),
        within=tag_interval(told, max(1.0, scores.size / len(told))) if told else None,
        calibration=calibration_error(scores, correct),
    )


def _spend(arrays: Arrays, method: MethodInfo) -> list[SpendLine]:
    def mean(value: Callable[[Outcome], float]) -> list[float]:
        return [float(number) for number in arrays.mean(method.name, value).mean(axis=0)]

    columns = zip(
        mean(lambda outcome: outcome.images),
        mean(lambda outcome: outcome.verifier_calls),
        mean(lambda outcome: outcome.reflector_calls),
        mean(lambda outcome: outcome.refiner_calls),
        mean(lambda outcome: outcome.denoiser_evaluations),
        strict=True,
    )
    return [SpendLine(method.name, budget, *means) for budget, means in zip(arrays.about.budgets, columns, strict=True)]


def _charged(results: Results, method: MethodInfo) -> dict[str, int]:
    rows = [row.charged for row in results.rows if row.method == method.name]
    return {name: sum(row[name] for row in rows) for name in rows[0]}


def plain(value: Any) -> Any:
    """Return JSON data with numbers rounded, and null for what is no number or infinite."""
    if isinstance(value, float):
        return round(value, DIGITS) if np.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value
