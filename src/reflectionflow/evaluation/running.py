"""Carry an evaluation out: paint and judge everything through one queue, then read the outcomes from the run.

DIR/run/             the run: journal, pictures, events; all methods, seeds and prompts in one
DIR/decisions.sqlite what the judge said of each picture
DIR/results.json …   written by `files.py` when everything is done
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reflectionflow import __version__
from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.judging import Decisions, JudgeThread
from reflectionflow.evaluation.planning import Plan, Trial
from reflectionflow.evaluation.results import About, MethodInfo, Outcome, Results, Row
from reflectionflow.evaluation.spending import Spent, spending
from reflectionflow.ranking import best
from reflectionflow.roles import Role
from reflectionflow.runs import RunDirectory, RunReader, RunSpec, StoredResult
from reflectionflow.runtime import Event, Patience, drain_searches
from reflectionflow.runtime.events import Corrected, Drafted
from reflectionflow.types import SearchResult, Spend, Step, to_json

Consumer = Callable[[Event], None]
RUN, DECISIONS = "run", "decisions.sqlite"
AT_ONCE = 512
"""Searches in flight: enough to fill every batch, few enough to fit into memory whatever the benchmark's size."""
DIGITS = 12
"""Of a picture's hash that a row keeps."""


@dataclass(frozen=True)
class Done:
    """A finished evaluation, and what clocks measured.

    Attributes:
        results: Everything that does not depend on a clock.
        seconds: Model time of all calls in the directory, by kind.
        each: Model seconds of one search as if it ran alone, mean over prompts and seeds, by method: one per budget;
            empty where nobody counted.
    """

    results: Results
    seconds: Mapping[str, float]
    each: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def carry_out(
    plan: Plan, folder: Path, passed: dict[str, Any], on_event: Consumer, patience: Patience | None = None
) -> Done:
    """Paint and judge what the directory does not hold yet, and return the outcomes.

    Args:
        plan: The evaluation.
        folder: Its directory; the same plan continues an interrupted evaluation, a larger one extends it.
        passed: The request as the user wrote it, for the record.
        on_event: Called with every event of the searches that still have to run.
        patience: How often to try again, and how long to wait.

    Raises:
        MisuseError: if the directory holds something other than an evaluation, or cannot be made.
        RunMismatchError: if it holds another evaluation, or another process is writing it.
        ModelError: if a model failed for good.
        StorageError: if the run cannot be written.
    """
    _require_own_content(folder)
    with RunDirectory.open(folder / RUN, RunSpec(passed, plan.resolved)) as run:
        decisions = Decisions(folder / DECISIONS, plan.judge)
        try:
            rows, spent = _carried_out(plan, run, decisions, on_event, patience or Patience())
        finally:
            decisions.close()
        calls = run.journal.seconds()
    computed = {kind: count for kind, (count, _) in calls.items()}
    results = Results(_about(plan), plan.asked.benchmark.items, rows, computed)
    return Done(results, {kind: seconds for kind, (_, seconds) in calls.items()}, _seconds(plan, spent))


def played(
    plan: Plan, run: RunDirectory, decisions: Decisions, on_event: Consumer, patience: Patience
) -> tuple[Row, ...]:
    """Paint and judge what an open run does not hold of a plan's searches, and return their outcomes in order.

    Raises:
        ModelError: if a model failed for good.
        StorageError: if the run cannot be written.
    """
    return _carried_out(plan, run, decisions, on_event, patience)[0]


def _carried_out(
    plan: Plan, run: RunDirectory, decisions: Decisions, on_event: Consumer, patience: Patience
) -> tuple[tuple[Row, ...], Spent]:
    _paint(plan, run, decisions, on_event, patience)
    spent = spending(plan, run, AT_ONCE, patience)
    return tuple(_row(trial, run, decisions, plan, spent) for trial in plan.trials), spent


def _seconds(plan: Plan, spent: Spent) -> dict[str, tuple[float, ...]]:
    """Return the mean model seconds of a search by method, one per budget."""
    searches = len(plan.asked.benchmark.items) * plan.asked.seeds
    found = {method.name: dict.fromkeys(plan.budgets, 0.0) for method in plan.methods}
    for trial in plan.trials:
        for budget in trial.budgets:
            found[trial.method.name][budget] += spent[trial.search.id, budget].seconds / searches
    return {name: tuple(by_budget.values()) for name, by_budget in found.items()}


def _paint(plan: Plan, run: RunDirectory, decisions: Decisions, on_event: Consumer, patience: Patience) -> None:
    """Run every search that has no whole result yet, judging its pictures as they come."""
    trials = [trial for trial in plan.trials if not is_whole(trial, run.result(trial.search.id))]
    items = plan.asked.benchmark.items
    with JudgeThread(decisions, run.images.load) as judging:

        def consume(event: Event) -> None:
            if isinstance(event, Drafted | Corrected):
                judging.ask(event.candidate.image, items[trials[event.search].prompt])
            on_event(event)

        searches = [trial.search for trial in trials]
        if searches:
            drain_searches(searches, plan.models, run, consume, at_once=AT_ONCE, patience=patience)


def is_whole(trial: Trial, stored: StoredResult | None) -> bool:
    """Return whether a stored result is that of this budget, with nothing to try again."""
    if stored is None or stored.search["task"]["budget"] != to_json(trial.search.task.budget):
        return False
    return not stored.result.failed_calls and not any(_failure_of(step) for step in stored.result.steps)


def _row(trial: Trial, run: RunReader, decisions: Decisions, plan: Plan, spent: Spent) -> Row:
    """Return the outcomes of one search, judging what is not judged yet."""
    stored = run.result(trial.search.id)
    assert stored is not None, "a search that ran has stored its result"
    result, metadata = stored.result, plan.asked.benchmark.items[trial.prompt]
    images = [step.candidate.image for step in result.steps if step.candidate]
    decisions.make([(image, metadata) for image in images], run.images.load)
    decided = {image: decisions.find(image, metadata) or (False, "") for image in images}
    pictures = [step for step in distinct(result.steps) if step.candidate]
    charged = {
        name: value for name, value in to_json(replace(result.charged, seconds=0.0)).items() if name != "seconds"
    }
    return Row(
        prompt=trial.prompt,
        seed=trial.seed,
        method=trial.method.name,
        search=trial.search.id,
        stop=to_json(result.stop),
        scores=tuple(step.verdict.score if step.verdict else None for step in pictures),
        correct="".join(str(int(decided[step.candidate.image][0])) for step in pictures if step.candidate),
        pictures=tuple(step.candidate.image[:DIGITS] for step in pictures if step.candidate),
        outcomes=tuple(_outcome(budget, result, decided, spent[trial.search.id, budget]) for budget in trial.budgets),
        charged=charged,
        failures=tuple(dict.fromkeys(filter(None, map(_failure_of, result.steps)))),
    )


def _outcome(budget: int, result: SearchResult, decided: dict[str, tuple[bool, str]], spend: Spend) -> Outcome:
    steps = distinct(within(result.steps, budget))
    pick = best(steps)
    painted = [step.candidate.image for step in steps if step.candidate]
    right = [image for image in painted if decided[image][0]]
    candidate = None if pick is None else pick.candidate
    correct, reason = (False, "No picture was painted and judged.")
    if candidate is not None:
        correct, reason = decided[candidate.image]
    return Outcome(
        budget=budget,
        correct=correct,
        score=None if pick is None or pick.verdict is None else pick.verdict.score,
        picture=None if candidate is None else candidate.image,
        candidate=None if candidate is None else candidate.id,
        reason=reason,
        base=round(len(right) / len(painted), 6) if painted else 0.0,
        right=right[0] if right else None,
        images=len(steps),
        verifier_calls=spend.verifier_calls,
        reflector_calls=spend.reflector_calls,
        refiner_calls=spend.refiner_calls,
        denoiser_evaluations=spend.denoiser_evaluations,
    )


def within(steps: Iterable[Step], images: int) -> list[Step]:
    """Return the first steps, in the order of place, that paint so many distinct pictures at most, failed ones too."""
    seen: set[str] = set()
    kept = []
    for step in steps:
        seen.add(_id_of(step))
        if len(seen) > images:
            break
        kept.append(step)
    return kept


def distinct(steps: Sequence[Step]) -> list[Step]:
    """Return the steps without those that paint the same picture as an earlier one."""
    return list({_id_of(step): step for step in reversed(steps)}.values())[::-1]


def _id_of(step: Step) -> str:
    if step.candidate is not None:
        return step.candidate.id
    return step.failure.id if step.failure is not None else str(step.place)


def _failure_of(step: Step) -> str | None:
    if step.failure is not None:
        return step.failure.reason
    return None if step.verdict is None else step.verdict.failure


def _require_own_content(folder: Path) -> None:
    """Refuse a directory that has content but is no evaluation: its files could be replaced by ours."""
    if not folder.is_dir() or (folder / RUN).is_dir():
        return
    foreign = sorted(path.name for path in folder.iterdir())
    if foreign:
        shown = ", ".join(foreign[:3]) + (" …" if len(foreign) > 3 else "")
        raise MisuseError(
            f"{folder} is no evaluation and not empty (it has {shown}); choose a new or an empty directory."
        )


def _about(plan: Plan) -> About:
    asked, task = plan.asked, plan.trials[0].search.task
    played = {role.value: getattr(plan.models, role.value) for role in Role}
    return About(
        benchmark=asked.benchmark.name,
        digest=asked.benchmark.digest,
        repeated=asked.benchmark.repeated,
        stack=plan.models.name,
        models={role: None if model is None else model.name for role, model in played.items()},
        judge=plan.judge.name,
        related=plan.related,
        budgets=plan.budgets,
        seeds=tuple(range(asked.first_seed, asked.first_seed + asked.seeds)),
        methods=tuple(
            MethodInfo(
                name=method.name,
                strategy=method.strategy.name,
                options=dict(method.strategy.options),
                nested=method.strategy.nested,
                exchangeable=method.exchangeable,
                note=method.note,
            )
            for method in plan.methods
        ),
        task={name: getattr(task, name) for name in ("width", "height", "steps", "guidance")},
        version=__version__,
    )
