"""A method of the evaluation once more with another model in one role: its searches go into the same run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from reflectionflow.evaluation.judging import Decisions
from reflectionflow.evaluation.planning import Plan
from reflectionflow.evaluation.running import DECISIONS, RUN, Consumer, played
from reflectionflow.roles import Stack
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Patience


def substituted(planned: Plan, method: str, models: Stack, label: str) -> Plan:
    """Return the plan of one method alone, played by other models.

    Args:
        planned: The evaluation.
        method: Name of a nested method.
        models: Who plays instead.
        label: Tells these searches apart; it names the model that is another.
    """
    trials = tuple(
        replace(trial, search=replace(trial.search, label=label))
        for trial in planned.trials
        if trial.method.name == method
    )
    return replace(planned, models=models, trials=trials)


def correct_picks(other: Plan, folder: Path, on_event: Consumer, patience: Patience) -> np.ndarray:
    """Return whether the picks of such a plan are right, painting what is not there yet.

    Args:
        other: From `substituted`.
        folder: The directory of the evaluation, which was carried out.
        on_event: Called with every event.
        patience: How often to try again, and how long to wait.

    Returns:
        0 or 1, [prompts, seeds, budgets].

    Raises:
        ModelError: if a model failed for good.
        StorageError: if something cannot be read or written.
    """
    with RunDirectory.reopen(folder / RUN) as run:
        decisions = Decisions(folder / DECISIONS, other.judge)
        try:
            rows = played(other, run, decisions, on_event, patience)
        finally:
            decisions.close()
    right = np.zeros((len(other.asked.benchmark.items), other.asked.seeds, len(other.budgets)))
    for row in rows:
        right[row.prompt, row.seed - other.asked.first_seed] = [item.correct for item in row.outcomes]
    return right
