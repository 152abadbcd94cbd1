"""The object detector of GenEval: Mask2Former with a Swin-S backbone, trained for instances on COCO, by transformers.

The official program runs mmdet's own training of the same architecture, which needs mmcv 1.x; Meta's weights give
slightly other scores, so single pictures can be decided differently.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reflectionflow.errors import ConfigError
from reflectionflow.evaluation.geneval import sources
from reflectionflow.evaluation.geneval.instances import instances
from reflectionflow.evaluation.geneval.preparation import Sizes, prepared
from reflectionflow.geneval import OBJECTS, Detection

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Detections = dict[str, list[Detection]]


class Mask2FormerDetector:
    """Finds objects of the 80 classes; weights load at the first call.

    Args:
        source: A Mask2Former checkpoint in transformers layout.
        device: auto, cpu, mps, cuda or cuda:N.

    Raises:
        ConfigError: on construction, if the checkpoint is incomplete or not trained for COCO's 80 classes.
    """

    classes = OBJECTS

    def __init__(self, source: sources.Source, device: str = "auto") -> None:
        problems = sources.faults(source, "mask2former") or _class_faults(source)
        if problems:
            raise ConfigError("the detector", problems)
        self.name = source.identity
        self.relatives = source.relatives
        self._source = source
        self._device_name = device

    def detect(self, images: Sequence[Image], least: float = 0.0) -> list[Detections]:
        """Return, per picture, the detections of every class in the order of `OBJECTS`, with masks.

        Args:
            images: Pictures of any sizes; those of one size are run together.
            least: Detections whose score is not greater are left out, which saves most of the time.

        Raises:
            CheckpointError: if weights are missing.
            MisuseError: if the device is not there.
        """
        import torch

        groups: dict[tuple[int, int], list[tuple[int, torch.Tensor, Sizes]]] = defaultdict(list)
        for number, image in enumerate(images):
            pixels, sizes = prepared(image, self._device)
            groups[sizes.padded].append((number, pixels, sizes))
        found: dict[int, Detections] = {}
        for group in groups.values():
            with torch.inference_mode(), sources.single_precision():
                answers = self._model(pixel_values=torch.stack([pixels for _, pixels, _ in group]))
                for (number, _, sizes), classes, masks in zip(
                    group, answers.class_queries_logits, answers.masks_queries_logits, strict=True
                ):
                    found[number] = _by_class(classes, masks, sizes, least)
        return [found[number] for number in range(len(images))]

    @cached_property
    def _device(self) -> torch.device:
        return sources.device_of(self._device_name)

    @cached_property
    def _model(self) -> Any:
        from transformers import Mask2FormerForUniversalSegmentation

        return sources.load(self._source, Mask2FormerForUniversalSegmentation, self._device)


def _by_class(classes: torch.Tensor, masks: torch.Tensor, sizes: Sizes, least: float) -> Detections:
    found: Detections = {name: [] for name in OBJECTS}
    for item in instances(classes, masks, sizes, least):
        found[OBJECTS[item.label]].append(Detection(item.box, item.score, mask=item.mask))
    return found


def _class_faults(source: sources.Source) -> list[str]:
    """Return a sentence when a checkpoint has other classes than COCO's 80 things, such as a panoptic one."""
    labels = json.loads((source.folder / "config.json").read_text("utf-8")).get("id2label") or {}
    if len(labels) == len(OBJECTS):
        return []
    return [
        f"{source.folder} knows {len(labels)} classes, and GenEval needs the {len(OBJECTS)} things of COCO; give an "
        f"instance segmentation checkpoint such as {sources.DETECTOR}"
    ]
