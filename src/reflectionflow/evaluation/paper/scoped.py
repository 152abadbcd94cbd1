"""The exhibits that exist for the declared score and for every tag that it leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from reflectionflow.evaluation.arrays import NONE, Arrays, base_rate, is_correct, is_possible
from reflectionflow.evaluation.pages.grids import efficiency_cells, efficiency_note, p_value
from reflectionflow.evaluation.paper import published
from reflectionflow.evaluation.paper.exhibit import Exhibit, Line
from reflectionflow.evaluation.paper.material import Material, Scope
from reflectionflow.evaluation.paper.methods import ADAPTIVE, BY_SCORE, FLOW, LATEST, MAIN, NOISE, SILENT, WIDTH
from reflectionflow.evaluation.paper.speaking import ELSEWHERE
from reflectionflow.evaluation.statistics import Estimate, sign_flip
from reflectionflow.evaluation.tables import efficiency_of

REFLECTING = (FLOW, ADAPTIVE)
CONTROL = "control"
ABOUT_CONTROL = (
    "Control: noise scaling by a generator that was tuned on the data set's good pictures without condition and "
    "reflection, for as long as whoever tuned it tells; its drafts are its own. The paper has no such row."
)
ABOUT_ADAPTIVE = (
    f"“{ADAPTIVE}” reflects and corrects as {FLOW} does, but without chains: whatever picture needs the fewest edits "
    "is corrected next, or a draft is painted. It is ours; the paper has no such row."
)
READ_OFF = "The paper's values were read off its figure, to about ± 0.003."
COUNTED = "Ours counts drafts and corrections alike; the paper's number of pictures counts corrections alone."


def picks(material: Material, arrays: Arrays, scope: Scope) -> Exhibit:
    """Return Figure 4, left: other verifiers pick from the pictures of one method."""
    name = material.picked_from
    searched = material.results.about.models["verifier"] or ""

    def line(told: str, values: np.ndarray) -> Line:
        return Line(told, arrays.shares(values, scope.tags))

    best = line("best possible (oracle)", arrays.mean(name, is_possible))
    lines = [
        replace(best, published=material.theirs(scope, published.BEST_POSSIBLE)),
        line(f"{short(searched)} (searched)", arrays.mean(name, is_correct)),
        *(
            line(f"{picker} (oracle)" if picker in material.oracles else picker, correct.mean(axis=1))
            for picker, correct in material.picks.items()
        ),
        line("random picture", arrays.mean(name, base_rate)),
        *(Line(picker, published=material.theirs(scope, curve)) for picker, curve in published.PICKERS.items()),
    ]
    notes = (
        f"All pick from the same pictures, those of {name}; only {searched} saw them during the search.",
        "“Best possible” is what the judge itself would pick. The paper's verifiers are others than ours.",
        *_about_theirs(scope),
    )
    title = scope.titled(f"Figure 4, left: who picks from the pictures of {name}")
    return Exhibit(scope.named("figure-4-left"), title, material.budgets(scope), tuple(lines), notes, "pictures")


def short(model: str) -> str:
    """Return a model's name without its revision."""
    return model.split("@")[0]


def curves(material: Material, arrays: Arrays, scope: Scope) -> Exhibit:
    """Return Figure 4, middle: score against pictures, and what each method gains over noise."""
    most = material.results.about.budgets[-1]
    names = [name for name in MAIN if name in material.compared]
    lines = [
        Line(
            name,
            arrays.shares(arrays.mean(name, is_correct), scope.tags),
            material.theirs(scope, published.CURVES.get(name, {})),
        )
        for name in names
    ]
    others = [name for name in names if name != NOISE]
    lines += [Line(f"{name} − {NOISE}", arrays.change(name, NOISE, scope.tags), difference=True) for name in others]
    if ADAPTIVE in others and FLOW in others:
        lines.append(Line(f"{ADAPTIVE} − {FLOW}", arrays.change(ADAPTIVE, FLOW, scope.tags), difference=True))
    for name in REFLECTING:
        if name in others:
            against = arrays.mean(name, is_correct) - arrays.mean(NOISE, is_correct)[:, -1:]
            moved = tuple(arrays.bootstrap.changes(against, scope.tags))
            lines.append(Line(f"{name} − {NOISE} with {most} pictures", moved, difference=True))
    told = {method.name: method.note for method in material.results.about.methods}
    notes = (*(f"{name}: {told[name]}" for name in names), *_tests(material, arrays, scope), *_about_theirs(scope))
    if ADAPTIVE in names:
        notes += (ABOUT_ADAPTIVE,)
    if material.control is not None:
        lines.append(Line(CONTROL, arrays.shares(material.control.mean(axis=1), scope.tags), apart=True))
        notes += (ABOUT_CONTROL,)
    title = scope.titled("Figure 4, middle: score against pictures")
    return Exhibit(scope.named("figure-4-middle"), title, material.budgets(scope), tuple(lines), notes, "pictures")


def _about_theirs(scope: Scope) -> Iterator[str]:
    if scope.declared:
        yield READ_OFF
        yield COUNTED
    else:
        yield f"The paper has no {scope.name} prompts. Drafts and corrections are counted alike."


def _tests(material: Material, arrays: Arrays, scope: Scope) -> Iterator[str]:
    """Yield the tests at each budget of what the declared score leaves out; Table 1 has those of the declared one."""
    if scope.declared:
        return
    for name in REFLECTING:
        found = list(_tested(material, arrays, scope, name)) if name in material.compared else []
        if found:
            yield f"Randomisation test of {name} − {NOISE}, not adjusted: {', '.join(found)}."


def _tested(material: Material, arrays: Arrays, scope: Scope, method: str) -> Iterator[str]:
    """Yield a test against noise for every budget at which the pictures are not the same."""
    rows = arrays.bootstrap.rows(scope.tags[0])
    moved = (arrays.mean(method, is_correct) - arrays.mean(NOISE, is_correct))[rows]
    tags = [arrays.prompt_tags[row] for row in rows]
    same = arrays.same_pictures(method, NOISE)
    for budget, values, alike in zip(material.results.about.budgets, moved.T, same, strict=True):
        if not alike:
            yield (
                f"p {p_value(float(sign_flip(values, tags)[0]))} with {budget} pictures (prompts better : worse "
                f"{int((values > 0).sum())} : {int((values < 0).sum())})"
            )


def efficiency(material: Material, arrays: Arrays, scope: Scope) -> Exhibit | None:
    """Return how many pictures each method needs for noise's score at the largest budget."""
    found = efficiency_of(arrays, material.results.about.methods, scope.tags)
    names = [name for name in MAIN if name in found]
    if not names:
        return None
    budgets, prompts = material.results.about.budgets, material.prompts(scope)
    columns = (
        material.column(f"{NOISE}, {budgets[-1]} pictures", prompts, scope.link),
        replace(material.column("pictures needed for that score", prompts, scope.link), digits=1),
        replace(material.column(f"times fewer than {NOISE}", prompts, scope.link), digits=1),
    )
    lines = []
    for name in names:
        item, theirs = found[name], name == FLOW and scope.declared
        claimed = (published.CURVES[NOISE][published.MOST], None, published.FEWER) if theirs else ()
        setting = f"{published.MOST} pictures of {NOISE}, their claim" if claimed else ""
        values, cells = (item.target, item.pictures, item.ratio), efficiency_cells(item, budgets[0])
        lines.append(Line(name, values, claimed, setting, cells=cells))
    notes = [f"{scope.name}, interpolated over the logarithm of the pictures. {efficiency_note(budgets)}"]
    if scope.declared:
        notes += [
            "The paper's 10 times is the claim of its project site: its curve has 0.847 with 2 pictures, and noise "
            "0.848 with 32.",
            COUNTED,
        ]
    title = scope.titled(f"Pictures needed for {NOISE}'s score")
    return Exhibit(scope.named("efficiency"), title, columns, tuple(lines), tuple(notes))


def widths(material: Material, arrays: Arrays, scope: Scope) -> Exhibit | None:
    """Return the scores by width at equal pictures."""
    if not material.compared.widths:
        return None
    most = material.results.about.budgets[-1]

    def line(told: str, name: str) -> Line:
        return Line(told, arrays.shares(arrays.mean(name, is_correct), scope.tags))

    lines = [
        line(f"width {width}, depth {(most - 2 * width) // width}", name)
        for width, name in material.compared.widths.items()
    ]
    lines.append(line("drafts alone", NOISE))
    notes = (
        f"Equal pictures in a column, {scope.name}. Width: chains; depth: whole rounds of corrections with {most} "
        "pictures, after twice as many drafts as chains.",
        "The paper says that depth beats width at equal pictures; the values of its table were not found.",
    )
    title = scope.titled("Width and depth")
    return Exhibit(scope.named("width-depth"), title, material.budgets(scope), tuple(lines), notes)


def choices(material: Material, arrays: Arrays, scope: Scope) -> Exhibit | None:
    """Return ReflectionFlow's choices, each turned the other way: parent, ranking, reflections."""
    if LATEST not in material.compared:
        return None

    def own(told: str, name: str) -> Line:
        return Line(told, arrays.shares(arrays.mean(name, is_correct), scope.tags))

    def moved(told: str, one: str, other: str) -> Line:
        return Line(told, arrays.change(one, other, scope.tags), difference=True)

    lines = [
        own(f"{FLOW} (best parent, ranked by edits, reflections)", FLOW),
        own(LATEST, LATEST),
        moved("best − latest parent", FLOW, LATEST),
        own(BY_SCORE, BY_SCORE),
        moved("ranked by edits − by score", FLOW, BY_SCORE),
        own(f"{SILENT}, ranked by score", SILENT),
        moved("with − without reflections, both ranked by score", BY_SCORE, SILENT),
    ]
    for name, correct in material.spoken.items():
        values = correct.mean(axis=1)
        lines.append(Line(f"told by {name}, ranked by score", arrays.shares(values, scope.tags), apart=True))
        changes = _told_apart(material, arrays, scope, values)
        told = f"own reflections − told by {name}, both ranked by score"
        lines.append(Line(told, changes, difference=True, apart=True))
    title = scope.titled("Parent, ranking and reflections")
    return Exhibit(
        scope.named("choices"), title, material.budgets(scope), tuple(lines), tuple(_choice_notes(material, scope))
    )


def _told_apart(material: Material, arrays: Arrays, scope: Scope, values: np.ndarray) -> tuple[Estimate, ...]:
    """Return what own words gain over others'; nothing is said of the first drafts, which are the same pictures."""
    found = arrays.bootstrap.changes(arrays.mean(BY_SCORE, is_correct) - values, scope.tags)
    budgets = material.results.about.budgets
    return tuple(NONE if budget <= 2 * WIDTH else item for budget, item in zip(budgets, found, strict=True))


def _choice_notes(material: Material, scope: Scope) -> Iterator[str]:
    yield (
        f"{scope.name}; the release corrects the latest picture of a chain, ReflectionFlow here its best one: the "
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
