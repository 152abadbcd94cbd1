"""`reflectionflow runs`: find the runs on this disk, look at one, check it, draw its report again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from reflectionflow.runs import RunReader

app = typer.Typer(help="Find runs, look at one, check it, draw its report again.", no_args_is_help=True)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to look for run directories.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


@app.command("list")
def list_runs(folder: Folder = Path("runs"), as_json: AsJson = False) -> None:
    """List runs with their best scores."""
    from reflectionflow.errors import MisuseError

    if not folder.is_dir():
        raise MisuseError(f"there is no folder {str(folder)!r}; `reflectionflow generate` makes one, or name another")
    found = [_summary(path.parent) for path in sorted(folder.glob("*/run.json"))]
    if as_json:
        typer.echo(json.dumps({"runs": found}))
        return
    for run in found:
        typer.echo(f"{run['run']}  {run.get('problem') or _line(run)}")
    if not found:
        tell(f"There are no runs in {folder}.")


@app.command("show")
def show(run: Run, as_json: AsJson = False) -> None:
    """Show what came of a run, chain by chain.

    For each prompt: the answer, what was criticised and corrected on the way to it, what it cost, why it ended. With
    --json also every picture with its file.
    """
    from rich.console import Console

    from reflectionflow.cli.story import tell_story
    from reflectionflow.report.files import book_of
    from reflectionflow.runs import RunDirectory

    with RunDirectory.read(run) as reader:
        book = book_of(reader)
        journaled = reader.journal.count()
    if as_json:
        outcome = book.told() if book.chapters else {"best": None}
        typer.echo(json.dumps({"asked": reader.spec.passed, "finished": bool(book.chapters), **outcome}))
        return
    typer.echo(f"Command: {_command(reader)}")
    if not book.chapters:
        typer.echo(f"Not finished; calls already done: {journaled}. The same command continues.")
    console = Console(highlight=False, markup=False, emoji=False)
    for chapter in book.chapters:
        tell_story(console, chapter)


@app.command("verify")
def verify(run: Run, as_json: AsJson = False) -> None:
    """Check a run against itself.

    Every id, picture and link is derived again. Exits with 1 if one differs.
    """
    from reflectionflow.runs import verify as check
    from reflectionflow.types import to_json

    report = check(run)
    if as_json:
        typer.echo(json.dumps({"ok": report.ok, **to_json(report)}))
    else:
        for problem in report.problems:
            typer.echo(f"problem: {problem}")
        for note in report.notes:
            typer.echo(f"note: {note}")
        outcome = "all is in order" if report.ok else f"{len(report.problems)} problems"
        typer.echo(f"{report.calls} calls, {report.images} pictures, {report.results} results checked: {outcome}")
    if not report.ok:
        raise typer.Exit(1)


@app.command("report")
def report(run: Run) -> None:
    """Draw the report of a run of `generate` again.

    Writes best.png, contact-sheet.png, chains.png, report.html and result.json from the journal, and prints where the
    page is.
    """
    from reflectionflow.errors import MisuseError
    from reflectionflow.report.files import PAGE, book_of
    from reflectionflow.runs import RunDirectory

    with RunDirectory.read(run) as reader:
        book = book_of(reader)
    if not book.chapters:
        raise MisuseError(f"the run {run} has no finished search to report; the command that began it continues it")
    if book.command:
        raise MisuseError(
            f"{run} is the run of an evaluation, and all its searches are in {run.parent / PAGE}; "
            f"`reflectionflow {book.command}`, repeated as it was asked for, writes that again"
        )
    book.write()
    for chapter in book.chapters:
        typer.echo(str(chapter.folder / PAGE))


def _command(run: RunReader) -> str:
    """Return the command that repeats a run, that of an evaluation too."""
    from reflectionflow.evaluation.paper.provenance import command_line as evaluating
    from reflectionflow.report.files import command_line

    passed = run.spec.passed
    return evaluating({**passed, "out": str(run.path.parent)}) if "command" in passed else command_line(passed)


def _summary(path: Path) -> dict[str, Any]:
    """Return one run of a list; one that cannot be read is listed with the reason."""
    from reflectionflow.errors import ReflectionFlowError
    from reflectionflow.runs import RunDirectory

    try:
        with RunDirectory.read(path) as run:
            results = [item.result for item in run.results()]
            best = [item.best.verdict.score for item in results if item.best and item.best.verdict]
            return {
                "run": str(path),
                "prompts": list(run.spec.passed.get("prompts", [])),
                "strategy": run.spec.passed.get("strategy"),
                "finished": len(results),
                "images": sum(item.charged.images for item in results),
                "best": max((score for score in best if score is not None), default=None),
            }
    except ReflectionFlowError as error:
        return {"run": str(path), "problem": str(error)}


def _line(run: dict[str, Any]) -> str:
    prompts = run["prompts"]
    asked = prompts[0] if len(prompts) == 1 else f"{len(prompts)} prompts"
    if not run["finished"]:
        return f"not finished  {asked}"
    best = "no picture" if run["best"] is None else f"{run['best']:.4f}"
    return f"{best}  {run['images']} pictures  {asked}"
