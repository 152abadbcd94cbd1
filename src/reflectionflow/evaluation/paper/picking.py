"""Other verifiers pick from the pictures that one method painted (the paper's Figure 4, left).

A replay tells the runtime the recorded pictures again, which the run's journal answers without painting, and asks the
other verifier about each. So these judgements are batched, journaled and resumed like any others, and made once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reflectionflow import stack
from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.judges import objections
from reflectionflow.evaluation.planning import Plan, Trial
from reflectionflow.evaluation.results import Results
from reflectionflow.evaluation.running import AT_ONCE, Consumer, distinct, within
from reflectionflow.plugins import ModelOptions
from reflectionflow.ranking import best
from reflectionflow.roles import Role, Verifier
from reflectionflow.runs import RunDirectory, RunReader
from reflectionflow.runtime import Event, Patience, Search, Strategy, Task, Tools, drain_searches
from reflectionflow.runtime.events import Corrected, Drafted, RunStarted
from reflectionflow.types import RefinedPrompt, Step, StopReason


@dataclass(frozen=True)
class Picker:
    """A verifier that picks after the search.

    Attributes:
        name: As the user named it.
        verifier: The model.
        related: Why it is not independent of the judge; empty when it is.
    """

    name: str
    verifier: Verifier
    related: tuple[str, ...] = ()


def pickers(names: Sequence[str], planned: Plan) -> tuple[Picker, ...]:
    """Return verifiers by name: registered models with their usual options, or stack files, whose verifier is meant.

    Raises:
        MisuseError: if one is unknown, judges nothing, lacks something on this machine, is named twice, searched
            itself, or is related to the judge although no oracle is asked for; all reasons at once.
    """
    problems = [f"--pick-by names {name} twice; name it once." for name in sorted(set(names)) if names.count(name) > 1]
    found = []
    for name in dict.fromkeys(names):
        try:
            verifier = _verifier(name)
        except MisuseError as error:
            problems.append(f"--pick-by {name}: {error}")
            continue
        related = tuple(objections(planned.judge, verifier))
        if verifier.name == planned.models.verifier.name:
            problems.append(f"--pick-by {name}: it is the verifier of the search, which is there anyhow; leave it out.")
        elif related and not planned.asked.oracle:
            problems.append(f"--pick-by {name}: {related[0]} Leave it out, or pass --oracle to have its row say so.")
        found.append(Picker(name, verifier, related))
    if problems:
        raise MisuseError("\n".join(problems))
    return tuple(found)


def _verifier(name: str) -> Verifier:
    if name.endswith(".toml"):
        loaded: Verifier = stack.load(name).verifier
        return loaded
    spec = stack.find_model(name)
    if Role.VERIFIER not in spec.roles:
        raise MisuseError(f"it plays {', '.join(role.value for role in spec.roles)}, not verifier.")
    options = _usual(name, spec.options)
    missing = list(spec.needs(options))
    if missing:
        raise MisuseError(" ".join(missing))
    verifier: Verifier = spec.load(options)
    return verifier


def _usual(name: str, options: type[ModelOptions]) -> ModelOptions:
    try:
        return options.model_validate({})
    except ValueError as error:
        raise MisuseError(
            f"{name} needs options ({error}); write them into a stack file and name that file instead."
        ) from error


Picks = Mapping[str, np.ndarray]
"""Whether the pick is right, by picker, [prompts, seeds, budgets]."""


def picked(
    planned: Plan,
    results: Results,
    method: str,
    by: Sequence[Picker],
    run: Path,
    on_event: Consumer,
    patience: Patience,
) -> Picks:
    """Return what other verifiers would have picked from a method's pictures, asking them what they were not asked yet.

    Args:
        planned: The evaluation, carried out.
        results: Its outcomes.
        method: The name of a nested method.
        by: The verifiers.
        run: The run directory.
        on_event: Called with every event but those of pictures.
        patience: How often to try again, and how long to wait.

    Raises:
        ModelError: if a verifier failed for good.
        StorageError: if the run cannot be read or written.
    """
    trials = [trial for trial in planned.trials if trial.method.name == method]
    bits = {(row.prompt, row.seed): row.correct for row in results.rows if row.method == method}
    found = {}
    with RunDirectory.read(run) as known:
        spec = known.spec

    def consume(event: Event) -> None:
        if not isinstance(event, RunStarted | Drafted | Corrected):  # nothing is painted, so no progress of painting
            on_event(event)

    with RunDirectory.open(run, spec) as directory:
        for picker in by:
            replays = {(trial.prompt, trial.seed): _replay(trial, picker, directory) for trial in trials}
            models = replace(planned.models, verifier=picker.verifier)
            drain_searches(list(replays.values()), models, directory, consume, at_once=AT_ONCE, patience=patience)
            found[picker.name] = _outcomes(planned, trials, replays, bits, directory)
    return found


def _replay(trial: Trial, picker: Picker, run: RunReader) -> Search:
    """Return the search that shows a trial's pictures to another verifier."""
    stored = run.result(trial.search.id)
    assert stored is not None, "the evaluation was carried out"
    steps = [step for step in stored.result.steps if step.candidate is not None]

    async def replay(task: Task, tools: Tools) -> StopReason:
        for step in steps:
            await _again(step, steps, tools)
        await tools.gather(*(tools.judge(step.candidate) for step in steps if step.candidate is not None))
        return StopReason.COMPLETE

    options = (("of", trial.search.id), ("verifier", picker.verifier.name))
    strategy = Strategy("replay", replay, nested=True, needs=trial.method.strategy.needs, options=options)
    return Search(trial.search.task, strategy, f"{trial.method.name}, picked by {picker.name}")


async def _again(step: Step, steps: Sequence[Step], tools: Tools) -> None:
    """Have a recorded picture back in its place; the journal holds it, so nothing is painted."""
    assert step.candidate is not None
    recipe = step.candidate.recipe
    prompt: str | RefinedPrompt = recipe.prompt if step.refined is None else step.refined
    if recipe.parent is None:
        same = await tools.draft(prompt, recipe.seed, step.place)
    else:
        known = {other.candidate.id: other.candidate for other in steps if other.candidate is not None}
        same = await tools.correct(known[recipe.parent], step.reflection, prompt, recipe.seed, step.place)
    assert same == step.candidate, "a recorded picture is that of its recipe"


def _outcomes(
    planned: Plan,
    trials: Sequence[Trial],
    replays: Mapping[tuple[int, int], Search],
    bits: Mapping[tuple[int, int], str],
    run: RunReader,
) -> np.ndarray:
    seeds = planned.asked.seeds
    right = np.zeros((len(planned.asked.benchmark.items), seeds, len(planned.budgets)))
    for trial in trials:
        key = trial.prompt, trial.seed
        original, replayed = (_steps(run, search) for search in (trial.search, replays[key]))
        painted = [step.candidate.id for step in distinct(original) if step.candidate]
        correct = dict(zip(painted, bits[key], strict=True))
        for place, budget in enumerate(planned.budgets):
            allowed = {step.candidate.id for step in within(original, budget) if step.candidate}
            pick = best(step for step in replayed if step.candidate is not None and step.candidate.id in allowed)
            known = pick is not None and pick.candidate is not None and correct[pick.candidate.id] == "1"
            right[trial.prompt, trial.seed - planned.asked.first_seed, place] = known
    return right


def _steps(run: RunReader, search: Search) -> Any:
    stored = run.result(search.id)
    assert stored is not None, "it ran"
    return stored.result.steps
