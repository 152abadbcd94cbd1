"""Where one object lies relative to another (`relative_position` in djghosh13/geneval)."""

from __future__ import annotations

import numpy as np

from reflectionflow.geneval.types import Detection, Options

SMALLEST_OFFSET = 1e-3
"""Offsets below this many pixels, after shrinking, are none."""
SMALLEST_SHARE = 0.5
"""A direction holds when it makes up more than this share of the whole offset."""


def relations(first: Detection, second: Detection, options: Options) -> tuple[str, ...]:
    """Return where `first` lies relative to `second`: no, one or two of `RELATIONS`, in their order.

    The offset of the centres is shrunk on each axis by `options.position_threshold` times the summed sizes, then
    divided by the length of the *unshrunk* offset; computed in single precision as the original does.
    """
    boxes = np.asarray([first.box, second.box], dtype=np.float32).reshape(2, 2, 2)
    centres = boxes.mean(axis=1)
    sizes = np.abs(boxes[:, 1] - boxes[:, 0])
    offset = centres[0] - centres[1]
    margin = np.float32(options.position_threshold) * (sizes[0] + sizes[1])
    shrunk = np.maximum(np.abs(offset) - margin, np.float32(0)) * np.sign(offset)
    if bool(np.all(np.abs(shrunk) < SMALLEST_OFFSET)):
        return ()
    dx, dy = (shrunk / np.linalg.norm(offset)).tolist()
    holds = (
        ("left of", dx < -SMALLEST_SHARE),
        ("right of", dx > SMALLEST_SHARE),
        ("above", dy < -SMALLEST_SHARE),
        ("below", dy > SMALLEST_SHARE),
    )
    return tuple(name for name, yes in holds if yes)
