"""The teacher of Scenes: reads two scene graphs and writes what a person would say to lead from one to the other.

It sees what a detector sees, as a vision-language model would, and nothing of how the pictures were made. Its edits are
short and imperative, in the order in which a person would give them, and name only what matters: for a pair that is
judged by rules that is what the prompt speaks of; for a pair about a scene (reward, length) and for an edited one, all
that differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reflectionflow.geneval import Metadata
from reflectionflow.genref.graph import Graph, Match, Node, match, way
from reflectionflow.scenes.words import PLACES, with_article

ANYWHERE: Mapping[str, str] = MappingProxyType({})
FAR = 0.14
"""An object has moved when its centre did by this share of the picture's side; a grid step of Scenes is 0.06."""


@dataclass(frozen=True)
class Thought:
    """GenRef-CoT of a pair (ReflectionFlow section 4): what differs, which picture is better, what to do.

    Attributes:
        differences: A description of the differences, in sentences.
        better: 1 or 2, the picture the teacher prefers; 0 when it cannot tell.
        edits: The instructions that lead from the worse picture to the better one.
    """

    differences: tuple[str, ...]
    better: int
    edits: tuple[str, ...]


def place_of(node: Node) -> str:
    """Return in words where an object stands: "at the top left", "in the middle"."""
    words = PLACES[min(2, int(node.y * 3))][min(2, int(node.x * 3))]
    return "in the middle" if words == "middle" else f"at the {words}"


def relation_of(first: Node, second: Node) -> str:
    """Return the dominant relation of one object to another, as prompts word it."""
    dx, dy = first.x - second.x, first.y - second.y
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def edits_of(
    flawed: Graph,
    enhanced: Graph,
    matters: Callable[[str], bool] = lambda noun: True,
    anchors: Mapping[str, str] = ANYWHERE,
) -> tuple[str, ...]:
    """Return the edits that lead from one picture to another: remove, replace, recolour, move, add.

    Args:
        flawed: What the first picture shows.
        enhanced: What the second picture shows.
        matters: Which classes are spoken of.
        anchors: The class relative to which the places of a class are told; by default the nearest object.
    """
    found = match(flawed, enhanced)
    kept = [pair for pair in found.kept if matters(pair[0].noun) or matters(pair[1].noun)]
    edits = [f"remove the {node.name}" for node in found.removed if matters(node.noun)]
    edits += [f"replace the {old.name} with {with_article(new.name)}" for old, new in kept if old.noun != new.noun]
    edits += [
        f"change the color of the {new.noun} from {old.color} to {new.color}"
        for old, new in kept
        if old.noun == new.noun and old.color != new.color and old.color and new.color
    ]
    edits += [
        move(new, _where(new, enhanced, anchors)) for old, new in kept if old.noun == new.noun and _moved(old, new)
    ]
    edits += [
        f"add {with_article(node.name)} {_where(node, enhanced, anchors)}" for node in found.added if matters(node.noun)
    ]
    return tuple(dict.fromkeys(edits))


def reflect(
    metadata: Metadata, flawed: Graph, enhanced: Graph, anchors: Mapping[str, str] = ANYWHERE
) -> tuple[str, ...]:
    """Return the edits that matter for a prompt; moves only where the prompt speaks of places or counts."""
    named = {clause.class_name for clause in metadata.include}
    edits = edits_of(flawed, enhanced, named.__contains__, anchors)
    if any(clause.position is not None for clause in metadata.include):
        return edits
    return tuple(edit for edit in edits if not edit.startswith("move "))


def think(
    first: Graph, second: Graph, rank: Callable[[Graph], float], edits: Callable[[Graph, Graph], tuple[str, ...]]
) -> Thought:
    """Compare two pictures without being told which is better.

    Args:
        first: What the first picture shows.
        second: What the second one shows.
        rank: How well a picture does, larger is better.
        edits: The edits that lead from a worse picture to a better one.
    """
    difference = rank(second) - rank(first)
    better = 0 if abs(difference) < 1e-9 else 2 if difference > 0 else 1
    worse, best = (second, first) if better == 1 else (first, second)
    return Thought(differences(match(first, second)), better, edits(worse, best) if better else ())


def differences(found: Match) -> tuple[str, ...]:
    """Return in sentences what only one of two matched pictures shows, and what differs in both."""
    told = [f"Only the first picture shows {with_article(node.name)} {place_of(node)}." for node in found.removed]
    told += [f"Only the second picture shows {with_article(node.name)} {place_of(node)}." for node in found.added]
    for old, new in found.kept:
        if old.noun != new.noun:
            told.append(
                f"Where the first picture shows {with_article(old.name)}, the second shows {with_article(new.name)}."
            )
        elif old.color != new.color:
            told.append(f"The {old.noun} is {old.color} in the first picture and {new.color} in the second.")
        elif _moved(old, new):
            told.append(f"The {old.name} is {place_of(old)} in the first picture and {place_of(new)} in the second.")
    return tuple(told)


def _moved(old: Node, new: Node) -> bool:
    """Return whether an object moved so far that a person would say so."""
    return way(old, new) >= FAR


def move(node: Node, where: str) -> str:
    """Return the edit that moves an object to a place told in words."""
    return f"move the {node.name} {f'to the {where}' if where.startswith(('left of', 'right of')) else where}"


def _where(node: Node, graph: Graph, anchors: Mapping[str, str]) -> str:
    """Return a place relative to the nearest other object that has a name of its own, else in the picture.

    Where an object of the class that `anchors` names has a name of its own, it is that one.
    """
    names = [other.name for other in graph]
    others = [other for other in graph if other != node and names.count(other.name) == 1]
    if not others:
        return place_of(node)
    wanted = [other for other in others if other.noun == anchors.get(node.noun)]
    nearest = min(wanted or others, key=lambda other: (other.x - node.x) ** 2 + (other.y - node.y) ** 2)
    return f"{relation_of(node, nearest)} the {nearest.name}"
