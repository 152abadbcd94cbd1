"""Progress of an evaluation on stderr: pictures done of all its searches, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from reflectionflow.evaluation.planning import Plan
    from reflectionflow.runtime.events import Event

Consumer = Callable[["Event"], None]
_LINES = 20  # progress lines of a whole evaluation where there is no terminal


class Tally:
    """Counts pictures, and estimates the time left from those since the first that a model really painted.

    Args:
        searches: Searches of the evaluation.
        planned: Pictures of all of them together.
        clock: Returns seconds.
    """

    def __init__(self, searches: int, planned: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.planned = planned
        self.painted = 0
        self._searches = searches
        self._clock = clock
        self._began = 0.0
        self._since = 0

    def __call__(self, event: Event) -> bool:
        """Take one event in; return whether it ends the painting of a picture."""
        from reflectionflow.runtime import events

        match event:
            case events.RunStarted():  # the other searches were finished before
                self.painted = self.planned * (self._searches - event.searches) // self._searches
                self._began = self._clock()
                return False
            case events.Drafted() | events.Corrected() | events.Failed(call="draft" | "correct"):
                self.painted += 1
                self._since += bool(self._since or not event.cached)
                return True
            case _:
                return False

    @property
    def left(self) -> float | None:
        """Estimated seconds left; none before the first picture."""
        if not self._since:
            return None
        return (self._clock() - self._began) / self._since * max(0, self.planned - self.painted)

    @property
    def text(self) -> str:
        """Pictures done and the time left."""
        share = f"{self.painted:,} of at most {self.planned:,} pictures"
        return share if self.left is None else f"{share}, about {spoken(self.left)} left"


def spoken(seconds: float) -> str:
    """Return a duration in words: `50 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def shown(plan: Plan) -> Iterator[Consumer]:
    """Show progress while the block runs; yields the consumer of events."""
    tally = Tally(len(plan.trials), sum(trial.search.task.budget.images or 0 for trial in plan.trials))
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(tally)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(BarColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        bar = progress.add_task(tally.text, total=tally.planned)

        def move(event: Event) -> None:
            _tell_retry(event, progress.console.print)
            if tally(event):
                progress.update(bar, completed=tally.painted, description=tally.text)

        yield move


def _lines(tally: Tally) -> Consumer:
    """Return a consumer that prints a line for each twentieth of the work."""
    told = 0

    def speak(event: Event) -> None:
        nonlocal told
        _tell_retry(event, tell)
        if tally(event) and (done := tally.painted * _LINES // tally.planned) > told:
            told = done
            tell(tally.text)

    return speak


def _tell_retry(event: Event, say: Callable[[str], object]) -> None:
    from reflectionflow.runtime.events import Retrying

    if isinstance(event, Retrying):
        say(f"Trying {event.model} again in {event.delay:.0f} s: {event.reason}")


@contextmanager
def hidden() -> Iterator[Consumer]:
    """Show nothing."""
    yield lambda event: None
