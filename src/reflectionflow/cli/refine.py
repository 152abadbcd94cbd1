"""`reflectionflow refine`: a better prompt, from a picture of the first one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from PIL.Image import Image

    from reflectionflow.roles import Stack


def refine(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The prompt, in quotes.", show_default=False)],
    image: Annotated[
        Path | None,
        typer.Option("--image", metavar="IMAGE", help="A picture of it to look at; one is painted when absent."),
    ] = None,
    stack: Annotated[str, typer.Option(metavar="NAME|PATH", help="Whose refiner writes.")] = "scenes",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Refine a prompt: rewrite it after a look at a picture painted from it."""
    from reflectionflow.cli.pictures import candidate_of, models_with, only, read_picture, tell_answer
    from reflectionflow.roles import RefineRequest, Role

    picture = None if image is None else read_picture(image)
    models, refiner = models_with(stack, Role.REFINER, prompt)
    if picture is None:
        picture = _draft(models, prompt)
    refined = only(refiner.refine([RefineRequest(candidate_of(picture, prompt), picture, prompt, prompt)]))
    about = {"prompt": prompt, "image": None if image is None else str(image), "refiner": refined.refiner}
    tell_answer({**about, "refined": refined.text}, refined.failure, as_json=as_json)
    tell(refined.text)


def _draft(models: Stack, prompt: str) -> Image:
    """Return a first picture of the prompt: a refiner looks at what the generator makes of it."""
    from reflectionflow.errors import ModelError
    from reflectionflow.roles import Painting, PaintRequest
    from reflectionflow.search.seeds import derive
    from reflectionflow.types import Recipe, settings

    painter = models.generator
    usual = models.defaults or painter.defaults
    recipe = Recipe(
        painter.name, prompt, derive(0, prompt, (0, 0)), usual.width, usual.height, usual.steps, usual.guidance,
        settings=settings(painter.settings),
    )  # fmt: skip
    tell(f"Painting a first picture to look at ({recipe.steps} steps)")
    painting = painter.generate([PaintRequest(recipe)])[0]
    if not isinstance(painting, Painting):
        raise ModelError(f"the first picture could not be painted: {painting.reason}")
    return painting.image
