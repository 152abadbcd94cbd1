"""From a picture to silhouettes: what stands out from the background, as filled masks.

The background is whatever is connected to the border and varies slowly; no list of backgrounds is used. Distances are
CIELAB; pixel sizes are meant for pictures of about 128 × 128 with objects of 20 to 60 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reflectionflow.evaluation.colours import Floats, distance, lab

Mask = NDArray[np.bool_]

WHITE = np.array([99.0, 0.0, -0.2], dtype=np.float32)
"""CIELAB of a white object."""
SMOOTHING = 0.8
"""Sigma in pixels of the blur before anything is compared; halves pixel noise and keeps 3-pixel gaps."""
UNREST = 1.3
"""A pixel stands out when it differs this many times more than the most restless hundredth of the background."""
LEAST_OUT, MOST_OUT = 3.5, 8.0
"""Bounds of that distance, CIELAB."""
OWN_CONTRAST = 0.4
"""Share of the strongest contrast nearby that a pixel needs; puts blurred edges where they were."""
TOUCHING, TOUCHING_CONTRAST = 0.7, 0.5
"""A pixel that touches what stands out may differ less, if it has this share of the strongest contrast nearby."""
FAINT, FAINT_CONTRAST = 0.4, 0.2
"""The same for pixels that count only if an object fits better with them."""
SURELY_OUT = 12.0
"""A pixel this far from a plane is not background."""
WEAKEST = 6.5
"""Silhouettes of a lower mean contrast are stains of the background."""
HOLE_DIFFERS, HOLE_SHARE = 5.0, 0.15
"""An enclosed area this far from the background, and this share of its distance from its rim, belongs to the object."""
SMALLEST_AREA = 90
"""Pixels; smaller things are specks."""
SMALLEST_HOLE = 14
"""Pixels; smaller enclosed areas are specks too."""


@dataclass(frozen=True)
class Silhouette:
    """One connected thing that stands out.

    Attributes:
        mask: Boolean (height, width) over the whole picture.
        contrast: Mean CIELAB distance of its pixels from the background.
    """

    mask: Mask
    contrast: float


@dataclass(frozen=True)
class Segmented:
    """A picture taken apart.

    Attributes:
        pixels: CIELAB [height, width, 3], lightly blurred.
        faint: Everything that differs from the background at all, stains included.
        silhouettes: What surely stands out, largest first.
    """

    pixels: Floats
    faint: Mask
    silhouettes: tuple[Silhouette, ...]


def segment(pixels: NDArray[np.uint8]) -> Segmented:
    """Return the silhouettes of an RGB picture [height, width, 3]."""
    smooth = np.stack([ndimage.gaussian_filter(channel, SMOOTHING) for channel in np.moveaxis(lab(pixels), -1, 0)], -1)
    ground, free = _background(smooth)
    contrast = distance(smooth, ground)
    unrest = float(np.quantile(contrast[free], 0.99)) if free.any() else MOST_OUT
    limit = float(np.clip(UNREST * unrest, LEAST_OUT, MOST_OUT))
    strongest = ndimage.maximum_filter(contrast, 7)
    sure = (contrast > limit) & (contrast > OWN_CONTRAST * strongest)
    sure |= _white(smooth, contrast) | (_thin_dark(smooth) & (contrast > 0.5 * OWN_CONTRAST * strongest))
    touching = (contrast > TOUCHING * limit) & (contrast > TOUCHING_CONTRAST * strongest)
    filled = _fill(ndimage.binary_propagation(sure, mask=sure | touching), smooth, ground)
    faint = filled | ((contrast > FAINT * limit) & (contrast > FAINT_CONTRAST * strongest))
    return Segmented(smooth, faint, tuple(_components(filled, contrast)))


def _background(smooth: Floats) -> tuple[Floats, Mask]:
    """Return the background behind every pixel, and where it is seen: a plane first, then the local mean around it."""
    plane = _plane(smooth)
    contrast = distance(smooth, plane)
    out = ndimage.binary_dilation((contrast > SURELY_OUT) | _white(smooth, contrast), iterations=2)
    labels, _ = ndimage.label(~out)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    outside = np.isin(labels, border[border > 0])
    free = outside.astype(np.float32)
    weights = _spread(free)[..., None]
    spread = np.stack([_spread(free * channel) for channel in np.moveaxis(smooth - plane, -1, 0)], -1)
    return np.asarray(plane + spread / (weights + 0.02), dtype=np.float32), outside


def _white(smooth: Floats, contrast: Floats) -> Mask:
    """Return the pixels nearer to white than to the background: white is the one colour close to light backgrounds."""
    white = distance(smooth, WHITE)
    return (white < 6.0) & (white < 0.75 * contrast)


def _thin_dark(smooth: Floats) -> Mask:
    """Return lines darker than both sides: what is left of an outline between a white object and its background."""
    light = smooth[..., 0]
    return np.asarray(ndimage.grey_closing(light, 5) - light > 3.5)


def _spread(values: Floats) -> Floats:
    return np.asarray(ndimage.uniform_filter(ndimage.uniform_filter(values, 13), 13), dtype=np.float32)


def _plane(smooth: Floats) -> Floats:
    """Return a robust fit of a colour that changes linearly over the picture."""
    height, width, _ = smooth.shape
    y, x = np.mgrid[-1 : 1 : complex(height), -1 : 1 : complex(width)].astype(np.float32)
    terms = np.stack([np.ones_like(x), x, y], -1)
    frame = np.ones((height, width), dtype=bool)
    frame[4:-4, 4:-4] = False
    solution = np.zeros((3, 3), dtype=np.float32)
    solution[0] = np.median(smooth[frame], axis=0)
    # Every third pixel of every third row is plenty for nine numbers.
    few_terms, few = terms[1::3, 1::3].reshape(-1, 3), smooth[1::3, 1::3].reshape(-1, 3)
    for limit in (25.0, 16.0, 12.0):
        near = distance(few, few_terms @ solution) < limit
        if near.sum() < 0.1 * near.size:
            break
        solution = np.linalg.lstsq(few_terms[near], few[near], rcond=None)[0]
    return np.asarray(terms @ solution, dtype=np.float32)


def _fill(out: Mask, smooth: Floats, ground: Floats) -> Mask:
    """Fill the enclosed areas that are specks, or whose middle has another colour than the background."""
    labels, _ = ndimage.label(~out)
    filled = out.copy()
    border = set(np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])).tolist())
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if number in border or place is None:
            continue
        hole = labels[place] == number
        middle = _middle(hole)
        colour = smooth[place][middle].mean(axis=0)
        # The part of its rim inside its own box is enough to know what encloses it.
        rim = ndimage.binary_dilation(hole, iterations=3) & ~hole
        to_ground = np.linalg.norm(colour - ground[place][middle].mean(axis=0))
        to_rim = np.linalg.norm(colour - np.median(smooth[place][rim], axis=0)) if rim.any() else 0.0
        if hole.sum() < SMALLEST_HOLE or to_ground > max(HOLE_DIFFERS, HOLE_SHARE * to_rim):
            filled[place] |= hole
    return filled


def _middle(mask: Mask) -> Mask:
    """Return the inner half of a mask, by distance from its edge."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return np.asarray(depth >= 0.5 * depth.max())


def _components(filled: Mask, contrast: Floats) -> list[Silhouette]:
    opened = ndimage.binary_opening(filled, np.ones((2, 2)))
    labels, _ = ndimage.label(opened)
    found = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        inside = labels[place] == number
        strength = float(contrast[place][inside].mean())
        if inside.sum() < SMALLEST_AREA or strength < WEAKEST:
            continue
        mask = np.zeros(filled.shape, dtype=bool)
        mask[place] = inside
        found.append(Silhouette(mask, strength))
    return sorted(found, key=lambda item: -int(item.mask.sum()))
