"""The two ledgers of one search: what it is charged, and what was paid for it.

*Charged* counts each distinct call once, at its recorded cost, whether or not it came from the journal: what the search
would cost alone. Budgets limit this one, so a resumed search stops where the uninterrupted one does. *Paid* counts what
this process really computed.

A call's price is reserved before it is made and settled afterwards, so that calls made at the same time never overspend
together. Tokens and seconds are not known beforehand: the call that reaches their limit is the last to be granted.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

from reflectionflow.types import Budget, Spend

PRICED = ("images", "denoiser_evaluations", "verifier_calls", "reflector_calls", "refiner_calls")
"""Fields whose price is known before the call."""


class BudgetExhausted(Exception):
    """A call was not granted because the budget is used up.

    Control flow of a search, not an error: the runtime turns it into `StopReason.BUDGET`.
    """


class Ledger:
    """Charged and paid spend of one search under one budget."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._paid: dict[str, Spend] = {}
        self._settled: dict[str, Spend] = {}
        self._reserved: dict[str, tuple[Spend, int]] = {}
        self._charged = Spend()
        self._held = Spend()

    @property
    def charged(self) -> Spend:
        """What the finished calls cost, and the price of those still being made."""
        return replace(self._charged + self._held, seconds=_seconds(self._settled))

    @property
    def paid(self) -> Spend:
        """What this process computed for this search."""
        return replace(sum(self._paid.values(), Spend()), seconds=_seconds(self._paid))

    def is_free(self, call: str) -> bool:
        """Return whether this search has already asked the same call, and so pays nothing for asking again."""
        return call in self._settled or call in self._reserved

    def is_limited(self, price: Spend) -> bool:
        """Return whether a call of this price draws on something the budget limits, apart from seconds."""
        draws = any(getattr(price, name) and getattr(self.budget, name) is not None for name in PRICED)
        return draws or self.budget.tokens is not None

    def reserve(self, call: str, price: Spend) -> bool:
        """Set a call's price aside; return False, and set nothing aside, when the budget does not allow it."""
        if call in self._settled:
            return True
        if call in self._reserved:
            held, times = self._reserved[call]
            self._reserved[call] = (held, times + 1)
            return True
        if not self._affords(price):
            return False
        self._reserved[call] = (price, 1)
        self._held += price
        return True

    def affordable(self, price: Spend, most: int) -> int:
        """Return how many calls of this price, at most `most`, the limits known beforehand still allow."""
        spent = self._charged + self._held
        for name in PRICED:
            limit, each = getattr(self.budget, name), getattr(price, name)
            if limit is not None and each:
                most = min(most, (limit - getattr(spent, name)) // each)
        return max(0, most)

    def release(self, call: str) -> None:
        """Give back the reservation of a call that was withdrawn before it was made."""
        if call not in self._reserved:
            return
        price, times = self._reserved[call]
        if times > 1:
            self._reserved[call] = (price, times - 1)
            return
        del self._reserved[call]
        self._held = _minus(self._held, price)

    def settle(self, call: str, cost: Spend, *, computed: bool) -> None:
        """Replace a reservation by what the call has cost; `computed` when this process made it for this search."""
        if call in self._settled:
            return
        price, _ = self._reserved.pop(call, (Spend(), 0))
        self._held = _minus(self._held, price)
        self._settled[call] = cost
        self._charged += cost
        if computed:
            self._paid[call] = cost

    def _affords(self, price: Spend) -> bool:
        spent = self._charged + self._held
        for name in PRICED:
            limit = getattr(self.budget, name)
            if limit is not None and getattr(price, name) and getattr(spent, name) + getattr(price, name) > limit:
                return False
        for name in ("tokens", "seconds"):
            limit = getattr(self.budget, name)
            if limit is not None and getattr(spent, name) >= limit:
                return False
        return True


def _seconds(costs: dict[str, Spend]) -> float:
    """Return the sum of the seconds, the same to the last bit in whatever order the calls finished."""
    return math.fsum(cost.seconds for cost in costs.values())


def _minus(left: Spend, right: Spend) -> Spend:
    return Spend(*(getattr(left, f.name) - getattr(right, f.name) for f in fields(Spend)))
