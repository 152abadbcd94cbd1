"""Pictures made worse on purpose, to measure a judge: what codecs and autoencoders do, and objects spoilt by hand.

All functions take and return RGB pixels [height, width, 3] as unsigned bytes, and a generator for what is random.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
Degradation = Callable[[Pixels, np.random.Generator], Pixels]


def unchanged(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the picture as it is."""
    return pixels


def blurred(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Blur with a Gaussian of sigma 1 pixel."""
    return _bytes(ndimage.gaussian_filter(pixels.astype(np.float32), (1, 1, 0)))


def noisy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Add Gaussian noise of sigma 8 (of 255) to every channel of every pixel."""
    return _bytes(pixels + rng.normal(0, 8, pixels.shape))


def recompressed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Store as JPEG of quality 60 and read back."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer).convert("RGB"))


def softened(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Halve and double the size, and add stains of sigma 3 pixels and 3 levels, as a small autoencoder does."""
    height, width, channels = pixels.shape
    half = Image.fromarray(pixels).resize((width // 2, height // 2), Image.Resampling.BOX)
    soft = np.asarray(half.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    stains = ndimage.gaussian_filter(rng.normal(size=(height, width, channels)), (3, 3, 0))
    return _bytes(soft + 3 * stains / stains.std())


DEGRADATIONS: Mapping[str, Degradation] = MappingProxyType(
    {"rendering": unchanged, "blur": blurred, "noise": noisy, "jpeg": recompressed, "autoencoder": softened}
)
"""By name, mildest first."""


def half_erased(pixels: Pixels, empty: Pixels, box: Box, rng: np.random.Generator) -> Pixels:
    """Replace 40 to 60 % of an object, beyond a line through its box, by the empty picture."""
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    angle, size = rng.uniform(0, 2 * np.pi), box[2] - box[0]
    along = (x - (box[0] + box[2]) / 2) * np.cos(angle) + (y - (box[1] + box[3]) / 2) * np.sin(angle)
    inside = (x >= box[0] - 3) & (x <= box[2] + 3) & (y >= box[1] - 3) & (y <= box[3] + 3)
    erased = inside & (along > rng.uniform(-0.08, 0.08) * size)
    return np.asarray(np.where(erased[..., None], empty, pixels))


def smeared(pixels: Pixels, box: Box, rng: np.random.Generator) -> Pixels:
    """Blur the surroundings of a box until its object is a stain."""
    sigma = 0.16 * (box[2] - box[0])
    stain = _bytes(ndimage.gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0)))
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    reach = 2 * sigma
    inside = (x >= box[0] - reach) & (x <= box[2] + reach) & (y >= box[1] - reach) & (y <= box[3] + reach)
    return np.asarray(np.where(inside[..., None], stain, pixels))


def blob(empty: Pixels, color: tuple[int, int, int], box: Box, rng: np.random.Generator) -> Pixels:
    """Paint a smooth closed shape that is no object."""
    y, x = np.mgrid[: empty.shape[0], : empty.shape[1]]
    dx, dy = x - (box[0] + box[2]) / 2, y - (box[1] + box[3]) / 2
    angle = np.arctan2(dy, dx)
    # Waves of 2 to 5 periods, strong enough that no circle, heart or cross comes out by chance.
    waves = [rng.uniform(0.12, 0.3) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5)]
    radius = 0.42 * (box[2] - box[0]) * (1 + np.sum(waves, axis=0))
    cover = np.clip(radius - np.hypot(dx, dy) + 0.5, 0, 1)[..., None]
    return _bytes(empty * (1 - cover) + np.asarray(color) * cover)


def melted(first: Pixels, second: Pixels, empty: Pixels, color: tuple[int, int, int]) -> Pixels:
    """Paint the shape halfway between the objects of two pictures with the same empty background."""
    fields = [_signed_distance(np.abs(item.astype(int) - empty).sum(axis=-1) > 30) for item in (first, second)]
    cover = np.clip(np.mean(fields, axis=0) + 0.5, 0, 1)[..., None]
    return _bytes(empty * (1 - cover) + np.asarray(color) * cover)


def _signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    inside, outside = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
    return np.asarray(inside - outside)


def _bytes(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)
