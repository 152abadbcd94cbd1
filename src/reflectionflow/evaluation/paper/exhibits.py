"""Every table and figure of the paper as numbers: rows with intervals, and the paper's own values beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from reflectionflow.evaluation.arrays import Arrays, is_correct
from reflectionflow.evaluation.difficulty import LEVELS
from reflectionflow.evaluation.pages.grids import few_notes, p_value, to_tag
from reflectionflow.evaluation.paper import published
from reflectionflow.evaluation.paper.criticism import criticism
from reflectionflow.evaluation.paper.exhibit import Column, Exhibit, Line
from reflectionflow.evaluation.paper.material import Material
from reflectionflow.evaluation.paper.methods import ADAPTIVE, FLOW, MAIN, NOISE, PROMPT
from reflectionflow.evaluation.paper.scoped import (
    ABOUT_ADAPTIVE,
    ABOUT_CONTROL,
    CONTROL,
    COUNTED,
    REFLECTING,
    choices,
    curves,
    efficiency,
    picks,
    widths,
)
from reflectionflow.evaluation.statistics import Estimate, tag_interval


def exhibits(material: Material) -> list[Exhibit]:
    """Return every exhibit that has something to show, in the paper's order.

    What the paper shows for its overall score stands once more for each tag that the declared score leaves out.
    """
    arrays = Arrays(material.results)
    found = [
        None if material.criticised is None else criticism(material.criticised, material.results.prompts),
        _table_one(material, arrays),
        *(make(material, arrays, scope) for make in (picks, curves, efficiency) for scope in material.scopes),
        _difficulty(material),
        *(make(material, arrays, scope) for make in (widths, choices) for scope in material.scopes),
    ]
    return [exhibit for exhibit in found if exhibit is not None]


def _table_one(material: Material, arrays: Arrays) -> Exhibit:
    tables, most = material.tables, material.results.about.budgets[-1]
    members = tables.groups[material.group]
    columns = [material.column(material.group, sum(tables.counts[tag] for tag in members))]
    columns += [material.column(tag, count, to_tag(tag)) for tag, count in tables.counts.items()]

    def line(name: str, method: str, place: int, theirs: str, pictures: int) -> Line:
        scores, printed = material.scores(method), published.TABLE_ONE.get(theirs)
        values = (scores.groups[material.group][place], *(scores.tags[tag][place] for tag in tables.counts))
        if printed is None:
            return Line(name, values)
        known = (printed[published.OVERALL], *(printed.get(tag) for tag in tables.counts))
        return Line(name, values, known, f"{pictures} picture{'s' if pictures > 1 else ''}")

    lines = [line("base, 1 picture", NOISE, 0, published.BASE, 1)]
    lines += [
        line(f"{name}, {most} pictures", name, -1, name, published.MOST) for name in MAIN if name in material.compared
    ]
    lines += [
        Line(
            f"{item.method} − {item.baseline}",
            (item.groups[material.group][-1], *(item.tags[tag] for tag in tables.counts)),
            difference=True,
        )
        for item in tables.differences
        if item.method in MAIN
    ]
    if material.control is not None:
        lines += _controls(material, material.control, arrays)
    notes = (
        f"“{material.group}” is the mean over {', '.join(members)}; the paper's is over GenEval's six.",
        "Differences are paired: same prompts, same seeds, same first drafts.",
        *_tests(material),
        *few_notes(tables.counts),
        COUNTED,
        *((ABOUT_ADAPTIVE,) if ADAPTIVE in material.compared else ()),
        *((ABOUT_CONTROL,) if material.control is not None else ()),
    )
    return Exhibit("table-1", "Table 1: score by tag", tuple(columns), tuple(lines), notes)


def _tests(material: Material) -> Iterator[str]:
    """Yield the tests against noise, ReflectionFlow's, which is the declared comparison, first."""
    about, found = material.results.about, {item.method: item for item in material.tables.differences}
    exact = "McNemar's exact test" if len(about.seeds) == 1 else "exact sign test"
    for name, declared in ((FLOW, ", the declared comparison"), (ADAPTIVE, ""), (PROMPT, "")):
        if name in found:
            item = found[name]
            yield (
                f"Test of {name} − {item.baseline}{declared} ({material.group}, {about.budgets[-1]} pictures): "
                f"p {p_value(item.p)} (randomisation), {p_value(item.p_holm)} by Holm for all {len(found)} methods "
                f"compared with {item.baseline}; {exact} {p_value(item.p_exact)}, prompts better : worse "
                f"{item.better} : {item.worse}."
            )


def _controls(material: Material, control: np.ndarray, arrays: Arrays) -> Iterator[Line]:
    """Yield the rows of the control: one picture, the most, and what ReflectionFlow gains over it."""
    tags, most = list(material.tables.counts), material.results.about.budgets[-1]
    means = control.mean(axis=1)
    for place, pictures in ((0, "1 picture"), (-1, f"{most} pictures")):
        values = means[:, place]
        known = (
            arrays.shares(values[:, None], arrays.primary)[0],
            *(tag_interval(values[arrays.bootstrap.rows(tag)], len(arrays.about.seeds)) for tag in tags),
        )
        yield Line(f"{CONTROL}, {pictures}", known, apart=True)
    groups = (arrays.primary, *((tag,) for tag in tags))
    for name in REFLECTING:
        if name in material.compared:
            gained = arrays.mean(name, is_correct)[:, -1] - means[:, -1]
            moved = tuple(arrays.bootstrap.changes(gained, group)[0] for group in groups)
            yield Line(f"{name} − {CONTROL}", moved, difference=True, apart=True)


def _difficulty(material: Material) -> Exhibit | None:
    found = material.tables.difficulty
    if found is None:
        return None
    most = material.results.about.budgets[-1]
    columns = tuple(Column(level, found.units[level]) for level in LEVELS)

    def line(name: str, values: Mapping[str, Estimate | None], theirs: str) -> Line:
        printed = published.DIFFICULTY.get(theirs)
        known = () if printed is None else tuple(printed[level] for level in LEVELS)
        return Line(name, tuple(values[level] for level in LEVELS), known)

    lines = [line("base, 1 picture", found.first[NOISE], published.BASE)]
    lines += [line(f"{name}, {most} pictures", found.last[name], name) for name in MAIN if name in material.compared]
    told = (
        "of the other seeds, so that chance does not choose."
        if found.crossed
        else "of the same seed, the very pictures that are scored, because there is only one seed: a prompt counts as "
        "hard where chance was against it, so hard prompts seem to gain and easy ones to lose by chance alone."
    )
    notes = (
        "All tags, by the share of single drafts that are right: easy from two thirds, hard below one third, told by "
        f"the drafts {told} A pair is a prompt with a seed.",
        "Where the paper draws its lines between the levels is not known.",
    )
    return Exhibit("figure-4-right", "Figure 4, right: score by difficulty", columns, tuple(lines), notes, "prompts")
