"""`reflectionflow genref`: build the triplets a corrector learns from, count them, look at them, check them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from reflectionflow.genref.pool import Painter

app = typer.Typer(no_args_is_help=True, help="GenRef: flawed picture, reflection, enhanced picture.")
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of shards, ours or a published one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


class Wanted(StrEnum):
    """Where triplets come from."""

    RULE = "rule"
    REWARD = "reward"
    LENGTH = "length"
    EDITING = "editing"
    RETOUCH = "retouch"
    ALL = "all"


@app.command()
def build(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the shards go.")],
    source: Annotated[Wanted, typer.Option(help="Where triplets come from.")] = Wanted.ALL,
    triplets: Annotated[int, typer.Option(min=1, help="How many to build.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of prompts, scenes and noise.")] = 0,
    stack: Annotated[str, typer.Option(help="Who paints the pool.")] = "scenes",
) -> None:
    """Build triplets; the same command continues an interrupted build and paints nothing twice."""
    from reflectionflow import stack as stacks
    from reflectionflow.errors import MisuseError
    from reflectionflow.genref.build import Source, build

    if stacks.load(stack).generator.capabilities.words is None:
        raise MisuseError(
            f"The stack {stack!r} does not paint Scenes, and triplets are built from Scenes only so far; "
            "use --stack scenes"
        )
    sources = list(Source) if source is Wanted.ALL else [Source(source.value)]
    manifest = build(sources, triplets, seed, out, _painter(stack), {"stack": stack})
    counts = ", ".join(f"{count} {name}" for name, count in manifest["subsets"].items())
    tell(f"{manifest['samples']} triplets in {out} ({counts or 'none'}).")
    if manifest["samples"] < triplets:
        tell(f"{triplets} were asked for; `reflectionflow genref stats {out}` says what was left out.")


def _painter(stack: str) -> Painter:
    """Return what paints a pool through the search runtime, with progress on stderr."""
    from reflectionflow.cli import progress
    from reflectionflow.request import Request, carry_out, plan

    def paint(prompts: Sequence[str], images: int, seed: int, folder: Path) -> None:
        planned = plan(Request(tuple(prompts), images=images, seed=seed, stack=stack, out=folder))
        with progress.shown(planned.folder, images * len(planned.searches)) as consumer:
            carry_out(planned, consumer)

    return paint


@app.command()
def stats(folder: Folder, as_json: AsJson = False) -> None:
    """Count triplets, edits and differences; say what was left out and why."""
    from reflectionflow.genref.stats import statistics

    found = statistics(folder)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found)))
        return
    typer.echo(f"{found.samples} triplets")
    for name, count in found.subsets.items():
        verbs = ", ".join(f"{number} {verb}" for verb, number in found.verbs[name].items())
        typer.echo(f"  {name:8} {count:6}  {found.edits[name]:.1f} edits each ({verbs})")
    for name, reasons in found.dropped.items():
        for reason, count in reasons.items():
            typer.echo(f"  left out of {name}: {count}, {reason}")
    for reason, count in found.skipped.items():
        typer.echo(f"  broken: {count}, {reason}")


@app.command()
def view(
    folder: Folder,
    each: Annotated[int, typer.Option(min=1, help="Samples of every source.")] = 12,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The page; DIR/view.html by default.")
    ] = None,
) -> None:
    """Write a page to look at: statistics, and samples of every source."""
    from reflectionflow.genref.view import page

    file = out or (folder if folder.is_dir() else folder.parent) / "view.html"
    file.write_text(page(folder, each), encoding="utf-8")
    tell(f"Page: {file}")


@app.command()
def check(folder: Folder) -> None:
    """Check a build: hashes, counts, members, pictures, texts."""
    from reflectionflow.genref.shards import check

    problems = check(folder)
    for problem in problems:
        tell(f"  - {problem}")
    if problems:
        raise typer.Exit(1)
    tell(f"{folder} is whole.")
