"""Other verifiers pick from the pictures that one method painted (the paper's Figure 4, left).

A replay tells the runtime the recorded pictures again, which the run's journal answers without painting, and asks the
other verifier about each. So these judgements are batched, journaled and resumed like any others, and made once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.paper.named import Named, named
from reflectionflow.evaluation.paper.replaying import Say, again, decisions_on, recorded
from reflectionflow.evaluation.planning import Plan, Trial
from reflectionflow.evaluation.results import Results, Row
from reflectionflow.evaluation.running import AT_ONCE, Consumer, within
from reflectionflow.ranking import best
from reflectionflow.roles import Role
from reflectionflow.runs import RunDirectory, RunReader
from reflectionflow.runtime import Patience, Search, Strategy, Task, Tools, drain_searches
from reflectionflow.types import StopReason


def pickers(names: Sequence[str], planned: Plan) -> tuple[Named, ...]:
    """Return verifiers by name: registered models with their usual options, or stack files, whose verifier is meant.

    Raises:
        MisuseError: if one is unknown, judges nothing, lacks something on this machine, is named twice, searched
            itself, or is related to the judge although no oracle is asked for; all reasons at once.
    """
    found, problems = named("--pick-by", names, Role.VERIFIER, planned)
    if not planned.asked.oracle:
        problems += [
            f"--pick-by {picker.name}: {picker.related[0]} Leave it out, or pass --oracle to have its row say so."
            for picker in found
            if picker.related and picker.model.name != planned.models.verifier.name
        ]
    if problems:
        raise MisuseError("\n".join(problems))
    return found


Picks = Mapping[str, np.ndarray]
"""Whether the pick is right, by picker, [prompts, seeds, budgets]."""


def picked(
    planned: Plan,
    results: Results,
    method: str,
    by: Sequence[Named],
    run: Path,
    on_event: Consumer,
    say: Say,
    patience: Patience,
) -> Picks:
    """Return what other verifiers would have picked from a method's pictures, asking them what they were not asked yet.

    Args:
        planned: The evaluation, carried out.
        results: Its outcomes.
        method: The name of a nested method.
        by: The verifiers.
        run: The run directory.
        on_event: Called with every event.
        say: Told what begins.
        patience: How often to try again, and how long to wait.

    Raises:
        ModelError: if a verifier failed for good.
        StorageError: if the run cannot be read or written.
    """
    trials = [trial for trial in planned.trials if trial.method.name == method]
    rows = {(row.prompt, row.seed): row for row in results.rows if row.method == method}
    found = {}
    with RunDirectory.reopen(run) as directory:
        for picker in by:
            replays = {(trial.prompt, trial.seed): _replay(trial, picker, directory) for trial in trials}
            say(f"{picker.name} picks from the pictures of {method}: {len(trials)} searches.")
            models = replace(planned.models, verifier=picker.model)
            drain_searches(list(replays.values()), models, directory, on_event, at_once=AT_ONCE, patience=patience)
            found[picker.name] = _outcomes(planned, trials, replays, rows, directory)
    return found


def _replay(trial: Trial, picker: Named, run: RunReader) -> Search:
    """Return the search that shows a trial's pictures to another verifier."""
    steps = [step for step in recorded(run, trial.search.id).steps if step.candidate is not None]

    async def replay(task: Task, tools: Tools) -> StopReason:
        for step in steps:
            await again(step, steps, tools)
        await tools.gather(*(tools.judge(step.candidate) for step in steps if step.candidate is not None))
        return StopReason.COMPLETE

    options = (("of", trial.search.id), ("verifier", picker.model.name))
    strategy = Strategy("replay", replay, nested=True, needs=trial.method.strategy.needs, options=options)
    return Search(trial.search.task, strategy, f"{trial.method.name}, picked by {picker.name}")


def _outcomes(
    planned: Plan,
    trials: Sequence[Trial],
    replays: Mapping[tuple[int, int], Search],
    rows: Mapping[tuple[int, int], Row],
    run: RunReader,
) -> np.ndarray:
    seeds = planned.asked.seeds
    right = np.zeros((len(planned.asked.benchmark.items), seeds, len(planned.budgets)))
    for trial in trials:
        key = trial.prompt, trial.seed
        original, replayed = (recorded(run, search.id) for search in (trial.search, replays[key]))
        correct = decisions_on(rows[key], original)
        for place, budget in enumerate(planned.budgets):
            allowed = {step.candidate.id for step in within(original.steps, budget) if step.candidate}
            pick = best(step for step in replayed.steps if step.candidate is not None and step.candidate.id in allowed)
            known = pick is not None and pick.candidate is not None and correct[pick.candidate.id]
            right[trial.prompt, trial.seed - planned.asked.first_seed, place] = known
    return right
