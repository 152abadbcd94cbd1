"""The manifest beside a checkpoint, `reflectionflow.json`: its name, its revision, and the size and hash of each file.

With it a checkpoint's identity is known without reading a weight, and a truncated download is noticed before anything
loads. Keys other than `name`, `revision` and `files` belong to the kind of model (a calibration, an image size); they
come back in `Manifest.details` for the model to check.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, field_validator
from pydantic.dataclasses import dataclass

from reflectionflow.errors import CheckpointError
from reflectionflow.types import canonical_json

FILE = "reflectionflow.json"
_OWN = ("name", "revision", "files")
_STRICT = ConfigDict(extra="forbid")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]


@dataclass(frozen=True, config=_STRICT)
class FileEntry:
    """One file of a checkpoint: the SHA-256 of its content in hex, and its length in bytes."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=_STRICT)
class Manifest:
    """What a checkpoint says of itself.

    Attributes:
        name: The model's name.
        revision: Twelve hex digits that change with any file, the name or the details.
        files: Every file of the checkpoint by its path below the folder, with forward slashes.
        details: Everything else, plain JSON data, as the kind of model needs it.
    """

    name: Annotated[str, StringConstraints(min_length=1)]
    revision: Revision
    files: Mapping[str, FileEntry]
    details: Mapping[str, Any]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: Mapping[str, FileEntry]) -> Mapping[str, FileEntry]:
        for path in files:
            parts = PurePosixPath(path)
            if parts.is_absolute() or ".." in parts.parts:
                raise ValueError(f"the path {path!r} leaves the checkpoint's folder")
        return files

    @property
    def identity(self) -> str:
        """`name@revision`, as recipes and verdicts carry it."""
        return f"{self.name}@{self.revision}"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Check the content of a manifest file.

        Raises:
            ValueError: with every fault (pydantic's `ValidationError`).
        """
        own = {key: data[key] for key in _OWN if key in data}
        details = {key: value for key, value in data.items() if key not in _OWN}
        return TypeAdapter(cls).validate_python({**own, "details": details})

    def to_json(self) -> dict[str, Any]:
        """Return the content of the manifest file."""
        files = {path: {"sha256": entry.sha256, "bytes": entry.bytes} for path, entry in self.files.items()}
        return {"name": self.name, "revision": self.revision, **self.details, "files": files}


def write_manifest(folder: str | Path, *, name: str, **details: Any) -> Manifest:
    """Describe the files that lie in `folder` now and write the manifest beside them.

    Hidden files and Markdown (a model card may be improved without making another model) are left out.

    Args:
        folder: A complete checkpoint.
        name: The model's name.
        details: Plain JSON data that the kind of model needs.

    Raises:
        ValueError: if a detail is called `files` or `revision`, or is no plain JSON data.
    """
    folder = Path(folder)
    taken = sorted(set(details) & set(_OWN))
    if taken:
        raise ValueError(f"{', '.join(taken)} is computed from the files; leave it out.")
    files = {path.relative_to(folder).as_posix(): _entry(path) for path in sorted(folder.rglob("*")) if _counts(path)}
    hashes = {path: entry.sha256 for path, entry in files.items()}
    described = canonical_json({"name": name, "files": hashes, "details": details})
    revision = hashlib.sha256(described.encode()).hexdigest()[:12]
    manifest = Manifest(name=name, revision=revision, files=files, details=json.loads(json.dumps(details)))
    draft = folder / f".{FILE}.writing"
    draft.write_text(json.dumps(manifest.to_json(), indent=2) + "\n", encoding="utf-8")
    os.replace(draft, folder / FILE)
    return manifest


def read_manifest(folder: str | Path) -> Manifest:
    """Return the manifest of a checkpoint, without looking at its files.

    Raises:
        CheckpointError: if there is none, or it is damaged.
    """
    path = Path(folder) / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it is no JSON object")
        return Manifest.from_json(data)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist; fetch the checkpoint again, or correct its path.") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise CheckpointError(f"{path} is damaged ({faults}); fetch the checkpoint again.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); fetch the checkpoint again.") from error


def problems(folder: str | Path) -> list[str]:
    """Return what is wrong with a checkpoint by the sizes of its files, one sentence each; empty when it is complete.

    Contents are not read: that is fast enough to be asked before every run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return [f"the folder {folder} does not exist; give the folder of a checkpoint"]
    try:
        manifest = read_manifest(folder)
    except CheckpointError as error:
        return [str(error).removesuffix(".")]
    found = (_fault(folder, path, entry) for path, entry in manifest.files.items())
    return [sentence for sentence in found if sentence]


def _fault(folder: Path, path: str, entry: FileEntry) -> str:
    file = folder / path
    if not file.is_file():
        return f"{file} is missing; fetch the checkpoint again"
    size = file.stat().st_size
    if size != entry.bytes:
        return f"{file} has {size} bytes instead of {entry.bytes}; fetch the checkpoint again"
    return ""


def _counts(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.is_file() and not hidden and path.name != FILE and path.suffix != ".md"


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(sha256=digest, bytes=path.stat().st_size)
