"""Whatever a search does with gather, sleep, cancellation and nesting, it ends within its budget and never hangs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reflectionflow.roles import Worker
from reflectionflow.runs import RunDirectory, verify
from reflectionflow.runtime import Search, Strategy, Task, Tools, run_searches_async
from reflectionflow.search.seeds import derive
from reflectionflow.types import Budget, Candidate, StopReason
from tests.support.conductor import Conductor
from tests.support.running import QUICK, SPEC, task
from tests.support.world import Brightness, Critic, Painter, Rewriter, stack

HANG = 120
"""Seconds after which a run counts as hung; a whole one takes a fraction of a second."""


leaves = st.sampled_from(["draft", "chain", "judge twice", "ask the person"])
programs = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("one after another"), st.lists(inner, max_size=3)),
        st.tuples(st.just("together"), st.lists(inner, max_size=4)),
        st.tuples(st.just("after a while"), st.integers(0, 30), inner),
        st.tuples(st.just("cancelled"), st.integers(0, 60), inner),
    ),
    max_leaves=10,
)
budgets = st.builds(
    Budget,
    images=st.integers(1, 12),
    verifier_calls=st.none() | st.integers(1, 6),
    reflector_calls=st.none() | st.integers(1, 3),
    denoiser_evaluations=st.none() | st.integers(5, 50),
    tokens=st.none() | st.integers(1, 60),
)


class Interpreter:
    """Runs one random program as a search."""

    def __init__(self, task: Task, tools: Tools) -> None:
        self.task, self.tools, self.slots = task, tools, 0

    async def run(self, program: Any) -> None:
        match program:
            case str():
                await self.leaf(program)
            case ("one after another", parts):
                for part in parts:
                    await self.run(part)
            case ("together", parts):
                await self.tools.gather(*(self.run(part) for part in parts))
            case ("after a while", passes, part):
                for _ in range(passes):
                    await asyncio.sleep(0)
                await self.run(part)
            case ("cancelled", passes, part):
                await self.cancelled(passes, part)

    async def cancelled(self, passes: int, part: Any) -> None:
        running = asyncio.create_task(self.run(part))
        for _ in range(passes):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def leaf(self, kind: str) -> None:
        self.slots += 1
        slot, tools, prompt = self.slots, self.tools, self.task.prompt
        candidate = await tools.draft(prompt, derive(self.task.seed, prompt, (0, slot)), (0, slot))
        assert isinstance(candidate, Candidate)
        if kind == "judge twice":
            await tools.gather(tools.judge(candidate), tools.judge(candidate))
        elif kind == "ask the person":
            await tools.reflect(candidate)
        elif kind == "chain":
            verdict = await tools.judge(candidate)
            reflection = await tools.reflect(candidate, verdict)
            refined = await tools.refine(candidate, verdict, reflection)
            better = await tools.correct(candidate, reflection, refined, slot, (1, slot))
            assert isinstance(better, Candidate)
            await tools.judge(better)


def strategy_of(program: Any) -> Strategy:
    async def run(task: Task, tools: Tools) -> StopReason:
        await Interpreter(task, tools).run(program)
        return StopReason.COMPLETE

    return Strategy("random", run, nested=False)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    program=st.lists(st.tuples(programs, budgets), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
    batch=st.integers(1, 4),
    remote=st.booleans(),
)
def test_every_program_ends_within_its_budget(program, seed, batch, remote):
    conductor = Conductor(seed)
    painter = Painter(before=conductor, batch_size=batch)
    models = stack(
        generator=painter,
        corrector=painter,
        verifier=Brightness(before=conductor, worker=Worker.REMOTE if remote else Worker.LOCAL),
        reflector=Critic(before=conductor, worker=Worker.REMOTE, batch_size=1),  # the person
        refiner=Rewriter(before=conductor),
    )
    searches = [
        Search(Task(f"prompt {number}", budget, 7, 16, 16, 5, 3.5), strategy_of(part))
        for number, (part, budget) in enumerate(program)
    ]

    async def run(path: Path) -> None:
        with RunDirectory.open(path, SPEC) as directory:
            results = await asyncio.wait_for(
                run_searches_async(searches, models, directory, patience=QUICK), timeout=HANG
            )
        for searched, result in zip(searches, results, strict=True):
            assert_within(searched.task.budget, result.charged)

    with TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
        report = verify(folder)
    conductor.end()
    assert report.ok, report.problems


def assert_within(budget: Budget, charged: Any) -> None:
    for name in ("images", "denoiser_evaluations", "verifier_calls", "reflector_calls"):
        limit = getattr(budget, name)
        assert limit is None or getattr(charged, name) <= limit, (name, limit, charged)


def test_the_interpreter_runs_a_plain_program(tmp_path):
    async def run() -> None:
        with RunDirectory.open(tmp_path, SPEC) as directory:
            program = ("together", ["chain", ("cancelled", 0, "draft"), "judge twice"])
            searched = Search(task(images=9), strategy_of(program))
            result = (await run_searches_async([searched], stack(), directory, patience=QUICK))[0]
        assert len(result.steps) == 3
        assert result.stop is StopReason.COMPLETE

    asyncio.run(run())
