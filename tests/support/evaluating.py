"""Evaluations of the tiny world: a judge of its pictures, prompts with tags, and a program that evaluates.

    python -m tests.support.evaluating DIR LOG [event|rename|open|page COUNT]

The process kills itself at the COUNT-th event, or just before the COUNT-th renaming or opening of a picture file or the
COUNT-th renaming of a page. The painter appends every recipe it is asked for to LOG.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from reflectionflow.evaluation.benchmarks import Benchmark
from reflectionflow.evaluation.pages import write_all
from reflectionflow.evaluation.planning import Asked, Method, Plan, plan
from reflectionflow.evaluation.running import Done, carry_out
from reflectionflow.geneval import Clause, Decision, Metadata
from reflectionflow.roles import Role
from reflectionflow.runtime import Event, Strategy, Task, Tools
from reflectionflow.search import registry
from reflectionflow.search.seeds import derive
from reflectionflow.types import Candidate, StopReason
from tests.support.driver import Reaper
from tests.support.running import QUICK
from tests.support.world import Painter, stack

NEEDED = {"single_object": 0.2, "counting": 0.35, "composite": 0.42}


@dataclass
class Contrast:
    """Accepts a picture whose red is bright enough for its prompt's tag: related to brightness, but not the same."""

    name: str = "contrast@1"
    relatives: frozenset[str] = frozenset({"red"})
    batch_size: int = 2

    def problems(self, items: Sequence[Metadata], task: Task) -> list[str]:
        return []

    def decide(self, items: Sequence[tuple[Image, Metadata]]) -> list[Decision]:
        return [self._decide(image, metadata) for image, metadata in items]

    def _decide(self, image: Image, metadata: Metadata) -> Decision:
        red = float(np.asarray(image)[::3, :, 0].mean()) / 255
        correct = red > NEEDED[metadata.tag]
        return Decision(correct, "" if correct else f"expected red>{NEEDED[metadata.tag]}, found {red:.2f}", {})


def items(each: int) -> tuple[Metadata, ...]:
    """Return so many prompts of each of three tags."""
    return tuple(
        Metadata(tag, f"a photo of a star, {tag} {number}", (Clause("star"),))
        for tag in NEEDED
        for number in range(each)
    )


async def climbing(task: Task, tools: Tools, width: int = 1) -> StopReason:
    """Draft as noise does, then correct the newest picture of each chain until the budget ends."""

    async def chain(slot: int) -> None:
        current = await tools.draft(task.prompt, derive(task.seed, task.prompt, (0, slot)), (0, slot))
        for turn in range(1, 1000):
            assert isinstance(current, Candidate)
            verdict = await tools.judge(current)
            reflection = await tools.reflect(current, verdict)
            if reflection.nothing_to_correct:
                return
            place = (turn, slot)
            current = await tools.correct(
                current, reflection, task.prompt, derive(task.seed, task.prompt, place), place
            )

    await tools.gather(*(chain(slot) for slot in range(width)))
    return StopReason.COMPLETE


NEEDS = frozenset({Role.CORRECTOR, Role.REFLECTOR})
CLIMBING = Strategy("climbing", climbing, nested=True, needs=NEEDS, options=(("width", 1),))
WIDE = Strategy("wide", partial(climbing, width=2), nested=False, needs=NEEDS, options=(("width", 2),))


def asked(each: int = 3, **fields: Any) -> Asked:
    """Return what a small evaluation asks for."""
    usual: dict[str, Any] = {"strategies": ("noise", "climbing", "wide"), "images": 4, "seeds": 2, "stack": stack()}
    return Asked(Benchmark("tiny", items(each)), **{**usual, **fields})


def offered() -> None:
    """Make the strategies of this module known by name."""
    registry.BUILT_IN = tuple(dict.fromkeys((*registry.BUILT_IN, CLIMBING, WIDE)))  # type: ignore[assignment]


def evaluate(folder: Path, planned: Plan, events: list[Event] | None = None) -> Done:
    """Carry an evaluation out and write its files."""
    seen: list[Event] = [] if events is None else events
    done = carry_out(planned, folder, {"command": "test"}, seen.append, QUICK)
    write_all(done, folder)
    return done


def main(folder: str, log: str, what: str = "never", at: str = "0") -> None:
    reaper = Reaper(int(at))

    def watch(audited: str, arguments: tuple[object, ...]) -> None:
        audible = {"rename": ("os.rename", ".png"), "open": ("open", ".png"), "page": ("os.rename", ".html")}.get(what)
        if audible is not None and audited == audible[0] and audible[1] in str(arguments[0]):
            reaper()

    def consume(event: Event) -> None:
        if what == "event":
            reaper()

    sys.addaudithook(watch)
    offered()
    painter = Painter(log=Path(log), batch_size=3)
    planned = plan(asked(2, images=3, stack=stack(generator=painter, corrector=painter)), Contrast())
    write_all(carry_out(planned, Path(folder), {"command": "test"}, consume, QUICK), Path(folder))


__all__ = ["CLIMBING", "WIDE", "Contrast", "Method", "asked", "evaluate", "items", "offered", "plan"]

if __name__ == "__main__":
    main(*sys.argv[1:])
