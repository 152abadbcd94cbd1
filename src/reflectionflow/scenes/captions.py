"""What can truly be said of a scene: short captions in GenEval's wording, detailed ones, and corrections.

Every text is true of its scene. A short caption names all objects, with or without their colours, and relations only
where they hold clearly by GenEval's rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from reflectionflow.geneval import Detection, Options, relations
from reflectionflow.prompts.correction import correction_text
from reflectionflow.scenes.words import COLORS, NUMBERS, OBJECTS, plural, with_article
from reflectionflow.scenes.world import Scene, Thing

Rng = np.random.Generator
PREFIX = "a photo of "


class Form(Enum):
    """The kinds of text a scene is described by."""

    SHORT = "short"
    DETAILED = "detailed"
    CORRECTION = "correction"


@dataclass(frozen=True)
class CaptionMix:
    """How often each form is drawn, and how often a short caption names colours and relations.

    Attributes:
        detailed: Share of detailed captions.
        correction: Share of texts in the correction spelling with a true reflection and no condition.
        colored: Share of short captions that name colours.
        related: Share of short captions that name relations, where two or more kinds of objects are there.
        held_out_relations: Ordered pairs and relation, (noun, relation, noun), that captions never state.
    """

    detailed: float = 0.25
    correction: float = 0.2
    colored: float = 0.65
    related: float = 0.45
    held_out_relations: frozenset[tuple[str, str, str]] = frozenset()


def clear_relations(first: Thing, second: Thing) -> tuple[str, ...]:
    """Return the relations of `first` to `second` by GenEval's rule, at most two."""
    return relations(Detection(first.box, 1.0), Detection(second.box, 1.0), Options())


def phrase(thing: Thing, colored: bool) -> str:
    """Return "red star" or "star"."""
    return f"{thing.color} {thing.noun}" if colored else thing.noun


def short_caption(scene: Scene, rng: Rng, mix: CaptionMix) -> str:
    """Return a caption in GenEval's wording that names every object of the scene."""
    things = scene.things
    kinds = {thing.noun for thing in things}
    colors = {thing.color for thing in things}
    colored = bool(rng.random() < mix.colored)
    if len(things) == 1:
        return PREFIX + with_article(phrase(things[0], colored))
    if len(kinds) == 1 and len(things) < len(NUMBERS):
        name = plural(things[0].noun)
        return f"{PREFIX}{NUMBERS[len(things)]} {things[0].color + ' ' if colored and len(colors) == 1 else ''}{name}"
    order = [things[int(index)] for index in rng.permutation(len(things))]
    if rng.random() < mix.related:
        return PREFIX + _related(order, rng, colored, mix)
    return PREFIX + _listed([with_article(phrase(thing, colored)) for thing in order])


def _listed(parts: Sequence[str]) -> str:
    """Return "x", "x and y" or "x, y and z"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _related(order: list[Thing], rng: Rng, colored: bool, mix: CaptionMix) -> str:
    """Return the objects as a list in which one is placed relative to the next where a relation clearly holds."""
    parts: list[str] = []
    rest = list(order)
    while rest:
        thing = rest.pop(0)
        text = with_article(phrase(thing, colored))
        anchor, article = (rest[0], "a") if rest else (order[1], "the")
        stated = [] if anchor is thing else _stated_relations(thing, anchor, mix)
        if stated and (rest or len(order) == 3):
            relation = stated[int(rng.integers(len(stated)))]
            name = phrase(anchor, colored)
            text += f" {relation} {with_article(name) if article == 'a' else f'the {name}'}"
            rest = rest[1:]
        parts.append(text)
    return _listed(parts)


def _stated_relations(thing: Thing, anchor: Thing, mix: CaptionMix) -> list[str]:
    """Return the clear relations of a pair that captions may state."""
    return [
        relation
        for relation in clear_relations(thing, anchor)
        if (thing.noun, relation, anchor.noun) not in mix.held_out_relations
    ]


def detailed_caption(scene: Scene, rng: Rng) -> str:
    """Return a caption that also tells sizes, places and the background."""
    order = [scene.things[int(index)] for index in rng.permutation(len(scene.things))]
    parts = [with_article(f"{thing.size_word} {phrase(thing, True)}".strip()) + _at(thing) for thing in order]
    return f"{PREFIX}{', '.join(parts)}, on a {scene.pattern} {scene.background} background"


def _at(thing: Thing) -> str:
    """Return " at the top left", " in the middle"."""
    return " in the middle" if thing.place == "middle" else f" at the {thing.place}"


def true_edits(scene: Scene, rng: Rng) -> tuple[str, ...]:
    """Return one to three corrections whose outcome this scene shows, as if an earlier picture had been wrong."""
    count = int(rng.integers(1, min(3, len(scene.things)) + 1))
    chosen = rng.choice(len(scene.things), size=count, replace=False)
    return tuple(_edit(scene, scene.things[int(index)], rng) for index in chosen)


def _edit(scene: Scene, thing: Thing, rng: Rng) -> str:
    """Return one correction about one object: add, move, change its colour, replace by it, remove something else."""
    name = phrase(thing, True)
    others = [other for other in scene.things if other is not thing and other.noun != thing.noun]
    anchor = others[int(rng.integers(len(others)))] if others else None
    relations = clear_relations(thing, anchor) if anchor else ()
    where = f"{relations[0]} the {phrase(anchor, True)}" if anchor and relations else f"at the {thing.place}"
    if where == "at the middle":
        where = "in the middle"
    verb = int(rng.integers(5))
    if verb == 0:
        return f"add {with_article(name)} {where}"
    if verb == 1:
        return f"move the {name} {f'to the {where}' if relations and 'of' in where else where}"
    if verb == 2:
        old = [color for color in COLORS if color != thing.color][int(rng.integers(len(COLORS) - 1))]
        return f"change the color of the {thing.noun} from {old} to {thing.color}"
    absent = [noun for noun in OBJECTS if all(other.noun != noun for other in scene.things)]
    wrong = absent[int(rng.integers(len(absent)))]
    if verb == 3:
        return f"replace the {wrong} with {with_article(name)}"
    return f"remove the {wrong}"


def draw_caption(scene: Scene, rng: Rng, mix: CaptionMix) -> tuple[str, str]:
    """Draw one true text of a scene.

    Returns:
        (prompt, text): the prompt alone, for CLIP, and what T5 reads, which is longer in the correction form.
    """
    draw = rng.random()
    if draw < mix.detailed:
        prompt = detailed_caption(scene, rng)
        return prompt, prompt
    prompt = short_caption(scene, rng, mix)
    if draw < mix.detailed + mix.correction:
        return prompt, correction_text(prompt, ". ".join(true_edits(scene, rng)))
    return prompt, prompt
