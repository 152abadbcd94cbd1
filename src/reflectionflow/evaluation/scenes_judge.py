"""Judge B: classical vision that says what a Scenes picture shows, for GenEval's rules to decide on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reflectionflow.evaluation.colours import Floats, name_of
from reflectionflow.evaluation.explain import Reading, explain
from reflectionflow.evaluation.shapes import Fit
from reflectionflow.evaluation.silhouettes import Mask, segment
from reflectionflow.geneval import Decision, Detection, Metadata, decide

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 128


def detect(image: Image) -> dict[str, list[Detection]]:
    pixels = np.asarray(image.convert("RGB"))
    segmented = segment(pixels)
    found: dict[str, list[Detection]] = {}
    for reading in explain(segmented):
        found.setdefault(reading.fit.name, []).append(_detection(reading, segmented.pixels))
    return found


def _detection(reading: Reading, pixels: Floats) -> Detection:
    rows, columns = np.nonzero(reading.mask)
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    inner = reading.mask & (ndimage.distance_transform_edt(reading.mask) > 2.0)
    colour = name_of(pixels[inner if inner.any() else reading.mask])
    return Detection(box, score_of(reading.fit), colour, reading.mask)


def score_of(fit: Fit) -> float:
    z = 25 * (fit.overlap - 0.78) + 10 * (fit.margin - 0.1)
    return 1 / (1 + math.exp(-z))


def judge(image: Image, metadata: Metadata) -> Decision:
    return decide(metadata, detect(image))
