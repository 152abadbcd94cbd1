"""`reflectionflow geneval`: write GenEval's prompts, judge a folder of pictures, print the scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from reflectionflow.evaluation.geneval import Folder, Judge, Scored
    from reflectionflow.geneval import Summary

app = typer.Typer(no_args_is_help=True, help="GenEval: prompts, judge and scores, for any model.")
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
RESULTS = "results.jsonl"
MOST_TOLD = 5
_LINES = 10  # progress lines of a whole scoring where there is no terminal


class Judging(StrEnum):
    """Who looks at the pictures."""

    OFFICIAL = "official"
    SCENES = "scenes"


@app.command()
def prompts(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")],
    folders: Annotated[
        bool, typer.Option("--folders", help="Make DIR/00000/samples and so on as well, for pictures to be put in.")
    ] = False,
) -> None:
    """Write GenEval's 553 prompts and the names of its objects, and print the hashes of the files.

    evaluation_metadata.jsonl, generation_prompts.txt and object_names.txt are, byte for byte, the published ones. The
    hashes can be piped to `sha256sum --check`.
    """
    import hashlib

    from reflectionflow.errors import MisuseError
    from reflectionflow.evaluation.geneval import write_prompts
    from reflectionflow.geneval import metadata_text, names_text, prompts_text, suite
    from reflectionflow.runs.storage import write_atomically

    drawn = suite()
    files = {
        "evaluation_metadata.jsonl": metadata_text(drawn),
        "generation_prompts.txt": prompts_text(drawn),
        "object_names.txt": names_text(),
    }
    try:
        _require_same(out, files)
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_atomically(out / name, text.encode())
            typer.echo(f"{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {out / name}")
        if folders:
            write_prompts(out, drawn)
    except OSError as error:
        raise MisuseError(
            f"the prompts cannot be written to {out} ({error.strerror or error}); choose another --out"
        ) from error
    if folders:
        tell(f"{len(drawn)} folders; put pictures in {out / '00000' / 'samples' / '00000.png'} and so on.")


def _require_same(folder: Path, files: Mapping[str, str]) -> None:
    """Refuse a folder whose files of these names say something else: they are somebody's own.

    Raises:
        MisuseError: naming them.
        OSError: if they cannot be read.
    """
    from reflectionflow.errors import MisuseError

    others = [
        name
        for name, text in files.items()
        if (folder / name).exists() and (folder / name).read_bytes() != text.encode()
    ]
    if others:
        raise MisuseError(
            f"{folder} has {' and '.join(others)} with another content than GenEval's; choose another --out, or move "
            f"{'it' if len(others) == 1 else 'them'} away"
        )


@app.command()
def score(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Pictures in GenEval's layout.", show_default=False)],
    judge: Annotated[Judging, typer.Option(help="GenEval's networks, or judge B for pictures of Scenes.")] = (
        Judging.OFFICIAL
    ),
    detector: Annotated[
        str, typer.Option(metavar="DIR|NAME", help="Mask2Former for COCO instances: a folder, or a name on the hub.")
    ] = "facebook/mask2former-swin-small-coco-instance",
    clip: Annotated[
        str, typer.Option(metavar="DIR|NAME", help="CLIP for colours: a folder, or a name on the hub.")
    ] = "openai/clip-vit-large-patch14",
    download: Annotated[bool, typer.Option("--download", help="Fetch from the hub what is not here yet.")] = False,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures judged at once.")] = 8,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help=f"The result file; FOLDER/{RESULTS} by default.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge the pictures of a folder and write the official result file.

    The same command continues after an interruption: pictures already judged are not judged again. Pictures that
    cannot be read are counted and left out, and the command exits with 1.
    """
    from reflectionflow.evaluation import geneval

    if judge is Judging.SCENES:
        _refuse_networks(context)
    found = geneval.read_folder(folder)
    results = out or folder / RESULTS
    chosen = _judge(judge, detector, clip, download, device)
    _tell_oddities(found)
    tell(f"Judging {len(found.pictures)} pictures; interrupt at any time, the same command continues.")
    with _counting(len(found.pictures)) as show:
        scored = geneval.score(found.pictures, chosen, results, batch_size, show)
    _tell_outcome(scored, results)
    if as_json:
        typer.echo(json.dumps(_outcome_json(scored, results)))
    elif scored.records:
        typer.echo(_text(geneval.summarise(scored.records)))
    if scored.broken:
        raise typer.Exit(1)


@app.command()
def summary(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A result file, ours or the official program's.")],
    as_json: AsJson = False,
) -> None:
    """Print the scores of a result file.

    First the lines of the official program, then the average over prompts.
    """
    from reflectionflow.errors import MisuseError
    from reflectionflow.evaluation.geneval.journal import journal_of
    from reflectionflow.geneval import read_records, summarise

    if file.is_dir():
        raise MisuseError(f"{file} is a folder; name the result file in it, such as {file / RESULTS}")
    if not file.is_file():
        begun = journal_of(file).is_file()
        remedy = "its scoring is unfinished; the command that began it continues" if begun else "correct its name"
        raise MisuseError(f"there is no result file {file}; {remedy}")
    try:
        found = summarise(read_records(file))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MisuseError(f"{file} is no result file of GenEval ({error}); `geneval score` writes one") from None
    typer.echo(json.dumps(_summary_json(found)) if as_json else _text(found))


def _refuse_networks(context: typer.Context) -> None:
    """Refuse options of networks for a judge that has none.

    Raises:
        MisuseError: if one was given.
    """
    from reflectionflow.errors import MisuseError

    networks = ("detector", "clip", "download", "device")
    sources = {name: context.get_parameter_source(name) for name in networks}
    given = [f"--{name}" for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise MisuseError(f"The judge of Scenes has no networks; leave {' and '.join(given)} out.")


def _judge(judge: Judging, detector: str, clip: str, download: bool, device: str) -> Judge:
    from reflectionflow.evaluation import geneval

    if judge is Judging.SCENES:
        return geneval.ScenesJudge()
    if download:
        for name in (detector, clip):
            tell(f"Looking for {name}")
            geneval.download(name)
    return geneval.official_judge(detector, clip, device)


def _tell_oddities(found: Folder) -> None:
    """Say what of a folder will not be judged."""
    if found.without:
        tell(f"{len(found.without)} prompts have no picture ({_some(found.without)}).")
    if found.ignored:
        names = _some([str(path) for path in found.ignored])
        tell(f"{len(found.ignored)} files are no numbered pictures and are passed over ({names}).")


def _tell_outcome(scored: Scored, results: Path) -> None:
    if scored.reused:
        tell(f"{scored.reused} pictures had been judged before.")
    if scored.broken:
        tell(f"{len(scored.broken)} pictures could not be judged and are in no score:")
        for item in scored.broken[:MOST_TOLD]:
            tell(f"  - {item.path}: {item.reason}")
        if len(scored.broken) > MOST_TOLD:
            tell(f"  - and {len(scored.broken) - MOST_TOLD} more")
    tell(f"Results: {results}")


def _some(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:MOST_TOLD]) + (", …" if len(names) > MOST_TOLD else "")


def _text(found: Summary) -> str:
    """Return the official program's lines, and one more."""
    return f"{found.text()}\nPrompt average (avg. over prompts): {found.prompt_average:.5f}"


def _summary_json(found: Summary) -> dict[str, Any]:
    return {
        "images": found.images,
        "prompts": found.prompts,
        "correct_images": found.correct_images,
        "correct_prompts": found.correct_prompts,
        "tags": {
            item.tag: {"correct": item.correct, "images": item.images, "share": item.share} for item in found.tags
        },
        "task_average": found.overall,
        "prompt_average": found.prompt_average,
    }


def _outcome_json(scored: Scored, results: Path) -> dict[str, Any]:
    from reflectionflow.geneval import summarise

    return {
        "results": str(results),
        "judged": len(scored.records) - scored.reused,
        "reused": scored.reused,
        "broken": [{"picture": str(item.path), "reason": item.reason} for item in scored.broken],
        "summary": _summary_json(summarise(scored.records)) if scored.records else None,
    }


@contextmanager
def _counting(total: int) -> Iterator[Callable[[int, int], None]]:
    """Show how many pictures are done on stderr: a bar on a terminal, at most ten lines elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        told = {"tenths": 0}

        def line(done: int, of: int) -> None:
            if done * _LINES // of > told["tenths"]:
                told["tenths"] = done * _LINES // of
                tell(f"{done} of {of} pictures")

        yield line
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("pictures,"), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("pictures", total=total)
        yield lambda done, of: bar.update(task, completed=done)
