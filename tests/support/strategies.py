"""Strategies for tests: chains that run side by side without waiting for each other's rounds."""

from __future__ import annotations

from reflectionflow.runtime import Role, Strategy, Task, Tools
from reflectionflow.search.seeds import derive
from reflectionflow.types import Candidate, StopReason

CHAINS = 3


async def chains(task: Task, tools: Tools) -> StopReason:
    """Three chains, each draft → judge → reflect → refine → correct → judge … until the budget ends."""

    async def chain(slot: int) -> None:
        current = await tools.draft(task.prompt, derive(task.seed, task.prompt, (0, slot)), (0, slot))
        history: list[str] = []
        for turn in range(1, 100):
            if not isinstance(current, Candidate):
                return
            verdict = await tools.judge(current)
            reflection = await tools.reflect(current, verdict, history)
            if reflection.nothing_to_correct:
                return
            refined = await tools.refine(current, verdict, reflection)
            history.append(reflection.text)
            place = (turn, slot)
            seed = derive(task.seed, task.prompt, place)
            current = await tools.correct(current, reflection, refined, seed, place)

    await tools.gather(*(chain(slot) for slot in range(CHAINS)))
    return StopReason.COMPLETE


CHAINS_STRATEGY = Strategy(
    "chains", chains, nested=False, needs=frozenset({Role.CORRECTOR, Role.REFLECTOR, Role.REFINER})
)
