"""Judge B: classical vision that says what a Scenes picture shows, for GenEval's rules to decide on.

    picture → silhouettes that stand out from the background → objects by shape → colour by vote → GenEval's rules

It shares no weights, no data and no code with anything that searches, labels or trains, and no drawing code with the
renderer; it takes from the world the names of objects and colours alone. Its numbers (templates, weights of the score)
were measured on scenes with seeds below 10 000 by `benchmarks/measure_shapes.py`; `benchmarks/judge_b.py` prints its
error rates on others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from reflectionflow.evaluation.colours import Floats, name_of
from reflectionflow.evaluation.explain import Reading, explain
from reflectionflow.evaluation.shapes import score
from reflectionflow.evaluation.silhouettes import segment
from reflectionflow.geneval import Decision, Detection, Metadata, decide
from reflectionflow.scenes.words import OBJECTS

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 128
"""Width and height in pixels of the pictures it reads."""
EDGE = 2
"""Pixels of an object's edge that have no say in its colour: outline and blur."""


def judge(image: Image, metadata: Metadata) -> Decision:
    """Decide whether a Scenes picture satisfies its prompt, with GenEval's official options.

    Raises:
        ValueError: if the picture is not 128 × 128.
    """
    return decide(metadata, detect(image))


def detect(image: Image) -> dict[str, list[Detection]]:
    """Return what a Scenes picture shows, per object in the world's order; every object once, in its best class.

    Boxes are tight, x2 and y2 one beyond the last pixel. Scores are calibrated for GenEval's thresholds: a clear
    object has more than .9, a doubtful one .3 to .9, a wreck less than .3. Each detection has a colour and a mask.

    Raises:
        ValueError: if the picture is not 128 × 128.
    """
    if image.size != (SIDE, SIDE):
        raise ValueError(
            f"The picture is {image.width} × {image.height} pixels; the judge reads Scenes pictures of {SIDE} × {SIDE}."
        )
    segmented = segment(np.asarray(image.convert("RGB")))
    found: dict[str, list[Detection]] = {name: [] for name in OBJECTS}
    for reading in explain(segmented):
        found[reading.fit.name].append(_detection(reading, segmented.pixels))
    return {name: items for name, items in found.items() if items}


def _detection(reading: Reading, pixels: Floats) -> Detection:
    rows, columns = np.nonzero(reading.mask)
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    inner = ndimage.binary_erosion(reading.mask, iterations=EDGE)
    colour = name_of(pixels[inner if inner.any() else reading.mask])
    return Detection(box, score(reading.fit), colour, reading.mask)
