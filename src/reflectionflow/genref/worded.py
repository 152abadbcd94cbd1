"""The words of a repair, chosen so that whoever follows them to the letter satisfies the prompt.

A teacher who compares two pictures says where things stand as a person would: relative to what is nearest, in the
direction that strikes the eye. Such words can be true and still not lead there: "add a blue star left of the triangle"
where the prompt wants it below, or an anchor that is to be added later itself. Here every wording is tried on
`edits.led_to`, and the first one that leads to a picture which satisfies the prompt is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, permutations

from reflectionflow.genref.edits import led_to
from reflectionflow.genref.graph import Graph, Node, match, way
from reflectionflow.genref.teacher import FAR, move, place_of, relation_of
from reflectionflow.scenes import claims
from reflectionflow.scenes.words import RELATIONS, with_article

OPPOSITE = {relation: RELATIONS[other] for relation, other in zip(RELATIONS, claims.OPPOSITE, strict=True)}
MOST_WORDINGS = 200
"""Wordings tried of one repair."""


@dataclass(frozen=True)
class Rule:
    """The object of one class must stand in a relation to that of another."""

    noun: str
    relation: str
    anchor: str


def worded(
    edits: tuple[str, ...], graph: Graph, wanted: Graph, rules: Sequence[Rule], passes: Callable[[Graph], bool]
) -> tuple[str, ...]:
    """Return the edits needed to lead from `graph` to a picture that passes; the given ones where no wording does.

    Args:
        edits: What the teacher says, what is put somewhere last.
        graph: What the picture shows.
        wanted: What it should show.
        rules: How the prompt wants things to stand to one another.
        passes: Whether a picture satisfies the prompt.
    """
    if passes(led_to(edits, graph)):
        return _needed(edits, graph, passes)
    said = tuple(text for text in edits if not text.startswith(("move ", "add ")))
    pairs = match(graph, wanted)
    puts = [(None, node) for node in pairs.added if f"add {with_article(node.name)} " in " ".join(edits)]
    moves = [(old, new) for old, new in pairs.kept if way(old, new) >= FAR]
    changed = led_to(said, graph)
    wordings = (found for order in permutations([*moves, *puts]) for found in _placings(order, changed, rules))
    right = next((told for told, after in islice(wordings, MOST_WORDINGS) if passes(after)), None)
    return edits if right is None else _needed((*said, *right), graph, passes)


def _needed(edits: tuple[str, ...], graph: Graph, passes: Callable[[Graph], bool]) -> tuple[str, ...]:
    """Return the edits without those that are not needed: whoever is asked for less errs less."""
    for edit in edits:
        fewer = tuple(other for other in edits if other != edit)
        if fewer and passes(led_to(fewer, graph)):
            return _needed(fewer, graph, passes)
    return edits


def _placings(
    order: Sequence[tuple[Node | None, Node]], graph: Graph, rules: Sequence[Rule]
) -> Iterator[tuple[list[str], Graph]]:
    """Yield every wording of what is put somewhere, one after the other, and what it leads to."""
    if not order:
        yield [], graph
        return
    (old, node), *later = order
    others = tuple(other for other in graph if old is None or other.name != node.name)
    for where in dict.fromkeys(_wheres(node, others, rules)):
        text = f"add {with_article(node.name)} {where}" if old is None else move(node, where)
        for told, after in _placings(later, led_to([text], graph), rules):
            yield [text, *told], after


def _wheres(node: Node, others: Graph, rules: Sequence[Rule]) -> Iterator[str]:
    """Yield in which words an object's place can be said: as the prompt wants it, by what is near, in the picture."""
    names = [other.name for other in others]
    anchors = [other for other in others if names.count(other.name) == 1]
    for rule in rules:
        for anchor in anchors:
            if (node.noun, anchor.noun) == (rule.noun, rule.anchor):
                yield f"{rule.relation} the {anchor.name}"
            if (anchor.noun, node.noun) == (rule.noun, rule.anchor):
                yield f"{OPPOSITE[rule.relation]} the {anchor.name}"
    for anchor in sorted(anchors, key=lambda other: way(node, other)):
        yield f"{relation_of(node, anchor)} the {anchor.name}"
    yield place_of(node)
