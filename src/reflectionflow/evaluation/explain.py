"""From silhouettes to objects: one silhouette may be one object, a part of one, or several that touch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from reflectionflow.evaluation.colours import Floats, nearest
from reflectionflow.evaluation.shapes import Fit, fit
from reflectionflow.evaluation.silhouettes import SMALLEST_AREA, Mask, Segmented

CLEAR = 0.88
"""A silhouette that fits an object this well is that object; nothing else is tried."""
POOR = 0.75
"""A silhouette that fits this badly may have holes that are none."""
GAIN = 0.06
"""Another reading must fit this much better than the plain one."""
REACH = 5
"""Pixels between two parts of one object, at most."""
NECKS = (0.1, 0.25, 0.4)
"""Half widths of the necks at which touching objects are cut, as shares of the greatest half width."""


@dataclass(frozen=True)
class Reading:
    """One object: its mask over the whole picture, its contrast, and how well it fits which shape."""

    mask: Mask
    contrast: float
    fit: Fit


def explain(segmented: Segmented) -> tuple[Reading, ...]:
    """Return the objects of a picture, one per silhouette unless parts fit better together or a whole better apart."""
    plain = [_plain_or_filled(item.mask, item.contrast) for item in segmented.silhouettes]
    joined = [_completed(item, segmented.faint) for item in _join(plain)]
    return tuple(part for item in joined for part in _split(item, segmented.pixels))


def _read(mask: Mask, contrast: float) -> Reading:
    return Reading(mask, contrast, fit(mask, contrast))


def _plain_or_filled(mask: Mask, contrast: float) -> Reading:
    """Return the mask as it is, or without its holes when it fits little as it is and clearly better without."""
    plain = _read(mask, contrast)
    if plain.fit.overlap >= POOR:
        return plain
    filled = _read(ndimage.binary_fill_holes(mask), contrast)
    return filled if filled.fit.overlap > plain.fit.overlap + GAIN else plain


def _completed(item: Reading, faint: Mask) -> Reading:
    """Return the object with its faint parts (the pale stem of a white mushroom) when it fits better with them."""
    if item.fit.overlap >= CLEAR or item.fit.name == "ring":
        return item
    labels, _ = ndimage.label(ndimage.binary_opening(faint, np.ones((2, 2))))
    touched = np.unique(labels[item.mask])
    whole = ndimage.binary_opening(ndimage.binary_fill_holes(np.isin(labels, touched[touched > 0])), np.ones((3, 3)))
    if not item.mask.sum() < whole.sum() < 2.5 * item.mask.sum():
        return item
    other = _read(whole, item.contrast)
    return other if other.fit.overlap > item.fit.overlap + GAIN else item


def _join(items: list[Reading]) -> list[Reading]:
    """Join pairs of near parts, of which at least one fits nothing, when they fit an object together."""
    left = list(items)
    for first in sorted(items, key=lambda item: item.fit.overlap):
        if first.fit.overlap >= CLEAR or not any(item is first for item in left):
            continue
        near = ndimage.binary_dilation(first.mask, iterations=REACH)
        for second in left:
            if second is first or not (near & second.mask).any():
                continue
            union = ndimage.binary_closing(first.mask | second.mask, iterations=REACH // 2 + 1)
            whole = _plain_or_filled(union, min(first.contrast, second.contrast))
            if whole.fit.overlap > max(first.fit.overlap, second.fit.overlap, CLEAR - 2 * GAIN):
                left = [item for item in left if item is not first and item is not second] + [whole]
                break
    return left


def _split(item: Reading, pixels: Floats) -> list[Reading]:
    """Cut a silhouette that fits nothing, at its necks or between its colours, when the parts fit better."""
    if item.fit.overlap >= CLEAR:
        return [item]
    best, best_value = [item], item.fit.overlap + GAIN
    for parts in (*_by_necks(item.mask), _by_colours(item.mask, pixels)):
        if len(parts) < 2:
            continue
        readings = [_read(part, item.contrast) for part in parts]
        areas = np.array([part.sum() for part in parts], dtype=float)
        value = float(np.average([reading.fit.overlap for reading in readings], weights=areas))
        if value > best_value:
            best, best_value = readings, value
    return best


def _by_necks(mask: Mask) -> list[list[Mask]]:
    """Return the parts that erosion separates, each grown back inside the mask, for each width of neck."""
    depth = ndimage.distance_transform_edt(mask)
    found = []
    for width in NECKS:
        seeds, count = ndimage.label(depth > width * depth.max())
        if count > 1:
            found.append(_grow(mask, np.asarray(seeds)))
    return found


def _by_colours(mask: Mask, pixels: Floats) -> list[Mask]:
    """Return the parts of different colour, each grown back over outlines and details."""
    inner = ndimage.binary_erosion(mask, iterations=2)
    names = nearest(pixels[inner])
    numbers = np.full(mask.shape, -1)
    numbers[inner] = names
    seeds = np.zeros(mask.shape, dtype=np.int32)
    for colour in np.unique(names):
        labels, _ = ndimage.label(ndimage.binary_opening(numbers == colour, np.ones((3, 3))))
        for part in range(1, int(labels.max()) + 1):
            if (labels == part).sum() >= SMALLEST_AREA // 2:
                seeds[labels == part] = seeds.max() + 1
    return _grow(mask, seeds)


def _grow(mask: Mask, seeds: np.ndarray) -> list[Mask]:
    """Return for each seed the mask's pixels nearest to it, as long as they are large enough."""
    places = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    owner = np.where(mask, seeds[tuple(places)], 0)
    parts = [owner == number for number in np.unique(owner) if number]
    return [part for part in parts if part.sum() >= SMALLEST_AREA]
