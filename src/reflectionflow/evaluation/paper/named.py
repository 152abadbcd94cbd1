"""Further models that a user names: registered ones with their usual options, or stack files whose model is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reflectionflow import stack
from reflectionflow.errors import MisuseError, ReflectionFlowError
from reflectionflow.evaluation.judges import objections
from reflectionflow.evaluation.planning import Plan
from reflectionflow.plugins import ModelOptions
from reflectionflow.roles import Role


@dataclass(frozen=True)
class Named:
    """A model beside those of the search.

    Attributes:
        name: As the user named it.
        model: The model.
        related: Why it is not independent of the judge; empty when it is.
    """

    name: str
    model: Any
    related: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """The name as tables show it: an oracle says so."""
        return f"{self.name} (oracle)" if self.related else self.name


def named(option: str, names: Sequence[str], role: Role, planned: Plan) -> tuple[tuple[Named, ...], list[str]]:
    """Return models by name, and why others cannot be had, a sentence each.

    Args:
        option: The option of the command line that names them.
        names: Registered models, or paths of stack files.
        role: What they play.
        planned: The evaluation, whose own model of that role is refused: it takes part anyhow.
    """
    problems = [f"{option} names {name} twice; name it once." for name in sorted(set(names)) if names.count(name) > 1]
    own = getattr(planned.models, role.value)
    found = []
    for name in dict.fromkeys(names):
        try:
            model = _model(name, role)
        except MisuseError as error:
            problems.append(f"{option} {name}: {error}")
            continue
        if own is not None and model.name == own.name:
            problems.append(
                f"{option} {name}: it is the {role.value} of the search, which is there anyhow; leave it out."
            )
        found.append(Named(name, model, tuple(objections(planned.judge, model))))
    return tuple(found), problems


def unnameable(option: str, names: Sequence[str], role: Role) -> list[str]:
    """Return why models cannot be meant by their names, a sentence each; loads nothing and looks for no weights."""
    problems = []
    for name in names:
        try:
            roles = (
                [part.role for part in stack.read(name).parts]
                if name.endswith(".toml")
                else stack.find_model(name).roles
            )
        except ReflectionFlowError as error:
            problems.append(f"{option} {name}: {error}")
            continue
        if role not in roles:
            problems.append(f"{option} {name}: it has {', '.join(item.value for item in roles)}, and no {role.value}.")
    return problems


def _model(name: str, role: Role) -> Any:
    if name.endswith(".toml"):
        loaded = stack.load_player(name, role)
        if loaded is None:
            raise MisuseError(f"the file has no table [{role.value}]; name another, or add it.")
        return loaded
    spec = stack.find_model(name)
    if role not in spec.roles:
        raise MisuseError(f"it plays {', '.join(item.value for item in spec.roles)}, not {role.value}.")
    options = _usual(name, spec.options)
    missing = list(spec.needs(options))
    if missing:
        raise MisuseError(" ".join(missing))
    return spec.load(options)


def _usual(name: str, options: type[ModelOptions]) -> ModelOptions:
    try:
        return options.model_validate({})
    except ValueError as error:
        raise MisuseError(
            f"{name} needs options ({error}); write them into a stack file and name that file instead."
        ) from error
