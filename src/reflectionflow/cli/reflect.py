"""`reflectionflow reflect`: what is wrong with one picture, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reflectionflow.cli.group import tell


def reflect(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The picture.", show_default=False)],
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="What it should show.")],
    stack: Annotated[str, typer.Option(metavar="NAME|PATH", help="Whose reflector looks.")] = "scenes",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Reflect on a picture: say what to change so that it shows a prompt."""
    from reflectionflow.cli.pictures import candidate_of, models_with, only, read_picture, tell_answer
    from reflectionflow.roles import ReflectRequest, Role

    picture = read_picture(image)
    _, reflector = models_with(stack, Role.REFLECTOR, prompt)
    reflection = only(reflector.reflect([ReflectRequest(candidate_of(picture, prompt), picture, prompt)]))
    about = {"image": str(image), "prompt": prompt, "reflector": reflection.reflector}
    told = {"reflection": reflection.text, "edits": list(reflection.edits), "raw": reflection.raw}
    tell_answer({**about, **told}, reflection.failure, as_json=as_json)
    tell(reflection.text or "There is nothing to correct.")
