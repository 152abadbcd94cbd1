"""One writer per run: an operating-system lock that a killed process cannot leave behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from reflectionflow.errors import RunMismatchError
from reflectionflow.runs.storage import storage_errors


class RunLock:
    """The lock of one run directory, taken on construction and held until `release`.

    Args:
        run: The run directory; it must exist.

    Raises:
        RunMismatchError: if another process, or another part of this one, is writing the run.
        StorageError: if the lock file cannot be made.
    """

    def __init__(self, run: Path) -> None:
        self._lock = FileLock(run / "run.lock", timeout=0, thread_local=False)
        self._process = run / "run.pid"
        with storage_errors(run, "locking the run"):
            try:
                self._lock.acquire()
            except Timeout:
                raise RunMismatchError(
                    f"run {run} is being written by process {_holder(self._process)}; wait for it, stop it, or choose "
                    "another directory (reading the run is possible meanwhile)."
                ) from None
            try:
                self._process.write_text(f"{os.getpid()}\n", encoding="ascii")
            except BaseException:
                self._lock.release()
                raise

    def release(self) -> None:
        """Let another process write the run; releasing twice does nothing."""
        self._lock.release()

    def __enter__(self) -> Self:
        """Return the lock, which is already held."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Release the lock."""
        self.release()


def _holder(path: Path) -> str:
    """Return the number of the process that holds the lock, `?` while it has not written it yet."""
    try:
        return path.read_text(encoding="ascii").strip() or "?"
    except FileNotFoundError:
        return "?"
