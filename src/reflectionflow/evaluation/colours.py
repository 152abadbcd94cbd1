"""Colours as a person sees them: CIELAB distances, and GenEval's ten names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_FROM_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    dtype=np.float32,
)
_WHITE_POINT = np.array([0.95047, 1.0, 1.08883], dtype=np.float32)
_CHANNEL = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_CHANNEL <= 0.04045, _CHANNEL / 12.92, ((_CHANNEL + 0.055) / 1.055) ** 2.4).astype(np.float32)

PROTOTYPES = {
    "red": (222, 45, 45),
    "orange": (245, 140, 30),
    "yellow": (250, 215, 50),
    "green": (50, 160, 75),
    "blue": (45, 100, 220),
    "purple": (130, 60, 185),
    "pink": (245, 140, 190),
    "brown": (128, 80, 45),
    "black": (35, 35, 40),
    "white": (250, 250, 250),
}
"""sRGB of a typical object of each colour, in GenEval's order."""


def lab(pixels: NDArray[np.uint8]) -> Floats:
    """Return sRGB pixels [..., 3] as CIELAB (D65): L in [0, 100], a and b in about [-100, 100]."""
    ratios = (_LINEAR[pixels] @ _FROM_RGB.T) / _WHITE_POINT
    f = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def distance(first: Floats, second: Floats) -> Floats:
    """Return the Euclidean CIELAB distance over the last axis; about 2 is just noticeable."""
    difference = first - second
    return np.asarray(np.sqrt(np.einsum("...i,...i->...", difference, difference)), dtype=np.float32)


NAMES = tuple(PROTOTYPES)
_PROTOTYPES_LAB = lab(np.array(list(PROTOTYPES.values()), dtype=np.uint8))


def nearest(pixels: Floats) -> NDArray[np.intp]:
    """Return for CIELAB pixels [..., 3] the number (in `NAMES`) of the nearest prototype."""
    return np.asarray(np.argmin(distance(pixels[..., None, :], _PROTOTYPES_LAB), axis=-1))


def name_of(pixels: Floats) -> str:
    """Return the name most of an object's pixels [n, 3] (CIELAB) would be given.

    A vote and not a mean: the mean of an orange house and its dark roof is brown.
    """
    return NAMES[int(np.bincount(nearest(pixels), minlength=len(NAMES)).argmax())]
