"""Notice the moment at which an event loop has nothing left to run, without a timer.

Batches are fullest when they start late, and models wait least when batches start early. The moment between the two
is the one at which every coroutine that can advance has advanced: a callback put at the end of the loop's ready queue
again and again sees that queue empty exactly then.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Sized

PATIENCE = 64
"""Passes through the ready queue after which a loop that is never idle is taken as idle, so that a coroutine that spins
cannot hold up the others."""
BLIND_PASSES = 16
"""Passes after which a loop whose ready queue cannot be seen (uvloop) is taken as idle."""


class IdleWatcher:
    """Call `action` once, at the next idle moment after `wake`.

    Args:
        loop: The running loop.
        action: Called on the loop; it may wake the watcher again.
    """

    def __init__(self, loop: AbstractEventLoop, action: Callable[[], None]) -> None:
        self._loop = loop
        self._action = action
        self._ready: Sized | None = getattr(loop, "_ready", None)
        self._waiting = False
        self._passes = 0

    def wake(self) -> None:
        """Look for the next idle moment."""
        if not self._waiting:
            self._waiting = True
            self._passes = 0
            self._loop.call_soon(self._pass)

    def _pass(self) -> None:
        self._passes += 1
        busy = self._passes < BLIND_PASSES if self._ready is None else len(self._ready) > 0
        if busy and self._passes < PATIENCE:
            self._loop.call_soon(self._pass)
            return
        self._waiting = False
        self._action()
