"""How a model joins a stack: the `ModelSpec` it publishes, and finding one by name.

Built-in models stand in the table `BUILT_IN`, so that they are known wherever the package can be imported, installed or
not; others are registered under the entry-point group `reflectionflow.models`. docs/plugins.md shows a whole plug-in.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module, invalidate_caches
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Annotated, Any, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from reflectionflow.errors import MisuseError
from reflectionflow.roles import Role

ENTRY_POINTS = "reflectionflow.models"
BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "flux": "flux:SPEC",
        "scenes-flux": "flux:SCENES",
        "flux-corrector": "corrector:SPEC",
        "scenes-corrector": "corrector:SCENES",
        "scenes-oracle": "detector:SCENES",
        "scenes-teacher": "scenes_oracle:REFLECTOR",
        "scenes-renderer": "scenes_oracle:CORRECTOR",
        "scenes-planner": "scenes_planner:SPEC",
        "scenes-refiner": "scenes_refiner:SPEC",
        "scenes-parts": "scenes_parts:SPEC",
        "scenes-clip": "clip:SCENES",
        "clip": "clip:SPEC",
        "qwen-vl": "qwen_vl:SPEC",
        "scenes-vlm": "qwen_vl:SCENES_SPEC",
        "openai-vlm": "openai_vlm:SPEC",
        "reward": "reward:SPEC",
        "scenes-reward": "reward:SCENES_SPEC",
    }
)
"""Name of each model of this package, and where in `reflectionflow.models` its spec is."""


class ModelOptions(BaseModel):
    """Base of a model's options: unknown names are refused, and every field carries a description."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _beside_the_stack(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return path.expanduser() if folder is None else folder / path.expanduser()


LocalPath = Annotated[Path, AfterValidator(_beside_the_stack)]
"""A path option; a relative one starts at the folder of the stack file."""

OptionsT = TypeVar("OptionsT", bound=ModelOptions)


def _nothing_missing(options: Any) -> list[str]:
    return []


@dataclass(frozen=True)
class ModelSpec(Generic[OptionsT]):
    """How a model joins a stack; the module that defines one imports no torch at its top.

    Attributes:
        roles: The roles the loaded model can play. One that plays several with equal options is loaded once.
        options: Its options, each field with a description.
        load: Builds the model from its options; imports its libraries inside. Weights are best loaded by the first
            call, so that a run whose journal answers everything never loads them.
        needs: What is missing here, one sentence each with its remedy (a file, a package, a device); loads nothing.
        summary: One line for `reflectionflow models`.
    """

    roles: tuple[Role, ...]
    options: type[OptionsT]
    load: Callable[[OptionsT], Any]
    needs: Callable[[OptionsT], Sequence[str]] = _nothing_missing
    summary: str = ""


@runtime_checkable
class Sharing(Protocol):
    """What a loaded model may have besides its role's method."""

    def share(self, others: Sequence[Any]) -> None:
        """Take note of the other models of the stack, whose weights may serve for this one too; loads nothing."""


def registered() -> dict[str, EntryPoint]:
    """Return every model of this package and of installed plug-ins, by name; a built-in one keeps its name."""
    found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    found |= {name: EntryPoint(name, f"reflectionflow.models.{spec}", ENTRY_POINTS) for name, spec in BUILT_IN.items()}
    return dict(sorted(found.items()))


class _Beside:
    """Finds modules in one folder, for Python's import system."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how a module of the folder is loaded; none for parts of packages, which know their own place."""
        return PathFinder.find_spec(name, [self._folder], target) if path is None else None


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let modules of a folder be imported inside the block; of equal names the installed one is taken."""
    finder = _Beside(folder)
    sys.meta_path.append(finder)
    invalidate_caches()  # the module may be a second old
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def find_model(name: str, folder: Path | None = None) -> ModelSpec[Any]:
    """Return the spec behind a registered name or a dotted path `package.module:SPEC`.

    Args:
        name: As a stack file writes it.
        folder: That of the stack file, whose modules a dotted path may name besides installed ones.

    Raises:
        MisuseError: if nothing of that name is registered or importable, or if it is no `ModelSpec`.
    """
    points = registered()
    if name in points:
        module, attribute = points[name].module, points[name].attr
    elif ":" in name:
        module, attribute = name.split(":", 1)
    else:
        raise MisuseError(
            f"no model is called {name!r}{meant(name, points)}; registered are {listed(points)}, "
            'and "package.module:SPEC" names any other'
        )
    try:
        with nullcontext() if folder is None else importable(folder):
            found = import_module(module)
        for step in attribute.split("."):
            found = getattr(found, step)
    except Exception as error:  # foreign code runs at its import, and may fail in any way
        raise MisuseError(
            f"the model {name!r} cannot be imported ({error}); install its package, put its file beside the stack "
            "file, or correct the name"
        ) from error
    if not isinstance(found, ModelSpec):
        raise MisuseError(
            f"the model {name!r} is a {type(found).__name__}, and must be a reflectionflow.stack.ModelSpec"
        )
    return found


def models_for(role: Role) -> str:
    """Return a part of a sentence naming the registered models that can play a role."""
    names = [name for name, spec in _importable().items() if role in spec.roles]
    return f"registered for it: {', '.join(names)}" if names else "none is registered for it"


def _importable() -> dict[str, ModelSpec[Any]]:
    found: dict[str, ModelSpec[Any]] = {}
    for name in registered():
        try:
            found[name] = find_model(name)
        except MisuseError:  # `reflectionflow models` shows it with its reason
            continue
    return found


def meant(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the known name most like `name`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def listed(names: Iterable[str]) -> str:
    """Return names as a list in a sentence."""
    return ", ".join(names) or "none"


def option_fault(error: Mapping[str, Any], known: Sequence[str]) -> str:
    """Return one pydantic error about named options as a sentence; `known` are the names there are."""
    name = ".".join(str(item) for item in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown option {name!r}{meant(name, known)}; known are {listed(known)}"
    if error["type"] == "missing":
        return f"the option {name!r} is missing; write `{name} = ...`"
    subject = f"{name} = {error['input']!r} is refused: " if name else ""
    message = str(error["msg"])
    return subject + message[:1].lower() + message[1:]
