"""Paint a picture of Scenes anew with other objects on its own ground: the exact editor of this world.

At full size instruction-edit data comes from specialised editing models. Here detector A reads a picture, everything it
sees is taken away, what surrounded it closes the gaps, and the renderer draws the objects that are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from reflectionflow.geneval import Detection
from reflectionflow.genref.graph import Graph, Node
from reflectionflow.scenes.renderer import GROUNDS, draw_things
from reflectionflow.scenes.world import CANVAS, Thing

FAINT = 0.05
"""Whatever a detector sees with this confidence is taken away; only what is in the graph comes back."""
BORDER = 4
"""Pixels around what is taken away that go too: outlines, and the blur of a generated picture."""
GROUND = 38
"""Largest difference (of 255, in any channel) between the ground's colour and its patterns' and shades'."""
SMALLEST, LARGEST = 22.0, 56.0
Found = Mapping[str, Sequence[Detection]]


def things_of(graph: Graph) -> tuple[Thing, ...]:
    """Return a scene graph's objects as the renderer draws them, sizes kept to what the world has."""
    things = []
    for node in graph:
        size = min(LARGEST, max(SMALLEST, node.size * CANVAS))
        x, y = (min(CANVAS - size / 2, max(size / 2, value * CANVAS)) for value in (node.x, node.y))
        things.append(Thing(node.noun, node.color or "black", x, y, size))
    return tuple(things)


def graph_of_things(things: Sequence[Thing]) -> Graph:
    """Return objects as a scene graph, in its order."""
    nodes = (Node(t.noun, t.color, t.x / CANVAS, t.y / CANVAS, t.size / CANVAS) for t in things)
    return tuple(sorted(nodes, key=lambda node: (node.x, node.y, node.noun)))


def ground_of(image: Image.Image, found: Found) -> Image.Image:
    """Return a picture without its objects: what is not the ground's colour, or in a box, is filled from around it.

    So what is too broken for a detector to name goes away as well.

    Args:
        image: RGB, 128 × 128.
        found: What a detector sees in it, faint detections too.
    """
    from scipy.ndimage import binary_erosion, gaussian_filter

    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    palette = np.asarray(list(GROUNDS.values()), dtype=np.float32)
    apart = np.abs(pixels[:, :, None] - palette).max(axis=-1) < GROUND
    plain = apart[..., int(apart.sum(axis=(0, 1)).argmax())]
    known = binary_erosion(plain, iterations=BORDER, border_value=1).astype(np.float32)
    for item in (item for items in found.values() for item in items if item.score >= FAINT):
        x1, y1, x2, y2 = item.box
        rows = slice(max(0, int(y1) - BORDER), int(np.ceil(y2)) + BORDER)
        known[rows, max(0, int(x1) - BORDER) : int(np.ceil(x2)) + BORDER] = 0
    if not known.any():
        known[[0, -1], :] = known[:, [0, -1]] = 1  # objects cover all: the picture's edge is the best guess
    filled = np.where(known[..., None] > 0, pixels, 0)
    total, weight = np.zeros_like(pixels), np.zeros_like(known)
    for sigma, trust in ((6.0, 1.0), (16.0, 1e-2), (48.0, 1e-4)):  # nearby pixels decide wherever there are some
        share = gaussian_filter(known, sigma, mode="nearest")
        colors = gaussian_filter(filled, (sigma, sigma, 0), mode="nearest")
        total, weight = total + trust * colors, weight + trust * share
    smooth = total / np.maximum(weight, 1e-9)[..., None]
    soft = gaussian_filter(known, 1.5)[..., None] * known[..., None]
    mixed = soft * pixels + (1 - soft) * smooth
    return Image.fromarray(np.clip(mixed, 0, 255).round().astype(np.uint8))


def retouched(image: Image.Image, found: Found, wanted: Graph) -> Image.Image:
    """Return a picture with the objects of `wanted` on its own ground.

    Args:
        image: RGB, 128 × 128.
        found: What a detector sees in it.
        wanted: What the result shows.
    """
    return draw_things(ground_of(image, found), things_of(wanted))
