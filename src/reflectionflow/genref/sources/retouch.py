"""Retouch: the generator's own pictures, edited exactly; they join the editing subset.

What a corrector meets at inference is neither a rendered scene nor a pair of lucky and unlucky noise: it is a flawed
picture of its own generator and a reflection on it. Detector A reads such a picture; the target is the same picture
with the edit carried out, and every pixel besides as it was. A picture that fails its own prompt is repaired for it,
and edits about anything are drawn for each. Deviation from the paper, whose editing subset is instruction-edit data of
photographs (docs/paper.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice, zip_longest

import numpy as np
from PIL import Image

from reflectionflow.geneval import Metadata
from reflectionflow.genref.edits import led_to
from reflectionflow.genref.graph import Graph
from reflectionflow.genref.pairs import Pair
from reflectionflow.genref.pool import Picture, Pool
from reflectionflow.genref.repair import passes, repair
from reflectionflow.genref.retouch import Change, change, graph_of_things, retouched, things_of
from reflectionflow.genref.sources import rule
from reflectionflow.genref.sources.editing import SEVERAL, VERBS, allowed, clear, edit, prompt_of, settled
from reflectionflow.genref.teacher import edits_of
from reflectionflow.scenes.world import Scene

MOST_OBJECTS = 5
ATTEMPTS = 4
EDITS = 8
"""Drawn edits of a picture: painting one takes far longer than changing it."""
SHARES = (0.6, 0.25, 0.15)
"""How many of the drawn pairs have one, two and three edits: most failed prompts need several."""
CROWDED = "the repair would harm what stays"


def pairs(pool: Pool, wanted: int, size: int, seed: int, drops: Counter[str]) -> list[Pair]:
    """Return up to `wanted` pairs from the pictures of the rule source's prompts, which are painted once for both.

    Arguments as in `rule.pairs`.
    """
    found: list[Pair] = []
    for turn in range(rule.ROUNDS):
        chosen = rule.prompts_of_round(turn, size)
        if len(found) >= wanted or not chosen:
            break
        painted = pool.pictures(f"rule-{turn}", list(chosen), rule.IMAGES, seed)
        shown = [(chosen[prompt], picture) for prompt, pictures in painted.items() for picture in pictures]
        made = [
            of_picture(metadata, picture, seed, number, drops)
            for number, (metadata, picture) in enumerate(shown, turn * size * rule.IMAGES)
        ]
        # First one pair of every picture, then the next: a small build is made of many pictures.
        row_by_row = (pair for row in zip_longest(*made) for pair in row if pair is not None)
        found += islice(row_by_row, wanted - len(found))
    return found


def of_picture(metadata: Metadata, picture: Picture, seed: int, number: int, drops: Counter[str]) -> Iterator[Pair]:
    """Yield the repair of a picture that fails its prompt, and edits of it that have nothing to do with that."""
    if len(picture.graph) > MOST_OBJECTS:
        drops["too many objects are seen"] += 1
        return
    if not passes(metadata, picture.graph):
        edits = repair(metadata, picture.graph).edits
        target = led_to(edits, graph_of_things(things_of(picture.graph)))
        if not edits or not passes(metadata, target) or not allowed(Scene(things_of(target))):
            drops["the repair is empty, cannot be said, or shows what training must not see"] += 1
        else:
            about: dict[str, str | bool] = {"verb": "repair", "open": False}
            fixed = _pair(picture, metadata.prompt, target, edits, about)
            if fixed is None:
                drops[CROWDED] += 1
            else:
                yield fixed
    rng = np.random.default_rng([seed, picture.place, number, 12])
    told = set()
    for _ in range(EDITS):
        edited = _edited(picture, rng)
        if edited is None:
            drops["the picture does not allow the edit"] += 1
        elif edited.edits not in told:
            told.add(edited.edits)
            yield edited


def _edited(picture: Picture, rng: np.random.Generator) -> Pair | None:
    """Return a pair whose edits are drawn; none when the picture allows none of some draws."""
    before = Scene(things_of(picture.graph))
    if not before.things:
        return None
    shown = graph_of_things(before.things)
    for _ in range(ATTEMPTS):
        verbs = [VERBS[int(verb)] for verb in rng.integers(len(VERBS), size=rng.choice(len(SHARES), p=SHARES) + 1)]
        after = _after(before, verbs, rng)
        if after is None or not allowed(after):
            continue
        edits = edits_of(shown, graph_of_things(after.things))
        if not clear(edits, shown, (len(verbs),)):
            continue
        after = settled(before, edits)
        target = graph_of_things(after.things)
        if edits_of(shown, target) == edits and allowed(after):
            prompt, leaves_open = prompt_of(before, after, rng)
            verb = verbs[0] if len(verbs) == 1 else SEVERAL
            found = _pair(picture, prompt, target, edits, {"verb": verb, "open": leaves_open})
            if found is not None:
                return found
    return None


def _after(scene: Scene, verbs: Sequence[str], rng: np.random.Generator) -> Scene | None:
    """Return a scene after edits; none where it does not allow one of them."""
    found: Scene | None = scene
    for verb in verbs:
        found = edit(verb, found, rng) if found is not None else None
    return found


def _pair(
    picture: Picture, prompt: str, target: Graph, edits: tuple[str, ...], about: dict[str, str | bool]
) -> Pair | None:  # fmt: skip
    """Return the pair; none where the picture cannot be changed without harm to what stays."""
    changed = change(picture.image(), picture.found, target)
    if changed is None:
        return None
    origin = {"candidate": picture.candidate, "seed": picture.seed, "prompt": picture.prompt, "score": picture.score}
    return Pair(
        prompt, picture.image, partial(_paint, picture, changed), picture.graph, target, edits, "editing", None,
        {**about, "retouched": origin},
    )  # fmt: skip


def _paint(picture: Picture, changed: Change) -> Image.Image:
    return retouched(picture.image(), picture.found, changed)
