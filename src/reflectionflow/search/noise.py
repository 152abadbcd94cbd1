"""Best of N: paint drafts from different noise, judge each, and let the best one win.

The baseline of arXiv 2504.16080 ("noise scaling"). Its drafts are those every other method begins with.
"""

from __future__ import annotations

from itertools import count

from reflectionflow.runtime import Strategy, Task, Tools
from reflectionflow.search.seeds import derive
from reflectionflow.types import Candidate, StopReason

WAVE = 16
"""Drafts painted at a time where the budget does not say how many pictures there will be."""


async def noise(task: Task, tools: Tools) -> StopReason:
    """Paint and judge drafts at the places (0, 0), (0, 1), … until the budget is used up."""

    async def attempt(slot: int) -> bool:
        candidate = await tools.draft(task.prompt, derive(task.seed, task.prompt, (0, slot)), (0, slot))
        if isinstance(candidate, Candidate):
            await tools.judge(candidate)
        return isinstance(candidate, Candidate)

    wave = task.budget.images or WAVE
    for first in count(0, wave):
        painted = await tools.gather(*(attempt(slot) for slot in range(first, first + wave)))
        if first + wave == task.budget.images:
            return StopReason.BUDGET
        if not any(painted):
            break
    return StopReason.GAVE_UP


NOISE = Strategy("noise", noise, nested=True, summary="N drafts from different noise, judged; the best wins.")
