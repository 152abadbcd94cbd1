"""Pictures from files of all kinds, made alike: upright, RGB, 8 bits a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

UPRIGHT = 1
ORIENTATION = 0x0112
SIXTEEN_BITS = 65535
WHOLE_NUMBERS = ("PNG", "PPM")
"""Formats whose grey of more than 8 bits is read as mode I, and is of 16 bits."""


class UnknownRangeError(ValueError):
    """The pixels are numbers without a known black and white."""


def is_turned(image: Image) -> bool:
    """Return whether a picture says that it is to be turned or mirrored before it is looked at."""
    return bool(image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT)


def upright_rgb(image: Image) -> Image:
    """Return an opened picture upright and RGB: transparent ones on white, 16-bit grey scaled to 8 bits.

    Raises:
        UnknownRangeError: if its pixels are floating-point or 32-bit numbers, of which nobody says what is white.
        OSError, SyntaxError, ValueError: if it cannot be decoded.
    """
    from PIL import Image as Pictures
    from PIL import ImageOps

    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in WHOLE_NUMBERS)
    if image.mode in ("F", "I") and not sixteen:
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise UnknownRangeError(f"its pixels are {kind} numbers without a known white; save it with 8 or 16 bits")
    upright = ImageOps.exif_transpose(image)
    if sixteen:
        upright = _eight_bits(upright)
    if upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info:
        clear = upright.convert("RGBA")
        upright = Pictures.alpha_composite(Pictures.new("RGBA", clear.size, "white"), clear)
    return upright.convert("RGB")


def _eight_bits(image: Image) -> Image:
    """Return 16-bit grey as 8-bit grey, with an alpha channel where one value stands for transparent."""
    import numpy as np
    from PIL import Image as Pictures

    values = np.asarray(image).astype(np.float64)
    grey = Pictures.fromarray(np.rint(values * (255 / SIXTEEN_BITS)).astype(np.uint8))
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Pictures.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey
