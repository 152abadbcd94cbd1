"""Editing: exact edits of rendered scenes: the source is the flawed picture, the target the enhanced one.

At full size this is instruction-edit data; on Scenes the renderer makes it. Where the prompt leaves the edit open, it
names only what stays, so that a corrector learns to obey the reflection and not the prompt alone: in about half of the
edits about anything, and never where a scene is repaired for its prompt, as in most pairs of large builds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, cycle, islice

import numpy as np

from reflectionflow.errors import MisuseError
from reflectionflow.geneval import Metadata
from reflectionflow.genref.edits import Verb, led_to, parse_edit, says_something
from reflectionflow.genref.graph import Graph, graph_of, match, way
from reflectionflow.genref.pairs import Pair
from reflectionflow.genref.pool import SIDE
from reflectionflow.genref.repair import passes, repair
from reflectionflow.genref.retouch import graph_of_things, things_of
from reflectionflow.genref.teacher import FAR, edits_of
from reflectionflow.scenes.captions import CaptionMix, short_caption
from reflectionflow.scenes.claims import detections
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.splits import held_out_colors, held_out_pairs, held_out_relations
from reflectionflow.scenes.words import OBJECTS
from reflectionflow.scenes.world import Priors, Scene, draw_color, draw_scene, place_things

Rng = np.random.Generator
PRIORS = Priors(kind_weights=(2.0, 2.0, 6.0, 4.0, 1.0))
VERBS = ("add", "remove", "recolour", "replace", "move")
UNDONE = {"add": "remove", "remove": "add"}
SEVERAL = "several"
MOST = 8
"""Pairs of a scene with one edit."""
TOGETHER = 16
"""Pairs of a scene with several edits at once."""
TRIES = 4
"""Draws for each edit of them, and for each pair: much is not possible, or cannot be said."""
SPOTS = 6
"""Draws of a place for what is added or moved: between objects of 32 and 48 pixels few are free."""
MOST_EDITS = 5
CROWDED = replace(PRIORS, kind_weights=(0.5, 1.0, 2.0, 3.0, 6.0))
"""Scenes of large builds: what takes several edits has several objects."""
LAST = 100
"""Pairs at the end of scenes that are shown once: training keeps the last ones of a subset out to examine itself."""
NEAR = 1e-6
SMALL = 250
"""Builds of fewer triplets than twice this show a scene once."""
MISTAKES = (0.1, 0.1, 0.25, 0.2, 0.35)
"""How often a draft goes wrong in what each of `VERBS` does."""
MISTAKEN = (8, 18)
"""Least mistakes, and one more than most: some undo each other, and prompts do not say where everything stands."""
NAMED = CaptionMix(colored=0.8, related=0.7, held_out_relations=held_out_relations())
"""How the prompts that a scene is repaired for are worded."""
OPEN = 0.5
"""Share of the pairs whose prompt leaves the edit open, where something stays that it can name."""


def edit(verb: str, scene: Scene, rng: Rng) -> Scene | None:
    """Return the scene with one edit; none where the scene does not allow it."""
    things = list(scene.things)
    place = int(rng.integers(len(things)))
    thing = things[place]
    if verb == "add" or verb == "move":
        tries = (_placed_anew(scene, rng, None if verb == "add" else place) for _ in range(SPOTS))
        return next((after for after in tries if after is not None), None)
    if verb == "remove":
        return replace(scene, things=tuple(things[:place] + things[place + 1 :])) if len(things) > 1 else None
    if verb == "recolour":
        changed = replace(thing, color=draw_color(rng, PRIORS, thing.noun, held_out_colors()))
    else:
        noun = OBJECTS[int(rng.integers(len(OBJECTS)))]
        changed = replace(thing, noun=noun)
    return replace(scene, things=(*things[:place], changed, *things[place + 1 :])) if changed != thing else None


def _placed_anew(scene: Scene, rng: Rng, place: int | None) -> Scene | None:
    """Return the scene with a new object, or with one moved, where there is room for it."""
    if place is None:
        noun = OBJECTS[int(rng.integers(len(OBJECTS)))]
        drawn = place_things(rng, PRIORS, [noun], [draw_color(rng, PRIORS, noun, held_out_colors())])[0]
        others = scene.things
    else:
        old = scene.things[place]
        drawn = place_things(rng, PRIORS, [old.noun], [old.color])[0]
        others = scene.things[:place] + scene.things[place + 1 :]
        drawn = replace(drawn, size=old.size)
    inside = drawn.size / 2 <= min(drawn.x, drawn.y, SIDE - drawn.x, SIDE - drawn.y)
    free = all(
        max(abs(drawn.x - other.x), abs(drawn.y - other.y)) > (drawn.size + other.size) / 2 + 2 for other in others
    )
    if not (free and inside) or len(others) > 3:
        return None
    things = (*others, drawn) if place is None else (*scene.things[:place], drawn, *scene.things[place + 1 :])
    return replace(scene, things=things)


def clear(edits: tuple[str, ...], before: Graph, numbers: Container[int] = (1,)) -> bool:
    """Return whether there are as many edits as wanted, one by default, and none asks for what the picture shows."""
    parsed = [parse_edit(edit) for edit in edits] if len(edits) in numbers else [None]
    return all(edit is not None and (edit.verb is Verb.ADD or says_something(edit, before)) for edit in parsed)


def _said(graphs: tuple[Graph, Graph], edits: tuple[str, ...]) -> bool:
    """Return whether edits say all that changes: of what is replaced or recoloured none has moved too."""
    found = match(*graphs)
    changes = len(found.removed) + len(found.added)
    for old, new in found.kept:
        far, other = way(old, new), (old.noun, old.color) != (new.noun, new.color)
        if NEAR < far < FAR or (far >= FAR and old.noun != new.noun):
            return False
        changes += other + (far >= FAR)
    return changes == len(edits)


def allowed(scene: Scene) -> bool:
    """Return whether a scene holds no combination that training must not see."""
    things = sorted((thing.noun, thing.color) for thing in scene.things)
    pairs = {(first, second) for first in things for second in things if first < second}
    return not held_out_colors() & set(things) and not held_out_pairs() & pairs


def prompt_of(before: Scene, after: Scene, rng: Rng) -> tuple[str, bool]:
    """Return a prompt that is true of the target, and whether it leaves the edit open."""
    mix = CaptionMix(held_out_relations=held_out_relations())
    stays = tuple(thing for thing in after.things if thing in before.things)
    if stays and rng.random() < OPEN:
        return short_caption(replace(after, things=stays), rng, mix), True
    return short_caption(after, rng, mix), False


def pairs(wanted: int, seed: int, drops: Counter[str]) -> list[Pair]:
    """Return `wanted` pairs of rendered scenes; in a small build the five verbs in turn.

    A large build edits each scene several times, and each edit is also undone: a picture beside many reflections cannot
    be learnt by heart, and it needs to be drawn and encoded only once. Seven in ten of its pairs have several edits,
    as most failed prompts need.
    """
    found: list[Pair] = []
    counts = Counter(dict.fromkeys(VERBS, 0))
    number, most = 0, 1
    while len(found) < wanted:
        left = wanted - len(found) - LAST
        if left <= 0 and most > 1:
            counts = Counter(dict.fromkeys(VERBS, 0))  # the last ones have all verbs in turn, whatever came before
        most = min(MOST, max(1, wanted // SMALL)) if left > 0 else 1
        rng = np.random.default_rng([seed, number, 11])
        priors = PRIORS if most == 1 else CROWDED
        versions = [draw_scene(rng, priors, held_out_colors(), held_out_pairs())]
        rarest = sorted(VERBS, key=lambda verb: counts[verb])[: 1 if most == 1 else None]
        single = islice(_of_scene(versions, rarest, rng, number, drops), most)
        several = islice(_at_once(versions, rng, number), 0 if most == 1 else TOGETHER)
        for verb, pair in islice(chain(single, several), left if left > 0 else 1):
            found.append(pair)
            counts[verb] += 1
        number += 1
    return found


def _of_scene(
    versions: list[Scene], verbs: Sequence[str], rng: Rng, number: int, drops: Counter[str]
) -> Iterator[tuple[str, Pair]]:
    """Yield edits of a scene and of its versions, the given verbs in turn, each followed by its undoing.

    Args:
        versions: The scene; what it becomes by each edit is added.
        verbs: As in `edit`.
        rng: Draws the edits.
        number: Of the scene.
        drops: Counts the edits that came to nothing.
    """
    told = set()
    for verb in islice(cycle(verbs), MOST):
        before = versions[int(rng.integers(len(versions)))]
        drawn = edit(verb, before, rng)
        after = None if drawn is None else settled(before, edits_of(_graph(before), _graph(drawn)))
        if after is None or not allowed(after):
            drops["the scene does not allow the edit"] += 1
            continue
        versions.append(after)
        for name, first, second in ((verb, before, after), (UNDONE.get(verb, verb), after, before)):
            pair = _pair(name, first, second, rng, number)
            if pair is None:
                drops["the edit cannot be said in one sentence that asks for something"] += 1
            elif (pair.flawed_graph, pair.edits) not in told:
                told.add((pair.flawed_graph, pair.edits))
                yield name, pair


def _at_once(versions: Sequence[Scene], rng: Rng, number: int) -> Iterator[tuple[str, Pair]]:
    """Yield pairs with several edits at once: to repair a scene with mistakes, and a quarter about anything."""
    for turn in range(TOGETHER * TRIES):
        drawn = [versions[int(place)] for place in rng.integers(len(versions), size=3)]
        scene = max(drawn, key=lambda version: len(version.things))
        if turn % 4:
            verbs = rng.choice(VERBS, size=int(rng.integers(*MISTAKEN)), p=MISTAKES)
            pair = _repaired(drifted(scene, verbs, rng), scene, rng, number)
        else:
            after = edited(scene, rng.choice(VERBS, size=int(rng.integers(2, MOST_EDITS + 1))), rng)
            several = range(2, MOST_EDITS + 1)
            pair = None if after is None else _pair(SEVERAL, scene, after, rng, number, several)
        if pair is not None:
            yield SEVERAL, pair


def edited(scene: Scene, verbs: Iterable[str], rng: Rng) -> Scene | None:
    """Return a scene after edits; none where it does not allow one of them."""
    found: Scene | None = scene
    for verb in verbs:
        drawn = (edit(verb, found, rng) for _ in range(TRIES) if found is not None)
        found = next((after for after in drawn if after is not None), None)
    return found


def drifted(scene: Scene, verbs: Iterable[str], rng: Rng) -> Scene:
    """Return a scene after those of some edits that it allows and that lead to nothing that must not be seen."""
    for verb in verbs:
        after = edit(verb, scene, rng)
        scene = after if after is not None and allowed(after) else scene
    return scene


def repaired(metadata: Metadata, graph: Graph, before: Scene) -> tuple[tuple[str, ...], Scene] | None:
    """Return the edits that repair a picture for a prompt, and what it shows then.

    Args:
        metadata: The prompt.
        graph: What the picture shows.
        before: The same as a scene.

    Returns:
        None where nothing repairs it, it needs no repair, or the repaired picture must not be seen.
    """
    try:
        edits = repair(metadata, graph).edits
    except MisuseError:  # the prompt asks for more than fits into a picture
        return None
    after = settled(before, edits)
    return (edits, after) if edits and passes(metadata, _graph(after)) and allowed(after) else None


def _repaired(before: Scene, wanted: Scene, rng: Rng, number: int) -> Pair | None:
    """Return the pair that repairs a scene for a prompt that is true of another, as a failed draft is repaired.

    None where that does not take several edits.
    """
    prompt, shown = short_caption(wanted, rng, NAMED), _graph(before)
    metadata = parse(prompt)
    found = None if metadata is None else repaired(metadata, shown, before)
    if found is None or not 1 < len(found[0]) <= MOST_EDITS:
        return None
    edits, after = found
    about = {"verb": SEVERAL, "open": False, "number": number}
    graphs = shown, _graph(after)
    return Pair(prompt, partial(render, before), partial(render, after), *graphs, edits, "editing", None, about)


def _pair(
    verb: str, before: Scene, after: Scene, rng: Rng, number: int, edits_wanted: Container[int] = (1,)
) -> Pair | None:
    """Return the pair; none where it is not said in so many edits that each ask for something."""
    shown = _graph(before)
    edits = edits_of(shown, _graph(after))
    if not clear(edits, shown, edits_wanted):
        return None
    target = settled(before, edits)
    graphs = shown, _graph(target)
    if edits_of(*graphs) != edits or not (allowed(target) and _said(graphs, edits)):
        return None
    prompt, leaves_open = prompt_of(before, target, rng)
    about = {"verb": verb, "open": leaves_open, "number": number}
    return Pair(prompt, partial(render, before), partial(render, target), *graphs, edits, "editing", None, about)


def _graph(scene: Scene) -> Graph:
    return graph_of(detections(scene), SIDE)


def settled(scene: Scene, edits: Sequence[str]) -> Scene:
    """Return a scene after edits, everything that is added or moved at the one place that `carry_out` gives it.

    Where an object goes that is added "left of the star" is anyone's guess. A corrector that has to guess paints a
    mixture of all guesses; so the same words about the same picture always lead to the same picture.
    """
    there = {node: thing for thing in scene.things for node in graph_of_things([thing])}
    after = led_to(edits, graph_of_things(scene.things))
    return replace(scene, things=tuple(there.get(node) or things_of((node,))[0] for node in after))
