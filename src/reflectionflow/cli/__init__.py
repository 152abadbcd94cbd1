"""The command line: one file a verb, registered here.

Results for programs go to stdout, everything for people to stderr. Modules of this package import nothing heavy at
their top, so that `reflectionflow --help` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from reflectionflow import __version__
from reflectionflow.cli import (
    compare,
    correct,
    doctor,
    evaluate,
    generate,
    geneval,
    genref,
    judge,
    models,
    paper,
    refine,
    reflect,
    runs,
    tune,
)
from reflectionflow.cli.group import Commands

app = typer.Typer(
    name="reflectionflow",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("generate")(generate.generate)
app.command("judge")(judge.judge)
app.command("reflect")(reflect.reflect)
app.command("refine")(refine.refine)
app.command("correct")(correct.correct)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("paper")(paper.paper)
app.add_typer(runs.app, name="runs")
app.add_typer(tune.app, name="tune")
app.add_typer(genref.app, name="genref")
app.add_typer(geneval.app, name="geneval")
app.command("models")(models.models)
app.command("doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reflectionflow {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]


@app.callback()
def _options(version: Version = False) -> None:
    """Search for the picture a prompt asks for: paint, judge, say what is wrong, paint again."""


def main() -> None:
    """Run the command line; the console script and `python -m reflectionflow` call this."""
    app()
