"""`reflectionflow correct`: paint one picture again, as a reflection says."""

from __future__ import annotations

import json
import math
import os
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from PIL.Image import Image

    from reflectionflow.roles import Generator

MOST_STRETCHED = math.log(1.1)
"""How far the aspect ratio may change without being asked for: sides are rounded to what a corrector paints."""


def correct(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The picture to correct.", show_default=False)],
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="What it should show.")],
    reflection: Annotated[str, typer.Option("--reflection", metavar="TEXT", help="What to change.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The corrected picture, a PNG.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoiser steps.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="Guidance scale.")] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTHxHEIGHT",
            help="Pixels of the corrected picture, to which the other is stretched; absent: those of the picture, "
            "scaled as the corrector needs them, in its own aspect ratio.",
        ),
    ] = None,
    stack: Annotated[str, typer.Option(help="Whose corrector paints.")] = "scenes",
    corrector: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A corrector tuned on the shipped generator of Scenes, instead of a stack's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Correct a picture: prompt, reflection and the flawed picture give a new one."""
    from reflectionflow.cli.pictures import pixels_hash
    from reflectionflow.roles import Painting, PaintRequest
    from reflectionflow.types import Recipe, settings, to_json

    _check_texts(prompt, reflection)
    _check_writable(out)
    painter = _corrector(stack, corrector)
    _check_words(painter, prompt, reflection)
    usual = painter.defaults
    flawed = _read(image, painter, size)
    recipe = Recipe(
        painter.name, prompt, seed, flawed.width, flawed.height, steps or usual.steps,
        usual.guidance if guidance is None else guidance, parent=f"pixels:{pixels_hash(flawed)}", reflection=reflection,
        settings=settings(painter.settings),
    )  # fmt: skip
    _make_folder(out)
    tell(f"Correcting {image} ({recipe.steps} steps)")
    painting = painter.generate([PaintRequest(recipe, flawed)])[0]
    if not isinstance(painting, Painting):
        tell(f"Error: {painting.reason}")
        raise typer.Exit(1)
    _save(painting.image, out)
    left_out = painting.left_out
    if left_out:
        tell(f"Too long for {painter.name} at once, so left out: {'. '.join(left_out)}. Correct the result once more.")
    tell(f"Picture: {out}")
    if as_json:
        told = {"recipe": to_json(recipe), "corrector": painter.name, "left_out": list(left_out)}
        typer.echo(json.dumps({"image": str(out), **told}))


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


def _check_texts(prompt: str, reflection: str) -> None:
    """Refuse empty texts, naming each."""
    from reflectionflow.errors import MisuseError

    remedies = {"prompt": "say what the picture should show", "reflection": "say what to change"}
    given = {"prompt": prompt, "reflection": reflection}
    empty = [f"the {name} is empty: {remedies[name]} with --{name}" for name, text in given.items() if not text.strip()]
    if empty:
        raise MisuseError("; ".join(empty))


def _check_words(painter: Generator, prompt: str, reflection: str) -> None:
    """Refuse words the corrector does not know, before anything loads."""
    from reflectionflow.errors import MisuseError
    from reflectionflow.vocabulary import unknown_words

    problem = unknown_words(f"{prompt} {reflection}", painter)
    if problem:
        raise MisuseError(problem)


def _check_writable(out: Path) -> None:
    """Refuse a place where the picture cannot be written, before anything loads; nothing is made there.

    Raises:
        MisuseError: saying what is in the way.
    """
    from reflectionflow.errors import MisuseError

    if out.is_dir():
        raise MisuseError(f"--out {out} is a folder; name the file in it, such as {out / 'corrected.png'}")
    if out.suffix.lower() != ".png":
        raise MisuseError(
            f"--out {out} does not end in .png, and the picture is a PNG; write --out {out.with_suffix('.png')}"
        )
    there = next(place for place in (out, *out.absolute().parents) if place.exists())
    if there != out and not there.is_dir():
        raise MisuseError(f"--out {out} lies below {there}, which is a file; choose another place")
    if not os.access(there, os.W_OK):
        raise MisuseError(f"--out {out} cannot be written: {there} is not writable; choose another place")


def _make_folder(out: Path) -> None:
    """Make the folder of a picture that is still to be painted.

    Raises:
        MisuseError: if that cannot be done.
    """
    from reflectionflow.errors import MisuseError

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MisuseError(f"--out {out} cannot be written ({error.strerror or error}); choose another place") from error


def _save(picture: Image, out: Path) -> None:
    """Write the picture.

    Raises:
        StorageError: if the disk does not take it.
    """
    from reflectionflow.errors import StorageError

    try:
        picture.save(out, "PNG")
    except OSError as error:
        raise StorageError(f"{out} cannot be written ({error.strerror or error}); repeat with another --out") from error


def _read(path: Path, painter: Generator, size: str | None) -> Image:
    """Return a picture at a size the corrector paints, upright and RGB.

    Raises:
        MisuseError: if it cannot be read, or there is no such size.
    """
    from PIL.Image import Resampling

    from reflectionflow.cli.pictures import read_picture

    picture = read_picture(path)
    wanted = size_for(picture.size, painter) if size is None else _size_named(size, painter)
    if picture.size != wanted:
        tell(f"The picture is {_spelled(picture.size)}; the corrector is shown it at {_spelled(wanted)}.")
        picture = picture.resize(wanted, Resampling.LANCZOS)
    return picture


def size_for(given: tuple[int, int], painter: Generator) -> tuple[int, int]:
    """Return the size at which a picture is corrected: its own where that is possible, else the nearest in its shape.

    A picture whose sides are too long or too short for the corrector is scaled to about as many pixels as the
    corrector usually paints.

    Args:
        given: Width and height of the picture.
        painter: The corrector.

    Raises:
        MisuseError: if the corrector paints no size of about the same aspect ratio.
    """
    from reflectionflow.errors import MisuseError

    can, usual = painter.capabilities, painter.defaults
    fits = can.smallest <= min(given) and max(given) <= can.largest
    pixels = given[0] * given[1] if fits else usual.width * usual.height
    sides = range(-(-can.smallest // can.multiple) * can.multiple, can.largest + 1, can.multiple)

    def differs(size: tuple[int, int]) -> float:
        """Return how unlike a size is, in its number of pixels and in its shape, where that is hardly so."""
        stretched = abs(math.log(size[0] / size[1] * given[1] / given[0]))
        return stretched + abs(math.log(size[0] * size[1] / pixels)) if stretched < MOST_STRETCHED else math.inf

    wanted = min(product(sides, sides), key=differs)
    if differs(wanted) == math.inf:
        raise MisuseError(
            f"the picture is {_spelled(given)}, and {painter.name} paints sides of {can.smallest} to {can.largest} "
            f"pixels: crop it to another shape, or let it be stretched with --size {usual.width}x{usual.height}"
        )
    return wanted


def _size_named(size: str, painter: Generator) -> tuple[int, int]:
    from reflectionflow.cli.generate import read_size
    from reflectionflow.errors import MisuseError
    from reflectionflow.runtime import size_problems

    wanted = read_size(size)
    problems = list(size_problems(*wanted, painter))
    if problems:
        raise MisuseError(" ".join(problems))
    return wanted


def _spelled(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"
