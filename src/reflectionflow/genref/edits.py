"""Edits as the teacher words them, read back: carried out on a scene graph, and found carried out or not.

An edit is one of "remove the red star", "replace the red star with a blue heart", "change the color of the star from
red to blue", "move the red star to the left of the blue heart" and "add a red star at the top left".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

from reflectionflow.genref.graph import GRID, Graph, Node, apart, inside, way
from reflectionflow.genref.teacher import FAR, place_of, relation_of
from reflectionflow.scenes.world import CANVAS, Priors

VERSION = 4
"""Of how edits are worded and carried out: in the names of the models that do it, so that no run mixes two."""
WORLD = Priors()
STEP = WORLD.grid / CANVAS
OWN_GRID = tuple((x * STEP, y * STEP) for y, x in product(range(1, round(1 / STEP)), repeat=2))
"""Where the world's own objects stand, row by row (decision 18): models paint them best."""
SIZES = (min(WORLD.sizes) / CANVAS, 28 / CANVAS)
"""Sizes of an added object, shares of the picture's side: the world's smallest, and one for where that has no room."""
BESIDE = 0.06
"""Free space between an object and the anchor beside which it is put, a share of the picture's side."""
STEPS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
GAP = 0.02
NAME = r"((?:\w+ )?\w+)"
WHERE = r"((?:to the )?(?:left of|right of)|above|below|at the|in the)(?: the)? ([\w ]+)"
OVERLAP = 0.5
"""Least intersection over union of the boxes of an object that was kept."""


class Verb(StrEnum):
    """What an edit does."""

    REMOVE = "remove"
    REPLACE = "replace"
    CHANGE = "change"
    MOVE = "move"
    ADD = "add"


@dataclass(frozen=True)
class Name:
    """An object as an edit names it."""

    noun: str
    color: str | None

    def fits(self, node: Node) -> bool:
        """Return whether an object goes by this name."""
        return node.noun == self.noun and self.color in (None, node.color)


@dataclass(frozen=True)
class Where:
    """A place: relative to another object, or in the picture.

    Attributes:
        relation: "left of", "right of", "above", "below", or empty for a place in the picture.
        anchor: The other object, none for a place in the picture.
        place: "at the top left", "in the middle", or empty.
    """

    relation: str
    anchor: Name | None
    place: str

    def holds(self, node: Node, graph: Graph) -> bool:
        """Return whether an object of a picture is there."""
        if self.anchor is None:
            return place_of(node) == self.place
        return any(
            relation_of(node, other) == self.relation
            for other in graph
            if other is not node and self.anchor.fits(other)
        )


@dataclass(frozen=True)
class Edit:
    """One edit.

    Attributes:
        verb: What is done.
        name: To which object.
        becomes: What it is replaced by or recoloured to.
        where: Where it is added or moved to.
    """

    verb: Verb
    name: Name
    becomes: Name | None = None
    where: Where | None = None


def parse_edit(text: str) -> Edit | None:
    """Return an edit from its words, none for words of another form."""
    words = " ".join(text.lower().strip(" .").split())
    if found := re.fullmatch(rf"remove the {NAME}", words):
        return Edit(Verb.REMOVE, _name(found[1]))
    if found := re.fullmatch(rf"replace the {NAME} with an? {NAME}", words):
        return Edit(Verb.REPLACE, _name(found[1]), becomes=_name(found[2]))
    if found := re.fullmatch(r"change the color of the (\w+) from (\w+) to (\w+)", words):
        return Edit(Verb.CHANGE, Name(found[1], found[2]), becomes=Name(found[1], found[3]))
    if found := re.fullmatch(rf"move the {NAME} {WHERE}", words):
        return Edit(Verb.MOVE, _name(found[1]), where=_where(found[2], found[3]))
    if found := re.fullmatch(rf"add an? {NAME} {WHERE}", words):
        return Edit(Verb.ADD, _name(found[1]), where=_where(found[2], found[3]))
    return None


def _name(words: str) -> Name:
    *color, noun = words.split()
    return Name(noun, color[0] if color else None)


def _where(relation: str, rest: str) -> Where:
    if relation in ("at the", "in the"):
        return Where("", None, f"{relation} {rest}")
    return Where(relation.removeprefix("to the "), _name(rest), "")


def says_something(edit: Edit, graph: Graph) -> bool:
    """Return whether a picture does not already show what an edit asks for: "move the star above the ring"."""
    return edit.where is None or not any(edit.name.fits(node) and edit.where.holds(node, graph) for node in graph)


def carried_out(edit: Edit, before: Graph, after: Graph) -> bool:
    """Return whether an edit was carried out, as far as two scene graphs tell."""
    gone = _count(edit.name, after) < _count(edit.name, before)
    if edit.verb is Verb.REMOVE:
        return gone
    if edit.becomes is not None:
        return gone and _count(edit.becomes, after) > _count(edit.becomes, before)
    assert edit.where is not None
    there = [node for node in after if edit.name.fits(node) and edit.where.holds(node, after)]
    more = _count(edit.name, after) - _count(edit.name, before)
    if edit.verb is Verb.ADD:
        return bool(there) and more > 0
    were = [node for node in before if edit.name.fits(node)]
    return more == 0 and any(all(way(a, b) >= FAR for b in were) for a in there)


def preserved(edits: Sequence[Edit], before: Graph, after: Graph) -> tuple[int, int]:
    """Return how many of the objects that no edit names kept class, colour and box, and how many there are."""
    named = [name for edit in edits for name in (edit.name, edit.becomes) if name is not None]
    others = [node for node in before if not any(name.fits(node) for name in named)]
    kept = [
        any((other.noun, other.color) == (node.noun, node.color) and overlap(node, other) >= OVERLAP for other in after)
        for node in others
    ]
    return sum(kept), len(kept)


def overlap(first: Node, second: Node) -> float:
    """Return the intersection over union of two objects' (square) boxes."""
    half = (first.size + second.size) / 2
    smaller = min(first.size, second.size)
    wide, high = (max(0.0, min(smaller, half - abs(a - b))) for a, b in ((first.x, second.x), (first.y, second.y)))
    both = wide * high
    return both / max(1e-9, first.size**2 + second.size**2 - both)


def carry_out(edits: Sequence[Edit], graph: Graph) -> Graph:
    """Return a picture after edits, one after the other; an edit that names nothing there changes nothing."""
    for edit in edits:
        graph = tuple(sorted(_carried_out(edit, graph), key=lambda node: (node.x, node.y, node.noun)))
    return graph


def led_to(edits: Sequence[str], graph: Graph) -> Graph:
    """Return what a picture shows once edits are followed to the letter."""
    return carry_out([edit for text in edits if (edit := parse_edit(text))], graph)


def _carried_out(edit: Edit, graph: Graph) -> Graph:
    if edit.verb is Verb.ADD:
        return (*graph, _put(Node(edit.name.noun, edit.name.color, 0.5, 0.5, SIZES[0]), edit.where, graph, None))
    target = _find(edit.name, graph)
    if target is None:
        return graph
    others = tuple(node for node in graph if node is not target)
    if edit.verb is Verb.REMOVE:
        return others
    if edit.becomes is not None:
        return (*others, replace(target, noun=edit.becomes.noun, color=edit.becomes.color or target.color))
    return (*others, _put(target, edit.where, others, target))


def _find(name: Name, graph: Graph) -> Node | None:
    """Return the object of a name, or one of its class where no colour fits."""
    exact = [node for node in graph if name.fits(node)]
    return next(iter(exact or [node for node in graph if node.noun == name.noun]), None)


def _put(node: Node, where: Where | None, others: Graph, old: Node | None) -> Node:
    """Return the object where it should be: at the free spot that obeys and is nearest to the ideal one.

    The words and the picture alone decide, so that a corrector that learns from it need not guess what was meant. Spots
    where the world's own objects stand come first. Where no free spot obeys, it is one that obeys; where none does,
    since the anchor is not there, a free one.
    """
    ideal = _ideal(node, where, others)
    # Of two red stars nobody can tell which one has moved unless it stands where none was.
    were = () if old is None else (old, *(other for other in others if other.name == old.name))

    def obeys(spot: Node) -> bool:
        return (where is None or where.holds(spot, (*others, spot))) and all(way(spot, one) >= FAR for one in were)

    anywhere: list[Node] = []
    sizes = (node.size, *(size for size in SIZES if size < node.size))
    for size, grid in product(sizes, (OWN_GRID, GRID)):
        spots = [spot for x, y in grid if inside(spot := Node(node.noun, node.color, x, y, size))]
        spots.sort(key=lambda spot: _askew(spot, ideal))
        found = next((spot for spot in spots if obeys(spot) and apart(spot, others, GAP)), None)
        if found is not None:
            return found
        anywhere = anywhere or [spot for spot in spots if apart(spot, others, GAP)]
    return next((spot for spot in spots if obeys(spot)), anywhere[0] if anywhere else node)


def _ideal(node: Node, where: Where | None, others: Graph) -> tuple[float, float]:
    """Return where an object would stand best: close beside its anchor, or amid its part of the picture."""
    name = None if where is None else where.anchor
    anchor = None if name is None else next((other for other in others if name.fits(other)), None)
    if where is not None and anchor is not None:
        x, y = STEPS[where.relation]
        far = (node.size + anchor.size) / 2 + BESIDE
        return anchor.x + x * far, anchor.y + y * far
    ninths = [(x / 6, y / 6) for y in (1, 3, 5) for x in (1, 3, 5)]
    named = [(x, y) for x, y in ninths if where is not None and place_of(replace(node, x=x, y=y)) == where.place]
    return named[0] if named else (0.5, 0.5)


def _askew(node: Node, ideal: tuple[float, float]) -> float:
    return round(math.hypot(node.x - ideal[0], node.y - ideal[1]), 6)


def _count(name: Name, graph: Graph) -> int:
    return sum(name.fits(node) for node in graph)
