"""From what a person asks for to a run on disk: the one path behind the command line and the Python functions.

`plan` resolves and checks everything without painting; `carry_out` paints, judges and writes the run's files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflectionflow import roles, stack
from reflectionflow.errors import MisuseError
from reflectionflow.report.files import Book, book_of, run_id, slug
from reflectionflow.runs import RunDirectory, RunSpec
from reflectionflow.runtime import (
    Event,
    Search,
    Strategy,
    Task,
    check_task,
    missing_role,
    run_searches,
    run_searches_async,
)
from reflectionflow.search import strategy as find_strategy
from reflectionflow.types import Budget, to_json

if TYPE_CHECKING:
    from reflectionflow.models.person import Reviewer

Consumer = Callable[[Event], None]
RUNS = Path("runs")
NOISE = "noise"
"""The search method where neither the user nor the stack names one: it needs no further role."""
IMAGES = 16
"""Pictures painted for each prompt when neither the user nor the strategy says how many."""


@dataclass(frozen=True)
class Request:
    """What a person asks for; none leaves a value to the stack, or to the strategy.

    Attributes:
        prompts: One search each.
        strategy: Name of a search method or a shipped strategy file, path of a strategy file, or the strategy itself;
            none leaves it to the stack, and without a word of that it is noise.
        options: Options of the strategy, by name; they go over those of a strategy file.
        images: Pictures to paint for each prompt, ≥ 1.
        seed: Seed of the run, 0 ≤ seed < 2**63.
        stack: Name of a shipped stack, path of a stack file, or the models themselves.
        size: Width and height of the pictures, in pixels.
        steps: Denoiser steps.
        guidance: Guidance scale.
        out: The run directory.
        prompts_file: The file the prompts came from, for the record.
        reviewer: Shows every reflection to a person before it is used.
    """

    prompts: tuple[str, ...]
    strategy: str | Path | Strategy | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    images: int | None = None
    seed: int = 0
    stack: str | Path | roles.Stack = stack.DEFAULT_STACK
    size: tuple[int, int] | None = None
    steps: int | None = None
    guidance: float | None = None
    out: Path | None = None
    prompts_file: Path | None = None
    reviewer: Reviewer | None = None

    def passed(self) -> dict[str, Any]:
        """Return the request as JSON data, as it was written."""
        by_hand = isinstance(self.stack, roles.Stack) or isinstance(self.strategy, Strategy)
        return {
            "prompts": list(self.prompts),
            "prompts_file": None if self.prompts_file is None else str(self.prompts_file),
            "strategy": self.strategy.name if isinstance(self.strategy, Strategy) else str(self.strategy or NOISE),
            "options": dict(self.options),
            "images": self.images,
            "seed": self.seed,
            "stack": self.stack.name if isinstance(self.stack, roles.Stack) else str(self.stack),
            "by_hand": by_hand,
            "size": None if self.size is None else list(self.size),
            "steps": self.steps,
            "guidance": self.guidance,
            "out": None if self.out is None else str(self.out),
            "ask": self.reviewer is not None,
        }


@dataclass(frozen=True)
class Plan:
    """A request that was checked: the models, the searches, and where the run goes.

    Attributes:
        request: What was asked for.
        models: Who plays the roles.
        searches: One per distinct prompt.
        resolved: Everything that decides the run, with defaults filled in.
        folder: The run directory.
    """

    request: Request
    models: roles.Stack
    searches: tuple[Search, ...]
    resolved: dict[str, Any]
    folder: Path

    @property
    def images(self) -> int:
        """Pictures painted at most, over all searches."""
        return sum(search.task.budget.images or 0 for search in self.searches)


def plan(request: Request) -> Plan:
    """Check a request completely and say what will be done; nothing is painted or written.

    Raises:
        ConfigError: if the stack has faults, or lacks something on this machine.
        MisuseError: if the request asks for something that cannot be done; all reasons at once.
        ModelError: if a model cannot be loaded.
    """
    request = _settled(request)
    strategy = _strategy(request)
    models = _models(request, strategy)
    tasks = [_task(request, models, strategy, prompt) for prompt in dict.fromkeys(request.prompts)]
    _require([problem for task in tasks for problem in _about(task, check_task(task, models, strategy), len(tasks))])
    searches = tuple(Search(task, strategy) for task in tasks)
    resolved = _resolved(models, searches)
    return Plan(request, models, searches, resolved, request.out or _usual_folder(searches, resolved))


def carry_out(planned: Plan, on_event: Consumer) -> Book:
    """Paint and judge what was planned, write the run's files, and return what there is to tell.

    Works inside a running event loop too. Ctrl-C raises `KeyboardInterrupt` when what is finished has been kept.

    Args:
        planned: What to do.
        on_event: Called with every event, in order.

    Raises:
        RunMismatchError: if the directory holds another run, or another process is writing it.
        ModelError: if a model failed for good.
        StorageError: if the run cannot be written.
    """
    with _open(planned) as run:
        run_searches(planned.searches, planned.models, run, on_event)
        return _bound(run)


async def carry_out_async(planned: Plan, on_event: Consumer) -> Book:
    """Do the same as `carry_out` on the running event loop."""
    with _open(planned) as run:
        await run_searches_async(planned.searches, planned.models, run, on_event)
        return _bound(run)


def _open(planned: Plan) -> RunDirectory:
    return RunDirectory.open(planned.folder, RunSpec(planned.request.passed(), planned.resolved))


def _bound(run: RunDirectory) -> Book:
    book = book_of(run)
    book.write()
    return book


def _require(problems: Sequence[str]) -> None:
    """Refuse a request that has problems, naming all of them."""
    if len(problems) == 1:
        raise MisuseError(problems[0])
    if problems:
        raise MisuseError("\n".join([f"{len(problems)} things are wrong:", *(f"  - {item}" for item in problems)]))


def _settled(request: Request) -> Request:
    """Return the request with a strategy: its own, the stack's, or noise."""
    if request.strategy is not None:
        return request
    if isinstance(request.stack, roles.Stack):
        usual = request.stack.strategy
    else:
        usual = stack.examine(request.stack).plan.defaults.strategy
    return replace(request, strategy=usual or NOISE)


def _strategy(request: Request) -> Strategy:
    """Return the strategy asked for, after refusing what no stack could serve."""
    problems = _value_problems(request)
    chosen = NOISE if request.strategy is None else request.strategy
    if not isinstance(chosen, Strategy):
        try:
            named = chosen
            chosen = find_strategy(named, request.options)
            if request.reviewer is not None and dict(chosen.options).get("rank") == "edits":
                # A person is asked about the pictures that are corrected, not about every one that might be.
                chosen = find_strategy(named, {**request.options, "rank": "score"})
        except MisuseError as error:
            _require([*problems, *str(error).splitlines()] if problems else [])
            raise
    if request.reviewer is not None and roles.Role.REFLECTOR not in chosen.needs:
        problems.append(f"The strategy {chosen.name}, as it is asked for, reflects on nothing; leave --ask out.")
    _require(problems)
    return chosen


def _models(request: Request, strategy: Strategy) -> roles.Stack:
    """Return the models the strategy uses, after refusing a stack that lacks a role, before any of them loads."""
    if isinstance(request.stack, roles.Stack):
        models = request.stack
    else:
        examined = stack.examine(request.stack)
        played = {part.role for part in examined.plan.parts}
        if request.reviewer is not None:
            played.add(roles.Role.REFLECTOR)
        lacking = [role for role in roles.Role if role in strategy.needs - played]
        _require([] if examined.problems else [missing_role(strategy, role, str(request.stack)) for role in lacking])
        models = stack.load(request.stack, _roles_of(strategy))
    models = _used(models, strategy)
    if request.reviewer is None:
        return models
    from reflectionflow.models.person import asking

    return asking(models, request.reviewer)


def _roles_of(strategy: Strategy) -> frozenset[roles.Role]:
    """Return whom a strategy makes use of."""
    return frozenset({roles.Role.GENERATOR, roles.Role.VERIFIER, *strategy.needs, *strategy.welcomes})


def _used(models: roles.Stack, strategy: Strategy) -> roles.Stack:
    """Return the stack without the players a strategy makes no use of: another one of those makes no other run."""
    used = _roles_of(strategy)
    unused: dict[str, Any] = {role.value: None for role in roles.Role if role not in used}
    return replace(models, **unused)


def _value_problems(request: Request) -> list[str]:
    """Return what no stack could serve."""
    problems = [
        f"Prompt {number} is empty; say what the picture should show."
        for number, prompt in enumerate(request.prompts, start=1)
        if not prompt.strip()
    ]
    if not request.prompts:
        problems.append("There is no prompt; say what the picture should show.")
    if isinstance(request.strategy, Strategy) and request.options:
        problems.append(f"The strategy {request.strategy.name} comes with its options; give options only with a name.")
    if request.images is not None and request.images < 1:
        problems.append(f"The number of images must be at least 1, not {request.images}.")
    if request.guidance is not None and not 0 <= request.guidance < math.inf:
        problems.append(f"The guidance scale must be a number of at least 0, not {request.guidance}.")
    return problems


def _about(task: Task, problems: Sequence[str], tasks: int) -> list[str]:
    """Return a task's problems, naming the prompt where there are several."""
    return [f"{problem} (prompt: {task.prompt!r})" if tasks > 1 else problem for problem in problems]


def _task(request: Request, models: roles.Stack, strategy: Strategy, prompt: str) -> Task:
    """Return one prompt's task, with what the request leaves open taken from strategy and stack."""
    usual = models.defaults or models.generator.defaults
    width, height = request.size or (usual.width, usual.height)
    return Task(
        prompt=prompt,
        budget=Budget(images=request.images or strategy.images or IMAGES),
        seed=request.seed,
        width=width,
        height=height,
        steps=usual.steps if request.steps is None else request.steps,
        guidance=usual.guidance if request.guidance is None else request.guidance,
    )


def _resolved(models: roles.Stack, searches: Sequence[Search]) -> dict[str, Any]:
    """Return everything that decides a run, by name: who plays, and what is asked."""
    first = searches[0]
    played = {role.value: getattr(models, role.value) for role in roles.Role}
    task = {name: value for name, value in to_json(first.task).items() if name != "prompt"}
    return {
        "prompts": [search.task.prompt for search in searches],
        "strategy": first.strategy.name,
        "options": to_json(first.strategy.options),
        **task,
        **{role: None if model is None else model.name for role, model in played.items()},
        "settings": dict(models.generator.settings),
        "corrector_settings": None if models.corrector is None else dict(models.corrector.settings),
    }


def _usual_folder(searches: Sequence[Search], resolved: Mapping[str, Any]) -> Path:
    """Return `runs/<slug>-<8 hex digits>`: the same for the same request, whatever its budget."""
    digits = run_id(resolved).rsplit(":", 1)[1][:8]
    return RUNS / f"{slug(searches[0].task.prompt)}-{digits}"
