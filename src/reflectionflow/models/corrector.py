"""Corrections by a FLUX generator with a corrector's LoRA or weights: the flawed picture is the condition.

The manifest beside a corrector says how it conditions, so that a wrong setting cannot be chosen; the published
FLUX-Corrector has none and gets the release's (`condition.options.RELEASE`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

from pydantic import Field, model_validator

from reflectionflow.errors import CheckpointError
from reflectionflow.models import hub
from reflectionflow.models.condition.options import RELEASE, Attention, ConditionOptions, LoraTokens, Positions
from reflectionflow.models.fingerprint import identity
from reflectionflow.models.flux import SHIPPED, FluxGenerator, FluxOptions, text_length
from reflectionflow.models.flux import _needs as flux_needs
from reflectionflow.models.loading import quiet
from reflectionflow.models.lora import files_misfit, misfit
from reflectionflow.models.manifest import FILE, problems, read_manifest
from reflectionflow.plugins import LocalPath, ModelSpec
from reflectionflow.prompts.correction import Spelling, clip_text, correction_text, fitted
from reflectionflow.prompts.vlm import JOIN
from reflectionflow.roles import Capabilities, Painting, PaintRequest, Role
from reflectionflow.types import Failure, Recipe, Scalar

LORA, TRANSFORMER = "lora", "transformer"
"""The two kinds of correctors; a transformer lies in a folder of that name."""
WORDS = "text_encoder_2"
"""The folder of a corrector's own T5, where it does not read with the base's."""


class CorrectorOptions(FluxOptions):
    """Options of `flux-corrector`: a generator's, and the corrector."""

    corrector: LocalPath | None = Field(
        default=None, description="Folder of a tuned corrector, or of the published FLUX-Corrector LoRA."
    )
    corrector_hub: str | None = Field(
        default=None, description="Name of a corrector's LoRA on the Hugging Face hub, instead of a folder."
    )
    corrector_revision: str = Field(default="main", description="Branch, tag or commit of corrector_hub.")
    spelling: Spelling = Field(
        default=Spelling.TRAINING,
        description="Text of a correction: training, as correctors are tuned, or inference, as the release searches.",
    )

    @model_validator(mode="after")
    def _one_corrector(self) -> Self:
        if (self.corrector is None) == (self.corrector_hub is None):
            raise ValueError("give either a corrector (a folder) or a corrector_hub (a name on the hub), not both")
        return self


class ScenesCorrectorOptions(CorrectorOptions):
    """Options of `scenes-corrector`: the same, with the shipped models and settings of Scenes."""

    checkpoint: LocalPath | None = Field(default=SHIPPED, description="Folder of a FluxPipeline in diffusers layout.")
    corrector: LocalPath = Field(default=SHIPPED.parent / "corrector", description="Folder of a tuned corrector.")
    device: str = Field(default="cpu", description="auto, cpu, cuda, cuda:1 …; auto takes CUDA where it is.")
    dtype: str = Field(default="float32", pattern="^(float32|bfloat16|float16)$", description="Precision.")
    batch_size: int = Field(default=4, gt=0, description="Most pictures per call.")
    pad_batches: bool = Field(default=True, description="Fill every call up to the batch size: bit-equal pictures.")


class FluxCorrector(FluxGenerator):
    """Plays the corrector: paints a recipe that has a parent and a reflection."""

    def __init__(self, options: CorrectorOptions) -> None:
        super().__init__(options)
        self._corrector = hub.folder_of(
            options.corrector, options.corrector_hub, options.corrector_revision, hub.LORA_INDEXES
        )
        self._spelling = options.spelling
        self._lender: FluxGenerator | None = None
        base, own = self.name, {}
        if (self._corrector / FILE).exists():
            manifest = read_manifest(self._corrector)
            self.name, own = manifest.identity, dict(manifest.details)
            if own.get("base") != base:
                raise CheckpointError(
                    f"The corrector {self.name} was tuned on {own.get('base')}, not on {base}; name that checkpoint."
                )
        else:
            self.name = identity(self._corrector, options.corrector_hub)
        self._kind, self._scale = own.get("kind", LORA), float(own.get("scale", 1.0))
        self._condition = _options(own["condition"]) if "condition" in own else RELEASE
        self._paddings = tuple(int(length) for length in own.get("paddings", (512,)))
        known = self.capabilities
        self.capabilities = Capabilities(
            corrects=True, multiple=16 * self._condition.reduction, smallest=known.smallest, largest=known.largest,
            words=known.words, paints=known.paints, longest_prompt=known.longest_prompt,
        )  # fmt: skip
        self.settings: Mapping[str, Scalar] = {
            **self.settings, "base": base, "attention": self._condition.attention.value,
            "lora": self._condition.lora.value, "positions": self._condition.positions.value,
        }  # fmt: skip
        if self._spelling is not Spelling.TRAINING:
            self.settings = {**self.settings, "spelling": self._spelling.value}

    def share(self, others: Sequence[Any]) -> None:
        """Use the weights of the generator that drafts with the same base: a LoRA is not used without a condition."""
        lenders = (other for other in others if isinstance(other, FluxGenerator) and not isinstance(other, type(self)))
        self._lender = next((other for other in lenders if other.origin == self.origin), None)

    def layout(self, recipe: Recipe) -> tuple[int, int, int, float, int]:
        """Return size, steps, guidance and text padding: what one call of the pipeline shares."""
        padding = text_length(self._text(recipe, correction_text), self._paddings)
        return (recipe.width, recipe.height, recipe.steps, recipe.guidance, padding)

    def generate(self, requests: Sequence[PaintRequest]) -> Sequence[Painting | Failure]:
        """Correct pictures of one layout.

        Raises:
            CheckpointError: if the weights cannot be read.
            ValueError: if a request has no parent.
        """
        import torch

        if any(request.parent is None for request in requests):
            raise ValueError("A correction needs its parent's pixels.")
        padded = list(requests)
        if self._options.pad_batches:
            padded += [padded[-1]] * (self.batch_size - len(padded))
        first = padded[0].recipe
        noise = [torch.Generator("cpu").manual_seed(request.recipe.seed) for request in padded]
        length = self.layout(first)[-1]
        with quiet("transformers", "diffusers"):
            pictures = self._pipe(
                [self._text(request.recipe, clip_text) for request in padded],
                prompt_2=[self._fitted(request.recipe, length)[0] for request in padded],
                condition_image=[request.parent for request in padded],
                width=first.width, height=first.height, num_inference_steps=first.steps,
                guidance_scale=first.guidance, generator=noise,
                max_sequence_length=length,
            ).images  # fmt: skip
        return [
            Painting(request.id, picture.convert("RGB"), first.steps, self._left_out(request.recipe, length))
            for request, picture in zip(requests, pictures, strict=False)
        ]

    def _text(self, recipe: Recipe, text: Callable[[str, str, Spelling], str]) -> str:
        """Return what an encoder reads: what `text` makes of prompt and reflection."""
        return text(self._spelled(recipe.prompt), self._spelled(recipe.reflection or ""), self._spelling)

    def _left_out(self, recipe: Recipe, length: int) -> tuple[str, ...]:
        """Return the edits of a reflection that are not painted, the last ones: the texts do not hold them."""
        _, lost = self._fitted(recipe, length)
        return tuple((recipe.reflection or "").split(JOIN)[-lost:]) if lost else ()

    def _fitted(self, recipe: Recipe, length: int) -> tuple[str, int]:
        """Return what T5 reads, as in tuning: of a reflection that is too long, the last edits are left out."""
        prompt, reflection = self._spelled(recipe.prompt), self._spelled(recipe.reflection or "")
        return fitted(self._pipe.tokenizer_2, prompt, reflection, length, self._spelling)

    @cached_property
    def _pipe(self) -> Any:
        with quiet("transformers", "diffusers"):
            try:
                pipe = self._based(self._own())
                if self._kind == LORA:
                    self._check(pipe)
                    pipe.load_lora_weights(self._corrector, local_files_only=True)
                    pipe.set_adapters(pipe.get_active_adapters(), adapter_weights=self._scale)
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise CheckpointError(f"The corrector in {self._corrector} cannot be read: {error}") from error
        pipe.condition_options = self._condition
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(self._device)

    def _own(self) -> dict[str, Any]:
        """Return the parts that are the corrector's and not its base's."""
        import torch
        from diffusers import FluxTransformer2DModel
        from transformers import T5EncoderModel

        dtype, found = getattr(torch, self._options.dtype), dict[str, Any]()
        if self._kind == TRANSFORMER:
            folder = self._corrector / TRANSFORMER
            found["transformer"] = FluxTransformer2DModel.from_pretrained(folder, dtype=dtype, local_files_only=True)
        if (self._corrector / WORDS).is_dir():
            folder = self._corrector / WORDS
            found["text_encoder_2"] = T5EncoderModel.from_pretrained(folder, dtype=dtype, local_files_only=True)
        return found

    def _based(self, own: Mapping[str, Any]) -> Any:
        """Return a pipeline of these parts, the others being the base's: the generator's where it has the same."""
        import torch

        from reflectionflow.models.condition.pipeline import FluxReflectionPipeline

        if self._lender is None:
            dtype = getattr(torch, self._options.dtype)
            return FluxReflectionPipeline.from_pretrained(self._folder, dtype=dtype, local_files_only=True, **own)
        parts = {**self._lender.parts, **own}
        scheduler = parts["scheduler"]  # it remembers where it is
        return FluxReflectionPipeline(**{**parts, "scheduler": type(scheduler).from_config(scheduler.config)})

    def _check(self, pipe: Any) -> None:
        """Refuse a LoRA that diffusers would load in part or not at all, which it says in a warning alone.

        Raises:
            CheckpointError: if a layer or a shape is not the base's.
        """
        found = pipe.lora_state_dict(self._corrector, local_files_only=True)
        shapes, base = (
            {name: value.shape for name, value in some.items()} for some in (found, pipe.transformer.state_dict())
        )
        if (fault := misfit(shapes, base)) is not None:
            raise CheckpointError(f"The LoRA in {self._corrector} {fault}; give the base that it was tuned on.")


def _options(data: Mapping[str, Any]) -> ConditionOptions:
    return ConditionOptions(
        Attention(data["attention"]), LoraTokens(data["lora"]), Positions(data["positions"]), int(data["reduction"])
    )


def _needs(options: CorrectorOptions) -> list[str]:
    found = flux_needs(options)
    if options.corrector is None:
        found += hub.missing(options.corrector_hub or "", options.corrector_revision, hub.LORA_INDEXES)
    elif (options.corrector / FILE).exists():
        return found + problems(options.corrector)
    elif not list(options.corrector.glob("*.safetensors")):
        found.append(f"{options.corrector} holds no LoRA (*.safetensors); give the folder of a corrector")
    return found or _fits(options)


def _fits(options: CorrectorOptions) -> list[str]:
    """Return why a LoRA that says nothing of its base does not belong to the one that is given; else nothing."""
    base = hub.folder_of(options.checkpoint, options.hub, options.revision)
    lora = hub.folder_of(options.corrector, options.corrector_hub, options.corrector_revision, hub.LORA_INDEXES)
    try:
        fault = files_misfit(lora, base)
    except CheckpointError as error:
        return [str(error).removesuffix(".")]
    return [f"the LoRA in {lora} {fault}; give the base that it was tuned on, or another LoRA"] if fault else []


SPEC = ModelSpec(
    (Role.CORRECTOR,),
    CorrectorOptions,
    FluxCorrector,
    _needs,
    "Corrections by FLUX with a corrector's LoRA or weights.",
)
SCENES = ModelSpec(
    (Role.CORRECTOR,),
    ScenesCorrectorOptions,
    FluxCorrector,
    _needs,
    "Corrections by the shipped corrector of Scenes, on a CPU.",
)
