"""Training configurations: typed TOML files whose unknown keys and bad values are reported all at once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reflectionflow.errors import ConfigError
from reflectionflow.plugins import listed, meant


class Section(BaseModel):
    """A table of a configuration file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RunSection(Section):
    """How long and where a stage trains."""

    steps: int = Field(gt=0, description="Optimiser steps in all.")
    batch: int = Field(gt=0, description="Pictures per step over all devices.")
    accumulate: int = Field(default=1, gt=0, description="Parts a step's batch is computed in, one after the other.")
    seed: int = Field(default=0, ge=0, description="Seed of the weights and of the data order.")
    output: str = Field(description="Folder of the finished model, in diffusers layout.")
    state: str = Field(description="Folder of checkpoints, logs and sample grids (not for version control).")
    checkpoint_every: int = Field(default=250, gt=0, description="Steps between resumable checkpoints.")
    sample_every: int = Field(default=500, gt=0, description="Steps between sample grids and validation.")
    precision: str = Field(default="bf16", pattern="^(no|bf16)$", description="Autocast precision: no or bf16.")
    threads: int | None = Field(default=None, gt=0, description="CPU threads; none leaves torch's default.")
    workers: int = Field(default=0, ge=0, description="Processes that prepare batches; 0 prepares them in between.")
    compile: bool = Field(default=False, description="Compile the trained modules: pays on a GPU.")
    log_every: int = Field(default=10, gt=0, description="Steps between lines of the log.")


class OptimiserSection(Section):
    """AdamW, Prodigy, or Muon for the matrices inside, with linear warm-up and cosine decay."""

    method: Literal["adamw", "muon", "prodigy"] = Field(
        default="adamw",
        description="muon: matrices of transformer blocks by Muon at AdamW's scale of updates, the rest by AdamW. "
        "prodigy (arXiv 2306.06101) finds its step size; its learning rate is 1.",
    )
    learning_rate: float = Field(gt=0)
    warmup: int = Field(default=200, ge=0, description="Steps of linear warm-up.")
    final: float = Field(default=0.05, ge=0, le=1, description="Learning rate at the end, as a share of the peak.")
    weight_decay: float = Field(default=0.01, ge=0)
    beta2: float = Field(default=0.99, gt=0, lt=1)
    clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient.")
    ema: float = Field(default=0.999, ge=0, lt=1, description="Decay of the averaged weights.")


class StageConfig(Section):
    """What the configuration of every stage holds."""

    run: RunSection
    optimiser: OptimiserSection


ConfigT = TypeVar("ConfigT", bound=BaseModel)


def read_config(path: str | Path, kind: type[ConfigT], changes: Sequence[str] = ()) -> ConfigT:
    """Read and check a TOML file.

    Args:
        path: The file.
        kind: What it configures.
        changes: Values that replace the file's, each "table.key=value" with the value as TOML or a plain word.

    Raises:
        ConfigError: with every fault of the file and of the changes, each as one sentence.
    """
    file = Path(path)
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(str(path), ["The file does not exist; shipped ones lie in configs/tuning/."]) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(str(path), [f"It cannot be read as TOML: {error}."]) from None
    problems = [problem for change in changes if (problem := _apply(data, change))]
    try:
        config = kind.model_validate(data)
    except ValidationError as error:
        problems += [_fault(item, kind) for item in error.errors()]
    if problems:
        raise ConfigError(str(path), problems)
    return config


def _fault(error: Mapping[str, Any], kind: type[BaseModel]) -> str:
    """Return one of Pydantic's errors as a sentence."""
    path = [str(item) for item in error["loc"]]
    dotted, tables = ".".join(path) or "file", path[:-1]
    section = _section(kind, tables)
    if section is not None and error["type"] == "extra_forbidden":
        known = list(section.model_fields)
        return f"{dotted}: unknown {_called(error['input'])}{meant(path[-1], known)}; known are {listed(known)}."
    if section is not None and error["type"] == "missing":
        if _section(kind, path) is not None:
            return f"The table [{dotted}] is missing."
        where = f" under [{'.'.join(tables)}]" if tables else ""
        return f"{dotted} is missing; write `{path[-1]} = ...`{where}."
    said = error["ctx"]["error"] if error["type"] == "value_error" else error["msg"]
    return f"{dotted}: {said}."


def _called(value: Any) -> str:
    return "table" if isinstance(value, Mapping) else "key"


def _section(kind: type[BaseModel], tables: Sequence[str]) -> type[BaseModel] | None:
    """Return what describes a table of a configuration; none where it is no table, or one of several kinds."""
    for table in tables:
        field = kind.model_fields.get(table)
        offered = () if field is None else (field.annotation, *get_args(field.annotation))
        found = [one for one in offered if isinstance(one, type) and issubclass(one, BaseModel)]
        if len(found) != 1:
            return None
        kind = found[0]
    return kind


def _apply(data: dict[str, Any], change: str) -> str | None:
    """Put one "table.key=value" into the data; return what is wrong with it, if anything."""
    name, equals, text = change.partition("=")
    *tables, key = name.strip().split(".")
    if not equals or not tables or not all((*tables, key)):
        return f"The change {change!r} is not of the form table.key=value, as in run.steps=100."
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    place: Any = data
    for table in tables:
        place = place.setdefault(table, {})
        if not isinstance(place, dict):
            return f"The change {change!r} names no table: {table} is a value."
    place[key] = value
    return None
