"""`reflectionflow generate`: search for the picture a prompt asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from reflectionflow.cli.ask import Terminal
    from reflectionflow.report.files import Book
    from reflectionflow.request import Plan, Request

Prompts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROMPT", help="What the picture should show, in quotes; several prompts are searched together."
    ),
]
PromptsFile = Annotated[
    Path | None,
    typer.Option("--prompts", metavar="FILE", help="A text file with one prompt per line; # begins a remark."),
]
Strategy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PATH",
        help="The search method: noise, prompt, reflection, adaptive, release, one of a plug-in, or a strategy file; "
        "absent: the stack's, adaptive for scenes, noise where a stack names none.",
    ),
]
Images = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Pictures to paint for each prompt, drafts and corrections alike; 16 unless a file says more."
    ),
]
Width = Annotated[
    int | None,
    typer.Option(metavar="N", help="Width of the search: chains that run side by side (not pixels: --size)."),
]
Drafts = Annotated[int | None, typer.Option(metavar="N", help="First drafts, of which the best become chains.")]
Parent = Annotated[
    str | None, typer.Option(metavar="latest|best", help="The picture of a chain the next one is made from.")
]
Refine = Annotated[bool | None, typer.Option("--refine/--no-refine", help="Rewrite the prompt before each correction.")]
Reflect = Annotated[
    bool | None, typer.Option("--reflect/--no-reflect", help="Say what is wrong before painting again.")
]
Accept = Annotated[
    float | None, typer.Option(metavar="SCORE", help="Stop at the first picture with at least this score, 0 to 1.")
]
Ask = Annotated[
    bool,
    typer.Option(
        "--ask",
        help="Show every reflection before it is used: accept, edit, replace or skip it. What is corrected is chosen "
        "by score then.",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the run; the same seed gives the same pictures.")]
Size = Annotated[
    str | None,
    typer.Option(metavar="WIDTHxHEIGHT", help="Pixels, or one number for a square; the stack's default when absent."),
]
Steps = Annotated[int | None, typer.Option(metavar="N", help="Denoiser steps; the stack's default when absent.")]
Guidance = Annotated[
    float | None, typer.Option(metavar="SCALE", help="Guidance scale; the stack's default when absent.")
]
StackName = Annotated[
    str, typer.Option("--stack", metavar="NAME|PATH", help="The models: a shipped stack or a stack file.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="The run directory. The default is named by what is asked, so that the same command continues.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")]


def generate(
    prompts: Prompts = None,
    prompts_file: PromptsFile = None,
    strategy: Strategy = None,
    images: Images = None,
    width: Width = None,
    drafts: Drafts = None,
    parent: Parent = None,
    refine: Refine = None,
    reflect: Reflect = None,
    accept: Accept = None,
    ask: Ask = False,
    seed: Seed = 0,
    size: Size = None,
    steps: Steps = None,
    guidance: Guidance = None,
    stack: StackName = "scenes",
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Search for the picture a prompt asks for.

    The run directory gets best.png, contact-sheet.png, report.html and result.json. The same command continues an
    interrupted run, and costs nothing when the run is complete. A larger --images adds pictures to it.
    """
    from reflectionflow.cli.ask import Terminal
    from reflectionflow.request import Request

    options = {
        "width": width,
        "drafts": drafts,
        "parent": parent,
        "refine": refine,
        "reflect": reflect,
        "accept": accept,
    }
    terminal = Terminal() if ask else None
    request = Request(
        prompts=tuple(_prompts(prompts or [], prompts_file)),
        strategy=strategy,
        options={name: value for name, value in options.items() if value is not None},
        images=images,
        seed=seed,
        stack=stack,
        size=None if size is None else read_size(size),
        steps=steps,
        guidance=guidance,
        out=out,
        prompts_file=prompts_file,
        reviewer=terminal,
    )
    _search(request, terminal, as_json=as_json, quiet=quiet)


def _search(request: Request, terminal: Terminal | None, *, as_json: bool, quiet: bool) -> None:
    """Carry a request out, showing what happens and what came of it."""
    from reflectionflow.cli import progress
    from reflectionflow.request import carry_out, plan

    planned = plan(request)
    if not quiet:
        _tell_of_drafts_alone(planned)
    with progress.hidden() if quiet else progress.shown(planned.folder, planned.images) as shown:
        if terminal is not None:
            terminal.begin(planned.folder, shown.paused)
        book = carry_out(planned, shown)
    if as_json:
        typer.echo(json.dumps(book.json(), ensure_ascii=False))
    found = all(chapter.story.result.best is not None for chapter in book.chapters)
    if not quiet or not found:
        _summarise(book)
    if not found:
        raise typer.Exit(1)


def _tell_of_drafts_alone(planned: Plan) -> None:
    """Say so where a method that corrects has pictures for its first drafts alone."""
    from reflectionflow.roles import Role

    search = planned.searches[0]
    drafts, images = dict(search.strategy.options).get("drafts"), search.task.budget.images
    if isinstance(drafts, int) and images is not None and drafts >= images and Role.CORRECTOR in search.strategy.needs:
        tell(
            f"All {images} pictures will be first drafts, of which {search.strategy.name} wants {drafts}, and none is "
            f"corrected; ask for more with --images {drafts + 1}, or for fewer --drafts."
        )


def read_size(text: str) -> tuple[int, int]:
    """Return width and height in pixels, from `512`, `512x768` or `512×768`.

    Raises:
        MisuseError: if it is written in another way.
    """
    from reflectionflow.errors import MisuseError

    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.strip().isdecimal() for side in sides):
        raise MisuseError(f"the size {text!r} is not understood; write pixels as in --size 512 or --size 512x768")
    return int(sides[0]), int(sides[-1])


def _prompts(given: list[str], file: Path | None) -> list[str]:
    """Return the prompts of the command line or of the file.

    Raises:
        MisuseError: if there are none, both, or loose words where one prompt was meant.
    """
    from reflectionflow.errors import MisuseError

    if file is not None and given:
        raise MisuseError("prompts were given both as arguments and with --prompts; use one of the two")
    if file is not None:
        return _read_prompts(file)
    if not given:
        raise MisuseError(
            'there is no prompt; write it in quotes, as in: reflectionflow generate "a photo of a red star"'
        )
    if len(given) > 1 and all(len(prompt.split()) == 1 for prompt in given):
        raise MisuseError(
            f'the prompt came as {len(given)} separate words; put it in quotes: "{" ".join(given)}" '
            "(or give one-word prompts with --prompts FILE)"
        )
    return given


def _read_prompts(file: Path) -> list[str]:
    from reflectionflow.errors import MisuseError

    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise MisuseError(
            f"the prompts file {file} cannot be read: {error.strerror or error}; correct its name"
        ) from error
    except UnicodeDecodeError as error:
        raise MisuseError(f"the prompts file {file} is not text in UTF-8 ({error}); convert it") from error
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise MisuseError(f"the prompts file {file} holds no prompt; write one prompt per line")
    return found


def _summarise(book: Book) -> None:
    """Say what came of each search."""
    from reflectionflow.report.files import PAGE
    from reflectionflow.report.wording import plain

    for chapter in book.chapters:
        result = chapter.story.result
        tell("")
        if book.several:
            tell(result.prompt)
        tell(result.stop.value)
        for short in chapter.story.shortfalls:
            tell(f"  - {plain(short.sentence)}")
        best = chapter.json()["best"]
        if best is None:
            for reason in chapter.story.failures:
                tell(f"  - {reason}")
            continue
        tell(f"Best picture: {best['path']} (score {best['score']:.4f})")
        tell(f"Report:       {chapter.folder / PAGE}")
        tell(f"Painted:      {result.charged.images} pictures, {result.paid.images} of them now")
