"""Strategy files: a search method with chosen options, under a name of its own.

One is a TOML file; those shipped in `configs/strategies` are found by their name, others by their path:

    name = "wide"
    description = "Many short chains."
    strategy = "reflection"    # the method
    images = 64                # pictures to paint when the user does not say; optional

    [options]                  # of the method; what the user says goes over them
    width = 16
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reflectionflow.errors import ConfigError, MisuseError
from reflectionflow.plugins import option_fault


class Preset(BaseModel):
    """The content of a strategy file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="The strategy's name.")
    description: str = Field(min_length=1, description="One line.")
    strategy: str = Field(description="The search method.")
    images: int | None = Field(default=None, ge=1, description="Pictures to paint when the user does not say.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the method.")


def shipped() -> tuple[str, ...]:
    """Return the names of the strategy files that come with the package."""
    return tuple(sorted(path.name.removesuffix(".toml") for path in _folder().iterdir() if path.suffix == ".toml"))


def find(name: str | Path) -> tuple[Path, Preset] | None:
    """Return the file of a shipped strategy's name or of a path, and its content; none when it is neither.

    Raises:
        ConfigError: if the file cannot be read, or has faults; all at once.
        MisuseError: if a path was given and there is no such file.
    """
    if isinstance(name, str) and name in shipped():
        path = _folder() / f"{name}.toml"
    elif isinstance(name, Path) or name.endswith(".toml"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise MisuseError(f"There is no strategy file {str(path)!r}; correct its name.")
    else:
        return None
    return path, _read(path)


def _read(path: Path) -> Preset:
    try:
        return Preset.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"it is no valid TOML: {error}"]) from error
    except OSError as error:
        raise ConfigError(str(path), [f"it cannot be read: {error.strerror or error}"]) from error
    except ValidationError as error:
        known = list(Preset.model_fields)
        raise ConfigError(str(path), [option_fault(fault, known) for fault in error.errors()]) from error


def _folder() -> Path:
    return Path(str(files("reflectionflow") / "configs" / "strategies"))
