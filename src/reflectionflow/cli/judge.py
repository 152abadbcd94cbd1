"""`reflectionflow judge`: the score of one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reflectionflow.cli.group import tell


def judge(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The picture.", show_default=False)],
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="What it should show.")],
    stack: Annotated[str, typer.Option(metavar="NAME|PATH", help="Whose verifier judges.")] = "scenes",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Judge a picture: how well it shows a prompt, from 0 to 1."""
    from reflectionflow.cli.pictures import candidate_of, models_with, only, read_picture, tell_answer
    from reflectionflow.roles import Question, Role

    picture = read_picture(image)
    _, verifier = models_with(stack, Role.VERIFIER, prompt)
    verdict = only(verifier.judge([Question(candidate_of(picture, prompt), picture, prompt)]))
    about = {"image": str(image), "prompt": prompt, "verifier": verdict.verifier}
    told = {"score": verdict.score, "aspects": dict(verdict.aspects), "rationale": verdict.rationale}
    tell_answer({**about, **told}, verdict.failure, as_json=as_json)
    tell(f"Score: {verdict.score:.4f} ({verdict.verifier})")
    for name, score in verdict.aspects:
        tell(f"  {name}: {score:.4f}")
    if verdict.rationale:
        tell(f"  {verdict.rationale}")
