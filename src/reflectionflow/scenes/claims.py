"""Claims about a scene: prompts that are true of it, and near misses, each judged by GenEval's rules.

This is what a verifier learns from: one picture, several texts, and whether a picture like it satisfies them. A near
miss differs from a true statement in one thing: two colours swapped, a relation turned, an object, a colour or a count
exchanged. Whether a claim is true is never assumed from how it was made; `geneval.decide` says so for the exact scene.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reflectionflow.geneval import Detection, Metadata, decide
from reflectionflow.scenes.prompts import (
    COMPOSITES,
    TAGS,
    Named,
    Part,
    Statement,
    belongs,
    named,
    relations_of,
    tag_of,
    write,
)
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.words import COLORS, OBJECTS, RELATIONS
from reflectionflow.scenes.world import Scene, Thing, relation

Rng = np.random.Generator
TAG_WEIGHTS = dict(zip(TAGS, (0.5, 1.0, 2.0, 1.0, 1.5, 1.5, 2.0), strict=True))
ATTEMPTS = 40
OPPOSITE = (1, 0, 3, 2)


@dataclass(frozen=True)
class Claim:
    """A prompt and whether a scene satisfies it."""

    metadata: Metadata
    true: bool

    @property
    def text(self) -> str:
        """The prompt."""
        return self.metadata.prompt


def detections(scene: Scene) -> dict[str, list[Detection]]:
    """Return what a perfect detector sees: every object with its exact box, its colour and a score of 1."""
    found: dict[str, list[Detection]] = defaultdict(list)
    for thing in scene.things:
        found[thing.noun].append(Detection(thing.box, 1.0, thing.color))
    return dict(found)


def is_true(statement: Statement, scene: Scene) -> bool:
    """Return whether a scene satisfies a statement by GenEval's rules."""
    return decide(write(statement), detections(scene)).correct


def is_clear(statement: Statement, scene: Scene) -> bool:
    """Return whether truth does not hang on which of several equal objects a detector is surest of.

    A colour is clear when all objects of that noun share theirs, a relation when there is at most one of either noun.
    """
    number = Counter(thing.noun for thing in scene.things)
    colors: dict[str, set[str]] = defaultdict(set)
    for thing in scene.things:
        colors[thing.noun].add(thing.color)
    related = {item.noun for first, _, second in relations_of(statement) for item in (first, second)}
    return all(len(colors[thing.noun]) <= 1 for thing in named(statement) if thing.color) and all(
        number[noun] <= 1 for noun in related
    )


def draw_claims(
    rng: Rng, scene: Scene, split: Split, true: int = 2, near: int = 4, tags: Sequence[str] = TAGS
) -> tuple[Claim, ...]:
    """Draw claims about a scene, no text twice.

    Where a scene gives too few of one kind (one object allows few true statements of a split), there are fewer.

    Args:
        rng: Decides everything.
        scene: The ground truth.
        split: Only statements that belong to this split or to all of them, true and false ones alike.
        true: Most true claims.
        near: Most near misses.
        tags: Which tags are drawn.
    """
    found: dict[str, Claim] = {}
    wanted = {True: true, False: near}
    for attempt in range(ATTEMPTS):
        if not any(wanted.values()):
            break
        drawn = draw_statement(rng, scene, tags)
        changing = not wanted[True] or (wanted[False] and attempt % 3)
        statement = near_miss(rng, scene, drawn) if changing else drawn
        if statement is None or tag_of(statement) not in tags or not belongs(statement, split):
            continue
        claim = Claim(write(statement), is_true(statement, scene))
        if wanted[claim.true] and claim.text not in found and is_clear(statement, scene):
            found[claim.text] = claim
            wanted[claim.true] -= 1
    return tuple(found.values())


def draw_statement(rng: Rng, scene: Scene, tags: Sequence[str] = TAGS) -> Statement:
    """Draw a statement about the objects of a scene, true of it wherever its tag allows that."""
    things = list({thing.noun: thing for thing in scene.things}.values())
    numbers = Counter(thing.noun for thing in scene.things)
    possible = [tag for tag in tags if _possible(tag, len(things), max(numbers.values()))] or list(tags)
    weights = np.asarray([TAG_WEIGHTS[tag] for tag in possible])
    tag = possible[int(rng.choice(len(possible), p=weights / weights.sum()))]
    order = [things[int(index)] for index in rng.permutation(len(things))]
    order += [_invented(rng, order) for _ in range(2 - len(order))]
    return _BUILDERS[tag](rng, order, numbers)


def _possible(tag: str, kinds: int, most: int) -> bool:
    """Return whether a scene with so many kinds of objects, at most so many of one, can satisfy prompts of a tag."""
    if tag == "counting":
        return 2 <= most <= 4
    return kinds >= (1 if tag in ("single_object", "colors") else 2)


def _invented(rng: Rng, present: Sequence[Thing]) -> Thing:
    absent = [noun for noun in OBJECTS if all(thing.noun != noun for thing in present)]
    color = COLORS[int(rng.integers(len(COLORS)))]
    x, y = (float(value) for value in rng.uniform(20, 108, 2))
    return Thing(absent[int(rng.integers(len(absent)))], color, x, y, 30.0)


def _count(rng: Rng, order: Sequence[Thing], numbers: Mapping[str, int]) -> Statement:
    several = [thing for thing in order if 2 <= numbers.get(thing.noun, 0) <= 4]
    thing = several[0] if several else order[0]
    color = thing.color if rng.random() < 0.15 else None
    return (Part(Named(thing.noun, color), min(4, max(2, numbers.get(thing.noun, 0)))),)


def _composite(rng: Rng, order: Sequence[Thing], numbers: Mapping[str, int]) -> Statement:
    there = max(2, sum(thing.noun in numbers for thing in order))
    shapes = [shape for shape in COMPOSITES if shape[0] <= there]
    size, build = shapes[int(rng.integers(len(shapes)))]
    things = [_colored(thing) for thing in order[:size]]
    draft = build(things, (RELATIONS[0], RELATIONS[0]))
    place = dict(zip(things, order, strict=False))
    return tuple(
        part if part.anchor is None else replace(part, relation=_relation(place[part.thing], place[part.anchor]))
        for part in draft
    )


def _position(rng: Rng, order: Sequence[Thing], numbers: Mapping[str, int]) -> Statement:
    first, second = order[:2]
    return (Part(Named(first.noun), 1, _relation(first, second), Named(second.noun)),)


def _colored(thing: Thing) -> Named:
    return Named(thing.noun, thing.color)


def _relation(first: Thing, second: Thing) -> str:
    return RELATIONS[relation(first, second)]


_BUILDERS: Mapping[str, Callable[[Rng, Sequence[Thing], Mapping[str, int]], Statement]] = {
    "single_object": lambda rng, order, numbers: (Part(Named(order[0].noun)),),
    "two_object": lambda rng, order, numbers: (Part(Named(order[0].noun)), Part(Named(order[1].noun))),
    "counting": _count,
    "colors": lambda rng, order, numbers: (Part(_colored(order[0])),),
    "position": _position,
    "color_attr": lambda rng, order, numbers: (Part(_colored(order[0])), Part(_colored(order[1]))),
    "composite": _composite,
}


def near_miss(rng: Rng, scene: Scene, statement: Statement) -> Statement | None:
    """Return the statement with one thing changed; none when the drawn change does not apply to it."""
    changes = [_change_noun, _change_noun]
    if any(thing.color for thing in named(statement)):
        changes += [_change_color, _change_color, _change_color]
    if sum(thing.color is not None for thing in named(statement)) >= 2:
        changes += [_swap_colors] * 3
    if relations_of(statement):
        changes += [_turn_relation] * (3 if len(changes) > 2 else 6)
    if statement[0].count > 1:
        changes = [_change_noun, *[_change_count] * 4]
    elif len(statement) == 1 and len(named(statement)) == 1 and statement[0].thing.color is None:
        changes += [_change_count]
    return changes[int(rng.integers(len(changes)))](rng, scene, statement)


def _renamed(statement: Statement, names: Mapping[Named, Named]) -> Statement | None:
    changed = tuple(
        replace(
            part, thing=names.get(part.thing, part.thing), anchor=part.anchor and names.get(part.anchor, part.anchor)
        )
        for part in statement
    )
    nouns = [thing.noun for thing in named(changed)]
    return changed if len(nouns) == len(set(nouns)) == len(named(statement)) else None


def _pick(rng: Rng, statement: Statement) -> Named:
    things = named(statement)
    return things[int(rng.integers(len(things)))]


def _change_noun(rng: Rng, scene: Scene, statement: Statement) -> Statement | None:
    """Name another object, half the time one that is in the scene in another role."""
    old = _pick(rng, statement)
    present = [thing.noun for thing in scene.things if thing.noun != old.noun]
    nouns = present if present and rng.random() < 0.5 else [noun for noun in OBJECTS if noun != old.noun]
    return _renamed(statement, {old: replace(old, noun=nouns[int(rng.integers(len(nouns)))])})


def _change_color(rng: Rng, scene: Scene, statement: Statement) -> Statement | None:
    """Give an object another colour, half the time one that another object of the scene has."""
    old = _pick(rng, statement)
    if old.color is None:
        return None
    present = [thing.color for thing in scene.things if thing.color != old.color]
    colors = present if present and rng.random() < 0.5 else [color for color in COLORS if color != old.color]
    return _renamed(statement, {old: replace(old, color=colors[int(rng.integers(len(colors)))])})


def _swap_colors(rng: Rng, scene: Scene, statement: Statement) -> Statement | None:
    colored = [thing for thing in named(statement) if thing.color is not None]
    first, second = (colored[int(index)] for index in rng.choice(len(colored), size=2, replace=False))
    return _renamed(statement, {first: replace(first, color=second.color), second: replace(second, color=first.color)})


def _turn_relation(rng: Rng, scene: Scene, statement: Statement) -> Statement | None:
    """State the opposite relation, or with a third of the draws any other."""
    placed = [index for index, part in enumerate(statement) if part.relation]
    index = placed[int(rng.integers(len(placed)))]
    old = RELATIONS.index(statement[index].relation or "")
    new = OPPOSITE[old] if rng.random() < 0.67 else (old + 1 + int(rng.integers(3))) % 4
    changed = list(statement)
    changed[index] = replace(statement[index], relation=RELATIONS[new])
    return tuple(changed)


def _change_count(rng: Rng, scene: Scene, statement: Statement) -> Statement | None:
    """Ask for one more or one fewer, within two to four."""
    count = statement[0].count + (1 if statement[0].count == 1 or rng.random() < 0.5 else -1)
    return (replace(statement[0], count=count),) if 2 <= count <= 4 else None
