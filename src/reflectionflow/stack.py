"""A stack file: which model plays which role, read from TOML, checked completely, loaded late.

A stack is one TOML file with a table for each role:

    name = "mine"
    description = "FLUX drafts, judged by CLIP"

    [defaults]              # optional: what is painted when the user says nothing
    steps = 20

    [generator]
    model = "scenes-flux"   # a registered name, or "package.module:SPEC", installed or beside the stack file
    checkpoint = "weights"  # options of that model; relative paths start at the stack file

    [verifier]
    model = "scenes-clip"

A model joins by a `ModelSpec`: built in (`plugins.BUILT_IN`), registered under the entry-point group
`reflectionflow.models`, or named by its dotted path; docs/plugins.md shows one in 20 lines. Every fault of a file, of
its options and of this machine is found before anything heavy loads, and all are reported in one `ConfigError`.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reflectionflow import roles
from reflectionflow.errors import ConfigError, MisuseError
from reflectionflow.plugins import (
    LocalPath,
    ModelOptions,
    ModelSpec,
    Sharing,
    find_model,
    importable,
    listed,
    meant,
    models_for,
    option_fault,
    registered,
)
from reflectionflow.roles import Role

__all__ = [
    "DEFAULT_STACK",
    "Description",
    "LocalPath",
    "ModelDescription",
    "ModelOptions",
    "ModelSpec",
    "Part",
    "Role",
    "StackDefaults",
    "StackPlan",
    "describe",
    "examine",
    "find_model",
    "load",
    "load_player",
    "read",
    "registered",
    "shipped",
]

DEFAULT_STACK = "scenes"


_REQUIRED = (Role.GENERATOR, Role.VERIFIER)
_CONTRACTS: Mapping[Role, type] = {
    Role.GENERATOR: roles.Generator,
    Role.VERIFIER: roles.Verifier,
    Role.CORRECTOR: roles.Generator,
    Role.REFLECTOR: roles.Reflector,
    Role.REFINER: roles.Refiner,
}


class StackDefaults(BaseModel):
    """What a stack asks its generator for when the user says nothing; absent fields are left to the generator."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int | None = Field(default=None, gt=0, description="Width in pixels.")
    height: int | None = Field(default=None, gt=0, description="Height in pixels.")
    steps: int | None = Field(default=None, gt=0, description="Denoiser steps.")
    guidance: float | None = Field(default=None, ge=0, description="Guidance scale.")
    strategy: str | None = Field(
        default=None, min_length=1, description="Search method or shipped strategy file; absent: noise."
    )

    def over(self, defaults: roles.Defaults) -> roles.Defaults:
        """Return the generator's defaults with the fields set here put in their place."""
        return dataclasses.replace(defaults, **self.model_dump(exclude_none=True, exclude={"strategy"}))


@dataclass(frozen=True)
class Part:
    """One table of a stack file, resolved: the role, the model's name as written, its spec, its checked options."""

    role: Role
    model: str
    spec: ModelSpec[Any]
    options: ModelOptions

    def missing(self) -> list[str]:
        """Return what this model lacks on this machine, one sentence each."""
        return list(self.spec.needs(self.options))


@dataclass(frozen=True)
class StackPlan:
    """A stack file that was read and found faultless, not yet loaded.

    Attributes:
        name: The name inside the file.
        description: One line.
        source: The file.
        defaults: What is painted when the user says nothing.
        parts: One per table, in the order of `Role`.
    """

    name: str
    description: str
    source: str
    defaults: StackDefaults
    parts: tuple[Part, ...]

    def missing(self) -> list[str]:
        """Return everything its models lack on this machine, led by the tables' names; empty when it is ready."""
        return _told_once((part.role.value, sentence) for part in self.parts for sentence in part.missing())


def _told_once(lacks: Iterable[tuple[str, str]]) -> list[str]:
    """Return each sentence once, led by the names of all tables that it was said of."""
    tables: dict[str, list[str]] = {}
    for role, sentence in lacks:
        tables.setdefault(sentence, []).append(role)
    return [f"[{', '.join(dict.fromkeys(names))}] {sentence}" for sentence, names in tables.items()]


def shipped() -> tuple[str, ...]:
    """Return the names of the stacks that come with the package, the default one first."""
    names = sorted(path.name.removesuffix(".toml") for path in _shipped_folder().iterdir() if path.suffix == ".toml")
    return tuple(sorted(names, key=lambda name: name != DEFAULT_STACK))


@dataclass(frozen=True)
class Examined:
    """A stack file with its faults: the parts that could be resolved, and one sentence per fault of the rest."""

    plan: StackPlan
    problems: tuple[str, ...]


def examine(stack: str | Path) -> Examined:
    """Read a stack file and list its faults, without looking at this machine and without loading a model.

    Args:
        stack: The name of a shipped stack, or the path of a TOML file.

    Raises:
        ConfigError: if the file cannot be read as TOML.
        MisuseError: if there is no such stack.
    """
    path = _locate(stack)
    data = _parse(path)
    problems: list[str] = []
    name, description = (_text(data, key, problems) for key in ("name", "description"))
    defaults = _checked(StackDefaults, data.get("defaults", {}), "[defaults]", path, problems) or StackDefaults()
    parts = [_part(role, data[role.value], path, problems) for role in Role if role.value in data]
    problems += [
        f'the table [{role.value}] is missing; add it with `model = "..."` ({models_for(role)})'
        for role in _REQUIRED
        if role.value not in data
    ]
    known = ["name", "description", "defaults", *(role.value for role in Role)]
    problems += [
        f"unknown key {key!r}{meant(key, known)}; known are {listed(known)}" for key in data if key not in known
    ]
    plan = StackPlan(name, description, str(path), defaults, tuple(part for part in parts if part is not None))
    return Examined(plan, tuple(problems))


def read(stack: str | Path) -> StackPlan:
    """Return a faultless stack file, without looking at this machine and without loading a model.

    Raises:
        ConfigError: with every fault of the file.
        MisuseError: if there is no such stack.
    """
    examined = examine(stack)
    if examined.problems:
        raise ConfigError(examined.plan.source, examined.problems)
    return examined.plan


@dataclass(frozen=True)
class ModelDescription:
    """One table of a stack file for people: the role, the model, its options as they are, what is missing here."""

    role: str
    model: str
    summary: str
    options: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """A stack for people.

    Attributes:
        name: As the user names it.
        description: One line.
        source: The file.
        models: One per table that could be resolved.
        problems: Faults of the file.
    """

    name: str
    description: str
    source: str
    models: tuple[ModelDescription, ...]
    problems: tuple[str, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that keeps the stack from running here, one sentence each."""
        return (*self.problems, *_told_once((model.role, lack) for model in self.models for lack in model.missing))

    @property
    def ready(self) -> bool:
        """Whether the stack can run here."""
        return not self.faults


def describe(stack: str | Path) -> Description:
    """Say what a stack is made of and whether it can run here; loads nothing.

    Raises:
        ConfigError: if the file cannot be read as TOML.
        MisuseError: if there is no such stack.
    """
    examined = examine(stack)
    plan = examined.plan
    models = tuple(
        ModelDescription(
            role=part.role.value,
            model=part.model,
            summary=part.spec.summary,
            options=tuple((name, str(getattr(part.options, name))) for name in type(part.options).model_fields),
            missing=tuple(part.missing()),
        )
        for part in plan.parts
    )
    return Description(str(stack), plan.description, plan.source, models, examined.problems)


def load(stack: str | Path, wanted: Collection[Role] = tuple(Role)) -> roles.Stack:
    """Return the models of a stack, ready to search with.

    Args:
        stack: The name of a shipped stack, or the path of a TOML file.
        wanted: Whom the search makes use of besides generator and verifier; nobody else is loaded, or needs to be on
            this machine.

    Raises:
        ConfigError: with every fault of the file and everything missing on this machine, before anything heavy loads.
        MisuseError: if there is no such stack.
        ModelError: if a model cannot be loaded.
    """
    plan, models = _players(stack, {*_REQUIRED, *wanted})
    generator = models[Role.GENERATOR]
    return roles.Stack(
        name=str(stack),
        generator=generator,
        verifier=models[Role.VERIFIER],
        corrector=models.get(Role.CORRECTOR),
        reflector=models.get(Role.REFLECTOR),
        refiner=models.get(Role.REFINER),
        defaults=plan.defaults.over(generator.defaults),
        strategy=plan.defaults.strategy,
    )


def load_player(stack: str | Path, role: Role) -> Any:
    """Return the model of one role of a stack, or none where the stack has nobody for it; loads no other.

    Raises:
        ConfigError: with every fault of the file, and everything the model lacks on this machine.
        MisuseError: if there is no such stack.
        ModelError: if it cannot be loaded.
    """
    return _players(stack, (role,))[1].get(role)


def _players(stack: str | Path, wanted: Collection[Role]) -> tuple[StackPlan, dict[Role, Any]]:
    """Return what a stack file says, and those of its models that play the wanted roles."""
    examined = examine(stack)
    plan = dataclasses.replace(examined.plan, parts=tuple(part for part in examined.plan.parts if part.role in wanted))
    faults = [*examined.problems, *plan.missing()]
    if faults:
        raise ConfigError(plan.source, faults)
    models = _loaded(plan)
    problems = [fault for role, model in models.items() for fault in _contract_faults(role, model)]
    if problems:
        raise ConfigError(plan.source, problems)
    return plan, models


def _shipped_folder() -> Path:
    return Path(str(files("reflectionflow") / "configs" / "stacks"))


def _locate(stack: str | Path) -> Path:
    """Return the file of a stack's name or path."""
    if isinstance(stack, str) and stack in shipped():
        return _shipped_folder() / f"{stack}.toml"
    path = Path(stack).expanduser()
    if path.is_file():
        return path.resolve()
    if path.suffix == ".toml" or len(path.parts) > 1:
        raise MisuseError(
            f"there is no stack file {str(path)!r}; give the path of a TOML file, or one of {listed(shipped())}"
        )
    raise MisuseError(
        f"there is no stack {str(stack)!r}{meant(str(stack), shipped())}; shipped are {listed(shipped())}, "
        "and the path of a TOML file names any other"
    )


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"it is no valid TOML: {error}"]) from error
    except OSError as error:
        raise ConfigError(str(path), [f"it cannot be read: {error.strerror or error}"]) from error


def _text(data: Mapping[str, Any], key: str, problems: list[str]) -> str:
    value = data.get(key)
    if isinstance(value, str) and value.strip():
        return value
    problems.append(f'{key} must be a text, not {value!r}; write `{key} = "..."` at the top of the file')
    return ""


def _part(role: Role, table: Any, path: Path, problems: list[str]) -> Part | None:
    """Resolve one table, adding every fault to `problems`; none when it has any."""
    where = f"[{role.value}]"
    if not isinstance(table, Mapping) or not isinstance(table.get("model"), str):
        problems.append(f'{where} does not say which model plays it; write `model = "..."` ({models_for(role)})')
        return None
    name = table["model"]
    try:
        spec = find_model(name, path.parent)
    except MisuseError as error:
        problems.append(f"{where} {error}")
        return None
    if role not in spec.roles:
        played = listed(item.value for item in spec.roles)
        problems.append(f"{where} the model {name!r} plays {played}, not {role.value} ({models_for(role)})")
        return None
    options = {key: value for key, value in table.items() if key != "model"}
    checked = _checked(spec.options, options, f"{where} {name}:", path, problems)
    return None if checked is None else Part(role, name, spec, checked)


ModelT = TypeVar("ModelT", bound=BaseModel)


def _checked(schema: type[ModelT], values: Any, where: str, path: Path, problems: list[str]) -> ModelT | None:
    try:
        return schema.model_validate(values, context={"folder": path.parent})
    except ValidationError as error:
        known = list(schema.model_fields)
        problems += [f"{where} {option_fault(item, known)}" for item in error.errors()]
        return None


def _loaded(plan: StackPlan) -> dict[Role, Any]:
    """Load each part; equal models with equal options are one object, and others may share weights."""
    by_origin: dict[tuple[str, str], Any] = {}
    models: dict[Role, Any] = {}
    for part in plan.parts:
        origin = (part.model, part.options.model_dump_json())
        if origin not in by_origin:
            with importable(Path(plan.source).parent):  # for what a model imports only now
                by_origin[origin] = part.spec.load(part.options)
        models[part.role] = by_origin[origin]
    for model in by_origin.values():
        if isinstance(model, Sharing):
            model.share([other for other in by_origin.values() if other is not model])
    return models


def _contract_faults(role: Role, model: Any) -> list[str]:
    """Return what a loaded model lacks to play its role."""
    contract = _CONTRACTS[role]
    names = [*contract.__annotations__, *(name for name in vars(contract) if not name.startswith("_"))]
    lacking = sorted({name for name in names if not hasattr(model, name)})
    if lacking:
        needed = f"reflectionflow.roles.{contract.__name__} lists what it needs"
        return [f"[{role.value}] {type(model).__name__} lacks {listed(lacking)}; {needed}"]
    if role is Role.CORRECTOR and not model.capabilities.corrects:
        return [f"[corrector] {model.name} cannot correct a picture; its capabilities must say `corrects`"]
    return []
