"""paper.md with its figures as SVG, paper.html (self-contained) and paper.json: for a repository, people, programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from reflectionflow.evaluation.pages.figures import Chart, Curve, chart, logarithmic
from reflectionflow.evaluation.pages.grids import Cell, Grid, change, linked, number, oracle_note, score
from reflectionflow.evaluation.pages.markdown import grid_lines
from reflectionflow.evaluation.pages.writing import PAGE as REPORT
from reflectionflow.evaluation.pages.writing import environment, facts, pages_of
from reflectionflow.evaluation.paper.chains import Chains
from reflectionflow.evaluation.paper.criticism import ID as REFLECTIONS
from reflectionflow.evaluation.paper.criticism import examples
from reflectionflow.evaluation.paper.dataset import dataset_grid
from reflectionflow.evaluation.paper.exhibit import Exhibit, Line, drawn, label, subject
from reflectionflow.evaluation.paper.exhibits import exhibits
from reflectionflow.evaluation.paper.looking import (
    EXAMPLES,
    chains_title,
    outcome,
    said,
    shown_chains,
    shown_examples,
)
from reflectionflow.evaluation.paper.material import Material
from reflectionflow.evaluation.paper.provenance import Provenance, provenance
from reflectionflow.evaluation.paper.records import records
from reflectionflow.evaluation.paper.reflecting import Criticised
from reflectionflow.evaluation.results import Results
from reflectionflow.evaluation.running import RUN
from reflectionflow.evaluation.statistics import Estimate
from reflectionflow.genref.view import figures
from reflectionflow.runs import RunDirectory, RunReader
from reflectionflow.runs.storage import storage_errors, write_atomically

PAGE, TEXT, DATA, CHAINS = "paper.html", "paper.md", "paper.json", "figure-5.png"
DRAWN = "Ours, with 95 % bands"
TITLE = "Tables and figures of ReflectionFlow"
THEIRS = (
    "Rows that begin with “the paper” are not ours: they are the published values of arXiv 2504.16080, full size "
    "(FLUX.1-dev, 1024 × 1024, GenEval's 553 prompts, one run, no intervals)."
)
OURS = (
    "Ours: in the head prompts × seeds, beside each number its 95 % interval; the unit is the prompt. Bold is a "
    "difference whose interval excludes zero. That is no test: of so many intervals some do by chance. The tests stand "
    "below Table 1."
)


def write(material: Material, folder: Path) -> list[Exhibit]:
    """Write the files and return the tables they show.

    Raises:
        StorageError: if they cannot be written, or the run cannot be read.
    """
    shown = exhibits(material)
    chains = material.chains
    with storage_errors(folder, "writing the paper's tables"):
        if chains is not None and chains.picture:
            write_atomically(folder / CHAINS, chains.picture)
        else:
            (folder / CHAINS).unlink(missing_ok=True)
        with RunDirectory.read(folder / RUN) as run:
            told = provenance(run, material.beside)
            write_atomically(folder / PAGE, _page(material, shown, told, run).encode())
        _draw(shown, folder, oracle_note(material.results.about.related))
        write_atomically(folder / TEXT, ("\n".join(_text(material, shown, told)) + "\n").encode())
        data = json.dumps(records(material, shown, told), ensure_ascii=False, indent=1)
        write_atomically(folder / DATA, data.encode() + b"\n")
    return shown


def grid_of(exhibit: Exhibit, roles: Iterable[str]) -> Grid:
    """Return an exhibit as a table of words: a row of ours, and below it the paper's where there is one.

    Our numbers lead to the report's prompts with their pictures and chains, or to the run where it does not list them.

    Args:
        exhibit: The exhibit.
        roles: Those whose model is related to the judge, which the title says.
    """
    related = tuple(roles)
    rows = []
    for line in exhibit.lines:
        if line.values:
            cells = line.cells or (_cell(line, value) for value in line.values)
            links = (f"{RUN}/" if line.apart else f"{REPORT}{column.link}" for column in exhibit.columns)
            rows.append((Cell(line.name), *map(linked, cells, links)))
        if any(value is not None for value in line.published):
            pairs = zip(exhibit.columns, line.published, strict=True)
            known = ("–" if value is None else number(value, column.digits) for column, value in pairs)
            rows.append((Cell(_theirs(line), quiet=True), *(Cell(text, quiet=True) for text in known)))
    head = ("", *(f"{column.name} ({column.units})" for column in exhibit.columns))
    return Grid(exhibit.id, exhibit.title, head, tuple(rows), exhibit.notes, bool(related), related)


def _theirs(line: Line) -> str:
    return f"the paper: {subject(line)}, {line.setting}" if line.setting else f"the paper: {subject(line)}"


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
    curves = [Curve(label(line), [value for value in line.values if value is not None]) for line in lines]
    return chart(DRAWN, curves, names, places, exhibit.axis)


def _draw(shown: Sequence[Exhibit], folder: Path, oracle: str) -> None:
    """Write every figure as a file of its own, which says when it is an oracle's, and remove those of exhibits that are
    no longer shown.
    """
    template = environment().get_template("chart.svg.jinja")
    figures = {exhibit: chart for exhibit in shown if (chart := chart_of(exhibit))}
    for exhibit, chart in figures.items():
        drawing = template.render(chart=chart, title=exhibit.title, oracle=oracle)
        write_atomically(folder / _drawing(exhibit), drawing.encode())
    for path in set(folder.glob("figure-*.svg")) - {folder / _drawing(exhibit) for exhibit in figures}:
        path.unlink()


def _drawing(exhibit: Exhibit) -> str:
    return f"{exhibit.id}.svg"


def _facts(results: Results, told: Provenance) -> list[tuple[str, str]]:
    return [*((name, value) for name, value in facts(results) if name != "Methods"), *told.facts]


def _text(material: Material, shown: Sequence[Exhibit], told: Provenance) -> Iterator[str]:
    related = material.results.about.related
    yield f"# {TITLE}"
    yield ""
    if related:
        yield f"**{oracle_note(related)}**"
        yield ""
    for name, value in _facts(material.results, told):
        yield f"- {name}: {value}"
    for sentence in (OURS, THEIRS, *material.left_out):
        yield ""
        yield sentence
    if material.dataset is not None:
        yield from grid_lines(dataset_grid(material.dataset))
    for exhibit in shown:
        picture = f"![{exhibit.title}]({_drawing(exhibit)})" if drawn(exhibit) else ""
        yield from grid_lines(grid_of(exhibit, related), picture)
        if exhibit.id == REFLECTIONS and material.criticised is not None:
            yield from _examples_text(material.criticised, material.results)
    if material.chains is not None and material.chains.picture:
        yield from _chains_text(material.chains, material.results)


def _examples_text(found: Criticised, results: Results) -> Iterator[str]:
    for example in examples(found, results.prompts):
        yield ""
        yield f"*{results.prompts[example.prompt].prompt}*, seed {example.seed}:"
        yield ""
        for name, told in example.told.items():
            yield f"- {name}: {said(told)} ({outcome(told)})"
    yield ""
    yield EXAMPLES


def _chains_text(chains: Chains, results: Results) -> Iterator[str]:
    yield ""
    yield f"## {chains_title(chains)}"
    yield ""
    yield f"![{chains_title(chains)}]({CHAINS})"
    pages = pages_of(results)
    yield ""
    for item in chains.shown:
        yield f"- [{results.prompts[item.row.prompt].prompt}]({pages[item.row.prompt]}), seed {item.row.seed}"
    for note in chains.notes:
        yield ""
        yield note


def _page(material: Material, shown: Sequence[Exhibit], told: Provenance, run: RunReader) -> str:
    about, chains = material.results.about, material.chains
    parts = [(grid_of(exhibit, about.related), chart_of(exhibit)) for exhibit in shown]
    template = environment().get_template("paper.html.jinja")
    return template.render(
        about=about,
        title=TITLE,
        oracle=oracle_note(about.related),
        facts=_facts(material.results, told),
        reading=(OURS, THEIRS),
        left_out=material.left_out,
        dataset=None if material.dataset is None else (dataset_grid(material.dataset), figures(material.dataset)),
        parts=parts,
        reflections=REFLECTIONS,
        examples=[] if material.criticised is None else shown_examples(material.criticised, material.results, run),
        chosen=EXAMPLES,
        chains=None if chains is None or not chains.picture else shown_chains(chains, material.results),
    )
