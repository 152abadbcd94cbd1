"""Slow models without a clock: calls that end in an order drawn at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from threading import Condition, Thread
from typing import Any


class Conductor:
    """Makes models slow without a clock: each call blocks until a thread, in an order drawn at random, lets it go."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.changed = Condition()
        self.blocked: list[object] = []
        self.ended = False
        self.thread = Thread(target=self._conduct, daemon=True)
        self.thread.start()

    def __call__(self, requests: Sequence[Any]) -> None:
        ticket = object()
        with self.changed:
            self.blocked.append(ticket)
            self.changed.notify_all()
            self.changed.wait_for(lambda: ticket not in self.blocked)

    def _conduct(self) -> None:
        with self.changed:
            while True:
                self.changed.wait_for(lambda: self.blocked or self.ended)
                if self.ended:
                    return
                self.blocked.pop(self.draw.randrange(len(self.blocked)))
                self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        self.thread.join()
