"""What a training program tells while it runs, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

READ = "shards read"
ENCODED = "pictures encoded"
PREPARED = "pictures repainted or labelled"


@dataclass(frozen=True)
class Progress:
    """One report of a running stage: step, loss, seconds per step, seconds left; none after a step that compiled."""

    step: int
    steps: int
    loss: float
    seconds_per_step: float
    seconds_left: float | None


def _nobody(*_: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Reports:
    """Whom a training program tells what; nobody by default.

    Attributes:
        step: Told of every step.
        say: Told a sentence, such as what of the data is left out.
        count: Told (what, done, all) of what is prepared before the first step.
    """

    step: Callable[[Progress], None] = _nobody
    say: Callable[[str], None] = _nobody
    count: Callable[[str, int, int], None] = _nobody

    def counted(self, what: str) -> Callable[[int, int], None]:
        """Return what tells (done, all) of one kind of preparation."""
        return partial(self.count, what)


NOBODY = Reports()
