"""What a search is: a task (what is wanted), a strategy (how it is looked for), and the two together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reflectionflow.roles import Role
from reflectionflow.types import Budget, Settings, StopReason, content_id, to_json

if TYPE_CHECKING:
    from reflectionflow.roles import Generator
    from reflectionflow.runtime.tools import Tools

Place = tuple[int, int]
"""(round, slot) in a search."""
SEED_LIMIT = 2**63


@dataclass(frozen=True)
class Task:
    """What one search is asked for.

    Attributes:
        prompt: The user's own prompt.
        budget: Upper limits on the search's charged spend.
        seed: Seed of the run, 0 ≤ seed < 2**63; every picture's seed derives from it.
        width: Pixels.
        height: Pixels.
        steps: Denoiser steps, ≥ 1.
        guidance: Guidance scale.
    """

    prompt: str
    budget: Budget
    seed: int
    width: int
    height: int
    steps: int
    guidance: float

    @classmethod
    def for_generator(
        cls,
        generator: Generator,
        prompt: str,
        budget: Budget,
        *,
        seed: int = 0,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> Task:
        """Return a task that takes what is not given from the generator's defaults."""
        usual = generator.defaults
        return cls(
            prompt=prompt,
            budget=budget,
            seed=seed,
            width=usual.width if width is None else width,
            height=usual.height if height is None else height,
            steps=usual.steps if steps is None else steps,
            guidance=usual.guidance if guidance is None else guidance,
        )


SearchFunction = Callable[["Task", "Tools"], Awaitable[StopReason]]


@dataclass(frozen=True)
class Strategy:
    """A search method: one async function of a task and tools, and what must be known about it beforehand.

    Attributes:
        name: As the user types it.
        run: The method.
        nested: True when a larger budget's pictures contain a smaller one's, so that one run serves every smaller
            budget.
        needs: Roles the stack must fill besides generator and verifier.
        welcomes: Roles it makes use of where the stack fills them.
        summary: One line for lists and help.
        options: Named options `run` was built with; part of the identity of a search.
        images: Pictures to paint for each prompt when the user does not say; none leaves it to the program.
    """

    name: str
    run: SearchFunction
    nested: bool
    needs: frozenset[Role] = frozenset()
    welcomes: frozenset[Role] = frozenset()
    summary: str = ""
    options: Settings = ()
    images: int | None = None


@dataclass(frozen=True)
class Search:
    """One prompt to be searched with one strategy.

    Attributes:
        task: What is wanted.
        strategy: How it is looked for.
        label: Tells apart searches that are otherwise equal, such as the methods of an evaluation.
    """

    task: Task
    strategy: Strategy
    label: str = ""

    @property
    def id(self) -> str:
        """Content id of what is searched, and how; a larger budget continues the same search."""
        task = {name: value for name, value in to_json(self.task).items() if name != "budget"}
        fields = {"task": task, "strategy": self.strategy.name, "options": self.strategy.options, "label": self.label}
        return content_id("search", fields)

    def with_budget(self, budget: Budget) -> Search:
        """Return the same search under another budget."""
        return replace(self, task=replace(self.task, budget=budget))
