"""Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing when asked to be quiet.

All three consume the same stream of events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from reflectionflow.runtime.events import Event

_LINES = 10  # progress lines of a whole run where there is no terminal


class Display(Protocol):
    """A consumer of events that shows what happens."""

    def __call__(self, event: Event) -> None:
        """Take one event in."""

    def paused(self) -> AbstractContextManager[None]:
        """Leave the screen to somebody else while the block runs; may be called from any thread."""


class Tally:
    """What every kind of progress counts: pictures painted and judged, of how many, the best score, what failed."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.painted = 0
        self.judged = 0
        self.best: float | None = None
        self.failed: dict[str, set[str]] = {"reflect": set(), "refine": set()}

    def __call__(self, event: Event) -> bool:
        """Take one event in; return whether anything changed."""
        from reflectionflow.runtime import events

        match event:
            case events.Drafted() | events.Corrected():
                self.painted += 1
            case events.Failed(call="draft" | "correct"):  # it will not be judged either
                self.painted += 1
                self.judged += 1
            case events.Judged():
                self.judged += 1
                known = [score for score in (self.best, event.verdict.score) if score is not None]
                self.best = max(known, default=None)
            case events.Failed(call="judge"):
                self.judged += 1
            case events.Failed(call="reflect" | "refine"):
                self.failed[event.call].add(event.failure.id)
            case _:
                return False
        return True

    @property
    def text(self) -> str:
        """Pictures done, the best score or a dash, and how many reflections and refinements failed, if any did."""
        best = "–" if self.best is None else f"{self.best:.4f}"
        names = {"reflect": "reflections", "refine": "refinements"}
        failed = "".join(f", {len(ids)} {names[call]} failed" for call, ids in self.failed.items() if ids)
        return f"{self.painted} of {self.total} pictures painted, {self.judged} judged, best score {best}{failed}"

    @property
    def done(self) -> float:
        """The part of the work that is done, painting and judging counted alike, from 0 to 1."""
        return (self.painted + self.judged) / (2 * max(1, self.total))


class Lines:
    """At most ten plain lines in a run, none for what its journal held already."""

    def __init__(self, folder: Path, total: int) -> None:
        self._folder = folder
        self._tally = Tally(total)
        self._told = 0

    def paused(self) -> AbstractContextManager[None]:
        """Do nothing: lines stay where they are printed."""
        return nullcontext()

    def __call__(self, event: Event) -> None:
        """Print a line when another tenth of the work is done."""
        tell_news(event, self._folder, tell)
        self._tally(event)
        if _is_news(event) and int(self._tally.done * _LINES) > self._told:
            self._told = int(self._tally.done * _LINES)
            tell(self._tally.text)


class Bar:
    """A bar that moves: pictures painted and judged, best score so far, time left."""

    def __init__(self, progress: Progress, folder: Path, total: int) -> None:
        self._folder = folder
        self._tally = Tally(total)
        self._progress = progress
        self._task: TaskID = progress.add_task(self._tally.text, total=1.0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bar off the screen while the block runs."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def __call__(self, event: Event) -> None:
        """Move the bar."""
        tell_news(event, self._folder, self._progress.console.print)
        if self._tally(event):
            self._progress.update(self._task, completed=self._tally.done, description=self._tally.text)


def _is_news(event: Event) -> bool:
    """Return whether a model has just done something, as opposed to the journal answering in its place."""
    from reflectionflow.runtime import events

    return isinstance(event, events.Drafted | events.Corrected | events.Judged | events.Failed) and not event.cached


def tell_news(event: Event, folder: Path, say: Callable[[str], object]) -> None:
    """Say where the run is when it starts, and why calls are tried again, so that a slow run explains itself."""
    from reflectionflow.runtime import events

    match event:
        case events.RunStarted(journaled=0):
            say(f"Run: {folder}")
        case events.RunStarted():
            say(f"Run: {folder} (continued; calls already done: {event.journaled})")
        case events.Retrying():
            say(f"Trying {event.model} again in {event.delay:.0f} s: {event.reason}")


class Silence:
    """Shows nothing."""

    def __call__(self, event: Event) -> None:
        """Do nothing."""

    def paused(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()


@contextmanager
def shown(folder: Path, total: int) -> Iterator[Display]:
    """Show progress towards `total` pictures on stderr while the block runs; yields the consumer of events."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(folder, total)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.description},"), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, folder, total)


@contextmanager
def hidden() -> Iterator[Display]:
    """Show nothing."""
    yield Silence()


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a count of things done on a terminal, nothing elsewhere; yields what is told (done, all).

    The bar appears at the first count, so that another display may be shown before.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bars.add_task(what, total=None)

    def told(done: int, count: int) -> None:
        bars.start()
        bars.update(task, completed=done, total=count)

    try:
        yield told
    finally:
        bars.stop()
