"""Calls waiting for a model, in lanes whose calls may share a batch.

Which batch runs next depends on what is waiting and never on when it arrived: calls are ordered by search, then by
place in the search; among the lanes of one thread the fullest batch goes first, ties by the order of its first call.
"""

from __future__ import annotations

from asyncio import Future
from bisect import insort
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from reflectionflow.runtime.calls import Answer, Call
from reflectionflow.runtime.ledger import Ledger
from reflectionflow.types import Spend

Order = tuple[int, int, int, int]
"""(search, round, slot, stage)."""


@dataclass(frozen=True)
class Outcome:
    """A finished call as a search sees it: the answer, and whether this search got it without computing it."""

    answer: Answer
    cached: bool


@dataclass(eq=False)
class Account:
    """One search as the dispatcher knows it: its index, its ledger, and its calls that are being made.

    `flying` counts those calls by (round, stage).
    """

    search: int
    ledger: Ledger
    flying: dict[tuple[int, int], int] = field(default_factory=dict)

    def take_off(self, moment: tuple[int, int]) -> None:
        """Count a call that was granted."""
        self.flying[moment] = self.flying.get(moment, 0) + 1

    def land(self, moment: tuple[int, int]) -> None:
        """Count a call that was answered or withdrawn."""
        self.flying[moment] -= 1
        if not self.flying[moment]:
            del self.flying[moment]

    def may_overtake(self, moment: tuple[int, int]) -> bool:
        """Return whether no call of an earlier round or stage is still being made."""
        return all(other >= moment for other in self.flying)


@dataclass(eq=False)
class Ask:
    """One search waiting for one call, with the future on which it waits."""

    account: Account
    call: Call
    place: tuple[int, int]
    future: Future[Outcome]
    granted: bool = False

    @property
    def moment(self) -> tuple[int, int]:
        """(round, stage) of the call."""
        return (self.place[0], self.call.kind.stage)

    @property
    def order(self) -> Order:
        """What decides who is first, whenever they arrived."""
        return (self.account.search, *self.place, self.call.kind.stage)

    def answer(self, answer: Answer, cost: Spend, *, computed: bool) -> None:
        """Settle the search's ledger and let it go on, unless it no longer waits."""
        self.account.ledger.settle(self.call.id, cost, computed=computed)
        if not self.future.done():
            self.account.land(self.moment)
            self.future.set_result(Outcome(answer, cached=not computed))


@dataclass(eq=False)
class OpenCall:
    """A call that is waiting or being made, with every ask that waits for it; identical calls share one."""

    call: Call
    asks: list[Ask]
    order: Order
    attempts: int = 0
    seconds: float = 0.0
    running: bool = False


class Lane:
    """Waiting calls of one model that may share a batch.

    Args:
        batch_size: Most calls in one batch; halved for good when memory runs out.
    """

    def __init__(self, batch_size: int) -> None:
        self.limit = max(1, batch_size)
        self._waiting: list[OpenCall] = []

    def add(self, calls: Iterable[OpenCall]) -> None:
        """Put calls in their order."""
        for call in calls:
            insort(self._waiting, call, key=lambda waiting: waiting.order)

    def remove(self, call: OpenCall) -> None:
        """Take a call out that nobody waits for any more; does nothing when it is not in the lane."""
        self._waiting = [waiting for waiting in self._waiting if waiting is not call]

    def offer(self) -> tuple[float, Order] | None:
        """Return how full the next batch would be and its first call's order, or none when nothing waits."""
        batch = self._next()
        return (len(batch) / self.limit, batch[0].order) if batch else None

    def take(self) -> list[OpenCall]:
        """Remove and return the next batch."""
        batch = self._next()
        taken = {id(call) for call in batch}
        self._waiting = [call for call in self._waiting if id(call) not in taken]
        return batch

    def _next(self) -> list[OpenCall]:
        """Return the first calls, at most one for each item id: answers are matched by it."""
        batch: dict[str, OpenCall] = {}
        for call in self._waiting:
            if len(batch) == self.limit:
                break
            batch.setdefault(call.call.request.id, call)
        return list(batch.values())


class Lanes:
    """All lanes that share one thread."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, Lane] = {}

    def of(self, call: Call) -> Lane:
        """Return the lane of a call, opening it where there is none."""
        model: Any = call.model
        key = (id(model), call.group)
        if key not in self._lanes:
            self._lanes[key] = Lane(model.batch_size)
        return self._lanes[key]

    def take(self) -> list[OpenCall]:
        """Remove and return the batch to run next, empty when nothing waits."""
        offers = [(offer, lane) for lane in self._lanes.values() if (offer := lane.offer()) is not None]
        if not offers:
            return []
        return min(offers, key=lambda item: (-item[0][0], item[0][1]))[1].take()
