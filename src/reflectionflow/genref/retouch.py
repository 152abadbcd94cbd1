"""Change a picture of Scenes on its own ground: the exact editors of this world.

At full size instruction-edit data comes from specialised editing models. Here detector A reads a picture, objects are
taken away, what surrounded them closes the gaps, and the renderer draws those that are wanted. `change` and
`retouched` change what differs from a wanted scene graph and nothing else; `repainted` draws the whole graph anew, and
so cleans up as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from reflectionflow.geneval import Detection
from reflectionflow.genref.graph import Graph, Node, graph_of, match, way
from reflectionflow.scenes.renderer import GROUNDS, draw_things
from reflectionflow.scenes.world import CANVAS, Thing

FAINT = 0.05
"""Whatever a detector sees with this confidence is taken away; only what is in the graph comes back."""
BORDER = 4
"""Pixels around what is taken away that go too: outlines, and the blur of a generated picture."""
GROUND = 38
"""Largest difference (of 255, in any channel) between the ground's colour and its patterns' and shades'."""
OVERLAP = 0.2
"""Share of a box that another may cover before the two objects cannot be told apart."""
STILL = 0.05
"""An object wanted nearer than this share of the picture's side stays where it is."""
REACH = 12
"""Pixels by which an object may stick out of the box that a detector drew around it."""
UNNAMED = "black"
"""What an object is drawn in whose colour a detector could not name."""
SMALLEST, LARGEST = 22.0, 56.0
Found = Mapping[str, Sequence[Detection]]


def things_of(graph: Graph) -> tuple[Thing, ...]:
    """Return a scene graph's objects as the renderer draws them, sizes kept to what the world has."""
    things = []
    for node in graph:
        size = min(LARGEST, max(SMALLEST, node.size * CANVAS))
        x, y = (min(CANVAS - size / 2, max(size / 2, value * CANVAS)) for value in (node.x, node.y))
        things.append(Thing(node.noun, node.color or UNNAMED, x, y, size))
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
    known = binary_erosion(_plain(pixels), iterations=BORDER, border_value=1).astype(np.float32)
    for item in (item for items in found.values() for item in items if item.score >= FAINT):
        known[_window(item.box)] = 0
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


def _plain(pixels: np.ndarray) -> np.ndarray:
    """Return where a picture [128, 128, 3] shows its ground, bool [128, 128]."""
    palette = np.asarray(list(GROUNDS.values()), dtype=np.float32)
    apart = np.abs(pixels[:, :, None] - palette).max(axis=-1) < GROUND
    plain: np.ndarray = apart[..., int(apart.sum(axis=(0, 1)).argmax())]
    return plain


def _window(box: Sequence[float], border: int = BORDER) -> tuple[slice, slice]:
    """Return rows and columns of a box (left, top, right, bottom) in pixels, grown by a border."""
    x1, y1, x2, y2 = box
    return (
        slice(max(0, int(y1) - border), max(0, int(np.ceil(y2)) + border)),
        slice(max(0, int(x1) - border), max(0, int(np.ceil(x2)) + border)),
    )


def repainted(image: Image.Image, found: Found, wanted: Graph) -> Image.Image:
    """Return a picture with the objects of `wanted`, all drawn anew, on its own ground.

    Args:
        image: RGB, 128 × 128.
        found: What a detector sees in it.
        wanted: What the result shows.
    """
    return draw_things(ground_of(image, found), things_of(wanted))


@dataclass(frozen=True)
class Change:
    """What leads from a picture to one that shows something else.

    Attributes:
        erased: The pixels whose objects go, bool [128, 128].
        drawn: What is drawn then.
    """

    erased: np.ndarray
    drawn: tuple[Thing, ...]


def change(image: Image.Image, found: Found, wanted: Graph) -> Change | None:
    """Return what must change in a picture so that it shows `wanted`.

    Args:
        image: RGB, 128 × 128.
        found: What a detector sees in it.
        wanted: What the result shows. An object is the one of the picture if it has its class, colour and place.

    Returns:
        None where an object that goes lies over one that stays, or a new one has no free place.
    """
    from scipy.ndimage import binary_dilation

    boxes = {graph_of({noun: [item]}, CANVAS, 0)[0]: item.box for noun, items in found.items() for item in items}
    shown = graph_of(found, CANVAS)
    stay = [pair for pair in match(shown, wanted).kept if _same(*pair)]
    kept = [boxes[old] for old, _ in stay]
    goes = [boxes[node] for node in shown if node not in [old for old, _ in stay]]
    things = things_of(tuple(node for node in wanted if node not in [new for _, new in stay]))
    if any(_overlap(box, other) > OVERLAP for box in goes for other in kept):
        return None
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    full = binary_dilation(~_plain(pixels), iterations=BORDER - 1)
    loose = full.copy()
    for box in kept:
        loose[_window(box, 0)] = False
    erased = np.zeros_like(full)
    for box in goes:
        erased |= _whole(loose, box)
    occupied = full & ~erased
    if any(occupied[_window(thing.box, -BORDER)].mean() > OVERLAP / 2 for thing in things):
        return None
    return Change(erased, things)


def retouched(image: Image.Image, found: Found, planned: Change) -> Image.Image:
    """Return a picture after a change; every other pixel stays, whatever it shows.

    Args:
        image: RGB, 128 × 128.
        found: What a detector sees in it.
        planned: What `change` found for this picture.
    """
    from scipy.ndimage import gaussian_filter

    if not planned.erased.any():
        return draw_things(image.convert("RGB"), planned.drawn)
    pixels, ground = (np.asarray(part.convert("RGB"), dtype=np.float32) for part in (image, ground_of(image, found)))
    soft = gaussian_filter(planned.erased.astype(np.float32), 1.0)
    mixed = pixels + np.where(planned.erased, 1.0, soft)[..., None] * (ground - pixels)
    return draw_things(Image.fromarray(np.clip(mixed, 0, 255).round().astype(np.uint8)), planned.drawn)


def _whole(drawn: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """Return what is drawn in a box and what hangs together with it, since boxes do not always cover all of an object.

    What reaches far out of the box is another object too, and only the part in the box belongs to this one.
    """
    from scipy.ndimage import find_objects, label

    near, window = np.zeros_like(drawn), _window(box)
    near[window] = drawn[window]
    parts, count = label(drawn)
    wide = _window(box, REACH)
    for number, (rows, columns) in zip(range(1, count + 1), find_objects(parts), strict=True):
        inside = all(w.start <= r.start and r.stop <= w.stop for w, r in zip(wide, (rows, columns), strict=True))
        if inside and (parts[window] == number).any():
            near |= parts == number
    return near


def _same(old: Node, new: Node) -> bool:
    """Return whether an object that is wanted is one that is there."""
    return old.noun == new.noun and new.color in (old.color, old.color or UNNAMED) and way(old, new) < STILL


def _overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Return which share of the smaller of two boxes lies in the other."""
    sides = [min(first[axis + 2], second[axis + 2]) - max(first[axis], second[axis]) for axis in (0, 1)]
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return max(0.0, sides[0]) * max(0.0, sides[1]) / max(smaller, 1e-9)
