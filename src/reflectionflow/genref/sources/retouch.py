"""Retouch: the generator's own pictures, edited exactly; they join the editing subset.

What a corrector meets at inference is neither a rendered scene nor a pair of lucky and unlucky noise: it is a flawed
picture of its own generator and a reflection on it. Detector A reads such a picture; the target is the same picture
with the edit carried out, and every pixel besides as it was. A picture that fails its own prompt is repaired for it,
and edits about anything are drawn for each. Deviation from the paper, whose editing subset is instruction-edit data of
photographs (docs/paper.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice, zip_longest

import numpy as np
from PIL import Image

from reflectionflow.geneval import Metadata
from reflectionflow.genref.graph import Graph
from reflectionflow.genref.pairs import Pair
from reflectionflow.genref.pool import Picture, Pool
from reflectionflow.genref.repair import passes
from reflectionflow.genref.retouch import Change, change, graph_of_things, retouched, things_of
from reflectionflow.genref.sources import rule
from reflectionflow.genref.sources.editing import (
    MOST_EDITS,
    NAMED,
    SEVERAL,
    VERBS,
    allowed,
    clear,
    drifted,
    edited,
    prompt_of,
    repaired,
    settled,
)
from reflectionflow.genref.teacher import edits_of
from reflectionflow.scenes.captions import short_caption
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.world import Scene

MOST_OBJECTS = 5
ATTEMPTS = 12
"""Draws for each pair: many edits at once are seldom possible, or cannot be said."""
EDITS = 8
"""Drawn edits of a picture: painting one takes far longer than changing it."""
SHARES = (0.5, 0.15, 0.15, 0.1, 0.1)
"""How many of the drawn pairs have one to five edits: most failed prompts need several."""
WISHES = (0.2, 0.05, 0.25, 0.2, 0.3)
"""How often each of `VERBS` is wished for where a picture is repaired for another prompt than its own."""
WISHED = (5, 12)
"""Least wishes, and one more than most."""
FOR_PROMPT = 0.55
"""Share of the drawn pairs that repair a picture for another prompt; the others are edits about anything."""
REPAIR = "repair"
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
        found = repaired(metadata, picture.graph, Scene(things_of(picture.graph)))
        if found is None:
            drops["the repair is empty, cannot be said, or shows what training must not see"] += 1
        elif (fixed := _repaired(picture, metadata.prompt, *found)) is None:
            drops[CROWDED] += 1
        else:
            yield fixed
    rng = np.random.default_rng([seed, picture.place, number, 12])
    told = set()
    for _ in range(EDITS):
        drawn = _drawn(picture, rng)
        if drawn is None:
            drops["the picture does not allow the edit"] += 1
        elif drawn.edits not in told:
            told.add(drawn.edits)
            yield drawn


def _drawn(picture: Picture, rng: np.random.Generator) -> Pair | None:
    """Return a pair whose edits are drawn; none when the picture allows none of some draws."""
    before = Scene(things_of(picture.graph))
    if not before.things:
        return None
    for_prompt, number = rng.random() < FOR_PROMPT, int(rng.choice(len(SHARES), p=SHARES)) + 1
    for _ in range(ATTEMPTS):
        pair = _for_another_prompt(picture, before, rng) if for_prompt else _about(picture, before, number, rng)
        if pair is not None:
            return pair
    return None


def _about(picture: Picture, before: Scene, number: int, rng: np.random.Generator) -> Pair | None:
    """Return a pair with so many edits about anything; none where they are not possible, or not said in as many."""
    shown = graph_of_things(before.things)
    verbs = [VERBS[int(verb)] for verb in rng.integers(len(VERBS), size=number)]
    after = edited(before, verbs, rng)
    if after is None or not allowed(after):
        return None
    edits = edits_of(shown, graph_of_things(after.things))
    if not clear(edits, shown, (len(verbs),)):
        return None
    after = settled(before, edits)
    target = graph_of_things(after.things)
    if edits_of(shown, target) != edits or not allowed(after):
        return None
    prompt, leaves_open = prompt_of(before, after, rng)
    verb = verbs[0] if len(verbs) == 1 else SEVERAL
    return _pair(picture, prompt, target, edits, {"verb": verb, "open": leaves_open})


def _for_another_prompt(picture: Picture, before: Scene, rng: np.random.Generator) -> Pair | None:
    """Return a pair that repairs the picture for a prompt that is true of what some edits would make of it.

    None where that does not take several edits.
    """
    wished = drifted(before, rng.choice(VERBS, size=int(rng.integers(*WISHED)), p=WISHES), rng)
    metadata = parse(short_caption(wished, rng, NAMED))
    found = None if metadata is None else repaired(metadata, picture.graph, before)
    if metadata is None or found is None or not 1 < len(found[0]) <= MOST_EDITS:
        return None
    return _repaired(picture, metadata.prompt, *found)


def _repaired(picture: Picture, prompt: str, edits: tuple[str, ...], after: Scene) -> Pair | None:
    return _pair(picture, prompt, graph_of_things(after.things), edits, {"verb": REPAIR, "open": False})


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
