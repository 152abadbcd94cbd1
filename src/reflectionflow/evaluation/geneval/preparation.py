"""A picture as mmdet 2.x shows it to Mask2Former.

Resized to fit 1333 × 800 with its ratio kept, padded right and below to multiples of 32 with grey, then normalised.
transformers' own processor is not used: with the settings this checkpoint comes with, it squashes every picture to
384 × 384, and where sizes are right it stretches to multiples of 32 instead of padding; both lower confidences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

LONGEST, SHORTEST = 1333, 800
"""Pixels that the longer and the shorter side may have at most."""
MULTIPLE = 32
PADDING = 128.0
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""ImageNet's, for channels from 0 to 255."""


@dataclass(frozen=True)
class Sizes:
    """Heights and widths in pixels: of the picture, after resizing, and after padding."""

    original: tuple[int, int]
    resized: tuple[int, int]
    padded: tuple[int, int]

    @classmethod
    def of(cls, height: int, width: int) -> Sizes:
        """Return the sizes of a picture's way through the detector."""
        scale = min(LONGEST / max(height, width), SHORTEST / min(height, width))
        # Halves are rounded up, as mmcv does.
        resized = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
        padded = (_up(resized[0]), _up(resized[1]))
        return cls((height, width), resized, padded)


def prepared(image: Image, device: torch.device) -> tuple[torch.Tensor, Sizes]:
    """Return a picture as the detector reads it, float32 [3, height, width] of the padded size, and its sizes."""
    import torch
    from torch.nn.functional import interpolate, pad

    sizes = Sizes.of(image.height, image.width)
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).to(device).permute(2, 0, 1).float()
    # Bilinear without antialiasing and rounded to whole levels, which is OpenCV's resizing of bytes.
    pixels = interpolate(pixels[None], size=sizes.resized, mode="bilinear", align_corners=False)[0].round()
    right, below = sizes.padded[1] - sizes.resized[1], sizes.padded[0] - sizes.resized[0]
    pixels = pad(pixels, (0, right, 0, below), value=PADDING)
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std, sizes


def _up(side: int) -> int:
    return -(-side // MULTIPLE) * MULTIPLE
