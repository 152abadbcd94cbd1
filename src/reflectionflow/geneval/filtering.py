"""Which detections of a class count.

Follows the first half of `evaluate_image` in djghosh13/geneval, where scores and thresholds are compared in single
precision: a score of exactly float32(0.3) does not pass a threshold of 0.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reflectionflow.geneval.types import Detection, Options

Row = tuple[float, ...]


def keep(detections: Sequence[Detection], threshold: float, options: Options) -> tuple[Detection, ...]:
    """Return the detections of one class that count, most confident first.

    Sorted by score, equal scores in reversed order of arrival; then those strictly above `threshold`; then the first
    `options.max_objects`; then, unless `options.max_overlap` is 1, greedily without those that overlap a better one.
    """
    if not detections:
        return ()
    scores = np.asarray([item.score for item in detections], dtype=np.float32)
    # A stable ascending sort, reversed: the original's order for ties, without its dependence on the array's length.
    order = np.argsort(scores, kind="stable")[::-1]
    order = order[scores[order] > np.float32(threshold)][: options.max_objects]
    candidates = [detections[index] for index in order.tolist()]
    return tuple(candidates if options.max_overlap == 1 else _suppress(candidates, options.max_overlap))


def overlap(first: Detection, second: Detection) -> float:
    """Return the intersection over union of two boxes with inclusive corners (a box 0..9 is 10 pixels wide)."""
    a, b = first.row, second.row
    shared = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = _area(a) + _area(b) - shared
    return shared / union if union else 0.0


def _area(box: Row) -> float:
    return max(box[2] - box[0] + 1, 0.0) * max(box[3] - box[1] + 1, 0.0)


def _suppress(candidates: list[Detection], max_overlap: float) -> list[Detection]:
    kept: list[Detection] = []
    for candidate in candidates:
        if all(overlap(better, candidate) < max_overlap for better in kept):
            kept.append(candidate)
    return kept
