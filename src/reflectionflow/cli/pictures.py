"""What the verbs that look at one picture file share: reading it, giving it an identity, asking a stack for a role."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from PIL.Image import Image

    from reflectionflow.roles import Role, Stack
    from reflectionflow.types import Candidate


def read_picture(path: Path) -> Image:
    """Return a picture upright and RGB, as shards are read: transparent ones on white, 16-bit grey scaled.

    Raises:
        MisuseError: if it cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    from reflectionflow.errors import MisuseError
    from reflectionflow.pictures import upright_rgb

    try:
        with Image.open(path) as found:
            return upright_rgb(found)
    except FileNotFoundError:
        raise MisuseError(f"there is no picture {path}; correct its name") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MisuseError(f"{path} is no picture that can be read ({error})") from None


def pixels_hash(image: Image) -> str:
    """Return the SHA-256 (hex) of a picture's size and pixels."""
    import hashlib

    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def candidate_of(image: Image, prompt: str) -> Candidate:
    """Return a picture that no recipe made as a candidate; its identity is its prompt and its pixels."""
    from reflectionflow.types import Candidate, Recipe, settings

    pixels = pixels_hash(image)
    made = settings({"pixels": pixels})
    recipe = Recipe("file", prompt, 0, image.width, image.height, steps=0, guidance=0.0, settings=made)
    return Candidate(recipe, pixels, image.width, image.height)


def models_with(stack: str, role: Role, prompt: str) -> tuple[Stack, Any]:
    """Return the models of a stack, and the one that plays a role, which then is there.

    Raises:
        ConfigError: if the stack has faults.
        MisuseError: if the stack has nobody for the role, or its painter could not read the prompt.
    """
    from reflectionflow import stack as stacks
    from reflectionflow.errors import MisuseError
    from reflectionflow.runtime import prompt_problems

    if not prompt.strip():
        raise MisuseError("the prompt is empty; say what the picture should show")
    examined = stacks.examine(stack)
    if not examined.problems and role not in {part.role for part in examined.plan.parts}:
        raise MisuseError(f"the stack {stack} has no {role.value}; choose a stack that has one with --stack")
    models = stacks.load(stack, (role,))
    problems = list(prompt_problems(prompt, models.generator))
    if problems:
        raise MisuseError(" ".join(problems))
    return models, getattr(models, role.value)


def only(answers: Sequence[Any]) -> Any:
    """Return a model's answer to its one question.

    Raises:
        ModelError: if it could not be asked.
    """
    from reflectionflow.errors import ModelError
    from reflectionflow.types import Failure

    (answer,) = answers
    if isinstance(answer, Failure):
        raise ModelError(answer.reason)
    return answer


def tell_answer(data: Mapping[str, Any], failure: str | None, *, as_json: bool) -> None:
    """Print an answer as one JSON object if that is wanted; end with exit code 1 where it is a failure."""
    if as_json:
        typer.echo(json.dumps({**data, "failure": failure}, ensure_ascii=False))
    if failure is not None:
        tell(f"Error: {failure}")
        raise typer.Exit(1)
