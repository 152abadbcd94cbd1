"""`reflectionflow models`: the stacks, the models in them, what each needs, and whether it is ready here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from reflectionflow.stack import Description

NamedStacks = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="STACK", help="Names of shipped stacks or paths of stack files; all shipped ones when absent."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def models(stacks: NamedStacks = None, as_json: AsJson = False) -> None:
    """Show stacks, their models and whether they are ready.

    What a stack needs and does not find on this machine stands below it. The registered models follow with their
    options, those of installed plug-ins too; of named stacks those that they are made of.
    """
    from reflectionflow import stack

    described = [stack.describe(name) for name in stacks or stack.shipped()]
    registered = _registered()
    if as_json:
        typer.echo(json.dumps({"stacks": [_stack_json(item) for item in described], "models": registered}))
        return
    for item in described:
        _show_stack(item)
    used = {model.model for item in described for model in item.models} if stacks else set()
    typer.echo("Their models" if stacks else "Registered models")
    for model in registered:
        if not stacks or model["name"] in used:
            _show_model(model)


def _show_stack(item: Description) -> None:
    typer.echo(f"{item.name}: {'ready' if item.ready else 'not ready here'}")
    typer.echo(f"  {item.description}")
    for model in item.models:
        options = ", ".join(f"{name} = {value}" for name, value in model.options)
        typer.echo(f"  {model.role:<10} {model.model}{'  (' + options + ')' if options else ''}")
    for fault in item.faults:
        typer.echo(f"  needs: {fault}")
    typer.echo("")


def _show_model(model: dict[str, Any]) -> None:
    if "problem" in model:
        typer.echo(f"  {model['name']}: not usable: {model['problem']}")
        return
    typer.echo(f"  {model['name']} ({', '.join(model['roles'])}): {model['summary'] or 'no summary'}")
    for option in model["options"]:
        default = "required" if option["required"] else f"default {option['default']}"
        typer.echo(f"      {option['name']} ({default}): {option['description']}")


def _stack_json(item: Description) -> dict[str, Any]:
    from reflectionflow.types import to_json

    return {**to_json(item), "ready": item.ready}


def _registered() -> list[dict[str, Any]]:
    from reflectionflow import stack
    from reflectionflow.errors import MisuseError

    found: list[dict[str, Any]] = []
    for name in stack.registered():
        try:
            spec = stack.find_model(name)
        except MisuseError as error:
            found.append({"name": name, "problem": str(error)})
            continue
        options = [
            {
                "name": option,
                "description": field.description or "",
                "required": field.is_required(),
                "default": None if field.is_required() else str(field.get_default(call_default_factory=True)),
            }
            for option, field in spec.options.model_fields.items()
        ]
        played = [role.value for role in spec.roles]
        found.append({"name": name, "roles": played, "summary": spec.summary, "options": options})
    return found
