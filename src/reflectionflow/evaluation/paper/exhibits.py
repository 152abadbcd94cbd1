"""Every table and figure of the paper as numbers: rows with intervals, and the paper's own values beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from reflectionflow.evaluation.arrays import Arrays, base_rate, is_correct
from reflectionflow.evaluation.difficulty import LEVELS
from reflectionflow.evaluation.pages.grids import p_value
from reflectionflow.evaluation.paper import published
from reflectionflow.evaluation.paper.chains import Chains
from reflectionflow.evaluation.paper.criticism import criticism
from reflectionflow.evaluation.paper.exhibit import Column, Exhibit, Line
from reflectionflow.evaluation.paper.methods import BY_SCORE, FLOW, LATEST, NOISE, PROMPT, SILENT, Lineup
from reflectionflow.evaluation.paper.picking import Picks
from reflectionflow.evaluation.paper.reflecting import Criticised
from reflectionflow.evaluation.paper.speaking import ELSEWHERE, Spoken
from reflectionflow.evaluation.results import Results
from reflectionflow.evaluation.statistics import Estimate, tag_interval
from reflectionflow.evaluation.tables import Scores, Tables
from reflectionflow.genref.stats import Statistics

MAIN = (NOISE, PROMPT, FLOW)
CONTROL = "control"
ABOUT_CONTROL = (
    "Control: noise scaling by the generator tuned on the data set's good pictures for as many steps as the corrector, "
    "without condition and reflection; its drafts are its own. The paper has no such row."
)
READ_OFF = "The paper's values were read off its figure, to about ± 0.003."
COUNTED = "Ours counts drafts and corrections alike; the paper's number of pictures counts corrections alone."


@dataclass(frozen=True)
class Material:
    """What the exhibits are made from.

    Attributes:
        results: The outcomes.
        tables: Their tables.
        compared: The methods.
        picks: What other verifiers picked from the pictures of `picked_from`.
        picked_from: A method.
        oracles: Pickers that are related to the judge.
        left_out: Why parts of the paper are not shown, one sentence each.
        criticised: What reflectors said of failed drafts; none where nobody was asked.
        chains: Chains to look at; none where there are none.
        dataset: Numbers of the data set; none where it was not named.
        control: Whether the control's pick is right, [prompts, seeds, budgets]; none without a control.
        spoken: The same of ReflectionFlow, ranked by score, by who spoke in the reflector's place.
        beside: Names and versions of models besides those of the search, by what they do.
    """

    results: Results
    tables: Tables
    compared: Lineup
    picks: Picks
    picked_from: str
    oracles: frozenset[str]
    left_out: tuple[str, ...] = ()
    criticised: Criticised | None = None
    chains: Chains | None = None
    dataset: Statistics | None = None
    control: np.ndarray | None = None
    spoken: Spoken = field(default_factory=dict)
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def scores(self, method: str) -> Scores:
        """Return a method's scores."""
        return next(item for item in self.tables.scores if item.method == method)

    @property
    def group(self) -> str:
        """What the declared score is averaged over."""
        return next(iter(self.tables.groups))

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.results.about.seeds)

    def column(self, name: str, prompts: int) -> Column:
        """Return a column over so many prompts, with all seeds."""
        return Column(name, prompts * self.seeds, prompts)

    @property
    def budgets(self) -> tuple[Column, ...]:
        """A column per budget, for the declared score."""
        prompts = sum(self.tables.counts[tag] for tag in self.tables.groups[self.group])
        return tuple(self.column(str(budget), prompts) for budget in self.results.about.budgets)

    def theirs(self, curve: Mapping[int, float]) -> tuple[float | None, ...]:
        """Return the paper's curve at our budgets."""
        return tuple(curve.get(budget) for budget in self.results.about.budgets)


def exhibits(material: Material) -> list[Exhibit]:
    """Return every exhibit that has something to show, in the paper's order."""
    arrays = Arrays(material.results)
    found = [
        None if material.criticised is None else criticism(material.criticised, material.results.prompts),
        _table_one(material, arrays),
        _picks(material, arrays),
        _curves(material, arrays),
        _efficiency(material),
        _difficulty(material),
        _widths(material),
        _choices(material, arrays),
    ]
    return [exhibit for exhibit in found if exhibit is not None]


def _table_one(material: Material, arrays: Arrays) -> Exhibit:
    tables, most = material.tables, material.results.about.budgets[-1]
    members = tables.groups[material.group]
    columns = [material.column(material.group, sum(tables.counts[tag] for tag in members))]
    columns += [material.column(tag, count) for tag, count in tables.counts.items()]

    def line(name: str, method: str, place: int, theirs: str, pictures: int) -> Line:
        scores, printed = material.scores(method), published.TABLE_ONE[theirs]
        values = (scores.groups[material.group][place], *(scores.tags[tag][place] for tag in tables.counts))
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
        COUNTED,
        *((ABOUT_CONTROL,) if material.control is not None else ()),
    )
    return Exhibit("table-1", "Table 1: score by tag", tuple(columns), tuple(lines), notes)


def _tests(material: Material) -> Iterator[str]:
    """Yield the tests against noise, ReflectionFlow's, which is the declared comparison, first."""
    about, found = material.results.about, {item.method: item for item in material.tables.differences}
    exact = "McNemar's exact test" if len(about.seeds) == 1 else "exact sign test"
    for name, declared in ((FLOW, ", the declared comparison"), (PROMPT, "")):
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
        yield Line(f"{CONTROL}, {pictures}", known)
    if FLOW in material.compared:
        gained = arrays.mean(FLOW, is_correct)[:, -1] - means[:, -1]
        groups = (arrays.primary, *((tag,) for tag in tags))
        moved = tuple(arrays.bootstrap.macro(gained, group).estimate for group in groups)
        yield Line(f"{FLOW} − {CONTROL}", moved, difference=True)


def _picks(material: Material, arrays: Arrays) -> Exhibit:
    name = material.picked_from
    scores, group = material.scores(name), material.group
    searched = material.results.about.models["verifier"] or ""
    reads = [Line("best possible (oracle)", scores.possible[group], material.theirs(published.BEST_POSSIBLE))]
    reads.append(Line(f"{short(searched)} (searched)", scores.groups[group]))
    for picker, correct in material.picks.items():
        told = f"{picker} (oracle)" if picker in material.oracles else picker
        reads.append(Line(told, arrays.shares(correct.mean(axis=1), arrays.primary)))
    reads.append(Line("random picture", arrays.shares(arrays.mean(name, base_rate), arrays.primary)))
    reads += [Line(theirs, published=material.theirs(curve)) for theirs, curve in published.PICKERS.items()]
    notes = (
        f"All pick from the same pictures, those of {name}; only {searched} saw them during the search.",
        "“Best possible” is what the judge itself would pick. The paper's verifiers are others than ours.",
        READ_OFF,
        COUNTED,
    )
    return Exhibit(
        "figure-4-left",
        f"Figure 4, left: who picks from the pictures of {name}",
        material.budgets,
        tuple(reads),
        notes,
        "pictures",
    )


def short(model: str) -> str:
    """Return a model's name without its revision."""
    return model.split("@")[0]


def _curves(material: Material, arrays: Arrays) -> Exhibit:
    lines = [
        Line(name, material.scores(name).groups[material.group], material.theirs(published.CURVES[name]))
        for name in MAIN
        if name in material.compared
    ]
    told = {method.name: method.note for method in material.results.about.methods}
    notes = (*(f"{line.name}: {told[line.name]}" for line in lines), READ_OFF, COUNTED)
    if material.control is not None:
        lines.append(Line(CONTROL, arrays.shares(material.control.mean(axis=1), arrays.primary)))
        notes += (ABOUT_CONTROL,)
    return Exhibit(
        "figure-4-middle", "Figure 4, middle: score against pictures", material.budgets, tuple(lines), notes, "pictures"
    )


def _efficiency(material: Material) -> Exhibit | None:
    found = material.tables.efficiency
    names = [name for name in MAIN if name in found]
    if not names:
        return None
    most = material.results.about.budgets[-1]
    prompts = sum(material.tables.counts[tag] for tag in material.tables.groups[material.group])
    columns = (
        material.column(f"{NOISE}, {most} pictures", prompts),
        replace(material.column("pictures needed for that score", prompts), digits=1),
        replace(material.column(f"times fewer than {NOISE}", prompts), digits=1),
    )
    lines = []
    for name in names:
        item = found[name]
        claimed = (published.CURVES[NOISE][published.MOST], None, published.FEWER) if name == FLOW else ()
        setting = f"{published.MOST} pictures of {NOISE}, their claim" if claimed else ""
        lines.append(Line(name, (item.target, item.pictures, item.ratio), claimed, setting))
    notes = (
        f"{material.group}, interpolated over the logarithm of the pictures. “Never” means not within {most} pictures; "
        "the times are then 0.",
        "The paper's 10 times is the claim of its project site: its curve has 0.847 with 2 pictures, and noise 0.848 "
        "with 32.",
        COUNTED,
    )
    return Exhibit("efficiency", f"Pictures needed for {NOISE}'s score", columns, tuple(lines), notes)


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


def _widths(material: Material) -> Exhibit | None:
    if not material.compared.widths:
        return None
    most = material.results.about.budgets[-1]
    lines = [
        Line(f"width {width}, depth {(most - 2 * width) // width}", material.scores(name).groups[material.group])
        for width, name in material.compared.widths.items()
    ]
    lines.append(Line("drafts alone", material.scores(NOISE).groups[material.group]))
    notes = (
        f"Equal pictures in a column, {material.group}. Width: chains; depth: whole rounds of corrections with {most} "
        "pictures, after twice as many drafts as chains.",
        "The paper says that depth beats width at equal pictures; the values of its table were not found.",
    )
    return Exhibit("width-depth", "Width and depth", material.budgets, tuple(lines), notes)


def _choices(material: Material, arrays: Arrays) -> Exhibit | None:
    """Return ReflectionFlow's choices, each turned the other way: parent, ranking, reflections."""
    if FLOW not in material.compared:
        return None
    right = {name: arrays.mean(name, is_correct) for name in (FLOW, LATEST, BY_SCORE, SILENT)}
    told = {f"told by {name}": correct.mean(axis=1) for name, correct in material.spoken.items()}

    def own(name: str, values: np.ndarray) -> Line:
        return Line(name, arrays.shares(values, arrays.primary))

    def moved(name: str, one: np.ndarray, other: np.ndarray) -> Line:
        return Line(name, tuple(arrays.bootstrap.macro(one - other, arrays.primary).estimates()), difference=True)

    lines = [
        own(f"{FLOW} (best parent, ranked by edits, reflections)", right[FLOW]),
        own(LATEST, right[LATEST]),
        moved("best − latest parent", right[FLOW], right[LATEST]),
        own(BY_SCORE, right[BY_SCORE]),
        moved("ranked by edits − by score", right[FLOW], right[BY_SCORE]),
        own(f"{SILENT}, ranked by score", right[SILENT]),
        moved("with − without reflections, both ranked by score", right[BY_SCORE], right[SILENT]),
    ]
    for name, values in told.items():
        lines.append(own(f"{name}, ranked by score", values))
        lines.append(moved(f"own reflections − {name}, both ranked by score", right[BY_SCORE], values))
    return Exhibit(
        "choices", "Parent, ranking and reflections", material.budgets, tuple(lines), tuple(_choice_notes(material))
    )


def _choice_notes(material: Material) -> Iterator[str]:
    yield (
        f"{material.group}; the release corrects the latest picture of a chain, ReflectionFlow here its best one: the "
        "one of which the reflector asks the fewest edits, or by the verifier's score."
    )
    yield (
        "Without reflections there are no edits to rank by, and the corrector sees the picture and the prompt alone: "
        f"it is compared with “{BY_SCORE}”, which differs in nothing else. The paper has no such rows."
    )
    if material.spoken:
        yield "“Told by” names who speaks in the reflector's place during the whole search; all else is as it was."
    if any(name.startswith(ELSEWHERE) for name in material.spoken):
        yield (
            f"Told by {ELSEWHERE}: where the reflector finds something to correct, the corrector is given other words "
            "that it said of another picture of the same prompt, or of another prompt where there are none."
        )
