"""From Mask2Former's answers to instances, as mmdet 2.x does it for GenEval.

transformers' `post_process_instance_segmentation` is not used: it decides masks at 384 × 384 pixels and knows other
thresholds and another treatment of overlaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reflectionflow.evaluation.geneval.preparation import Sizes

if TYPE_CHECKING:
    import torch

MOST = 100
"""Pairs of query and class that are looked at."""
AT_ONCE = 16
"""Masks enlarged together: bounds memory, about 17 MB each for a picture of 2048 × 2048."""


@dataclass(frozen=True)
class Instance:
    """One object.

    Attributes:
        label: Number of its class.
        score: Class score times mask score, in [0, 1].
        box: x1, y1, x2, y2, tight around the mask, the last two one beyond its last pixel; zeros for an empty mask.
        mask: Boolean (height, width) of the original picture.
    """

    label: int
    score: float
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_]


def instances(
    class_logits: torch.Tensor, mask_logits: torch.Tensor, sizes: Sizes, least: float = 0.0
) -> list[Instance]:
    """Return the instances of one picture, ordered by query, then by class; one query may have several classes.

    Args:
        class_logits: [queries, classes + 1], the last column being "no object".
        mask_logits: [queries, height, width], of any size.
        sizes: The picture's way through the detector.
        least: Instances whose score is not greater are left out. As a mask score is at most 1, masks of too small a
            class score need not be computed; the rest is the same.
    """
    scores = class_logits.float().softmax(dim=-1)[:, :-1]
    classes = scores.shape[1]
    best, numbers = scores.flatten().topk(min(MOST, scores.numel()), sorted=False)
    places = sorted(numbers[best > least].tolist())
    queries = sorted({place // classes for place in places})
    seen: dict[int, tuple[NDArray[np.bool_], torch.Tensor]] = {}
    for start in range(0, len(queries), AT_ONCE):
        part = queries[start : start + AT_ONCE]
        seen |= zip(part, _masks(mask_logits[part].float(), sizes), strict=True)
    found = []
    for query, label in (divmod(place, classes) for place in places):
        mask, mask_score = seen[query]
        score = float(scores[query, label] * mask_score)
        if score > np.float32(least):
            found.append(Instance(label, score, _box(mask), mask))
    return found


def _masks(logits: torch.Tensor, sizes: Sizes) -> Iterator[tuple[NDArray[np.bool_], torch.Tensor]]:
    """Yield the mask at the picture's own size, and its score, of each query's logits."""
    from torch.nn.functional import interpolate

    enlarged = interpolate(logits[None], size=sizes.padded, mode="bilinear", align_corners=False)
    height, width = sizes.resized
    cropped = enlarged[..., :height, :width]
    final = interpolate(cropped, size=sizes.original, mode="bilinear", align_corners=False)[0]
    masks = final > 0
    inside = (final.sigmoid() * masks).flatten(1).sum(1)
    scores = inside / (masks.flatten(1).sum(1) + 1e-6)
    yield from zip(masks.cpu().numpy(), scores, strict=True)


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
