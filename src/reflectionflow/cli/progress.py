"""Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing when asked to be quiet.

All three consume the same stream of events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from reflectionflow.runtime.events import Event

Consumer = Callable[["Event"], None]
_LINES = 10  # progress lines of a whole run where there is no terminal


class Tally:
    """What every kind of progress counts: pictures done, of how many, and the best score so far."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.best: float | None = None

    def __call__(self, event: Event) -> bool:
        """Take one event in; return whether anything changed."""
        from reflectionflow.runtime import events

        match event:
            case events.Drafted() | events.Corrected():
                self.done += 1
            case events.Failed(call="draft" | "correct"):
                self.done += 1
            case events.Selected():
                self.best = event.score if self.best is None else max(self.best, event.score)
            case _:
                return False
        return True

    @property
    def best_text(self) -> str:
        """The best score, or a dash."""
        return "–" if self.best is None else f"{self.best:.4f}"


class Lines:
    """At most ten plain lines in a run, and one for each repeated call."""

    def __init__(self, total: int) -> None:
        self._tally = Tally(total)
        self._told = 0

    def __call__(self, event: Event) -> None:
        """Print a line when another tenth of the pictures is done."""
        tell_retry(event, tell)
        changed = self._tally(event)
        tenths = self._tally.done * _LINES // max(1, self._tally.total)
        if changed and tenths > self._told:
            self._told = tenths
            tell(f"{self._tally.done} of {self._tally.total} pictures painted, best score {self._tally.best_text}")


class Bar:
    """A bar that moves: pictures done and wanted, best score so far, time left."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._tally = Tally(total)
        self._progress = progress
        self._task: TaskID = progress.add_task("Painting", total=total, best="–")

    def __call__(self, event: Event) -> None:
        """Move the bar."""
        tell_retry(event, self._progress.console.print)
        if self._tally(event):
            self._progress.update(self._task, completed=self._tally.done, best=self._tally.best_text)


def tell_retry(event: Event, say: Callable[[str], object]) -> None:
    """Say why calls are tried again, so that a slow run explains itself."""
    from reflectionflow.runtime.events import Retrying

    if isinstance(event, Retrying):
        say(f"Trying {event.model} again in {event.delay:.0f} s: {event.reason}")


def _silent(event: Event) -> None:
    return None


@contextmanager
def shown(total: int) -> Iterator[Consumer]:
    """Show progress towards `total` pictures on stderr while the block runs; yields the consumer of events."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(total)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("pictures · best score {task.fields[best]} ·"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, total)


@contextmanager
def hidden() -> Iterator[Consumer]:
    """Show nothing."""
    yield _silent
