"""Pictures judged as they come, on a thread of their own; only the decisions are kept, and none is made twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Self

from reflectionflow.evaluation.judges import Judge
from reflectionflow.geneval import Metadata
from reflectionflow.runs.storage import storage_errors

if TYPE_CHECKING:
    from PIL.Image import Image

_SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    judge TEXT NOT NULL, question TEXT NOT NULL, image TEXT NOT NULL, correct INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (judge, question, image)
) WITHOUT ROWID
"""
Load = Callable[[str], "Image"]
Asked = tuple[str, Metadata]
"""The hash of a picture, and what it should show."""


class Decisions:
    """What a judge said of pictures, in an SQLite file beside the run.

    Decisions can be made again at no cost but time, so a power cut may lose the last ones; a killed process loses none.

    Raises:
        StorageError: if the file cannot be opened, read or written.
    """

    def __init__(self, path: Path, judge: Judge) -> None:
        self._path = path
        self._judge = judge
        self._lock = Lock()
        with storage_errors(path.parent, "opening the decisions"):
            self._file = sqlite3.connect(path, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.execute(_SCHEMA)

    def find(self, image: str, metadata: Metadata) -> tuple[bool, str] | None:
        """Return whether a picture is right and why not, or none when it was not judged."""
        key = (self._judge.name, _question(metadata), image)
        query = "SELECT correct, reason FROM decisions WHERE judge = ? AND question = ? AND image = ?"
        with storage_errors(self._path.parent, "reading the decisions"), self._lock:
            row = self._file.execute(query, key).fetchone()
        return None if row is None else (bool(row[0]), str(row[1]))

    def make(self, asked: Sequence[Asked], load: Load) -> None:
        """Judge the pictures that were not judged yet, and keep the decisions."""
        new = [item for item in dict.fromkeys(asked) if self.find(*item) is None]
        size = self._judge.batch_size
        for batch in (new[start : start + size] for start in range(0, len(new), size)):
            decided = self._judge.decide([(load(image), metadata) for image, metadata in batch])
            rows = [
                (self._judge.name, _question(metadata), image, int(decision.correct), decision.reason)
                for (image, metadata), decision in zip(batch, decided, strict=True)
            ]
            with storage_errors(self._path.parent, "writing the decisions"), self._lock, self._file:
                self._file.executemany("INSERT OR REPLACE INTO decisions VALUES (?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock, closing(self._file):
            pass


class JudgeThread:
    """Judges pictures in the background while others are painted. A context manager: leaving it waits for the rest.

    Args:
        decisions: Where they are kept.
        load: Reads a picture by its hash.
    """

    def __init__(self, decisions: Decisions, load: Load) -> None:
        self._decisions = decisions
        self._load = load
        self._waiting: SimpleQueue[Asked | None] = SimpleQueue()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="reflectionflow-judge", daemon=True)

    def ask(self, image: str, metadata: Metadata) -> None:
        """Have a picture judged.

        Raises:
            Exception: whatever the judge raised since.
        """
        self._raise()
        self._waiting.put((image, metadata))

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what was asked, or only for the picture in hand when the block failed."""
        if error is not None:
            self._error = self._error or error
        self._waiting.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error is not None:
                continue
            try:
                self._decisions.make([item], self._load)
            except BaseException as error:  # noqa: BLE001  raised again in the asking thread
                self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


def _question(metadata: Metadata) -> str:
    return hashlib.sha256(metadata.line().encode()).hexdigest()
