"""The journal of a run: one SQLite row per finished model call, written before its answer is used.

WAL with `synchronous=FULL`: a row that was committed survives `kill -9` and a power cut. A call is found again by its
content id, so resuming, caching and repeating are one mechanism. A failure that may pass (`transient`) is recorded, but
does not answer a later question; a permanent one does.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from reflectionflow.errors import RunMismatchError
from reflectionflow.runs.storage import storage_errors

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE calls (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    role TEXT NOT NULL,
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    answer TEXT,
    failure TEXT,
    transient INTEGER NOT NULL,
    denoiser_evaluations INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    seconds REAL NOT NULL,
    batch INTEGER NOT NULL,
    time REAL NOT NULL,
    CHECK ((answer IS NULL) = (failure IS NOT NULL))
);
CREATE INDEX calls_by_id ON calls (id);
CREATE UNIQUE INDEX calls_answered ON calls (id) WHERE transient = 0;
CREATE TABLE results (
    id TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    label TEXT NOT NULL,
    search TEXT NOT NULL,
    result TEXT NOT NULL,
    time REAL NOT NULL
);
"""
_COLUMNS = "id, role, model, request, answer, failure, transient, denoiser_evaluations, tokens, seconds, batch, time"


@dataclass(frozen=True)
class Row:
    """One finished call.

    Attributes:
        id: Content id: the recipe's id for pictures, `roles.question_id` otherwise.
        role: `draft`, `correct`, `judge`, `reflect` or `refine`.
        model: Name of the model that answered.
        request: What was asked, as JSON data: the recipe, or the fields that the id hashes.
        answer: What came back, as JSON data; none for a failure.
        failure: Why there is no answer; exactly one of `answer` and `failure` is set.
        transient: True for a failure that a later run tries again.
        denoiser_evaluations: Forward passes of the denoiser, 0 for other models.
        tokens: Tokens read and written.
        seconds: This call's share of its batches' duration.
        batch: Number of the batch in the run directory, from 1.
        time: When it was committed, seconds since 1970.
    """

    id: str
    role: str
    model: str
    request: Any
    answer: Any = None
    failure: str | None = None
    transient: bool = False
    denoiser_evaluations: int = 0
    tokens: int = 0
    seconds: float = 0.0
    batch: int = 0
    time: float = 0.0


@dataclass(frozen=True)
class ResultRow:
    """One stored search result, as JSON data.

    Attributes:
        id: Content id of the search.
        position: Index of the search among those it ran with.
        label: What tells it apart from searches that are otherwise equal.
        search: What was searched, and how.
        result: The `types.SearchResult`.
        time: When it was stored, seconds since 1970.
    """

    id: str
    position: int
    label: str
    search: Any
    result: Any
    time: float = 0.0


class Journal:
    """An open journal. One thread writes, another may read at the same time.

    Args:
        path: The database file.
        writable: Create it when absent and allow writing.

    Raises:
        RunMismatchError: if the journal has another schema version.
        StorageError: if it cannot be opened.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._run = path.parent
        self._writing = Lock()
        with storage_errors(self._run, "opening the journal"):
            self._writer = _connect_for_writing(path) if writable else None
            try:
                self._reader = _connect_for_reading(path)
                self._check_version()
            except BaseException:
                self.close()
                raise

    def find(self, call: str) -> Row | None:
        """Return the finished call with this id, or none when it has yet to be done (or failed in passing)."""
        with storage_errors(self._run, "reading the journal"):
            query = f"SELECT {_COLUMNS} FROM calls WHERE id = ? AND transient = 0"
            found = self._reader.execute(query, (call,)).fetchone()
        return None if found is None else _row(found)

    def gave_up(self, call: str) -> Row | None:
        """Return the last failure in passing of the call with this id, or none."""
        with storage_errors(self._run, "reading the journal"):
            query = f"SELECT {_COLUMNS} FROM calls WHERE id = ? AND transient = 1 ORDER BY number DESC LIMIT 1"
            found = self._reader.execute(query, (call,)).fetchone()
        return None if found is None else _row(found)

    def rows(self) -> Iterator[Row]:
        """Yield every row in the order of writing, transient failures included."""
        with storage_errors(self._run, "reading the journal"):
            for values in self._reader.execute(f"SELECT {_COLUMNS} FROM calls ORDER BY number"):
                yield _row(values)

    def count(self) -> int:
        """Return the number of finished calls."""
        with storage_errors(self._run, "reading the journal"):
            return int(self._reader.execute("SELECT count(*) FROM calls WHERE transient = 0").fetchone()[0])

    def last_batch(self) -> int:
        """Return the largest batch number, 0 for an empty journal."""
        with storage_errors(self._run, "reading the journal"):
            return int(self._reader.execute("SELECT coalesce(max(batch), 0) FROM calls").fetchone()[0])

    def results(self) -> list[ResultRow]:
        """Return the stored results, ordered by label, then by position."""
        query = "SELECT id, position, label, search, result, time FROM results ORDER BY label, position, id"
        with storage_errors(self._run, "reading the journal"):
            found = self._reader.execute(query).fetchall()
        return [ResultRow(row[0], row[1], row[2], json.loads(row[3]), json.loads(row[4]), row[5]) for row in found]

    def result(self, search: str) -> ResultRow | None:
        """Return the stored result of the search with this id, or none."""
        query = "SELECT id, position, label, search, result, time FROM results WHERE id = ?"
        with storage_errors(self._run, "reading the journal"):
            row = self._reader.execute(query, (search,)).fetchone()
        if row is None:
            return None
        return ResultRow(row[0], row[1], row[2], json.loads(row[3]), json.loads(row[4]), row[5])

    def seconds(self) -> dict[str, tuple[int, float]]:
        """Return, for each kind of call, how many were finished and the seconds they took together."""
        query = "SELECT role, sum(1 - transient), sum(seconds) FROM calls GROUP BY role ORDER BY role"
        with storage_errors(self._run, "reading the journal"):
            return {role: (count, seconds) for role, count, seconds in self._reader.execute(query)}

    def period(self) -> tuple[float, float] | None:
        """Return when the first and the last call were committed, seconds since 1970; none before there is one."""
        with storage_errors(self._run, "reading the journal"):
            first, last = self._reader.execute("SELECT min(time), max(time) FROM calls").fetchone()
        return None if first is None else (first, last)

    def problems(self) -> list[str]:
        """Return what SQLite's own integrity check finds wrong with the file, one sentence each."""
        with storage_errors(self._run, "checking the journal"):
            found = self._reader.execute("PRAGMA integrity_check").fetchall()
        return [f"the journal file is damaged: {row[0]}" for row in found if row[0] != "ok"]

    def append(self, rows: Sequence[Row]) -> None:
        """Write finished calls in one transaction; they are durable when this returns.

        Raises:
            StorageError: if they cannot be written; then none of them is.
        """
        marks = ", ".join("?" * len(_COLUMNS.split(",")))
        with storage_errors(self._run, "writing the journal"):
            with self._writing, self._for_writing() as connection:
                connection.executemany(f"INSERT INTO calls ({_COLUMNS}) VALUES ({marks})", [_values(r) for r in rows])

    def store_result(self, result: ResultRow) -> None:
        """Store the result of one search, replacing an earlier one of the same search.

        Raises:
            StorageError: if it cannot be written.
        """
        values = (
            result.id,
            result.position,
            result.label,
            _dump(result.search),
            _dump(result.result),
            result.time or time.time(),
        )
        with storage_errors(self._run, "writing the journal"):
            with self._writing, self._for_writing() as connection:
                connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)", values)

    def close(self) -> None:
        """Close the file; what was committed is kept."""
        for connection in (getattr(self, "_reader", None), self._writer):
            if connection is not None:
                connection.close()

    def _for_writing(self) -> sqlite3.Connection:
        if self._writer is None:
            raise RuntimeError(f"the journal {self.path} was opened for reading")
        return self._writer

    def _check_version(self) -> None:
        try:
            found = self._reader.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # anything but "no such table"
                raise
            found = None
        version = found[0] if found else "unknown"
        if version != str(SCHEMA_VERSION):
            raise RunMismatchError(
                f"the journal {self.path} has schema version {version}, this version of reflectionflow reads "
                f"{SCHEMA_VERSION}; open it with the version that wrote it (see run.json), or start a new run."
            )


def _connect_for_writing(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level="IMMEDIATE")
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            version = f"INSERT INTO meta VALUES ('schema_version', '{SCHEMA_VERSION}');"
            connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}{version}COMMIT;")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_for_reading(path: Path) -> sqlite3.Connection:
    def connect(options: str) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, check_same_thread=False)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    try:
        return connect("mode=ro")
    except sqlite3.OperationalError:
        if not path.exists() or path.with_name(f"{path.name}-wal").exists():
            raise
        # a read-only directory: WAL needs a shared-memory file there unless nobody else can write
        return connect("mode=ro&immutable=1")


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _values(row: Row) -> tuple[Any, ...]:
    answer = None if row.answer is None else _dump(row.answer)
    return (
        row.id,
        row.role,
        row.model,
        _dump(row.request),
        answer,
        row.failure,
        int(row.transient),
        row.denoiser_evaluations,
        row.tokens,
        row.seconds,
        row.batch,
        row.time or time.time(),
    )


def _row(values: Sequence[Any]) -> Row:
    number_of = dict(zip((name.strip() for name in _COLUMNS.split(",")), values, strict=True))
    number_of["request"] = json.loads(number_of["request"])
    number_of["answer"] = None if number_of["answer"] is None else json.loads(number_of["answer"])
    number_of["transient"] = bool(number_of["transient"])
    return Row(**number_of)
