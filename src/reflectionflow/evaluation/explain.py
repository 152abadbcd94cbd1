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
GAIN = 0.06
"""Another reading must fit this much better than the plain one."""
REACH = 5
"""Pixels between two parts of one object, at most."""
NECKS = (1, 2, 3)
"""Half widths in pixels of the necks at which touching objects are cut."""


@dataclass(frozen=True)
class Reading:
    """One object: its mask over the whole picture, and how well it fits which shape."""

    mask: Mask
    fit: Fit


def explain(segmented: Segmented) -> tuple[Reading, ...]:
    """Return the objects of a picture, one per silhouette unless parts fit better together or a whole better apart."""
    plain = [_best_of([item.mask, ndimage.binary_fill_holes(item.mask)]) for item in segmented.silhouettes]
    joined = _join(plain)
    return tuple(part for item in joined for part in _split(item, segmented.pixels))


def _best_of(masks: list[Mask]) -> Reading:
    """Return the first mask, or a later one that fits clearly better."""
    best = Reading(masks[0], fit(masks[0]))
    if best.fit.overlap >= CLEAR:
        return best
    for mask in masks[1:]:
        other = Reading(mask, fit(mask))
        if other.fit.overlap > best.fit.overlap + GAIN:
            best = other
    return best


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
            whole = _best_of([union, ndimage.binary_fill_holes(union)])
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
        readings = [Reading(part, fit(part)) for part in parts]
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
        seeds, count = ndimage.label(depth > width)
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
