"""Repairs in place: what is wanted takes the place of what is there, so that nothing has to move.

A corrector carries out "replace the red star with a blue heart" far more often than a move or an addition, which ask it
to find a place (docs/log.md). A picture whose objects stand as the prompt wants them, and only are the wrong ones,
needs neither. Names count too: of two red stars it is anyone's guess which one is meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count, islice, permutations

from reflectionflow.genref.edits import led_to
from reflectionflow.genref.graph import Graph, Node
from reflectionflow.scenes.words import with_article

COSTS = {"move": 2.0, "add": 1.5, "replace": 1.1}
"""What edits cost that have to find a place, or change more than a colour; all others cost 1."""
UNCLEAR = 0.5
"""What it costs beyond that where the name of an edit's object is that of another one too."""
MOST_WAYS = 12
"""Assignments tried."""
MOST_ORDERS = 24
"""Orders tried in which edits may be said."""


@dataclass(frozen=True)
class Want:
    """An object that a prompt asks for; without a colour it may have any."""

    noun: str
    color: str | None


Judge = Callable[[Graph], bool]
Rest = Callable[[Graph], tuple[str, ...]]
Slots = tuple[Want | None, ...]


@dataclass(frozen=True)
class Task:
    """What is to be repaired.

    Attributes:
        wants: What the prompt asks for, each object once.
        graph: What the picture shows.
        fresh: Colours for what replaces something and may have any, the first ones first.
        passes: Whether a picture satisfies the prompt.
        rest: The edits that repair a picture otherwise, for what has no place to take.
    """

    wants: tuple[Want, ...]
    graph: Graph
    fresh: tuple[str, ...]
    passes: Judge
    rest: Rest


def cost(edits: Sequence[str], graph: Graph, passes: Judge) -> float:
    """Return how much a corrector is asked for by edits of a picture; infinite where they lead to none that passes."""
    if not passes(led_to(edits, graph)):
        return math.inf
    total = 0.0
    for edit in edits:
        verb = edit.split()[0]
        total += COSTS.get(verb, 1.0) + UNCLEAR * _unclear(edit, graph)
        graph = led_to([edit], graph)
    return total


def _unclear(edit: str, graph: Graph) -> bool:
    """Return whether an edit could be about several objects of a picture."""
    after = led_to([edit], graph)
    return any(node not in after and sum(other.name == node.name for other in graph) > 1 for node in graph)


def in_place(task: Task, bound: float) -> tuple[str, ...]:
    """Return the cheapest edits below `bound` that let what is wanted take the places of what is there.

    Args:
        task: What is to be repaired.
        bound: Cost of what is known already; may be infinite.

    Returns:
        The edits in the order in which they must be followed; none where nothing cheaper is known.
    """
    found: tuple[str, ...] = ()
    for least, slots in islice(_assignments(task), MOST_WAYS):
        if least >= bound:
            break
        for said in _said(slots, task):
            order = _ordered(said, slots, task, bound)
            price = bound if order is None else cost(order, task.graph, task.passes)
            if order is not None and price < bound:
                bound, found = price, order
    return found


def at_least(task: Task) -> float:
    """Return what any repair costs that moves nothing; one with moves costs those beyond that."""
    return next(_assignments(task))[0]


def _assignments(task: Task) -> Iterator[tuple[float, Slots]]:
    """Yield what it costs at least to let wanted objects stand in places of the picture, and which; the cheapest first.

    What has no place is to be added; of equal ways the one that replaces the smallest objects comes first.
    """
    ties = count()
    ways: list[tuple[float, float, int, int, Slots]] = [(0.0, 0.0, next(ties), 0, (None,) * len(task.graph))]
    seen = set()
    while ways:
        least, lost, _, number, slots = heappop(ways)
        if (number, slots) in seen:  # two of the same kind in the other's places
            continue
        seen.add((number, slots))
        if number == len(task.wants):
            yield least, slots
            continue
        want = task.wants[number]
        heappush(ways, (least + COSTS["add"], lost, next(ties), number + 1, slots))
        for place, node in enumerate(task.graph):
            if slots[place] is None:
                taking = (*slots[:place], want, *slots[place + 1 :])
                price = 0.0 if _is(node, want) else 1.0 if node.noun == want.noun else COSTS["replace"]
                gone = node.size if node.noun != want.noun else 0.0
                heappush(ways, (least + price, lost + gone, next(ties), number + 1, taking))


def _is(node: Node, want: Want) -> bool:
    return node.noun == want.noun and want.color in (None, node.color)


def _said(slots: Slots, task: Task) -> Iterator[list[str]]:
    """Yield the edits of an assignment: all else stays, or what bears a wanted name without need goes."""
    names, changes = {node.name for node in task.graph}, []
    for node, want in zip(task.graph, slots, strict=True):
        if want is None or _is(node, want):
            continue
        if node.noun == want.noun and node.color is not None:
            changes.append(f"change the color of the {node.noun} from {node.color} to {want.color}")
        else:
            colors = (want.color,) if want.color else (node.color or task.fresh[0], *task.fresh)
            told = [f"{color} {want.noun}" for color in colors]
            name = next((name for name in told if name not in names), told[0])
            names.add(name)
            changes.append(f"replace the {node.name} with {with_article(name)}")
    yield changes
    wanted = {want.noun for want in slots if want is not None}
    surplus = [node for node, want in zip(task.graph, slots, strict=True) if want is None and node.noun in wanted]
    if surplus:
        yield [*(f"remove the {node.name}" for node in surplus), *changes]


def _ordered(said: list[str], slots: Slots, task: Task, bound: float) -> tuple[str, ...] | None:
    """Return the edits in the first order that leads to a picture that passes; none where no order does.

    What is to be added comes last, and after one order only: to find places for it takes time.
    """
    missing = len(task.wants) - sum(want is not None for want in slots)
    if not said or len(said) + COSTS["add"] * missing >= bound:
        return None
    afters = ((order, led_to(order, task.graph)) for order in islice(permutations(said), MOST_ORDERS))
    if not missing:
        return next((order for order, after in afters if task.passes(after)), None)
    order, after = next(afters)
    rest = task.rest(after)
    return (*order, *rest) if task.passes(led_to(rest, after)) else None
