"""Naming a silhouette by its shape: two normal forms compared with templates measured on held-out renderings.

The templates and the weights of the score are numbers in `shapes.json`, made by `benchmarks/measure_shapes.py` on
scenes whose seeds no evaluation uses.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reflectionflow.evaluation.colours import Floats
from reflectionflow.evaluation.silhouettes import Mask

GRID = 28
"""Side of a normal form."""
SPAN = 13.0
"""Side of a square of the shape's area in the first normal form, in cells."""
PALE = 22.0
"""Mean CIELAB distance from the background below which parts of an object may have vanished."""
LEVELS = 15
"""Templates are stored as one hexadecimal digit a cell."""


@dataclass(frozen=True)
class Template:
    """What one object looks like.

    Attributes:
        name: The object.
        form: Its two normal forms as one vector [2 · GRID²] in [0, 1].
        pale: What is left of a white one whose grey parts (stem, trunk, roof) vanish in the background; compared only
            with silhouettes of low contrast.
    """

    name: str
    form: Floats
    pale: bool = False


@dataclass(frozen=True)
class Fit:
    """How well a silhouette fits the best object.

    Attributes:
        name: The object.
        overlap: Soft intersection over union with its best template, in [0, 1].
        margin: Lead over the best template of any other object, as a share of the lead that the object's own template
            has; 1 is as distinct as the object can be.
    """

    name: str
    overlap: float
    margin: float


def form_of(mask: Mask) -> Floats:
    """Return the two normal forms of a silhouette as one vector [2 · GRID²] in [0, 1].

    First centred on its centroid and scaled to a fixed area, which keeps proportions and shrugs off a frayed edge;
    second with its bounding box stretched to the grid, which shrugs off wrong proportions.
    """
    rows, columns = np.nonzero(mask)
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    crop = mask[top:bottom, left:right].astype(np.float32)
    scale = float(np.sqrt(crop.sum())) / SPAN
    centre = np.array([rows.mean() - top, columns.mean() - left])
    by_area = _sample(crop, centre, np.array([scale, scale]))
    size = np.array(crop.shape, dtype=np.float64)
    by_box = _sample(crop, (size - 1) / 2, size / (GRID - 4))
    return np.concatenate([by_area.ravel(), by_box.ravel()])


def _sample(crop: Floats, centre: NDArray[np.float64], step: NDArray[np.float64]) -> Floats:
    soft = ndimage.gaussian_filter(np.pad(crop, 3), 0.5 * float(step.max()))
    offset = centre + 3 - step * (GRID - 1) / 2
    return np.asarray(ndimage.affine_transform(soft, step, offset, (GRID, GRID), order=1), dtype=np.float32)


def overlaps(form: Floats, others: Floats) -> Floats:
    """Return the soft intersections over union of a form [n] with others [k, n]: mean over both normal forms."""
    shape = (len(others), 2, -1)
    least = np.minimum(form, others).reshape(shape).sum(axis=-1)
    most = np.maximum(form, others).reshape(shape).sum(axis=-1)
    return np.asarray((least / most).mean(axis=-1), dtype=np.float32)


def mirrored(form: Floats) -> Floats:
    """Return the form of the silhouette's mirror image (left and right exchanged)."""
    return form.reshape(2, GRID, GRID)[..., ::-1].ravel()


@lru_cache(maxsize=1)
def measured() -> dict[str, Any]:
    """Return the content of `shapes.json`."""
    text = files("reflectionflow.evaluation").joinpath("shapes.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def score(fit: Fit) -> float:
    """Return how surely a silhouette is the object it fits best, in [0, 1]: a logistic function of the fit."""
    weights = measured()["score"]
    z = weights["bias"] + weights["overlap"] * fit.overlap + weights["margin"] * fit.margin
    return 1 / (1 + math.exp(-z))


@lru_cache(maxsize=1)
def templates() -> tuple[Template, ...]:
    """Return the measured templates and their mirror images."""
    data = measured()
    stored = [Template(item["name"], decode(item["form"]), item["pale"]) for item in data["templates"]]
    return tuple(stored + [Template(item.name, mirrored(item.form), item.pale) for item in stored])


@lru_cache(maxsize=2)
def stacked(pale: bool) -> tuple[NDArray[np.str_], Floats, Floats]:
    """Return names [k], forms [k, 2 · GRID²] and leads [k] of the templates, those of pale objects included or not.

    A template's lead is how much better it fits itself than the nearest template of another object.
    """
    known = [item for item in templates() if pale or not item.pale]
    names, forms = np.array([item.name for item in known]), np.stack([item.form for item in known])
    leads = np.array([1 - overlaps(item.form, forms[names != item.name]).max() for item in known], dtype=np.float32)
    return names, forms, leads


def fit(mask: Mask, contrast: float) -> Fit:
    """Return the object that a silhouette of this mean contrast (CIELAB) fits best."""
    names, forms, leads = stacked(contrast < PALE)
    values = overlaps(form_of(mask), forms)
    best = int(values.argmax())
    other = values[names != names[best]].max()
    return Fit(str(names[best]), float(values[best]), float((values[best] - other) / leads[best]))


def encode(form: Floats) -> str:
    """Return a form as a string of hexadecimal digits."""
    return "".join(f"{level:x}" for level in np.rint(form * LEVELS).astype(int).tolist())


def decode(digits: str) -> Floats:
    """Return the form that `encode` wrote."""
    levels = np.array([int(digit, 16) for digit in digits], dtype=np.float32)
    return np.asarray(levels / LEVELS, dtype=np.float32)
