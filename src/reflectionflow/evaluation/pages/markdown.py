"""The report as Markdown: the same tables, for a repository or a paper's appendix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reflectionflow.evaluation.pages.grids import Grid, oracle_note
from reflectionflow.evaluation.results import About


def markdown(about: About, grids: Sequence[Grid], facts: Sequence[tuple[str, str]]) -> str:
    """Return the report's tables as a Markdown document."""
    return "\n".join(_lines(about, grids, facts)) + "\n"


def _lines(about: About, grids: Sequence[Grid], facts: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield f"# {', '.join(method.name for method in about.methods)} on {about.benchmark}"
    yield ""
    if about.oracle:
        yield f"**{oracle_note(about.related)}**"
        yield ""
    for name, value in facts:
        yield f"- {name}: {value}"
    for grid in grids:
        yield from grid_lines(grid)


def grid_lines(grid: Grid, picture: str = "") -> Iterator[str]:
    """Yield one table as Markdown: a heading, a picture where there is one, the rows, the notes."""
    yield ""
    yield f"## {grid.title} {grid.label}".rstrip()
    if picture:
        yield ""
        yield picture
    yield ""
    yield _row(grid.head)
    yield _row(["---"] + ["---:"] * (len(grid.head) - 1))
    for row in grid.rows:
        yield _row([f"**{cell.plain}**" if cell.strong else cell.plain for cell in row])
    for note in grid.notes:
        yield ""
        yield note


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
