"""Scene graph to picture: flat, friendly shapes, anti-aliased by drawing four times larger.

The renderer is the world's ground truth. Shapes are polygons in a unit square (origin top left), each with a darker
outline and, where it helps a person to name it, details in a darker or lighter shade of the same colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from reflectionflow.scenes.world import CANVAS, Scene, Thing

OVERSAMPLING = 4
PALETTE = {
    "red": (219, 44, 48),
    "orange": (247, 142, 24),
    "yellow": (252, 216, 50),
    "green": (52, 160, 72),
    "blue": (44, 102, 220),
    "purple": (128, 60, 186),
    "pink": (246, 140, 190),
    "brown": (128, 80, 44),
    "black": (34, 34, 40),
    "white": (252, 252, 252),
}
GROUNDS = {
    "sky": (198, 222, 242),
    "sand": (236, 220, 186),
    "mint": (200, 234, 214),
    "rose": (244, 222, 224),
    "gray": (200, 204, 208),
    "lilac": (220, 212, 242),
}
Polygon = list[tuple[float, float]]


def _shade(color: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    """Return a darker (factor < 1) or lighter (factor > 1, towards white) shade."""
    if factor <= 1:
        return tuple(int(channel * factor) for channel in color)  # type: ignore[return-value]
    return tuple(int(channel + (255 - channel) * (factor - 1)) for channel in color)  # type: ignore[return-value]


def _radial(radii: list[float], turn: float = 0.0) -> Polygon:
    """Return a polygon whose corners lie on the given radii around the centre, the first one pointing up."""
    count = len(radii)
    angles = [turn - math.pi / 2 + 2 * math.pi * index / count for index in range(count)]
    return [(0.5 + r * math.cos(a), 0.5 + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def _ellipse(cx: float, cy: float, rx: float, ry: float, start: float = 0.0, end: float = 360.0) -> Polygon:
    """Return an elliptical arc as 48 points; degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 48))
    return [(cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in angles]


def _heart() -> Polygon:
    t = np.linspace(0, 2 * math.pi, 72)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [(0.5 + a / 35.0, 0.46 - b / 33.0) for a, b in zip(x.tolist(), y.tolist(), strict=True)]


def _moon() -> Polygon:
    # Two circles that meet in exact tips: radii 0.48 and 0.40, centres 0.22 apart.
    outer = _ellipse(0.58, 0.5, 0.48, 0.48, 55.8, 304.2)
    inner = _ellipse(0.80, 0.5, 0.40, 0.40, 277.2, 82.8)
    return outer + inner


@lru_cache(maxsize=1)
def outlines() -> dict[str, Polygon]:
    """Return the silhouette of every object in the unit square."""
    return {
        "circle": _ellipse(0.5, 0.5, 0.47, 0.47),
        "square": [(0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)],
        "triangle": [(0.5, 0.05), (0.97, 0.92), (0.03, 0.92)],
        "star": _radial([0.5, 0.21] * 5),
        "heart": _heart(),
        "diamond": [(0.5, 0.02), (0.86, 0.5), (0.5, 0.98), (0.14, 0.5)],
        "cross": [
            (0.34, 0.04), (0.66, 0.04), (0.66, 0.34), (0.96, 0.34), (0.96, 0.66), (0.66, 0.66),
            (0.66, 0.96), (0.34, 0.96), (0.34, 0.66), (0.04, 0.66), (0.04, 0.34), (0.34, 0.34),
        ],
        "moon": _moon(),
        "ring": _ellipse(0.5, 0.5, 0.48, 0.48),
        "arrow": [(0.03, 0.34), (0.52, 0.34), (0.52, 0.08), (0.98, 0.5), (0.52, 0.92), (0.52, 0.66), (0.03, 0.66)],
        "house": [(0.5, 0.03), (0.97, 0.46), (0.85, 0.46), (0.85, 0.96), (0.15, 0.96), (0.15, 0.46), (0.03, 0.46)],
        "tree": [
            (0.5, 0.02), (0.76, 0.34), (0.65, 0.34), (0.88, 0.74), (0.58, 0.74), (0.58, 0.97),
            (0.42, 0.97), (0.42, 0.74), (0.12, 0.74), (0.35, 0.34), (0.24, 0.34),
        ],
        "fish": [*_ellipse(0.42, 0.5, 0.40, 0.30, 20, 340), (0.97, 0.2), (0.97, 0.8)],
        "mushroom": [
            *_ellipse(0.5, 0.50, 0.47, 0.44, 180, 360), (0.64, 0.54), (0.68, 0.95), (0.32, 0.95), (0.36, 0.54),
        ],
    }  # fmt: skip


def _details(draw: ImageDraw.ImageDraw, thing: Thing, scale: float, dark: tuple[int, int, int]) -> None:
    """Draw what makes an object easy to name: door, cap, eye, hole."""

    def at(points: Polygon) -> Polygon:
        return [(x * scale, y * scale) for x, y in points]

    light = _shade(PALETTE[thing.color], 1.45) if thing.color != "white" else (222, 222, 226)
    if thing.noun == "house":
        draw.polygon(at([(0.5, 0.03), (0.97, 0.46), (0.03, 0.46)]), fill=dark)
        draw.polygon(at([(0.42, 0.66), (0.60, 0.66), (0.60, 0.94), (0.42, 0.94)]), fill=dark)
    elif thing.noun == "mushroom":
        draw.polygon(at([(0.36, 0.54), (0.64, 0.54), (0.68, 0.94), (0.32, 0.94)]), fill=light)
        for cx, cy in ((0.32, 0.34), (0.56, 0.22), (0.72, 0.40)):
            draw.polygon(at(_ellipse(cx, cy, 0.075, 0.075)), fill=light)
    elif thing.noun == "fish":
        draw.polygon(at(_ellipse(0.22, 0.43, 0.06, 0.06)), fill=dark)
        draw.line(at(_ellipse(0.30, 0.5, 0.12, 0.20, 300, 420)), fill=dark, width=max(1, round(0.035 * scale)))
    elif thing.noun == "tree":
        draw.polygon(at([(0.42, 0.74), (0.58, 0.74), (0.58, 0.96), (0.42, 0.96)]), fill=dark)


def _stamp(thing: Thing) -> Image.Image:
    """Return the object alone as RGBA at the oversampled size."""
    scale = thing.size * OVERSAMPLING
    side = math.ceil(scale) + 1
    picture = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    color = PALETTE[thing.color]
    dark = _shade(color, 0.68) if thing.color != "black" else (92, 92, 104)
    line = _shade(color, 0.68) if thing.color != "black" else (12, 12, 14)
    points = [(x * scale, y * scale) for x, y in outlines()[thing.noun]]
    width = 1.1 * OVERSAMPLING
    draw.polygon(points, fill=color)
    _details(draw, thing, scale, dark)
    draw.line([*points, points[0], points[1]], fill=line, width=round(width), joint="curve")
    if thing.noun == "ring":
        hole = [(x * scale, y * scale) for x, y in _ellipse(0.5, 0.5, 0.24, 0.24)]
        draw.polygon(hole, fill=(0, 0, 0, 0))
        draw.line([*hole, hole[0], hole[1]], fill=line, width=round(width), joint="curve")
    return picture


def background(scene: Scene) -> Image.Image:
    """Return the empty canvas of a scene."""
    rng = np.random.default_rng(scene.seed)
    base = np.asarray(GROUNDS[scene.background], dtype=np.float32)
    rows = np.linspace(-1, 1, CANVAS, dtype=np.float32)[:, None, None]
    canvas = np.broadcast_to(base, (CANVAS, CANVAS, 3)).copy()
    if scene.pattern == "soft":
        canvas += rows * np.float32(-14)
    elif scene.pattern == "dotted":
        step, phase = 16, int(rng.integers(16))
        yy, xx = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
        distance = np.hypot((xx + phase) % step - step / 2, (yy + phase) % step - step / 2)
        canvas -= 12 * np.clip(2.6 - distance, 0, 1)[..., None]
    elif scene.pattern == "hilly":
        columns = np.arange(CANVAS, dtype=np.float32)
        height = float(rng.uniform(78, 100))
        crest = height + 7 * np.sin(columns / float(rng.uniform(16, 26)) + float(rng.uniform(0, 6.28)))
        lines = np.arange(CANVAS, dtype=np.float32)[:, None]
        canvas -= 17 * np.clip(lines - crest[None, :], 0, 1)[..., None]
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def render(scene: Scene) -> Image.Image:
    """Draw a scene.

    Returns:
        RGB picture of 128 × 128 pixels; later objects lie over earlier ones.
    """
    return draw_things(background(scene), scene.things)


def draw_things(ground: Image.Image, things: Sequence[Thing]) -> Image.Image:
    """Return a copy of an RGB picture with objects drawn over it, later ones over earlier ones."""
    picture = ground.copy()
    for thing in things:
        stamp = _stamp(thing)
        left, top = thing.x - thing.size / 2, thing.y - thing.size / 2
        x0, y0 = math.floor(left), math.floor(top)
        cells = math.ceil(thing.size) + 2
        shifted = Image.new("RGBA", (cells * OVERSAMPLING, cells * OVERSAMPLING), (0, 0, 0, 0))
        shifted.paste(stamp, (round((left - x0) * OVERSAMPLING), round((top - y0) * OVERSAMPLING)))
        premultiplied = shifted.convert("RGBa").resize((cells, cells), Image.Resampling.BOX)
        small = premultiplied.convert("RGBA")
        picture.paste(small, (x0, y0), small)
    return picture
