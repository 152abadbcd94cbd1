"""The command line: one file a verb, registered here.

Results for programs go to stdout, everything for people to stderr. Modules of this package import nothing heavy at
their top, so that `reflectionflow --help` answers at once.
"""

from __future__ import annotations

import typer

from reflectionflow.cli import doctor, generate, models, runs
from reflectionflow.cli.group import Commands

app = typer.Typer(
    name="reflectionflow",
    cls=Commands,
    help="Search for the picture a prompt asks for: paint, judge, say what is wrong, paint again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("generate")(generate.generate)
app.add_typer(runs.app, name="runs")
app.command("models")(models.models)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line; the console script and `python -m reflectionflow` call this."""
    app()
