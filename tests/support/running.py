"""Short ways to run searches of the tiny world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reflectionflow.roles import Stack
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Event, Patience, Search, Strategy, Task, run_searches
from reflectionflow.search.noise import NOISE
from reflectionflow.types import Budget, SearchResult, to_json

QUICK = Patience(delay=0.0, grace=0.0)
SPEC = {"stack": "tiny"}


def task(prompt: str = "a red star", seed: int = 7, **budget: Any) -> Task:
    """Return a task of the tiny world under the given limits."""
    return Task(prompt, Budget(**budget), seed, 16, 16, 5, 3.5)


def search(prompt: str = "a red star", strategy: Strategy = NOISE, seed: int = 7, **budget: Any) -> Search:
    """Return a search of the tiny world under the given limits."""
    return Search(task(prompt, seed, **budget), strategy)


def run_all(
    path: Path, searches: Sequence[Search], stack: Stack, events: list[Event] | None = None
) -> list[SearchResult]:
    """Run searches in the run directory `path`, adding their events to `events`."""
    seen: list[Event] = [] if events is None else events
    with RunDirectory.open(path, SPEC) as run:
        return run_searches(searches, stack, run, seen.append, patience=QUICK)


def story(result: SearchResult) -> Any:
    """Return a result as JSON data without what a clock measured and what this process happened to pay."""
    data = to_json(result)
    del data["paid"], data["charged"]["seconds"]
    return data
