"""`reflectionflow correct`: paint one picture again, as a reflection says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from PIL.Image import Image

    from reflectionflow.roles import Generator


def correct(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The picture to correct.", show_default=False)],
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="What it should show.")],
    reflection: Annotated[str, typer.Option("--reflection", metavar="TEXT", help="What to change.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The corrected picture, a PNG.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoiser steps.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="Guidance scale.")] = None,
    stack: Annotated[str, typer.Option(help="Whose corrector paints.")] = "scenes",
    corrector: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A corrector tuned on the shipped generator of Scenes, instead of a stack's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Correct a picture: prompt, reflection and the flawed picture give a new one."""
    from reflectionflow.cli.pictures import pixels_hash
    from reflectionflow.models.corrector import FluxCorrector
    from reflectionflow.roles import Painting, PaintRequest
    from reflectionflow.types import Recipe, settings, to_json

    painter = _corrector(stack, corrector)
    _check_words(painter, prompt, reflection)
    usual = painter.defaults
    flawed = _read(image, usual.width, usual.height)
    recipe = Recipe(
        painter.name, prompt, seed, usual.width, usual.height, steps or usual.steps,
        usual.guidance if guidance is None else guidance, parent=f"pixels:{pixels_hash(flawed)}", reflection=reflection,
        settings=settings(painter.settings),
    )  # fmt: skip
    tell(f"Correcting {image} ({recipe.steps} steps)")
    left_out = painter.left_out(recipe) if isinstance(painter, FluxCorrector) else ()
    if left_out:
        tell(f"Too long for {painter.name} at once, so left out: {'. '.join(left_out)}. Correct the result once more.")
    painting = painter.generate([PaintRequest(recipe, flawed)])[0]
    if not isinstance(painting, Painting):
        tell(f"Error: {painting.reason}")
        raise typer.Exit(1)
    out.parent.mkdir(parents=True, exist_ok=True)
    painting.image.save(out, "PNG")
    tell(f"Picture: {out}")
    if as_json:
        typer.echo(json.dumps({"image": str(out), "recipe": to_json(recipe), "corrector": painter.name}))


def _corrector(stack: str, folder: Path | None) -> Generator:
    """Return the corrector of a stack, or the one of a folder on the shipped generator of Scenes.

    Raises:
        MisuseError: if the stack has none, or the folder holds none.
    """
    from reflectionflow import stack as stacks
    from reflectionflow.errors import MisuseError
    from reflectionflow.roles import Role

    if folder is None:
        found: Generator | None = stacks.load_player(stack, Role.CORRECTOR)
        if found is None:
            raise MisuseError(
                f"the stack {stack!r} has no corrector; tune one with `reflectionflow tune corrector` and name it with "
                "--corrector DIR, or choose a stack with a [corrector]"
            )
        return found
    from reflectionflow.models.corrector import SPEC, CorrectorOptions, FluxCorrector
    from reflectionflow.models.flux import SHIPPED

    options = CorrectorOptions(checkpoint=SHIPPED, corrector=folder, device="cpu", dtype="float32")
    faults = SPEC.needs(options)
    if faults:
        raise MisuseError("; ".join(faults))
    return FluxCorrector(options)


def _check_words(painter: Generator, prompt: str, reflection: str) -> None:
    """Refuse words the corrector does not know, before anything loads."""
    from reflectionflow.errors import MisuseError

    known = painter.capabilities.words
    if not prompt.strip() or not reflection.strip():
        raise MisuseError("the prompt and the reflection both need a text")
    if known is None:
        return
    words = "".join(letter if letter.isalpha() else " " for letter in f"{prompt} {reflection}".lower()).split()
    strange = sorted({word for word in words if word not in known})
    if strange:
        raise MisuseError(f"{painter.name} does not know {', '.join(map(repr, strange))}; use the words of its world")


def _read(path: Path, width: int, height: int) -> Image:
    """Return a picture at the corrector's size, upright and RGB.

    Raises:
        MisuseError: if it cannot be read.
    """
    from PIL.Image import Resampling

    from reflectionflow.cli.pictures import read_picture

    picture = read_picture(path)
    if picture.size != (width, height):
        tell(f"The picture is {picture.width} × {picture.height}; the corrector works at {width} × {height}.")
        picture = picture.resize((width, height), Resampling.LANCZOS)
    return picture
