"""Progress of an evaluation on stderr: pictures done of all its searches, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from rich.progress import Progress

    from reflectionflow.evaluation.planning import Plan
    from reflectionflow.runtime.events import Event

_LINES = 20  # progress lines of a whole evaluation, or of one of its later parts, where there is no terminal


class Tally:
    """Counts pictures, and estimates the time left from those since the first that a model really painted.

    Of what comes after the evaluation itself it counts searches, whatever they call.

    Args:
        searches: Searches of the evaluation.
        planned: Pictures of all of them together.
        clock: Returns seconds.
    """

    def __init__(self, searches: int, planned: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.planned = planned
        self.done = 0
        self._searches = searches
        self._clock = clock
        self._began = 0.0
        self._since = 0
        self._later = False

    def begin_part(self) -> None:
        """Count what follows for itself: the evaluation is done."""
        self._later, self.planned, self.done, self._since = True, 0, 0, 0

    def __call__(self, event: Event) -> bool:
        """Take one event in; return whether more is done than before."""
        from reflectionflow.runtime import events

        match event:
            case events.RunStarted():  # the other searches were finished before
                if self._later:
                    self.planned, self.done = event.searches, 0
                else:
                    self.done = self.planned * (self._searches - event.searches) // self._searches
                self._began, self._since = self._clock(), 0
                return False
            case events.Stopped() if self._later:
                return self._one_more(new=True)
            case events.Drafted() | events.Corrected() | events.Failed(call="draft" | "correct") if not self._later:
                return self._one_more(new=not event.cached)
            case _:
                return False

    def _one_more(self, *, new: bool) -> bool:
        self.done += 1
        self._since += bool(self._since or new)
        return True

    @property
    def left(self) -> float | None:
        """Estimated seconds left; none before the first picture or search."""
        if not self._since:
            return None
        return (self._clock() - self._began) / self._since * max(0, self.planned - self.done)

    @property
    def text(self) -> str:
        """What is done, and the time left."""
        what = f"{self.planned:,} searches" if self._later else f"at most {self.planned:,} pictures"
        share = f"{self.done:,} of {what}"
        return share if self.left is None else f"{share}, about {spoken(self.left)} left"


def spoken(seconds: float) -> str:
    """Return a duration in words: `50 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Display:
    """Takes events, and is told when a later part begins; shows nothing by itself."""

    def __call__(self, event: Event) -> None:
        """Take one event in."""

    def begin_part(self, sentence: str) -> None:
        """Say what begins after the evaluation itself."""


class _Lines(Display):
    """Prints a line for each twentieth of the work."""

    def __init__(self, tally: Tally) -> None:
        self._tally, self._told = tally, 0

    def __call__(self, event: Event) -> None:
        _tell_retry(event, tell)
        if self._tally(event) and (done := self._tally.done * _LINES // self._tally.planned) > self._told:
            self._told = done
            tell(self._tally.text)

    def begin_part(self, sentence: str) -> None:
        self._tally.begin_part()
        self._told = 0
        tell(sentence)


class _Bar(Display):
    """Moves a bar on a terminal."""

    def __init__(self, tally: Tally, progress: Progress) -> None:
        self._tally, self._progress = tally, progress
        self._bar = progress.add_task(tally.text, total=tally.planned)

    def __call__(self, event: Event) -> None:
        _tell_retry(event, self._progress.console.print)
        if self._tally(event):
            self._move()

    def begin_part(self, sentence: str) -> None:
        self._tally.begin_part()
        self._progress.console.print(sentence)

    def _move(self) -> None:
        tally = self._tally
        self._progress.update(self._bar, total=tally.planned, completed=tally.done, description=tally.text)


@contextmanager
def shown(plan: Plan) -> Iterator[Display]:
    """Show progress while the block runs; yields what takes the events."""
    tally = Tally(len(plan.trials), sum(trial.search.task.budget.images or 0 for trial in plan.trials))
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(tally)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(BarColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        yield _Bar(tally, progress)


def _tell_retry(event: Event, say: Callable[[str], object]) -> None:
    from reflectionflow.runtime.events import Retrying

    if isinstance(event, Retrying):
        say(f"Trying {event.model} again in {event.delay:.0f} s: {event.reason}")


@contextmanager
def hidden() -> Iterator[Display]:
    """Show nothing."""
    yield Display()
