"""Tables of numbers as tables of words: the same ones for Markdown and for the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from reflectionflow.evaluation.difficulty import LEVELS
from reflectionflow.evaluation.results import About
from reflectionflow.evaluation.statistics import FEW, Efficiency, Estimate, Gap
from reflectionflow.evaluation.tables import Tables


def oracle_note(related: Iterable[str]) -> str:
    """Return what tables of an oracle say, by the roles that are related to the judge; nothing where none is."""
    roles = [f"the {role}" for role in related]
    if not roles:
        return ""
    told = f"{', '.join(roles[:-1])} and {roles[-1]} are" if len(roles) > 1 else f"{roles[0]} is"
    return f"Oracle: {told} related to the judge, and nothing here is evidence."


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it says.
        interval: The interval of a number, as words; empty for none.
        shade: How strongly it is tinted, from -1 (a loss) to 1 (a gain or a high score); none for no tint.
        strong: Whether it stands out: an interval that excludes zero.
        link: Where it leads on the page; empty for nowhere.
        quiet: Whether it names a row that only helps to read another.
    """

    text: str
    interval: str = ""
    shade: float | None = None
    strong: bool = False
    link: str = ""
    quiet: bool = False

    @property
    def plain(self) -> str:
        """The cell in one line."""
        return f"{self.text} [{self.interval}]" if self.interval else self.text


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        id: Its anchor.
        title: What it shows.
        head: Names of the columns; the first column names the rows.
        rows: The cells, as many a row as there are columns.
        notes: How to read it, one sentence each.
        oracle: Whether it must say that it is an oracle's.
        roles: The roles that make it one, where they are known.
    """

    id: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    oracle: bool = False
    roles: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What follows the title: that it is an oracle's, and by which roles; empty otherwise."""
        return f"(oracle: {', '.join(self.roles)})" if self.roles else "(oracle)" if self.oracle else ""


PROMPTS = "#prompts"
"""Where the report lists all prompts, with their pictures and chains."""
SHOWN = 5
"""Tags that are named in a note."""
SAME = "No interval: the same pictures, as far as the methods share their drafts."


def grids(about: About, tables: Tables) -> list[Grid]:
    """Return every table of an evaluation that has something to say, in the order of the report."""
    found = [
        _scores(about, tables),
        _differences(about, tables),
        _against(about, tables),
        _categories(about, tables),
        _gaps(about, tables),
        _efficiency(about, tables),
        _difficulty(about, tables),
        _grid(about, tables),
        _reliability(about, tables),
        _spend(about, tables),
        _charged(about, tables),
    ]
    roles = tuple(about.related)
    return [
        replace(grid, rows=_linked(grid.rows), oracle=about.oracle, roles=roles)
        for grid in found
        if grid is not None and grid.rows
    ]


def to_tag(tag: str) -> str:
    """Return where the report lists the prompts of a tag."""
    return f"#tag-{tag}"


def _linked(rows: Iterable[Sequence[Cell]]) -> tuple[tuple[Cell, ...], ...]:
    """Return rows whose numbers all lead to the prompts behind them: to all prompts where they name no others."""
    return tuple((row[0], *(linked(cell, row[0].link or PROMPTS) for cell in row[1:])) for row in rows)


def linked(cell: Cell, link: str) -> Cell:
    """Return a cell that leads somewhere; one that leads elsewhere already, or says nothing, stays as it is."""
    return cell if cell.link or cell.text in ("", "–") else replace(cell, link=link)


def number(value: float, digits: int = 2) -> str:
    """Return a share or a ratio in words; a dash for what is no number."""
    if math.isnan(value):
        return "–"
    return "never" if math.isinf(value) else f"{value:z.{digits}f}"


def signed(value: float) -> str:
    """Return a difference in words, with its sign."""
    return "–" if math.isnan(value) else f"{value:+z.2f}".replace("-", "−")


def score(estimate: Estimate, *, tinted: bool = False, link: str = "") -> Cell:
    """Return a cell for a share with its interval."""
    if math.isnan(estimate.value):
        return Cell("–")
    interval = "" if math.isnan(estimate.low) else f"{number(estimate.low)}, {number(estimate.high)}"
    return Cell(number(estimate.value), interval, estimate.value if tinted else None, link=link)


def change(estimate: Estimate, *, link: str = "") -> Cell:
    """Return a cell for a difference with its interval; strong when the interval excludes zero."""
    if estimate.is_flat:
        return Cell(signed(estimate.value), link=link)
    interval = f"{signed(estimate.low)}, {signed(estimate.high)}"
    shade = max(-1.0, min(1.0, 4 * estimate.value)) if estimate.excludes_zero else None
    return Cell(signed(estimate.value), interval, shade, estimate.excludes_zero, link)


def p_value(value: float) -> str:
    """Return a p value in words."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _pictures(budgets: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{budget} picture{'s' if budget > 1 else ''}" for budget in budgets)


def few_notes(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return what is said of intervals where a tag has few prompts; nothing where none has.

    Args:
        counts: Prompts by tag.
    """
    few = [tag for tag, count in counts.items() if count < FEW]
    if not few:
        return ()
    named = ", ".join(few[:SHOWN]) + (f" and {len(few) - SHOWN} more tags" if len(few) > SHOWN else "")
    return (
        f"Fewer than {FEW} prompts do not tell how their tag varies ({named}): means over such tags have Wilson's "
        "interval, and differences a wide one by Student's quantile; a difference of few prompts may be missed.",
    )


def _scores(about: About, tables: Tables) -> Grid:
    rows = []
    for group in tables.groups:
        for item in tables.scores:
            rows.append((Cell(f"{item.method}, {group}"), *map(score, item.groups[group])))
            rows.append((Cell(f"{item.method}, {group}, prompt average", quiet=True), *map(score, item.prompts[group])))
            if item.expected is not None:
                rows.append((Cell(f"{item.method}, {group}, expected", quiet=True), *map(score, item.expected[group])))
            rows.append((Cell(f"{item.method}, {group}, best painted", quiet=True), *map(score, item.possible[group])))
    notes = [
        "Macro means over tags, with 95 % intervals of a paired bootstrap over prompts within tags; where nothing "
        "varies within the tags, Wilson's interval. “Prompt average” is the mean over the prompts whatever their tags.",
        "“Expected” averages over all choices of that many drafts; “best painted” is what the judge itself would pick.",
        *few_notes(tables.counts),
        *(f"{method.name}: {method.note}" for method in about.methods),
    ]
    return Grid(
        "scores",
        "Score by number of pictures",
        ("", *_pictures(about.budgets)),
        tuple(rows),
        tuple(notes),
    )


def _differences(about: About, tables: Tables) -> Grid | None:
    if not tables.differences:
        return None
    rows = []
    for item in tables.differences:
        for index, (group, values) in enumerate(item.groups.items()):
            tests = (p_value(item.p), p_value(item.p_holm), p_value(item.p_exact), f"{item.better} : {item.worse}")
            rows.append(
                (Cell(f"{item.method}, {group}"), *map(change, values), *(Cell(t if index == 0 else "") for t in tests))
            )
    exact = "McNemar's exact test" if len(about.seeds) == 1 else "the exact sign test over prompts"
    declared = next(iter(tables.groups))
    return Grid(
        "differences",
        f"Difference to {about.methods[0].name}",
        ("", *_pictures(about.budgets), "p", "p, Holm", "p, exact", "prompts better : worse"),
        tuple(rows),
        (
            "Same prompts, same seeds, same first drafts, same resamples; bold where the 95 % interval excludes zero.",
            f"The tests are of the declared score ({declared}) at {about.budgets[-1]} pictures: a randomisation test "
            f"of the macro mean, the same adjusted for all comparisons (Holm), and {exact}.",
            *([SAME] if any(any(item.same) for item in tables.differences) else []),
        ),
    )


def _against(about: About, tables: Tables) -> Grid | None:
    if len(about.budgets) < 2 and not tables.differences:
        return None
    baseline, most = about.methods[0].name, about.budgets[-1]
    rows = tuple((Cell(name), *map(change, values)) for name, values in tables.against.items())
    return Grid(
        "against",
        f"Difference to {baseline} with {most} pictures",
        ("", *_pictures(about.budgets)),
        rows,
        (
            f"On {next(iter(tables.groups))}: the score at each budget minus that of {baseline} with {most}, paired. A "
            "method is not inferior by more than a margin where the whole interval lies above minus that margin.",
        ),
    )


def _categories(about: About, tables: Tables) -> Grid:
    moved = {item.method: item for item in tables.differences}
    head = [
        "tag",
        "prompts",
        *(item.method for item in tables.scores),
        *(f"{name} − {about.methods[0].name}" for name in moved),
    ]
    rows = []
    for tag, count in tables.counts.items():
        link = to_tag(tag)
        own = [score(item.tags[tag][-1], tinted=True, link=link) for item in tables.scores]
        rows.append(
            (
                Cell(tag, link=link),
                Cell(str(count)),
                *own,
                *(change(item.tags[tag], link=link) for item in moved.values()),
            )
        )
    notes = (
        f"With {about.budgets[-1]} pictures. Scores have Wilson intervals for prompts as clusters, differences paired "
        "bootstrap intervals, or by Wilson's how many prompts may do otherwise where all did alike. Each row leads to "
        "its prompts.",
    )
    return Grid("categories", "Score by tag", tuple(head), tuple(rows), notes)


def _gaps(about: About, tables: Tables) -> Grid:
    names = [*tables.groups, *tables.counts]
    parts = ("base", "picked", "possible", "efficiency", "verifier_gap", "headroom")
    rows = []
    for method, by_name in tables.gaps.items():
        for name in names:
            gap: Gap = by_name[name]
            link = "" if name in tables.groups else to_tag(name)
            rows.append((Cell(f"{method}, {name}", link=link), *(score(getattr(gap, part)) for part in parts)))
    return Grid(
        "gaps",
        "Where points are lost",
        ("", "random picture", "picked", "best painted", "verifier efficiency", "lost by the verifier", "headroom"),
        tuple(rows),
        (
            f"With {about.budgets[-1]} pictures. Verifier efficiency is (picked − random) / (best painted − random): "
            "how much of what could be gained by picking is gained; without an interval where it is the same on every "
            "resample, or where one tag and no other has a single prompt. Headroom is what only better pictures could "
            "add.",
        ),
    )


def efficiency_cells(item: Efficiency, least: int) -> tuple[Cell, Cell, Cell]:
    """Return the target, the pictures needed for it, and how many times fewer; limits where no more is known.

    Args:
        item: The numbers.
        least: The smallest budget: who is there with it may need fewer still.
    """

    def needed(value: float) -> str:
        return f"≤ {least}" if value <= least else number(value, 1)

    def times(value: float, own: float) -> str:
        """Return a ratio in words: a lower limit where the method is there at once and the baseline is not."""
        return f"≥ {number(value, 1)}" if own <= least < value * own else "< 1" if value == 0 else number(value, 1)

    own, ratio = item.pictures, item.ratio
    known = not math.isnan(own.low)
    return (
        score(item.target),
        Cell(needed(own.value), f"{needed(own.low)}, {needed(own.high)}" if known else ""),
        Cell(
            times(ratio.value, own.value),
            f"{times(ratio.low, own.high)}, {times(ratio.high, own.low)}" if known else "",
        ),
    )


def efficiency_note(budgets: Sequence[int]) -> str:
    """Return what the words for the pictures needed mean, as a sentence."""
    return (
        f"“never” means not within {budgets[-1]} pictures, the times are then “< 1”; “≤” and “≥”, that the score with "
        f"{budgets[0]} is there already."
    )


def _efficiency(about: About, tables: Tables) -> Grid | None:
    if not tables.efficiency:
        return None
    least = about.budgets[0]
    rows = tuple((Cell(method), *efficiency_cells(item, least)) for method, item in tables.efficiency.items())
    baseline, most = about.methods[0].name, about.budgets[-1]
    return Grid(
        "efficiency",
        "Pictures needed",
        ("", f"score of {baseline} with {most}", "pictures needed for it", f"times fewer than {baseline}"),
        rows,
        (
            f"On {next(iter(tables.groups))}, interpolated over the logarithm of the budget; every draft and every "
            "correction counts, and the curves of exchangeable drafts are the expected ones. "
            f"{efficiency_note(about.budgets)}",
        ),
    )


def _difficulty(about: About, tables: Tables) -> Grid | None:
    found = tables.difficulty
    if found is None:
        return None
    first, last = about.budgets[0], about.budgets[-1]
    columns: Sequence[tuple[int, Mapping[str, Mapping[str, Estimate | None]]]]
    columns = [(first, found.first), (last, found.last)] if last > first else [(last, found.last)]
    rows = tuple(
        (
            Cell(method.name),
            *(_maybe(values[method.name][level]) for level in LEVELS for _, values in columns),
        )
        for method in about.methods
    )
    head = tuple(f"{level} ({found.units[level]}), {budget} pict." for level in LEVELS for budget, _ in columns)
    told = (
        "by the drafts of the other seeds, so that chance does not choose."
        if found.crossed
        else "by the same drafts, because there is one seed: hard prompts then seem to gain by chance alone."
    )
    notes = (
        f"Easy: two thirds or more of single drafts of {found.drafts_of} are right; hard: less than one third; told "
        f"{told} In brackets the pairs of prompt and seed.",
    )
    return Grid("difficulty", "Score by difficulty", ("", *head), rows, notes)


def _maybe(estimate: Estimate | None) -> Cell:
    return Cell("–") if estimate is None else score(estimate)


def _grid(about: About, tables: Tables) -> Grid | None:
    if not tables.grid:
        return None
    rows = tuple((Cell(f"width {width}"), *map(score, values)) for width, values in tables.grid.items())
    notes = ("Depth is the number of pictures divided by the width.",)
    return Grid("grid", "Width and depth", ("", *_pictures(about.budgets)), rows, notes)


def _reliability(about: About, tables: Tables) -> Grid:
    rows = tuple(
        (
            Cell(item.tag, link=to_tag(item.tag)),
            Cell(f"{item.pictures:,}"),
            Cell(number(item.right / item.pictures) if item.pictures else "–"),
            Cell(number(item.auroc)),
            Cell("–") if item.within is None else score(item.within),
            Cell(number(item.calibration)),
        )
        for item in tables.reliability
    )
    return Grid(
        "reliability",
        "How far the verifier can be trusted",
        ("tag", "pictures", "right", "AUROC", "AUROC within prompts", "calibration error"),
        rows,
        (
            f"On the pictures of {tables.reliability_of}, against the judge. Within prompts is what picking needs: the "
            "probability that a right picture scores above a wrong one of the same prompt.",
        ),
    )


def _spend(about: About, tables: Tables) -> Grid:
    rows = tuple(
        (
            Cell(f"{line.method}, {line.budget}"),
            *(
                Cell(f"{value:.1f}")
                for value in (
                    line.images,
                    line.denoiser_evaluations,
                    line.verifier_calls,
                    line.reflector_calls,
                    line.refiner_calls,
                )
            ),
        )
        for line in tables.spend
    )
    return Grid(
        "spend",
        "Spend for one prompt",
        (
            "method, budget",
            "pictures",
            "denoiser evaluations",
            "judged by the verifier",
            "reflections",
            "rewritten prompts",
        ),
        rows,
        (
            "Means over prompts and seeds, as if each method ran alone with that budget: shared drafts are charged to "
            "each. How long it took stands in costs.md: this page has no clock in it.",
        ),
    )


def _charged(about: About, tables: Tables) -> Grid:
    names = {
        "images": "pictures",
        "denoiser_evaluations": "denoiser evaluations",
        "verifier_calls": "verifier calls",
        "reflector_calls": "reflector calls",
        "refiner_calls": "refiner calls",
        "tokens": "tokens",
    }
    rows = tuple(
        (Cell(method), *(Cell(f"{spent[name]:,}") for name in names)) for method, spent in tables.charged.items()
    )
    return Grid(
        "charged",
        "Spend of the whole evaluation",
        ("", *names.values()),
        rows,
        ("Charged as if each method ran alone.",),
    )
