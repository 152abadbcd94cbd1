"""Run three searches in a process of its own, which may be told to die by SIGKILL.

    python -m tests.support.driver RUN LOG RESULT [event|rename|open COUNT]

The process kills itself at the COUNT-th event, or just before the COUNT-th renaming or opening of a picture file, so
that it also dies between a picture and its journal row. The painter appends every recipe it is asked for to LOG; the
results are written to RESULT.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from itertools import count
from pathlib import Path

from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Event, run_searches
from reflectionflow.search.reflection import REFLECTION
from tests.support.running import QUICK, SPEC, search, story
from tests.support.strategies import CHAINS_STRATEGY
from tests.support.world import Painter, stack

SEARCHES = [
    search("a red star", CHAINS_STRATEGY, images=9),
    search("a blue moon", images=5),
    search("a green fish", REFLECTION.configured(), images=10),
]


class Reaper:
    """Kills this process when it has been called often enough."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.calls = count(1)

    def __call__(self) -> None:
        if next(self.calls) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def main(run_path: str, log: str, result: str, what: str = "never", at: str = "0") -> None:
    reaper = Reaper(int(at))

    def watch(audited: str, arguments: tuple[object, ...]) -> None:
        if audited == {"rename": "os.rename", "open": "open"}.get(what) and ".png" in str(arguments[0]):
            reaper()

    def consume(event: Event) -> None:
        if what == "event":
            reaper()

    sys.addaudithook(watch)
    painter = Painter(log=Path(log), batch_size=3)
    with RunDirectory.open(run_path, SPEC) as run:
        results = run_searches(SEARCHES, stack(generator=painter, corrector=painter), run, consume, patience=QUICK)
        best = [run.image_path(found.best.candidate.image).read_bytes().hex() for found in results]
    Path(result).write_text(json.dumps({"results": [story(found) for found in results], "best": best}))


if __name__ == "__main__":
    main(*sys.argv[1:])
