"""Write everything a finished evaluation leaves for people and programs; `results.json` is written last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflectionflow.evaluation.pages.cases import MISTAKES, cases
from reflectionflow.evaluation.pages.costs import cost_lines, costs_csv, costs_json, costs_text
from reflectionflow.evaluation.pages.figures import COLOURS, bars, charts
from reflectionflow.evaluation.pages.grids import Grid, grids, number, oracle_note
from reflectionflow.evaluation.pages.markdown import markdown
from reflectionflow.evaluation.results import FILE, TABLE, About, Outcome, Results, Row
from reflectionflow.evaluation.running import RUN, Done, distinct
from reflectionflow.evaluation.tables import Tables, tables
from reflectionflow.report.files import slug
from reflectionflow.runs import RunDirectory, RunReader
from reflectionflow.runs.storage import storage_errors, write_atomically
from reflectionflow.types import Step

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE, TEXT, PROMPTS = "report.html", "report.md", "prompts"
COSTS, COST_TABLE, COST_TEXT = "costs.json", "costs.csv", "costs.md"


def write_all(done: Done, folder: Path) -> Tables:
    """Write results, tables, the report and a page for each prompt into the evaluation's directory.

    Raises:
        StorageError: if they cannot be written.
    """
    results = done.results
    found = tables(results)
    drawn = grids(results.about, found)
    told = facts(results)
    with storage_errors(folder, "writing the report"), RunDirectory.read(folder / RUN) as run:
        (folder / PROMPTS).mkdir(exist_ok=True)
        pages = pages_of(results)
        _write_prompts(results, run, folder, pages)
        page = _page(results, found, drawn, told, run, pages)
        write_atomically(folder / PAGE, page.encode())
        write_atomically(folder / TEXT, markdown(results.about, drawn, told).encode())
        write_atomically(folder / TABLE, results.csv().encode())
        lines = cost_lines(done, found)
        for name, content in (
            (COSTS, costs_json(done, lines)),
            (COST_TABLE, costs_csv(done, lines)),
            (COST_TEXT, costs_text(done, lines)),
        ):
            write_atomically(folder / name, content.encode())
        write_atomically(folder / FILE, "".join(results.lines(found.json())).encode())
    return found


def pages_of(results: Results) -> list[str]:
    """Return the path of each prompt's page below the evaluation's directory."""
    return [f"{PROMPTS}/{index + 1:04d}-{slug(item.prompt)}.html" for index, item in enumerate(results.prompts)]


def facts(results: Results) -> list[tuple[str, str]]:
    """Return what was evaluated, as names and values."""
    about = results.about
    task = about.task
    told = [
        ("Benchmark", f"{about.benchmark}, {len(results.prompts)} prompts (digest {about.digest})"),
        ("Methods", ", ".join(method.name for method in about.methods)),
        ("Budgets", f"{', '.join(map(str, about.budgets))} pictures, drafts and corrections counted alike"),
        ("Seeds", ", ".join(map(str, about.seeds))),
        ("Pictures", f"{task['width']} × {task['height']} px, {task['steps']} steps, guidance {task['guidance']:g}"),
        ("Stack", about.stack),
        *((role.capitalize(), name) for role, name in about.models.items() if name is not None),
        ("Judge", about.judge),
        ("Version", f"reflectionflow {about.version}"),
    ]
    if about.repeated:
        told.insert(1, ("Left out", f"{about.repeated} lines that repeat an earlier one"))
    if about.oracle:
        told.append(("Oracle", " ".join(about.related.values())))
    return told


def environment() -> Environment:
    """Return the templates of the pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("reflectionflow.evaluation.pages", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@dataclass(frozen=True)
class Headline:
    """The declared score of one method at the largest budget, in words."""

    method: str
    score: str
    interval: str
    gain: str


@dataclass(frozen=True)
class PromptLine:
    """One prompt in the list of all: its page, and what came of each method and seed."""

    prompt: str
    page: str
    marks: tuple[tuple[Mark, ...], ...]


@dataclass(frozen=True)
class Mark:
    """What came of one search: a sign, its meaning, and the picked picture's file."""

    sign: str
    told: str
    picture: str


def _page(
    results: Results,
    found: Tables,
    drawn: Sequence[Grid],
    told: Sequence[tuple[str, str]],
    run: RunReader,
    pages: Sequence[str],
) -> str:
    about = results.about
    return (
        environment()
        .get_template("evaluation.html.jinja")
        .render(
            about=about,
            title=f"{', '.join(method.name for method in about.methods)} on {about.benchmark}",
            oracle=oracle_note(about.related),
            colours=COLOURS,
            facts=told,
            headlines=_headlines(about, found),
            group=next(iter(found.groups)),
            charts=charts(found, about.budgets),
            bars=bars(found),
            grids={grid.id: grid for grid in drawn},
            cases=cases(results, run, pages),
            mistakes=MISTAKES,
            tags=list(found.counts),
            lists=_lists(results, run, pages),
            failures=sorted({reason for row in results.rows for reason in row.failures}),
        )
    )


def _headlines(about: About, found: Tables) -> list[Headline]:
    group = next(iter(found.groups))
    moved = {item.method: item.groups[group][-1] for item in found.differences}
    lines = []
    for item in found.scores:
        last = item.groups[group][-1]
        gain = moved.get(item.method)
        told = (
            ""
            if gain is None
            else f"{gain.value:+z.2f} [{gain.low:+z.2f}, {gain.high:+z.2f}] over {about.methods[0].name}"
        )
        interval = f"{number(last.low)} to {number(last.high)}"
        lines.append(Headline(item.method, number(last.value), interval, told.replace("-", "−")))
    return lines


def _lists(results: Results, run: RunReader, pages: Sequence[str]) -> dict[str, list[PromptLine]]:
    """Return every prompt by tag, with a mark for each method and seed at the largest budget."""
    marks: dict[tuple[int, str], list[Mark]] = {}
    for row in results.rows:
        if row.outcomes[-1].budget == results.about.budgets[-1]:
            marks.setdefault((row.prompt, row.method), []).append(_mark(row, row.outcomes[-1], run))
    lists: dict[str, list[PromptLine]] = {}
    for index, item in enumerate(results.prompts):
        cells = tuple(tuple(marks[index, method.name]) for method in results.about.methods)
        lists.setdefault(item.tag, []).append(PromptLine(item.prompt, pages[index], cells))
    return lists


def _mark(row: Row, outcome: Outcome, run: RunReader) -> Mark:
    sign = "✓" if outcome.correct else "○" if outcome.verifier_mistake else "✗"
    meaning = {"✓": "right", "○": "wrong, a right picture was passed over", "✗": "wrong, no picture is right"}[sign]
    picture = "" if outcome.picture is None else _address(run, outcome.picture)
    return Mark(sign, f"seed {row.seed}: {meaning}", picture)


def _address(run: RunReader, image: str) -> str:
    """Return a picture's path below the evaluation's directory."""
    return run.image_path(image).relative_to(run.path.parent).as_posix()


@dataclass(frozen=True)
class Shot:
    """One picture on a prompt's page.

    Attributes:
        number: Counted from 1 in the order of place.
        place: (round, slot).
        source: Path of its file from the page; empty when there is none.
        score: What the verifier gave it, in words.
        right: Whether the judge accepts it.
        picked: The budgets at which it is the pick.
        parent: Number of the picture it was corrected from.
        reflection: The critique it was corrected from.
        refined: The prompt it was painted from, when it is not the user's.
        failure: Why there is no picture or no score.
    """

    number: int
    place: tuple[int, int]
    source: str
    score: str
    right: bool
    picked: tuple[int, ...]
    parent: int | None
    reflection: str
    refined: str
    failure: str


def _write_prompts(results: Results, run: RunReader, folder: Path, pages: Sequence[str]) -> None:
    """Write one page per prompt, with every picture of every search; the pictures stay in the run.

    Pages are numbered by place, and another number of prompts moves them; those of an evaluation before are removed.
    """
    template = environment().get_template("prompt.html.jinja")
    rows: dict[int, list[Row]] = {}
    for row in results.rows:
        rows.setdefault(row.prompt, []).append(row)
    for index, item in enumerate(results.prompts):
        searches: list[Mapping[str, Any]] = [
            {"row": row, "last": row.outcomes[-1], "shots": _shots(row, run)} for row in rows[index]
        ]
        page = template.render(
            about=results.about,
            item=item,
            searches=searches,
            report=f"../{PAGE}",
            oracle=oracle_note(results.about.related),
        )
        write_atomically(folder / pages[index], page.encode())
    for path in set((folder / PROMPTS).glob("*.html")) - {folder / page for page in pages}:
        path.unlink()


def _shots(row: Row, run: RunReader) -> list[Shot]:
    stored = run.result(row.search)
    assert stored is not None, "the results were made from it"
    steps = distinct(stored.result.steps)
    numbers = {step.candidate.id: number for number, step in enumerate(steps, start=1) if step.candidate}
    bits = iter(row.correct)
    return [_shot(number, step, row, run, numbers, bits) for number, step in enumerate(steps, start=1)]


def _shot(number: int, step: Step, row: Row, run: RunReader, numbers: Mapping[str, int], bits: Any) -> Shot:
    candidate, verdict = step.candidate, step.verdict
    score = None if verdict is None else verdict.score
    failure = step.failure.reason if step.failure else (verdict.failure or "" if verdict else "")
    return Shot(
        number=number,
        place=step.place,
        source="" if candidate is None else f"../{_address(run, candidate.image)}",
        score="not judged" if score is None else f"{score:.4f}",
        right=candidate is not None and next(bits) == "1",
        picked=tuple(o.budget for o in row.outcomes if candidate is not None and o.candidate == candidate.id),
        parent=None if candidate is None or candidate.recipe.parent is None else numbers.get(candidate.recipe.parent),
        reflection="" if step.reflection is None else step.reflection.text,
        refined="" if step.refined is None else step.refined.text,
        failure=failure,
    )
