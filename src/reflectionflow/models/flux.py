"""Drafts by any `FluxPipeline` in diffusers layout: FLUX.1-dev on a GPU, and the generator of Scenes on a CPU.

The adapter does not know which of them it has: what a checkpoint understands and is good at stands in the manifest
beside its weights (`manifest.py`), or is FLUX.1-dev's when there is none. Noise is drawn per picture on the CPU from
the recipe's own seed. Where `pad_batches` is set every call is filled up to the batch size, because a picture is
equal to the last bit only for equal batch sizes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reflectionflow.errors import CheckpointError
from reflectionflow.models.fingerprint import identity
from reflectionflow.models.hub import folder_of, missing
from reflectionflow.models.loading import quiet
from reflectionflow.models.manifest import FILE, problems, read_manifest
from reflectionflow.models.source import Source
from reflectionflow.plugins import LocalPath, ModelSpec
from reflectionflow.roles import Capabilities, Defaults, Painting, PaintRequest, Role, Worker
from reflectionflow.scenes.words import painted
from reflectionflow.types import Failure, Recipe, Scalar

SHIPPED = Path(str(files("reflectionflow") / "scenes" / "checkpoints" / "generator"))
TOKEN = re.compile(r"[^\W_]+|[^\w\s]")


class FluxOptions(Source):
    """Options of `flux`."""

    checkpoint: LocalPath | None = Field(default=None, description="Folder of a FluxPipeline in diffusers layout.")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 …; auto takes CUDA where it is.")
    dtype: str = Field(default="bfloat16", pattern="^(float32|bfloat16|float16)$", description="Precision.")
    batch_size: int = Field(default=1, gt=0, description="Most pictures per call.")
    pad_batches: bool = Field(default=False, description="Fill every call up to the batch size: bit-equal pictures.")


class ScenesFluxOptions(FluxOptions):
    """Options of `scenes-flux`: the same, with the shipped generator's checkpoint and settings."""

    checkpoint: LocalPath | None = Field(default=SHIPPED, description="Folder of a FluxPipeline in diffusers layout.")
    device: str = Field(default="cpu", description="auto, cpu, cuda, cuda:1 …; auto takes CUDA where it is.")
    dtype: str = Field(default="float32", pattern="^(float32|bfloat16|float16)$", description="Precision.")
    batch_size: int = Field(default=4, gt=0, description="Most pictures per call.")
    pad_batches: bool = Field(default=True, description="Fill every call up to the batch size: bit-equal pictures.")


class FluxDetails(BaseModel):
    """What a manifest says of a generator; the defaults here are FLUX.1-dev's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=1024, gt=0, description="Pixels, when the user says nothing.")
    height: int = Field(default=1024, gt=0, description="Pixels, when the user says nothing.")
    steps: int = Field(default=28, gt=0, description="Denoiser steps, when the user says nothing.")
    guidance: float = Field(default=3.5, ge=0, description="Guidance scale, when the user says nothing.")
    smallest: int = Field(default=256, gt=0, description="Smallest width and height in pixels.")
    largest: int = Field(default=2048, gt=0, description="Largest width and height in pixels.")
    words: tuple[str, ...] = Field(default=(), description="The words it understands; empty means any text.")
    longest_prompt: int | None = Field(default=None, gt=0, description="Longest prompt in words.")
    paddings: tuple[int, ...] = Field(default=(512,), description="Lengths to which T5's tokens are padded.")


def read_details(folder: Path, hub: str | None = None) -> tuple[str, FluxDetails]:
    """Return a checkpoint's `name@revision` and what its manifest says, or FLUX.1-dev's values without a manifest.

    Raises:
        CheckpointError: if the manifest is damaged.
    """
    if not (folder / FILE).exists():
        return identity(folder, hub), FluxDetails()
    manifest = read_manifest(folder)
    try:
        return manifest.identity, FluxDetails.model_validate(manifest.details)
    except ValidationError as error:
        raise CheckpointError(f"{folder / FILE} does not describe a generator: {error}") from error


def text_length(text: str, paddings: Sequence[int]) -> int:
    """Return the T5 padding of a text: the smallest of `paddings` that holds its words, marks and the end token."""
    return next((size for size in paddings if len(TOKEN.findall(text)) < size), paddings[-1])


class FluxGenerator:
    """Plays the generator with a `FluxPipeline`; weights load at the first call."""

    worker = Worker.LOCAL

    def __init__(self, options: FluxOptions) -> None:
        self._options = options
        self._folder = folder_of(options.checkpoint, options.hub, options.revision)
        self.name, known = read_details(self._folder, options.hub)
        self._details = known
        self.batch_size = options.batch_size
        self.defaults = Defaults(known.width, known.height, known.steps, known.guidance)
        self.capabilities = Capabilities(
            multiple=16,
            smallest=known.smallest,
            largest=known.largest,
            words=frozenset(known.words) if known.words else None,
            paints=painted(known.words),
            longest_prompt=known.longest_prompt,
        )
        self.settings: Mapping[str, Scalar] = {
            "device": self._device.split(":")[0],
            "dtype": options.dtype,
            "scheduler": "FlowMatchEulerDiscreteScheduler",
            "batch": options.batch_size if options.pad_batches else None,
        }

    def layout(self, recipe: Recipe) -> tuple[int, int, int, float, int]:
        """Return size, steps, guidance and text padding: what one call of the pipeline shares."""
        padding = text_length(recipe.prompt, self._details.paddings)
        return (recipe.width, recipe.height, recipe.steps, recipe.guidance, padding)

    def generate(self, requests: Sequence[PaintRequest]) -> Sequence[Painting | Failure]:
        """Paint drafts of one layout.

        Raises:
            CheckpointError: if the weights cannot be read.
        """
        import torch

        recipes = [request.recipe for request in requests]
        if self._options.pad_batches:
            recipes += [recipes[-1]] * (self.batch_size - len(recipes))
        width, height, steps, guidance, padding = self.layout(recipes[0])
        noise = [torch.Generator("cpu").manual_seed(recipe.seed) for recipe in recipes]
        with quiet("transformers", "diffusers"):
            pictures = self._pipe(
                prompt=[self._spelled(recipe.prompt) for recipe in recipes],
                width=width,
                height=height,
                num_inference_steps=steps,
                guidance_scale=guidance,
                max_sequence_length=padding,
                generator=noise,
            ).images
        return [
            Painting(request.id, picture.convert("RGB"), steps)
            for request, picture in zip(requests, pictures, strict=False)
        ]

    @property
    def parts(self) -> dict[str, Any]:
        """The parts of its pipeline by diffusers' names; weights load at the first call.

        Raises:
            CheckpointError: if the weights cannot be read.
        """
        return dict(self._pipe.components)

    @property
    def origin(self) -> tuple[Path, str, str]:
        """Folder of its weights, precision and device: where all are equal, one set of weights serves two models."""
        return (self._folder.resolve(), self._options.dtype, self._device)

    def _spelled(self, prompt: str) -> str:
        """Return the prompt as the text encoders know it: lower case where the checkpoint declares its words."""
        return " ".join(prompt.lower().split()) if self._details.words else prompt

    @property
    def _device(self) -> str:
        if self._options.device != "auto":
            return self._options.device
        return "cuda" if _cuda() else "cpu"

    @cached_property
    def _pipe(self) -> Any:
        import torch

        folder = self._folder
        with quiet("transformers", "diffusers"):
            from diffusers import FluxPipeline

            try:
                pipe = FluxPipeline.from_pretrained(
                    folder, dtype=getattr(torch, self._options.dtype), local_files_only=True
                )
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise CheckpointError(f"The generator in {folder} cannot be read: {error}") from error
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(self._device)


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _needs(options: FluxOptions) -> list[str]:
    if options.checkpoint is None:
        return missing(options.hub or "", options.revision)
    folder = options.checkpoint
    if (folder / FILE).exists() or not folder.is_dir():
        return problems(folder)
    if not (folder / "model_index.json").is_file():
        return [f"{folder} holds no model_index.json; give the folder of a FluxPipeline in diffusers layout"]
    return []


SPEC = ModelSpec((Role.GENERATOR,), FluxOptions, FluxGenerator, _needs, "Drafts by a FluxPipeline in diffusers layout.")
SCENES = ModelSpec(
    (Role.GENERATOR,), ScenesFluxOptions, FluxGenerator, _needs, "Drafts by the shipped FLUX model of Scenes, on a CPU."
)
