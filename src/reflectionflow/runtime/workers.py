"""Threads on which models and the journal run, beside the event loop.

The threads are daemons of their own and no executor's, because an executor joins its threads when the interpreter ends:
Ctrl-C would wait for a model call of minutes, or for a person who never answers.
"""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Report(Generic[T]):
    """How a job ended: its value or its error, and how long it took in seconds."""

    value: T | None
    error: BaseException | None
    seconds: float


class WorkerThread:
    """One thread that does one job after the other and reports each on the event loop.

    Args:
        name: Name of the thread.
        loop: Where the reports are delivered.
    """

    def __init__(self, name: str, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=f"reflectionflow-{name}", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T], done: Callable[[Report[T]], None]) -> None:
        """Run `job` on the thread after those before it; call `done` on the loop with its report."""
        self._jobs.put(lambda: self._run(job, done))

    def stop(self) -> None:
        """Let the thread end after the jobs it has; does not wait for it."""
        self._jobs.put(None)

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _run(self, job: Callable[[], T], done: Callable[[Report[T]], None]) -> None:
        start = time.perf_counter()
        try:
            report: Report[T] = Report(job(), None, time.perf_counter() - start)
        except BaseException as error:  # noqa: BLE001  it is raised again by whoever receives the report
            report = Report(None, error, time.perf_counter() - start)
        try:
            self._loop.call_soon_threadsafe(done, report)
        except RuntimeError:
            return  # the loop was closed while the job ran: nobody is left to hear of it
