"""`reflectionflow compare`: two evaluations of the same prompts, paired."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from reflectionflow.evaluation.comparing import Comparison

First = Annotated[Path, typer.Argument(metavar="FIRST", help="Directory of an evaluation.")]
Second = Annotated[Path, typer.Argument(metavar="SECOND", help="Directory of another one.")]
Methods = Annotated[
    str | None,
    typer.Option(metavar="FIRST,SECOND", help="A method of each; every method that both have when absent."),
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the pictures.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def compare(first: First, second: Second, methods: Methods = None, html: Html = None, as_json: AsJson = False) -> None:
    """Compare two evaluations on what they share: the paired difference, and where they differ."""
    from reflectionflow.errors import MisuseError
    from reflectionflow.evaluation.comparing import compare as pair
    from reflectionflow.evaluation.pages.comparison import comparison_json, write_page

    chosen = None if methods is None else tuple(name.strip() for name in methods.split(","))
    if chosen is not None and len(chosen) != 2:
        raise MisuseError(f"--methods takes a method of each evaluation, as in noise,reflection; not {methods!r}.")
    found = pair(first, second, None if chosen is None else (chosen[0], chosen[1]))
    if html is not None:
        write_page(found, html)
    if as_json:
        typer.echo(json.dumps({"comparisons": comparison_json(found)}, ensure_ascii=False))
    else:
        for comparison in found:
            _tell(comparison)
    if html is not None:
        tell(f"Page: {html}")


def _tell(comparison: Comparison) -> None:
    """Print one comparison as tables."""
    from reflectionflow.evaluation.pages.comparison import grids_of
    from reflectionflow.evaluation.pages.grids import oracle_note

    names = dict.fromkeys((comparison.first.method, comparison.second.method))
    label = f" (oracle: {', '.join(comparison.roles)})" if comparison.oracle else ""
    typer.echo(f"{' and '.join(names)}{label}")
    if comparison.oracle:
        typer.echo(oracle_note(comparison.roles))
    for grid in grids_of(comparison):
        typer.echo(f"\n{grid.title}")
        rows = [grid.head, *([cell.plain for cell in row] for row in grid.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(grid.head))]
        for row in rows:
            typer.echo("  " + "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))
        for note in grid.notes:
            typer.echo(f"  {note}")
    typer.echo(
        f"\nThey differ on {len(comparison.disagreements)} of {comparison.prompts * len(comparison.seeds)} searches."
    )
