"""What was judged so far, beside the result file: a killed scoring continues where it was.

One JSON object a line: first who judges, then for each picture the hash of its bytes and its record. A last line that
was cut off when the process died is dropped.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from reflectionflow.errors import MisuseError, StorageError
from reflectionflow.geneval import ResultRecord


class Journal:
    """The journal of one result file, held by one process; a context manager.

    Args:
        results: The result file; the journal lies beside it with `.journal` after its name.
        judge: The judge's name.

    Raises:
        MisuseError: if another judge wrote it, another process is writing it, it is no journal, or there is a result
            file without one.
        StorageError: if it cannot be written.
    """

    def __init__(self, results: Path, judge: str) -> None:
        if results.is_dir():
            raise MisuseError(f"{results} is a folder; name a file for the results with --out")
        self.path = journal_of(results)
        self._records: dict[tuple[str, str], ResultRecord] = {}
        if results.exists() and not self.path.exists():
            raise MisuseError(f"{results} is there already and was not begun by this program; choose another --out")
        try:
            results.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=0)
            self._lock.acquire()
        except Timeout:
            raise MisuseError(f"{results} is being written by another process; wait for it, or choose --out") from None
        except OSError as error:
            raise StorageError(f"{results} cannot be written ({error}); choose another --out.") from error
        try:
            whole = self._read(judge)
            self._file = self.path.open("ab")
            self._file.truncate(whole)
            if whole == 0:
                self._append({"judge": judge})
        except OSError as error:
            self._lock.release()
            raise StorageError(f"{self.path} cannot be written ({error}); choose another --out.") from error
        except BaseException:
            self._lock.release()
            raise

    def find(self, key: str, digest: str, metadata: str) -> ResultRecord | None:
        """Return the record of a picture, if it was judged with these bytes and this prompt."""
        record = self._records.get((key, digest))
        return record if record is not None and record.metadata == metadata else None

    def add(self, key: str, digest: str, record: ResultRecord) -> None:
        """Write down a judged picture; it is with the operating system when this returns.

        Raises:
            StorageError: if the disk is full.
        """
        self._records[key, digest] = record
        self._append({"picture": key, "sha256": digest, "record": dataclasses.asdict(record)})

    def __enter__(self) -> Self:
        """Return the journal, which is already held."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let another process write it."""
        self._file.close()
        self._lock.release()

    def _read(self, judge: str) -> int:
        """Take all whole lines in; return how many bytes they have."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.splitlines()
        try:
            wrote = json.loads(lines[0])["judge"] if lines else judge
            for line in lines[1:]:
                entry = json.loads(line)
                self._records[entry["picture"], entry["sha256"]] = ResultRecord(**entry["record"])
        except (ValueError, KeyError, TypeError) as error:
            raise MisuseError(f"{self.path} is damaged ({error!r}); delete it, or choose another --out") from None
        if wrote != judge:
            raise MisuseError(f"{self.path} was written by the judge {wrote}, not by {judge}; choose another --out")
        return len(whole)

    def _append(self, entry: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written ({error}); free some space and go on.") from error


def journal_of(results: Path) -> Path:
    """Return where the journal of a result file lies."""
    return results.with_name(f"{results.name}.journal")
