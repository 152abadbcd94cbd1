"""Searching in rounds: what prompt-level and reflection-level scaling have in common.

A search paints first drafts, makes chains of the best, and lets every chain make one move a round; a move paints one
picture. Which move comes next depends on the answers so far and never on the budget, so that a smaller budget's search
is the beginning of a larger one's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeVar

from reflectionflow.ranking import best, judged
from reflectionflow.runtime import BudgetExhausted, Place, Role, Task, Tools
from reflectionflow.search.options import CorrectingOptions, Parent, RoundOptions
from reflectionflow.search.seeds import derive
from reflectionflow.search.selection import top
from reflectionflow.types import Candidate, Failure, RefinedPrompt, Reflection, Step, StopReason, Verdict

T = TypeVar("T")
GIVE_UP = 3
"""Least number of pictures that fail one after the other, whole rounds of them, before a search gives up."""


@dataclass(frozen=True)
class Chain:
    """One thread of a search.

    Attributes:
        slot: Its slot in every round.
        pictures: The judged pictures it may go on from, oldest first.
        said: The reflections its pictures were corrected by, oldest first.
        resting: Nothing is left to do for it.
        critiques: What the reflector said of its pictures, by their places, where they are ranked by that.
    """

    slot: int
    pictures: tuple[Step, ...] = ()
    said: tuple[str, ...] = ()
    resting: bool = False
    critiques: Mapping[Place, Reflection] = field(default_factory=dict)

    def parent(self, rule: Parent) -> Step | None:
        """Return the picture to go on from, or none when there is none."""
        if rule is Parent.BEST:
            return best(self.pictures)
        return self.pictures[-1] if self.pictures else None

    def plus(self, step: Step | None, reflection: Reflection | None = None) -> Chain:
        """Return the chain with a new picture and what it was corrected by; unchanged when the picture failed."""
        if step is None:
            return self
        said = self.said if reflection is None else (*self.said, reflection.text)
        return replace(self, pictures=(*self.pictures, step), said=said)

    def without(self, step: Step) -> Chain:
        """Return the chain without one of its pictures."""
        return replace(self, pictures=tuple(other for other in self.pictures if other.place != step.place))


Move = Callable[[Chain, Place], Coroutine[Any, Any, Chain]]
"""Paints the chain's picture at a place and returns the chain as it is then."""
Prepare = Callable[[Sequence[Chain]], Coroutine[Any, Any, Sequence[Chain]]]
"""Asks what has to be known of chains before they move, and returns them with it."""


async def by_score(steps: Sequence[Step], width: int) -> Sequence[Step]:
    """Return the `width` best judged steps."""
    return top(steps, width)


async def first_chains(
    task: Task, tools: Tools, drafts: int, width: int,
    chosen: Callable[[Sequence[Step], int], Awaitable[Sequence[Step]]] = by_score,
) -> list[Chain]:  # fmt: skip
    """Paint and judge drafts at (0, 0), (0, 1), …; return chains from those chosen, empty ones for want of more."""
    await tools.gather(*(draft(task, tools, (0, slot)) for slot in range(drafts)))
    first = [(step,) for step in await chosen(tools.steps, width)]
    return [Chain(slot, first[slot] if slot < len(first) else ()) for slot in range(width)]


async def in_rounds(
    tools: Tools, chains: Sequence[Chain], move: Move, accept: float | None, prepare: Prepare | None = None
) -> StopReason:
    """Let every chain move once a round until a picture is accepted, every chain rests, or pictures only fail.

    What `prepare` asks about the chains that are about to move is answered for all of them before one moves: where a
    budget ends must not depend on which model answers first.
    """
    for number in count(1):
        if (stop := over(tools.steps, accept, len(chains))) is not None:
            return stop
        if all(chain.resting for chain in chains):
            return StopReason.NOTHING_TO_CORRECT
        chains = await _one_round(tools, chains, move, number, prepare)
    raise AssertionError("unreachable: rounds are counted without end")


def over(steps: Sequence[Step], accept: float | None, turns: int) -> StopReason | None:
    """Return why a search ends before its next round of so many pictures: one is accepted, or they only fail."""
    if accept is not None and score_of(best(steps)) >= accept:
        return StopReason.ACCEPTED
    enough = max(GIVE_UP, turns)
    return StopReason.GAVE_UP if len(steps) >= enough and not any(map(judged, steps[-enough:])) else None


async def _one_round(
    tools: Tools, chains: Sequence[Chain], move: Move, number: int, prepare: Prepare | None
) -> list[Chain]:
    """Let the chains that do not rest move, as many at a time as the budget can paint pictures for."""
    moved = [chain for chain in chains if chain.resting]
    for some in affordable(tools, [chain for chain in chains if not chain.resting]):
        group = some if prepare is None else await prepare(some)
        moved += await tools.gather(*(move(chain, (number, chain.slot)) for chain in group))
    return moved


def affordable(tools: Tools, turns: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield turns of one picture each, as many at a time as the budget can pay for when they are asked for.

    Raises:
        BudgetExhausted: if it can pay for no more.
    """
    while turns:
        now = tools.affordable(len(turns))
        if not now:
            raise BudgetExhausted
        yield turns[:now]
        turns = turns[now:]


async def draft(task: Task, tools: Tools, place: Place, prompt: str | RefinedPrompt | None = None) -> Step | None:
    """Paint from new noise, the user's own prompt if no other, and judge; none when that failed."""
    seed = derive(task.seed, task.prompt, place)
    return await judge(tools, place, await tools.draft(prompt or task.prompt, seed, place))


async def judge(tools: Tools, place: Place, picture: Candidate | Failure) -> Step | None:
    """Return the picture with its verdict; none when it was not painted or not judged."""
    if isinstance(picture, Failure):
        return None
    verdict = await tools.judge(picture)
    return None if verdict.failure is not None else Step(place, picture, verdict)


async def reflect(
    tools: Tools,
    picture: Candidate,
    step: Step,
    said: Sequence[str],
    options: RoundOptions,
    reader: Role = Role.CORRECTOR,
) -> Reflection:
    """Ask the reflector about a picture for the role that reads it, telling it what the options allow.

    Args:
        tools: Of the search.
        picture: The picture.
        step: The same, with its verdict.
        said: The reflections of its chain, oldest first.
        options: Of the search.
        reader: Who is to read it.
    """
    earlier = tuple(said[-options.history :]) if options.history else ()
    return await tools.reflect(picture, _shown(step, options), earlier, reader)


async def correct(
    task: Task, tools: Tools, place: Place, flawed: Step, reflection: Reflection | None, options: CorrectingOptions
) -> Step | None:
    """Paint a better picture from a flawed one, its prompt rewritten if the options say so, and judge it.

    A refinement that fails leaves the prompt as it is.

    Returns:
        The judged picture; none when it failed.
    """
    picture = flawed.candidate
    assert picture is not None, "only what was painted is corrected"
    prompt: str | RefinedPrompt = picture.recipe.prompt
    if tools.has(Role.REFINER) if options.refine is None else options.refine:
        prompt = await rewrite(tools, picture, flawed, reflection, options)
    seed = derive(task.seed, task.prompt, place)
    return await judge(tools, place, await tools.correct(picture, reflection, prompt, seed, place))


async def rewrite(
    tools: Tools, picture: Candidate, step: Step, reflection: Reflection | None, options: RoundOptions
) -> str | RefinedPrompt:
    """Return the rewritten prompt, or the one the picture was painted from when the refiner fails."""
    refined = await tools.refine(picture, _shown(step, options), reflection)
    return picture.recipe.prompt if refined.failure is not None else refined


def _shown(step: Step, options: RoundOptions) -> Verdict | None:
    return step.verdict if options.see_verdict else None


def score_of(step: Step | None) -> float:
    """Return a judged step's score; below every score when there is none."""
    if step is None or step.verdict is None or step.verdict.score is None:
        return -1.0
    return step.verdict.score
