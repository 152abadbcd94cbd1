"""What really is in a rendering: tight boxes, the object under a box, and objects spoilt on purpose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reflectionflow.evaluation import degrade
from reflectionflow.scenes.renderer import PALETTE, background, outlines, render
from reflectionflow.scenes.words import COLORS, OBJECTS
from reflectionflow.scenes.world import Scene, Thing

WRECKS = ("half erased", "smeared", "blob", "melted")
SAME = 1 / 3
"""Two boxes that share more than this (intersection over union) are the same object's."""


@dataclass(frozen=True)
class Wreck:
    """A picture of one spoilt object, and the object it was made from."""

    pixels: degrade.Pixels
    thing: Thing


def pixels_of(scene, name, seed):
    """Return the degraded rendering of a scene as RGB pixels."""
    return degrade.DEGRADATIONS[name](np.asarray(render(scene)), np.random.default_rng(seed))


def tight_box(thing):
    """Return the box of the object's silhouette, which may be smaller than its size says."""
    x, y = np.array(outlines()[thing.noun]).T
    left, top = thing.x - thing.size / 2, thing.y - thing.size / 2
    return tuple(float(v) for v in (left + thing.size * x.min(), top + thing.size * y.min(),
                                    left + thing.size * x.max(), top + thing.size * y.max()))  # fmt: skip


def shared(a, b):
    """Return the intersection over union of two boxes."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def best_thing(scene, box):
    """Return the scene's object under a box, or none."""
    best = max(scene.things, key=lambda thing: shared(tight_box(thing), box))
    return best if shared(tight_box(best), box) > SAME else None


def wreck(rng, kind):
    """Return an object spoilt in the way number `kind` of `WRECKS`."""
    noun, other = (str(name) for name in rng.choice(OBJECTS, size=2, replace=False))
    color = str(rng.choice(COLORS))
    x, y = rng.uniform(40, 88, size=2).tolist()
    thing = Thing(noun, color, x, y, float(rng.uniform(28, 54)))
    pixels, empty = np.asarray(render(Scene((thing,)))), np.asarray(background(Scene(())))
    if kind == 0:
        return Wreck(degrade.half_erased(pixels, empty, thing.box, rng), thing)
    if kind == 1:
        return Wreck(degrade.smeared(pixels, thing.box, rng), thing)
    if kind == 2:
        return Wreck(degrade.blob(empty, PALETTE[color], thing.box, rng), thing)
    second = np.asarray(render(Scene((Thing(other, color, x, y, thing.size),))))
    return Wreck(degrade.melted(pixels, second, empty, PALETTE[color]), thing)
