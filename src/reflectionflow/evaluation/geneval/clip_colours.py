"""The colour classifier of GenEval: CLIP ViT-L/14, zero-shot, on what the detector cut out.

    mask → grey around the object → crop to its box → 224 × 224 → nearest of ten colours in words

The colours' vectors are the mean over three templates of the normalised text vectors, per class of object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from reflectionflow.errors import CheckpointError, ConfigError
from reflectionflow.evaluation.geneval import sources
from reflectionflow.geneval import COLORS, Detection

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

BACKGROUND = (153, 153, 153)
TEMPLATES = (
    "a photo of a {color} {name}",
    "a photo of a {color}-colored {name}",
    "a photo of a {color} object",
)
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
AT_ONCE = 16


@dataclass(frozen=True)
class CutOut:
    """One object to be named a colour: its class, and what of the picture shows it."""

    class_name: str
    image: Image


class ClipColours:
    """Names the colour of objects; weights load at the first call.

    Args:
        source: A CLIP checkpoint with its tokenizer in transformers layout.
        device: auto, cpu, mps, cuda or cuda:N.

    Raises:
        ConfigError: on construction, if the checkpoint is incomplete.
    """

    def __init__(self, source: sources.Source, device: str = "auto") -> None:
        problems = sources.faults(source, "clip")
        if problems:
            raise ConfigError("the colour classifier", problems)
        self.name = source.identity
        self.relatives = source.relatives
        config = json.loads((source.folder / "config.json").read_text("utf-8"))
        self._side = int(config.get("vision_config", {}).get("image_size", 224))
        self._source = source
        self._device_name = device
        self._heads: dict[str, torch.Tensor] = {}

    def name_all(self, objects: Sequence[CutOut]) -> list[str]:
        """Return one of `COLORS` for each object, in order.

        Raises:
            CheckpointError: if weights are missing.
            MisuseError: if the device is not there.
        """
        import torch
        from torch.nn.functional import normalize

        names: list[str] = []
        for start in range(0, len(objects), AT_ONCE):
            part = objects[start : start + AT_ONCE]
            with torch.inference_mode(), sources.single_precision():
                pixels = torch.stack([self._pixels(item.image) for item in part]).to(self._device)
                seen = normalize(self._model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
                heads = torch.stack([self._head(item.class_name) for item in part])
                logits = 100.0 * torch.einsum("nd,ndc->nc", seen, heads)
            names += [COLORS[number] for number in logits.argmax(dim=-1).tolist()]
        return names

    def _head(self, class_name: str) -> torch.Tensor:
        """Return one vector for each colour of a class of objects, [width, colours]."""
        import torch
        from torch.nn.functional import normalize

        if class_name not in self._heads:
            texts = [template.format(color=color, name=class_name) for color in COLORS for template in TEMPLATES]
            tokens = self._words(texts, padding=True, return_tensors="pt").input_ids.to(self._device)
            vectors = normalize(self._model.get_text_features(input_ids=tokens).pooler_output, dim=-1)
            means = vectors.reshape(len(COLORS), len(TEMPLATES), -1).mean(dim=1)
            self._heads[class_name] = torch.as_tensor(normalize(means, dim=-1).T)
        return self._heads[class_name]

    def _pixels(self, image: Image) -> torch.Tensor:
        """Return a normalised picture, float32 [3, side, side]."""
        import torch

        pixels = torch.from_numpy(np.array(squared(image, self._side))).permute(2, 0, 1).float().div_(255)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        return (pixels - mean) / std

    @cached_property
    def _device(self) -> torch.device:
        return sources.device_of(self._device_name)

    @cached_property
    def _model(self) -> Any:
        from transformers import CLIPModel

        return sources.load(self._source, CLIPModel, self._device)

    @cached_property
    def _words(self) -> Any:
        from transformers import CLIPTokenizer

        try:
            return CLIPTokenizer.from_pretrained(self._source.folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self._source.folder} has no tokenizer that can be read ({error}).") from error


def cut_out(image: Image, detection: Detection) -> Image:
    """Return an object on plain grey (#999), cropped to its box; without a mask, with what is around it.

    Raises:
        ValueError: if the mask has another size than the picture.
    """
    from PIL import Image as Pictures

    picture = image.convert("RGB")
    if detection.mask is not None:
        if detection.mask.shape != (picture.height, picture.width):
            height, width = detection.mask.shape
            raise ValueError(
                f"A mask of {width} × {height} pixels was given for a picture of {picture.width} × {picture.height}."
            )
        grey = Pictures.new("RGB", picture.size, BACKGROUND)
        picture = Pictures.composite(picture, grey, Pictures.fromarray(detection.mask))
    # Box corners are rounded to whole pixels, halves to even.
    return picture.crop(detection.row[:4])


def squared(image: Image, side: int) -> Image:
    """Return a picture as CLIP looks at it: shortest side to `side` (bicubic), the middle of the other.

    The longer side is cut to whole pixels and the middle rounded to even, as torchvision does. The ends of long objects
    are lost: so it is in the official program.
    """
    from PIL import Image as Pictures

    width, height = image.size
    shortest = min(width, height)
    if shortest != side:
        size = (int(side * width / shortest), int(side * height / shortest))
        image = image.resize(size, Pictures.Resampling.BICUBIC)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))
