"""Renderings with what a generator paints when it fails halfway: things that are no object any more, things that touch,
and crooked outlines.

Renderings alone have none of it, so a detector that learnt from them calls a square with a fish's tail a fish, and is
unsure of a square whose corners are round. What is spoiled is in the picture and not in its scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reflectionflow.scenes.renderer import PALETTE, background, draw_things
from reflectionflow.scenes.words import OBJECTS
from reflectionflow.scenes.world import CANVAS, Scene, Thing

if TYPE_CHECKING:
    import torch

BITTEN = (0.25, 0.6)
"""Least and largest share of an object that a bite takes."""
CLOSE = (-4.0, 1.0)
"""How far apart things are that were moved together, in pixels; below 0 they overlap."""
CORNERS = 9
BENDS = 9
"""Points a side between which a picture is bent."""
Rng = np.random.Generator


def with_spoiled(rng: Rng, scene: Scene, share: float) -> tuple[Image.Image, Scene]:
    """Return a rendering in which each object is spoiled with probability `share`, and the scene of the others."""
    hit = [bool(rng.random() < share) for _ in scene.things]
    whole = tuple(thing for thing, spoiled in zip(scene.things, hit, strict=True) if not spoiled)
    picture = draw_things(background(scene), whole)
    for thing in (thing for thing, spoiled in zip(scene.things, hit, strict=True) if spoiled):
        picture = _WAYS[int(rng.integers(len(_WAYS)))](rng, picture, thing)
    return picture, replace(scene, things=whole)


def moved_together(rng: Rng, scene: Scene) -> Scene:
    """Return a scene whose second object was moved to its first, if nothing is in the way."""
    if len(scene.things) < 2:
        return scene
    first, second, *others = scene.things
    gap = (first.size + second.size) / 2 + float(rng.uniform(*CLOSE))
    dx, dy = second.x - first.x, second.y - first.y
    if min(abs(dx), abs(dy)) > gap:
        return scene
    if abs(dx) >= abs(dy):
        moved = replace(second, x=first.x + math.copysign(gap, dx))
    else:
        moved = replace(second, y=first.y + math.copysign(gap, dy))
    half = moved.size / 2
    inside = half <= moved.x <= CANVAS - half and half <= moved.y <= CANVAS - half
    free = all(max(abs(moved.x - other.x), abs(moved.y - other.y)) >= (moved.size + other.size) / 2 for other in others)
    return replace(scene, things=(first, moved, *others)) if inside and free else scene


def bent(pictures: torch.Tensor, most: float) -> torch.Tensor:
    """Bend pictures smoothly, each to its own degree, so that lines are crooked and corners are not square.

    Drawn from torch's random state on the pictures' device.

    Args:
        pictures: [n, 3, h, w].
        most: Largest standard deviation of how far a point is moved, in pixels.
    """
    import torch
    from torch.nn.functional import affine_grid, grid_sample, interpolate

    count, _, height, width = pictures.shape
    degree = torch.empty(count, 1, 1, 1, device=pictures.device).uniform_(0, most)
    field = torch.randn(count, 2, BENDS, BENDS, device=pictures.device) * degree
    field = interpolate(field, size=(height, width), mode="bicubic", align_corners=True)
    scale = torch.tensor([2 / width, 2 / height], device=pictures.device)
    plain = torch.eye(2, 3, device=pictures.device).expand(count, 2, 3)
    grid = affine_grid(plain, list(pictures.shape), align_corners=False) + field.permute(0, 2, 3, 1) * scale
    return grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _merged(rng: Rng, picture: Image.Image, thing: Thing) -> Image.Image:
    """Draw one half of an object and the other half of another one."""
    others = [noun for noun in OBJECTS if noun != thing.noun]
    other = replace(thing, noun=others[int(rng.integers(len(others)))])
    mask = Image.new("L", picture.size, 0)
    x1, y1, x2, y2 = (round(value) for value in (thing.x - thing.size, thing.y - thing.size, thing.x, thing.y))
    wide = round(2 * thing.size)
    half = (x1, y1, x2, y1 + wide) if rng.random() < 0.5 else (x1, y1, x1 + wide, y2)
    ImageDraw.Draw(mask).rectangle(half, fill=255)
    return Image.composite(draw_things(picture, [thing]), draw_things(picture, [other]), mask)


def _bitten(rng: Rng, picture: Image.Image, thing: Thing) -> Image.Image:
    """Draw an object of which a good part is missing; of a circle, which would become a moon, a blot."""
    if thing.noun == "circle":
        return _blot(rng, picture, thing)
    drawn = draw_things(picture, [thing])
    there = np.abs(np.asarray(drawn, dtype=np.int16) - np.asarray(picture, dtype=np.int16)).max(2) > 12
    yy, xx = np.mgrid[0:CANVAS, 0:CANVAS]
    while True:
        angle, reach = rng.uniform(0, 2 * math.pi), thing.size * rng.uniform(0.3, 0.6)
        radius = thing.size * rng.uniform(0.3, 0.6)
        away = np.hypot(xx - thing.x - reach * math.cos(angle), yy - thing.y - reach * math.sin(angle)) < radius
        if BITTEN[0] <= (there & away).sum() / max(1, there.sum()) <= BITTEN[1]:
            return Image.composite(picture, drawn, Image.fromarray((away * 255).astype(np.uint8)))


def _blot(rng: Rng, picture: Image.Image, thing: Thing) -> Image.Image:
    """Draw a blot in the object's colour."""
    angles = np.linspace(0, 2 * math.pi, CORNERS, endpoint=False)
    radii = thing.size * rng.uniform(0.18, 0.55, CORNERS)
    corners = [(thing.x + r * math.cos(a), thing.y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    soft = mask.filter(ImageFilter.GaussianBlur(2)).point(lambda value: 255 if value > 127 else 0)
    return Image.composite(Image.new("RGB", picture.size, PALETTE[thing.color]), picture, soft)


_WAYS: tuple[Callable[[Rng, Image.Image, Thing], Image.Image], ...] = (_merged, _bitten, _blot)
