"""A run on disk, and the two ways to it: one process writes it, any number read it.

    run.json        what was asked (as passed and as resolved), versions of the packages
    journal.sqlite  every finished model call, and the results of the searches
    images/         the pictures, by SHA-256
    events.jsonl    what happened, one JSON object a line, appended by every process that continued the run
    run.lock        held by the process that writes; run.pid says which

Opening a directory again with the same spec continues the run. The budget may differ: calls are found by their content,
so a larger budget goes on where a smaller one stopped.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from PIL.Image import Image

from reflectionflow.errors import MisuseError, RunMismatchError, StorageError
from reflectionflow.runs.images import ImageStore
from reflectionflow.runs.journal import SCHEMA_VERSION, Journal, ResultRow, Row
from reflectionflow.runs.lock import RunLock
from reflectionflow.runs.results import StoredResult, stored_result
from reflectionflow.runs.storage import FULL, TEMPORARY, require_local_disk, storage_errors, write_atomically
from reflectionflow.types import canonical_json, to_json

PACKAGES = ("reflectionflow", "torch", "diffusers", "transformers", "numpy", "pillow")
FREE_KEYS = frozenset({"budget"})
"""Keys of a spec that may differ when a run is continued."""
OWN = frozenset({"run.json", "run.lock", "run.pid", "journal.sqlite", "images", "events.jsonl"})
_OWN_SUFFIXES = ("-wal", "-shm", "-journal", TEMPORARY)


@dataclass(frozen=True)
class RunSpec:
    """What a run was asked for, as JSON data.

    Attributes:
        passed: As the user wrote it; a record, never compared.
        resolved: With every default filled in and every model by name and revision. Two opens of one directory must
            agree on it, except on the key `budget`. Taken from `passed` when empty.
    """

    passed: Mapping[str, Any]
    resolved: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take the resolved form from the passed one where it is empty, both as plain JSON data."""
        object.__setattr__(self, "passed", to_json(dict(self.passed)))
        object.__setattr__(self, "resolved", to_json(dict(self.resolved)) or self.passed)


class RunReader:
    """A run that is only read; the process that writes it may go on meanwhile.

    Made by `RunDirectory.read`. Use it as a context manager, or call `close`.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], journal: Journal) -> None:
        self.path = path
        """The run directory."""
        self.header = header
        """Content of run.json: `spec` (`passed`, `resolved`), `packages`, `schema_version`, `python`."""
        self.spec = RunSpec(**header["spec"])
        self.journal = journal
        self.images = ImageStore(path / "images")

    def require(self, resolved: Mapping[str, Any]) -> None:
        """Check that a request could continue this run.

        Raises:
            RunMismatchError: if the run was started with anything else than another budget.
        """
        _require_same_spec(self.path, self.spec.resolved, resolved)

    def results(self) -> list[StoredResult]:
        """Return the finished searches, ordered by label, then by their place among the searches.

        Raises:
            StorageError: if the journal cannot be read.
        """
        return [stored_result(row) for row in self.journal.results()]

    def result(self, search: str) -> StoredResult | None:
        """Return the finished search with this id, or none.

        Raises:
            StorageError: if the journal cannot be read.
        """
        row = self.journal.result(search)
        return None if row is None else stored_result(row)

    def calls(self) -> Iterator[Row]:
        """Yield every journaled call in the order it was written."""
        return self.journal.rows()

    def image(self, sha256: str) -> Image:
        """Return a stored picture (RGB) by the hash a candidate carries.

        Raises:
            StorageError: if it is missing or unreadable.
        """
        return self.images.load(sha256)

    def image_path(self, sha256: str) -> Path:
        """Return the PNG file of a stored picture."""
        return self.images.path(sha256)

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the recorded events, oldest first; a last line that a killed process left half written is passed over.

        Raises:
            StorageError: if the file cannot be read, or a line before the last is no JSON.
        """
        path = self.path / "events.jsonl"
        with storage_errors(self.path, "reading the events"):
            lines = path.read_bytes().split(b"\n") if path.exists() else []
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last line end is not complete
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise StorageError(f"line {number} of {path} is damaged ({error}); remove that line.") from error

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()

    def __enter__(self) -> Self:
        """Return the run itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the run."""
        self.close()


class RunDirectory(RunReader):
    """A run that this process writes. Made by `RunDirectory.open`; use it as a context manager, or call `close`."""

    def __init__(self, path: Path, header: Mapping[str, Any], journal: Journal, lock: RunLock) -> None:
        super().__init__(path, header, journal)
        self._lock = lock
        with storage_errors(path, "opening the event file"):
            self._events = (path / "events.jsonl").open("ab")

    @classmethod
    def open(cls, path: str | os.PathLike[str], spec: RunSpec | Mapping[str, Any]) -> RunDirectory:
        """Create a run, or continue the one in `path`, and keep other processes from writing it.

        Args:
            path: The directory; absent, empty, or a run of the same spec.
            spec: What is asked for; a plain mapping stands for itself, passed and resolved.

        Raises:
            MisuseError: if `path` lies on a network file system, is a file, holds something other than a run, or
                cannot be made.
            RunMismatchError: if its spec or schema differs, or another process is writing it.
            StorageError: if it cannot be written.
        """
        root = Path(path)
        wanted = spec if isinstance(spec, RunSpec) else RunSpec(spec)
        require_local_disk(root)
        if root.exists() and not root.is_dir():
            raise MisuseError(f"{root} is a file; a run needs a directory: choose another name.")
        with storage_errors(root, "creating the run"):
            _make(root)
            _require_own_content(root)
        lock = RunLock(root)
        try:
            header = _agree_on_header(root, wanted)
            with storage_errors(root, "tidying the run"):
                _remove_leftovers(root)
            journal = Journal(root / "journal.sqlite", writable=True)
            try:
                return cls(root, header, journal, lock)
            except BaseException:
                journal.close()
                raise
        except BaseException:
            lock.release()
            raise

    @staticmethod
    def read(path: str | os.PathLike[str]) -> RunReader:
        """Open a run for reading, without a lock.

        Raises:
            MisuseError: if `path` is not a run.
            RunMismatchError: if it was written with another schema version.
            StorageError: if it cannot be read.
        """
        root = Path(path)
        if not (root / "run.json").exists() or not (root / "journal.sqlite").exists():
            raise MisuseError(f"{root} is not a run: it has no run.json or no journal.sqlite.")
        header = _read_header(root)
        return RunReader(root, header, Journal(root / "journal.sqlite", writable=False))

    @classmethod
    def reopen(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """Continue the run in `path` as it was asked for, and keep other processes from writing it.

        Raises:
            MisuseError: if `path` is not a run.
            RunMismatchError: if it has another schema version, or another process is writing it.
            StorageError: if it cannot be read or written.
        """
        with cls.read(path) as known:
            spec = known.spec
        return cls.open(path, spec)

    def answer(self, call: str) -> Row | None:
        """Return the journaled call with this id, or none when it has yet to be made.

        Raises:
            StorageError: if the journal cannot be read.
        """
        return self.journal.find(call)

    def record_event(self, event: Mapping[str, Any]) -> None:
        """Append one event to `events.jsonl`; it survives the death of this process, though not a power cut.

        Raises:
            StorageError: if it cannot be written.
        """
        with storage_errors(self.path, "recording an event"):
            self._events.write(json.dumps(event, ensure_ascii=False).encode() + b"\n")
            self._events.flush()

    def store_result(self, result: ResultRow) -> None:
        """Store the result of one search, replacing an earlier one of the same search.

        Raises:
            StorageError: if it cannot be written.
        """
        self.journal.store_result(result)

    def close(self) -> None:
        """Close the files and let another process write; closing twice does nothing."""
        try:
            with storage_errors(self.path, "closing the event file"):
                self._events.close()
        finally:
            super().close()
            self._lock.release()


def _make(root: Path) -> None:
    """Make a directory; a path that cannot become one is the user's to correct, a full disk is not."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise MisuseError(
            f"{root} cannot be made ({error.strerror or error}); choose another directory, or make that one writable."
        ) from error


def _require_own_content(root: Path) -> None:
    """Refuse a directory that has content but is no run."""
    if (root / "run.json").exists():
        return
    foreign = sorted(p.name for p in root.iterdir() if p.name not in OWN and not p.name.endswith(_OWN_SUFFIXES))
    if foreign:
        shown = ", ".join(foreign[:3]) + (" …" if len(foreign) > 3 else "")
        raise MisuseError(f"{root} is not a run and not empty (it has {shown}); choose a new or an empty directory.")


def _agree_on_header(root: Path, spec: RunSpec) -> dict[str, Any]:
    """Return run.json's content after checking it against the spec; write it where it is absent or the budget moved."""
    path = root / "run.json"
    header = _read_header(root) if path.exists() else _new_header(spec)
    _require_same_spec(root, header["spec"]["resolved"], spec.resolved)
    updated = {**header, "spec": {"passed": spec.passed, "resolved": spec.resolved}}
    if not path.exists() or updated != header:
        with storage_errors(root, "writing run.json"):
            write_atomically(path, json.dumps(updated, indent=2, ensure_ascii=False).encode() + b"\n")
    return updated


def _read_header(root: Path) -> dict[str, Any]:
    path = root / "run.json"
    with storage_errors(root, "reading run.json"):
        text = path.read_text(encoding="utf-8")
    try:
        header: dict[str, Any] = json.loads(text)
        found = header["schema_version"]
        header["spec"]["passed"], header["spec"]["resolved"]
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged ({error!r}); restore it from a copy, or start a new run.") from error
    if found != SCHEMA_VERSION:
        raise RunMismatchError(
            f"{root} was written with schema version {found}, this version of reflectionflow reads {SCHEMA_VERSION}; "
            f"open it with reflectionflow {header.get('packages', {}).get('reflectionflow')}, or start a new run."
        )
    return header


def _new_header(spec: RunSpec) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "spec": {"passed": spec.passed, "resolved": spec.resolved},
        "packages": {name: _installed(name) for name in PACKAGES},
        "python": platform.python_version(),
    }


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _require_same_spec(root: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    before, now = _flat(old), _flat(new)
    differing = [
        f"{key} ({_short(before.get(key))} there, {_short(now.get(key))} now)"
        for key in sorted(before.keys() | now.keys())
        if key.split(".")[0] not in FREE_KEYS and canonical_json(before.get(key)) != canonical_json(now.get(key))
    ]
    if differing:
        raise RunMismatchError(
            f"run {root} was started with other values of {' and '.join(differing)}; repeat the command it was started "
            "with (only the budget may differ), or choose another directory."
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, its keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping) and value
        flat.update(_flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def _short(value: Any, most: int = 60) -> str:
    text = canonical_json(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _remove_leftovers(root: Path) -> None:
    """Remove the temporary files and the half-written event line of a killed process."""
    for path in [*ImageStore(root / "images").temporaries(), *root.glob(f".*{TEMPORARY}")]:
        path.unlink(missing_ok=True)
    events = root / "events.jsonl"
    if events.exists():
        content = events.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            os.truncate(events, whole)
