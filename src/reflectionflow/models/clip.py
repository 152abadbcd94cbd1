"""Verifiers of the CLIP family: any `CLIPModel` checkpoint in transformers layout, the Scenes one included.

The score is a mapping of the cosine of picture and prompt to [0, 1]. A checkpoint whose manifest has a sigmoid
calibration, as those trained by `tuning/clip.py` have, gives sigmoid(scale · cos + bias): the probability that the
picture satisfies the prompt. For every other one it is CLIPScore (arXiv 2104.08718), 2.5 · max(cos, 0), clipped to 1:
an ordering of pictures, no probability.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from reflectionflow.errors import CheckpointError, ModelError
from reflectionflow.models import checkpoints, hub, manifest
from reflectionflow.models.fingerprint import identity, kinship
from reflectionflow.models.loading import quiet
from reflectionflow.models.source import Source
from reflectionflow.plugins import LocalPath, ModelOptions, ModelSpec
from reflectionflow.roles import Question, Role, Worker
from reflectionflow.types import Verdict, canonical_json

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers import CLIPModel, CLIPTokenizer

CLIPSCORE_WEIGHT = 2.5
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


class _Common(ModelOptions):
    template: str = Field(default="{prompt}", description='What the text tower reads; "{prompt}" is put in its place.')
    batch_size: int = Field(default=32, gt=0, description="Most pictures in one forward pass.")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, mps, cuda or cuda:N."
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(default="float32", description="Precision of the weights.")

    @field_validator("template")
    @classmethod
    def _has_a_place(cls, template: str) -> str:
        if "{prompt}" not in template:
            raise ValueError('It has no place for the prompt; write "{prompt}" once in it')
        return template


class ClipOptions(Source, _Common):
    """Options of `clip`: a checkpoint of your own."""

    checkpoint: LocalPath | None = Field(
        default=None, description="Folder of a CLIPModel and its tokenizer in transformers layout."
    )


class ScenesClipOptions(_Common):
    """Options of `scenes-clip`: the shipped checkpoint unless another is named."""

    checkpoint: LocalPath | None = Field(
        default=None, description="Folder of the checkpoint; the shipped one by default."
    )


class SigmoidCalibration(BaseModel):
    """How a cosine becomes a probability: sigmoid(scale · cos + bias)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["sigmoid"]
    scale: float
    bias: float


class Details(BaseModel):
    """What the manifest of a CLIP checkpoint adds to its name and files."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    image_size: int = Field(gt=0)
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    calibration: SigmoidCalibration | None = None


def shipped_checkpoint() -> Path:
    """Return the folder of the Scenes verifier that comes with the package."""
    return Path(str(files("reflectionflow") / "scenes" / "checkpoints" / "clip"))


def probability(cosine: float, calibration: SigmoidCalibration | None) -> float:
    """Return a score in [0, 1] for a cosine in [-1, 1], as the head of this file says."""
    if calibration is None:
        return min(1.0, CLIPSCORE_WEIGHT * max(cosine, 0.0))
    return 1.0 / (1.0 + math.exp(-(calibration.scale * cosine + calibration.bias)))


def prepared(image: Image, size: int) -> np.ndarray:
    """Return a picture as CLIP looks at it: shortest side to `size` (bicubic), centre crop; uint8 [size, size, 3]."""
    from PIL import Image as Pictures

    picture = image.convert("RGB")
    width, height = picture.size
    if min(width, height) != size:
        scale = size / min(width, height)
        wanted = (max(size, round(width * scale)), max(size, round(height * scale)))
        picture = picture.resize(wanted, Pictures.Resampling.BICUBIC)
    left, top = (picture.width - size) // 2, (picture.height - size) // 2
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def details_of(folder: Path) -> Details:
    """Return image size, normalisation and calibration of a checkpoint: its manifest's, or those it came with.

    Raises:
        CheckpointError: if they cannot be read.
    """
    try:
        if (folder / manifest.FILE).exists():
            return Details.model_validate(manifest.read_manifest(folder).details)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        told: dict[str, Any] = {"image_size": config.get("vision_config", {}).get("image_size", 224)}
        preprocessor = folder / "preprocessor_config.json"
        if preprocessor.exists():
            data = json.loads(preprocessor.read_text("utf-8"))
            told |= {key: data[f"image_{key}"] for key in ("mean", "std") if f"image_{key}" in data}
        return Details.model_validate(told)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise CheckpointError(f"{folder} does not say how its pictures are prepared ({faults}).") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} cannot be read ({error}); fetch the checkpoint again.") from error


@dataclass(frozen=True)
class _Loaded:
    model: CLIPModel
    words: CLIPTokenizer
    device: torch.device
    longest: int


class ClipVerifier:
    """Judges how well a picture fits a prompt by the cosine of their CLIP vectors; weights load at the first call.

    Raises:
        CheckpointError: on construction, if the folder does not say what it is.
    """

    worker = Worker.LOCAL

    def __init__(self, checkpoint: Path, options: _Common, repository: str | None = None) -> None:
        self.checkpoint = checkpoint
        self.options = options
        self.batch_size = options.batch_size
        self.details = details_of(checkpoint)
        self.name = _identity(checkpoint, options, repository)
        self.relatives = kinship(checkpoint, repository)

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """Score each picture in [0, 1]; the rationale says when a prompt was too long to be read whole.

        Raises:
            CheckpointError: if the weights are missing, damaged or of another model.
            ModelError: if the device is not there.
        """
        if not questions:
            return []
        texts = {item.prompt: self.options.template.replace("{prompt}", item.prompt) for item in questions}
        cosines, cut = self._cosines([item.image for item in questions], [texts[item.prompt] for item in questions])
        return [
            self._verdict(item.id, cosine, cut.get(texts[item.prompt], ""))
            for item, cosine in zip(questions, cosines, strict=True)
        ]

    def _verdict(self, candidate: str, cosine: float, rationale: str) -> Verdict:
        if not math.isfinite(cosine):
            reason = f"{self.name} found no finite likeness of picture and prompt ({cosine})."
            return Verdict(candidate, self.name, rationale=rationale, failure=reason)
        score = probability(cosine, self.details.calibration)
        return Verdict(candidate, self.name, score, rationale=rationale)

    def _cosines(self, images: Sequence[Image], texts: Sequence[str]) -> tuple[list[float], dict[str, str]]:
        """Return the cosine of each picture and its text, and a note for every text that was cut."""
        import torch
        from torch.nn.functional import normalize

        loaded = self._loaded
        different = list(dict.fromkeys(texts))
        whole = loaded.words(different).input_ids
        cut = {
            text: f"The prompt has {len(ids)} tokens; {self.name} read the first {loaded.longest}."
            for text, ids in zip(different, whole, strict=True)
            if len(ids) > loaded.longest
        }
        tokens = loaded.words(
            different, padding=True, truncation=True, max_length=loaded.longest, return_tensors="pt"
        ).input_ids.to(loaded.device)
        with torch.inference_mode():
            seen = loaded.model.get_image_features(pixel_values=self._pixels(images)).pooler_output
            told = loaded.model.get_text_features(input_ids=tokens).pooler_output
            rows = torch.tensor([different.index(text) for text in texts], device=loaded.device)
            cosines = (normalize(seen.float(), dim=-1) * normalize(told.float(), dim=-1)[rows]).sum(-1)
        return cosines.cpu().tolist(), cut

    def _pixels(self, images: Sequence[Image]) -> torch.Tensor:
        """Return normalised pictures, [n, 3, size, size]."""
        import torch

        array = np.stack([prepared(image, self.details.image_size) for image in images])
        pixels = torch.from_numpy(array).permute(0, 3, 1, 2).float().div_(255.0)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.details.mean, self.details.std))
        return ((pixels - mean) / std).to(self._loaded.device, self._loaded.model.dtype)

    @cached_property
    def _loaded(self) -> _Loaded:
        import torch
        from transformers import CLIPModel, CLIPTokenizer

        device = _device(self.options.device)
        try:
            with quiet("transformers"):
                model, found = CLIPModel.from_pretrained(
                    self.checkpoint,
                    dtype=getattr(torch, self.options.dtype),
                    local_files_only=True,
                    output_loading_info=True,
                )
                words = CLIPTokenizer.from_pretrained(self.checkpoint, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise CheckpointError(
                f"{self.checkpoint} holds no complete CLIPModel ({error}); fetch the checkpoint again."
            ) from error
        lacking = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
        if lacking:
            raise CheckpointError(
                f"{self.checkpoint} lacks {len(lacking)} weights of a CLIPModel, {lacking[0]} among them; "
                "give the folder of a whole one."
            )
        longest = int(model.config.text_config.max_position_embeddings)
        return _Loaded(model.to(device).eval().requires_grad_(False), words, device, longest)


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name.split(":")[0]]:
        raise ModelError(f'device = "{name}" is not there for this build of torch; set device = "auto" or "cpu".')
    return torch.device(name)


def _identity(checkpoint: Path, options: _Common, repository: str | None) -> str:
    """Return `name@revision`, followed by a hash of template and precision where they are not the usual ones."""
    has_manifest = (checkpoint / manifest.FILE).exists()
    own = manifest.read_manifest(checkpoint).identity if has_manifest else identity(checkpoint, repository)
    deciding = {"template": options.template, "dtype": options.dtype}
    usual = {name: _Common.model_fields[name].default for name in deciding}
    if deciding == usual:
        return own
    return f"{own}+{hashlib.sha256(canonical_json(deciding).encode()).hexdigest()[:6]}"


def _needs(checkpoint: Path) -> list[str]:
    if not checkpoint.is_dir() or (checkpoint / manifest.FILE).exists():
        found = manifest.problems(checkpoint)
    else:
        found = checkpoints.problems(checkpoint, "clip")
    if found:
        return found
    try:
        details_of(checkpoint)
    except CheckpointError as error:
        return [str(error)]
    return []


def _folder(options: ScenesClipOptions) -> Path:
    return shipped_checkpoint() if options.checkpoint is None else options.checkpoint


def _scenes_needs(options: ScenesClipOptions) -> list[str]:
    if options.checkpoint is None and not shipped_checkpoint().is_dir():
        return ["the checkpoint that comes with the package is missing; install reflectionflow again"]
    return _needs(_folder(options))


def _load(options: ClipOptions) -> ClipVerifier:
    folder = hub.folder_of(options.checkpoint, options.hub, options.revision)
    return ClipVerifier(folder, options, options.hub)


def _clip_needs(options: ClipOptions) -> list[str]:
    if options.checkpoint is None:
        return hub.missing(options.hub or "", options.revision)
    return _needs(options.checkpoint)


SCENES = ModelSpec(
    roles=(Role.VERIFIER,),
    options=ScenesClipOptions,
    load=lambda options: ClipVerifier(_folder(options), options),
    needs=_scenes_needs,
    summary="CLIP trained on Scenes: the probability that a picture of the small world satisfies its prompt.",
)
SPEC = ModelSpec(
    roles=(Role.VERIFIER,),
    options=ClipOptions,
    load=_load,
    needs=_clip_needs,
    summary="Any CLIP checkpoint in transformers layout, such as openai/clip-vit-large-patch14: CLIPScore.",
)
