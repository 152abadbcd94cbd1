"""What every method spends at every budget, counted by the runtime itself.

A search at a smaller budget is the beginning of the one that was run, but its steps do not tell every call: a reflector
may be asked about pictures that are only ranked by what it says. So the search is replayed with the smaller budget: the
run's journal answers its calls at no cost, and the replay's ledger says what they cost when they were made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reflectionflow.evaluation.planning import Plan, Trial
from reflectionflow.runs import RunDirectory
from reflectionflow.runs.journal import ResultRow, Row
from reflectionflow.runtime import Patience, drain_searches
from reflectionflow.types import Budget, Spend

Spent = Mapping[tuple[str, int], Spend]
"""What a search is charged, by its id and the budget."""


def spending(plan: Plan, run: RunDirectory, at_once: int, patience: Patience) -> dict[tuple[str, int], Spend]:
    """Return what each search of a plan is charged at each budget that is read from it.

    Args:
        plan: The evaluation, whose searches the run holds.
        run: Its run.
        at_once: Searches in flight.
        patience: How long to wait for what the run does not hold.

    Raises:
        ModelError: if a model that has to be asked failed for good.
        StorageError: if the run cannot be read.
    """
    found: dict[tuple[str, int], Spend] = {}
    for budget in plan.budgets:
        smaller = [trial for trial in plan.trials if budget in trial.budgets[:-1]]
        replay = _Replay(run)
        if smaller:
            drain_searches(_at(budget, smaller), plan.models, replay, at_once=at_once, patience=patience)
        found |= {(search, budget): spend for search, spend in replay.charged.items()}
    for trial in plan.trials:
        row = run.journal.result(trial.search.id)
        assert row is not None, "the evaluation was carried out"
        found[trial.search.id, trial.budgets[-1]] = Spend(**row.result["charged"])
    return found


def _at(budget: int, trials: Sequence[Trial]) -> list[Any]:
    return [trial.search.with_budget(Budget(images=budget)) for trial in trials]


class _Replay(RunDirectory):
    """An open run whose searches are run again: calls are found in it, but neither events nor results go into it.

    What failed in passing fails again, because the search went on without it.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.path, self.header, self.spec = run.path, run.header, run.spec
        self.journal, self.images = run.journal, run.images
        self.charged: dict[str, Spend] = {}

    def answer(self, call: str) -> Row | None:
        """Return the journaled call with this id, or its failure."""
        return self.journal.find(call) or self.journal.gave_up(call)

    def record_event(self, event: Mapping[str, Any]) -> None:
        """Pass the event over."""

    def store_result(self, result: ResultRow) -> None:
        """Keep what the search is charged."""
        self.charged[result.id] = Spend(**result.result["charged"])

    def close(self) -> None:
        """Leave the run open: it belongs to who opened it."""
