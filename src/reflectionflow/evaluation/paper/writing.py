"""paper.md, paper.html (self-contained) and paper.json: the same numbers for a repository, for people, for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reflectionflow.evaluation.pages.figures import Chart, Curve, chart, logarithmic
from reflectionflow.evaluation.pages.grids import ORACLE, Cell, Grid, change, number, score
from reflectionflow.evaluation.pages.markdown import grid_lines
from reflectionflow.evaluation.pages.writing import environment, facts
from reflectionflow.evaluation.paper.exhibits import Exhibit, Line, Material, drawn, exhibits
from reflectionflow.evaluation.results import Results
from reflectionflow.evaluation.statistics import Estimate
from reflectionflow.evaluation.tables import plain
from reflectionflow.runs.storage import storage_errors, write_atomically

SCHEMA_VERSION = 1
PAGE, TEXT, DATA = "paper.html", "paper.md", "paper.json"
DRAWN = "Ours, with 95 % bands"
TITLE = "Tables and figures of ReflectionFlow"
THEIRS = (
    "Rows that begin with “the paper” are not ours: they are the published values of arXiv 2504.16080, full size "
    "(FLUX.1-dev, 1024 × 1024, GenEval's 553 prompts, one run, no intervals)."
)
OURS = "Ours: in the head prompts × seeds, beside each number its 95 % interval; the unit is the prompt."


def write(material: Material, folder: Path) -> list[Exhibit]:
    """Write the three files and return what they show.

    Raises:
        StorageError: if they cannot be written.
    """
    shown = exhibits(material)
    with storage_errors(folder, "writing the paper's tables"):
        write_atomically(folder / PAGE, _page(material, shown).encode())
        write_atomically(folder / TEXT, ("\n".join(_text(material, shown)) + "\n").encode())
        data = json.dumps(_data(material, shown), ensure_ascii=False, indent=1)
        write_atomically(folder / DATA, data.encode() + b"\n")
    return shown


def grid_of(exhibit: Exhibit, *, oracle: bool) -> Grid:
    """Return an exhibit as a table of words: a row of ours, and below it the paper's where there is one."""
    rows = []
    for line in exhibit.lines:
        if line.values:
            rows.append((Cell(line.name), *(_cell(line, value) for value in line.values)))
        if any(value is not None for value in line.published):
            known = ("–" if value is None else number(value) for value in line.published)
            rows.append((Cell(_theirs(line), quiet=True), *(Cell(text, quiet=True) for text in known)))
    head = ("", *(f"{column.name} ({column.units})" for column in exhibit.columns))
    return Grid(exhibit.id, exhibit.title, head, tuple(rows), exhibit.notes, oracle)


def _theirs(line: Line) -> str:
    return f"the paper: {_label(line)}, {line.setting}" if line.setting else f"the paper: {_label(line)}"


def _cell(line: Line, value: Estimate | None) -> Cell:
    if value is None:
        return Cell("–")
    return change(value) if line.difference else score(value)


def chart_of(exhibit: Exhibit) -> Chart | None:
    """Return an exhibit as a figure of our numbers; none when it is a table alone."""
    lines = drawn(exhibit)
    if not lines:
        return None
    names = [column.name for column in exhibit.columns]
    if exhibit.axis == "pictures":
        places = logarithmic([int(name) for name in names])
    else:
        places = tuple(index / (len(names) - 1) for index in range(len(names)))
    curves = [Curve(_label(line), [value for value in line.values if value is not None]) for line in lines]
    return chart(DRAWN, curves, names, places, exhibit.axis)


def _label(line: Line) -> str:
    """Return a line's name without what explains it, so that it fits beside a figure."""
    return line.name.split(" (")[0].split(",")[0]


def _told(results: Results) -> list[tuple[str, str]]:
    return [(name, value) for name, value in facts(results) if name != "Methods"]


def _text(material: Material, shown: Sequence[Exhibit]) -> Iterator[str]:
    oracle = material.results.about.oracle
    yield f"# {TITLE}"
    yield ""
    if oracle:
        yield f"**{ORACLE}**"
        yield ""
    for name, value in _told(material.results):
        yield f"- {name}: {value}"
    for sentence in (OURS, THEIRS, *material.compared.left_out):
        yield ""
        yield sentence
    for exhibit in shown:
        yield from grid_lines(grid_of(exhibit, oracle=oracle))


def _page(material: Material, shown: Sequence[Exhibit]) -> str:
    about = material.results.about
    parts = [(grid_of(exhibit, oracle=about.oracle), chart_of(exhibit)) for exhibit in shown]
    template = environment().get_template("paper.html.jinja")
    return template.render(
        about=about,
        title=TITLE,
        oracle=ORACLE,
        facts=_told(material.results),
        reading=(OURS, THEIRS),
        left_out=material.compared.left_out,
        parts=parts,
    )


def _data(material: Material, shown: Sequence[Exhibit]) -> Any:
    about = material.results.about
    return {
        "schema_version": SCHEMA_VERSION,
        "version": about.version,
        "benchmark": about.benchmark,
        "digest": about.digest,
        "stack": about.stack,
        "models": dict(about.models),
        "judge": about.judge,
        "oracle": about.oracle,
        "budgets": list(about.budgets),
        "seeds": list(about.seeds),
        "left_out": list(material.compared.left_out),
        "exhibits": [
            {
                "id": exhibit.id,
                "title": exhibit.title,
                "notes": list(exhibit.notes),
                "ours": plain([item for line in exhibit.lines for item in _ours(exhibit, line)]),
                "paper": [item for line in exhibit.lines for item in _published(exhibit, line)],
            }
            for exhibit in shown
        ],
    }


def _ours(exhibit: Exhibit, line: Line) -> Iterator[dict[str, Any]]:
    for column, value in zip(exhibit.columns, line.values, strict=False):
        if value is not None:
            yield {
                "line": line.name,
                "column": column.name,
                "difference": line.difference,
                "value": value.value,
                "low": value.low,
                "high": value.high,
                "prompts": column.prompts,
                "pairs": column.pairs,
            }


def _published(exhibit: Exhibit, line: Line) -> Iterator[dict[str, Any]]:
    for column, value in zip(exhibit.columns, line.published, strict=False):
        if value is not None:
            yield {"line": _label(line), "column": column.name, "value": value, "setting": line.setting}
