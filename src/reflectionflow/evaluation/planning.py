"""What an evaluation will run: every search of benchmark × methods × seeds, checked before anything is painted.

A nested method is searched once at the largest budget, and every smaller budget is read from that run; another one is
searched for each budget apart. Methods share one journal, so a picture that two of them paint alike (their first
drafts) is painted once and charged to both: their noise is common, and their differences vary less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflectionflow import roles, stack
from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.benchmarks import Benchmark
from reflectionflow.evaluation.judges import Judge, related_roles
from reflectionflow.runtime import Search, Strategy, Task, check_task
from reflectionflow.search import strategy as find_strategy
from reflectionflow.types import Budget, to_json

EXCHANGEABLE = frozenset({"noise"})
"""Strategies whose pictures are independent draws, so that best-of-n can be estimated from all of them."""
SHOWN = 5
MOST_SEEDS = 10_000
"""More are a slip of the finger."""


@dataclass(frozen=True)
class Asked:
    """What an evaluation is asked for.

    Attributes:
        benchmark: The prompts.
        strategies: Methods to compare, the baseline first: strategies by name, or with chosen options as `Method`.
        images: The largest budget: pictures for each prompt, ≥ 1.
        seeds: Number of seeds, ≥ 1.
        first_seed: The first of them, ≥ 0.
        stack: Name of a shipped stack, path of a stack file, or the models themselves.
        steps: Denoiser steps; the stack's default when none.
        guidance: Guidance scale; the stack's default when none.
        oracle: Allow models that are related to the judge; every table then says which.
    """

    benchmark: Benchmark
    strategies: tuple[str | Method, ...] = ("noise",)
    images: int = 16
    seeds: int = 1
    first_seed: int = 0
    stack: str | Path | roles.Stack = stack.DEFAULT_STACK
    steps: int | None = None
    guidance: float | None = None
    oracle: bool = False


@dataclass(frozen=True)
class Method:
    """A search method as the evaluation names it."""

    name: str
    strategy: Strategy

    @property
    def exchangeable(self) -> bool:
        """Whether its pictures are independent draws."""
        return self.strategy.name in EXCHANGEABLE

    @property
    def note(self) -> str:
        """How its smaller budgets come about, as a sentence."""
        if self.exchangeable:
            return "One run; its drafts are exchangeable, so smaller budgets are also estimated from all of them."
        if self.strategy.nested:
            return "One run, whose first pictures are the smaller budgets: they are correlated, not replicates."
        return (
            "A run of its own for each budget, because its choices depend on the budget; these runs share seed and "
            "first drafts: they are correlated, not replicates."
        )


@dataclass(frozen=True)
class Trial:
    """One search of the evaluation.

    Attributes:
        prompt: Index of the prompt in the benchmark.
        seed: Seed of the run.
        method: What is tried.
        budgets: The budgets that are read from it, ascending; the last one is searched for.
        search: The search.
    """

    prompt: int
    seed: int
    method: Method
    budgets: tuple[int, ...]
    search: Search


@dataclass(frozen=True)
class Plan:
    """An evaluation that was checked.

    Attributes:
        asked: What was asked for.
        models: Who plays the roles.
        judge: Who decides.
        methods: What is compared, the baseline first.
        budgets: 1, 2, 4, … up to the largest.
        trials: Every search: prompt after prompt, and for each prompt seed after seed.
        related: Why models are not independent of the judge, by role; not empty for an oracle only.
    """

    asked: Asked
    models: roles.Stack
    judge: Judge
    methods: tuple[Method, ...]
    budgets: tuple[int, ...]
    trials: tuple[Trial, ...]
    related: Mapping[str, str]

    @property
    def resolved(self) -> dict[str, Any]:
        """Everything that decides the run; under `budget` what may grow when it is continued."""
        task = self.trials[0].search.task
        played = {role.value: getattr(self.models, role.value) for role in roles.Role}
        return {
            "benchmark": self.asked.benchmark.name,
            **{name: getattr(task, name) for name in ("width", "height", "steps", "guidance")},
            **{role: None if model is None else model.name for role, model in played.items()},
            "settings": dict(self.models.generator.settings),
            "corrector_settings": None if self.models.corrector is None else dict(self.models.corrector.settings),
            "budget": {
                "prompts": len(self.asked.benchmark.items),
                "images": self.asked.images,
                "seeds": [self.asked.first_seed, self.asked.seeds],
                "methods": [
                    {"name": m.name, "strategy": m.strategy.name, "options": to_json(m.strategy.options)}
                    for m in self.methods
                ],
            },
        }


def budgets_to(images: int) -> tuple[int, ...]:
    """Return 1, 2, 4, … and `images` itself."""
    powers = [2**power for power in range(images.bit_length()) if 2**power < images]
    return (*powers, images)


def plan(asked: Asked, judge: Judge) -> Plan:
    """Check an evaluation completely and list its searches; nothing is painted or written.

    Raises:
        ConfigError: if the stack has faults, or lacks something on this machine.
        MisuseError: if something is asked for that cannot be done, or if a model is related to the judge and the
            evaluation is not asked for as an oracle's; all reasons at once.
    """
    _refuse(_number_problems(asked))
    methods = tuple(
        wanted if isinstance(wanted, Method) else Method(wanted, find_strategy(wanted)) for wanted in asked.strategies
    )
    models = asked.stack if isinstance(asked.stack, roles.Stack) else stack.load(asked.stack)
    budgets = budgets_to(asked.images)
    trials = tuple(
        trial
        for index in range(len(asked.benchmark.items))
        for seed in range(asked.first_seed, asked.first_seed + asked.seeds)
        for method in methods
        for trial in _trials(asked, models, index, seed, method, budgets)
    )
    related = related_roles(judge, models)
    problems = judge.problems(asked.benchmark.items, trials[0].search.task)
    first = [trial for trial in trials if trial.seed == asked.first_seed and trial.budgets[-1] == asked.images]
    problems += [
        f"{sentence} (prompt: {trial.search.task.prompt!r})" if trial.search.task.prompt not in sentence else sentence
        for trial in first
        for sentence in check_task(trial.search.task, models, trial.search.strategy)
    ]
    if related and not asked.oracle:
        problems += [
            f"{sentence} The scores would not be evidence; choose a stack with another {role}, or pass --oracle to "
            "have every table say so."
            for role, sentence in related.items()
        ]
    _refuse(problems)
    return Plan(asked, models, judge, methods, budgets, trials, related)


def _trials(
    asked: Asked, models: roles.Stack, prompt: int, seed: int, method: Method, budgets: tuple[int, ...]
) -> list[Trial]:
    usual = models.defaults or models.generator.defaults

    def trial(read: tuple[int, ...], label: str) -> Trial:
        task = Task(
            prompt=asked.benchmark.items[prompt].prompt,
            budget=Budget(images=read[-1]),
            seed=seed,
            width=usual.width,
            height=usual.height,
            steps=usual.steps if asked.steps is None else asked.steps,
            guidance=usual.guidance if asked.guidance is None else asked.guidance,
        )
        return Trial(prompt, seed, method, read, Search(task, method.strategy, label))

    if method.strategy.nested:
        return [trial(budgets, method.name)]
    return [trial((budget,), f"{method.name}@{budget}") for budget in budgets]


def _number_problems(asked: Asked) -> list[str]:
    problems = []
    if asked.images < 1:
        problems.append(f"The number of images must be at least 1, not {asked.images}.")
    if not 1 <= asked.seeds <= MOST_SEEDS:
        problems.append(f"The number of seeds must be from 1 to {MOST_SEEDS}, not {asked.seeds}.")
    if asked.first_seed < 0:
        problems.append(f"The first seed must be at least 0, not {asked.first_seed}.")
    if not asked.strategies:
        problems.append("There is no strategy to evaluate; name at least one, such as noise.")
    names = [wanted.name if isinstance(wanted, Method) else wanted for wanted in asked.strategies]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f"The strategy {name} is named twice; name each once." for name in twice]
    return problems


def _refuse(problems: Sequence[str]) -> None:
    """Raise with all problems, the same one told once for each kind of reason."""
    unique = list(dict.fromkeys(problems))
    if len(unique) == 1:
        raise MisuseError(unique[0])
    if unique:
        more = [f"  … and {len(unique) - SHOWN} more"] if len(unique) > SHOWN else []
        listed = [f"  - {problem}" for problem in unique[:SHOWN]]
        raise MisuseError("\n".join([f"{len(unique)} things are wrong:", *listed, *more]))
