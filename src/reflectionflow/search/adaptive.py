"""Best-first search over drafts and corrections: what is corrected next is whatever picture of the search needs least.

Ours, not the paper's. Chains commit to a draft each: a single chain is stuck where its draft is hopeless, many chains
spend a small budget on drafts. Here no picture belongs to a chain. The one of which the reflector asks the fewest edits
is corrected, each correction of it counts against it, and when every picture needs more than the search's drafts do on
average a fresh draft is painted. A round starts with one picture and grows with the search, so that a short search
looks at every answer before it goes on and a long one keeps the models busy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count

from pydantic import Field

from reflectionflow.runtime import BudgetExhausted, Place, Role, Task, Tools
from reflectionflow.search.chains import affordable, correct, draft, over, reflect, score_of
from reflectionflow.search.options import CorrectingOptions, StrategySpec
from reflectionflow.search.selection import edits_asked, ranked
from reflectionflow.types import Reflection, Step, StopReason


class AdaptiveOptions(CorrectingOptions):
    """Options of best-first search."""

    drafts: int = Field(default=2, ge=1, description="First drafts.")
    patience: float = Field(
        default=0.5,
        ge=0,
        allow_inf_nan=False,
        description="Edits that each correction of a picture counts for: the larger, the sooner another is tried.",
    )
    growth: int = Field(
        default=4, ge=1, description="A round paints one picture for every so many painted before, at least one."
    )
    sure: float | None = Field(
        default=None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The search ends with a picture that needs no correction and has this score; absent: it goes on.",
    )


@dataclass(frozen=True)
class Node:
    """A judged picture of the search.

    Attributes:
        step: The picture.
        said: The reflections it came of, oldest first.
        parent: The place of the picture it is a correction of; none for a draft.
        critique: What the reflector first said of it; none before it was asked.
        tried: The reflections that corrections of it were painted by so far.
        tries: Corrections that count against it: those of it so far, and those in vain in a row that led to it.
    """

    step: Step
    said: tuple[str, ...] = ()
    parent: Place | None = None
    critique: Reflection | None = None
    tried: tuple[str, ...] = ()
    tries: int = 0

    @property
    def edits(self) -> float:
        """How many edits the reflector asks for; infinitely many where it failed or was not asked."""
        return math.inf if self.critique is None else edits_asked(self.critique)

    @property
    def correctable(self) -> bool:
        """Whether there is something to correct, and words for it."""
        return 0 < self.edits < math.inf


Nodes = Mapping[Place, Node]


async def adaptive(task: Task, tools: Tools, options: AdaptiveOptions) -> StopReason:
    """Paint first drafts; then correct what needs least, or draft anew, and look at what came of it.

    A picture that needs no correction is never corrected. A correction or a draft that fails costs one picture.
    """
    await tools.gather(*(draft(task, tools, (0, slot)) for slot in range(options.drafts)))
    nodes: Nodes = {step.place: Node(step) for step in ranked(tools.steps)}
    for number in count(1):
        turns = max(1, len(tools.steps) // options.growth)
        if (stop := over(tools.steps, options.accept, turns)) is not None:
            return stop
        if not tools.affordable(1):
            raise BudgetExhausted
        nodes = counted(await _looked_at(tools, nodes, options))
        if any(_is_done(node, options) for node in nodes.values()):
            return StopReason.NOTHING_TO_CORRECT
        parents = planned(nodes, turns, options.patience)
        nodes = await _one_round(task, tools, nodes, {(number, slot): of for slot, of in enumerate(parents)}, options)
    raise AssertionError("unreachable: rounds are counted without end")


def planned(nodes: Nodes, turns: int, patience: float) -> list[Place | None]:
    """Return the places of the pictures to be corrected next; none for a fresh draft.

    Args:
        nodes: The pictures so far, all looked at.
        turns: How many pictures to paint.
        patience: Edits that each correction counts for, one that is planned already too.
    """
    drafts = [node.edits for node in nodes.values() if node.parent is None and node.edits < math.inf]
    anew = sum(drafts) / len(drafts) if drafts else 0.0
    tried = {place: node.tries for place, node in nodes.items() if node.correctable}

    def need(place: Place) -> tuple[float, float, Place]:
        return nodes[place].edits + patience * tried[place], -score_of(nodes[place].step), place

    moves: list[Place | None] = []
    for _ in range(turns):
        chosen = min(tried, key=need, default=None)
        if chosen is not None and need(chosen)[0] > anew:
            chosen = None
        if chosen is not None:
            tried[chosen] += 1
        moves.append(chosen)
    return moves


def counted(nodes: Nodes) -> Nodes:
    """Return the pictures, each knowing how many corrections count against it.

    One that helped counts too: what is left of a budget goes to other pictures. What a correction in vain led to begins
    with the count of its parent, since it is no nearer to the prompt.
    """
    led: dict[Place, int] = {}
    for place in sorted(nodes):  # parents go before their corrections
        parent = nodes[place].parent
        in_vain = parent is not None and nodes[place].edits >= nodes[parent].edits
        led[place] = led[parent] + 1 if parent is not None and in_vain else 0
    return {place: replace(node, tries=led[place] + len(node.tried)) for place, node in nodes.items()}


async def _looked_at(tools: Tools, nodes: Nodes, options: AdaptiveOptions) -> Nodes:
    """Return the pictures after the reflector has looked at those that are new."""
    new = [node for node in nodes.values() if node.critique is None]
    said = await tools.gather(*(_critique(tools, node, options) for node in new))
    return {**nodes, **{node.step.place: replace(node, critique=one) for node, one in zip(new, said, strict=True)}}


async def _critique(tools: Tools, node: Node, options: AdaptiveOptions) -> Reflection:
    """Ask about a picture, telling what it came of and what it was corrected by already."""
    assert node.step.candidate is not None, "a node is a judged picture"
    return await reflect(tools, node.step.candidate, node.step, (*node.said, *node.tried), options)


async def _one_round(
    task: Task, tools: Tools, nodes: Nodes, parents: Mapping[Place, Place | None], options: AdaptiveOptions
) -> Nodes:
    """Return the pictures with those of one round, each a correction of its parent, or a draft."""
    found = dict(nodes)
    for turns in affordable(tools, list(parents.items())):
        painted = await tools.gather(
            *(
                _fresh(task, tools, place) if parent is None else _corrected(task, tools, place, nodes[parent], options)
                for place, parent in turns
            )
        )
        for (_, parent), (node, critique) in zip(turns, painted, strict=True):
            if node is not None:
                found[node.step.place] = node
            if parent is not None and critique is not None:
                found[parent] = _after(found[parent], critique)
    return found


def _after(node: Node, critique: Reflection) -> Node:
    """Return a picture after it was corrected, or was not because the reflector, asked anew, had nothing to say."""
    spoke = critique.failure is None and critique.text.strip()
    return replace(node, tried=(*node.tried, critique.text)) if spoke else replace(node, critique=critique)


async def _fresh(task: Task, tools: Tools, place: Place) -> tuple[Node | None, None]:
    """Return a draft; none when it failed."""
    step = await draft(task, tools, place)
    return None if step is None else Node(step), None


async def _corrected(
    task: Task, tools: Tools, place: Place, flawed: Node, options: AdaptiveOptions
) -> tuple[Node | None, Reflection]:
    """Return the correction of a picture, none when it failed, and what it was corrected by.

    A reflector that reads the history is asked anew, and may have nothing to say then: a draft is painted instead.
    """
    critique = await _critique(tools, flawed, options)
    if critique.failure is not None or not critique.text.strip():
        return (await _fresh(task, tools, place))[0], critique
    step = await correct(task, tools, place, flawed.step, critique, options)
    said = (*flawed.said, critique.text)
    return None if step is None else Node(step, said, flawed.step.place), critique


def _is_done(node: Node, options: AdaptiveOptions) -> bool:
    return options.sure is not None and node.edits == 0 and score_of(node.step) >= options.sure


ADAPTIVE = StrategySpec(
    "adaptive",
    AdaptiveOptions,
    adaptive,
    lambda options: options.needs(Role.REFLECTOR),
    nested=True,
    summary="Corrects whatever picture needs the fewest edits, or drafts anew; the best of everything wins.",
    welcomes=lambda options: options.welcomes,
)
