"""Verifier, reflector and refiner in one: a Qwen2.5-VL of any size, from a folder or the hub's cache.

The score is P(yes) / (P(yes) + P(no)) at the first token of the answer, all spellings of either summed (VQAScore, arXiv
2404.01291); where the two together have little probability the model did not answer the question, and the picture has
no score. Reflections and prompts are decoded greedily. The wording is the one that the checkpoint's manifest names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from reflectionflow.errors import CheckpointError, ModelError
from reflectionflow.models import checkpoints, hub, manifest
from reflectionflow.models.fingerprint import fingerprint, identity
from reflectionflow.models.loading import quiet
from reflectionflow.models.source import Source
from reflectionflow.plugins import LocalPath, ModelOptions, ModelSpec
from reflectionflow.prompts.vlm import (
    JOIN,
    NO,
    WORDINGS,
    YES,
    Wording,
    judge_instruction,
    parse_refined,
    parse_reflection,
    refine_instruction,
    reflect_instruction,
    spelled,
    whole_sentences,
)
from reflectionflow.roles import Context, Question, RefineRequest, ReflectRequest, Role, Worker
from reflectionflow.types import RefinedPrompt, Reflection, Verdict, canonical_json, to_json

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from reflectionflow.models.vision_language import Ask, VisionLanguage, Written

SHIPPED = Path(str(files("reflectionflow") / "scenes" / "checkpoints" / "vlm"))
MODEL_TYPE = "qwen2_5_vl"


class LocalVlmOptions(ModelOptions):
    """How a vision-language model runs on this machine."""

    batch_size: int = Field(default=8, gt=0, description="Most pictures in one forward pass.")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, mps, cuda or cuda:N."
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="bfloat16", description="Precision of the weights."
    )
    most_pixels: int | None = Field(default=None, gt=0, description="Larger pictures are scaled down to this size.")


class SmallVlmOptions(LocalVlmOptions):
    """The same with what suits the models of Scenes."""

    batch_size: int = Field(default=16, gt=0, description="Most pictures in one forward pass.")
    device: str = Field(
        default="cpu", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, mps, cuda or cuda:N."
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(default="float32", description="Precision of the weights.")


class VlmOptions(LocalVlmOptions):
    """What every vision-language model of this kind can be told."""

    least_mass: float = Field(
        default=0.5, ge=0, le=1, description="Least P(yes) + P(no) of a score; below it the verdict is a failure."
    )
    reflection_tokens: int = Field(default=256, gt=0, description="Longest reflection in tokens.")
    prompt_tokens: int = Field(default=256, gt=0, description="Longest refined prompt in tokens.")


class QwenVlOptions(Source, VlmOptions):
    """Options of `qwen-vl`: a checkpoint of your own."""

    checkpoint: LocalPath | None = Field(default=None, description="Folder of a Qwen2.5-VL in transformers layout.")
    lora: LocalPath | None = Field(default=None, description="Folder of a LoRA from `reflectionflow tune reflector`.")


class ScenesVlmOptions(SmallVlmOptions, VlmOptions):
    """Options of `scenes-vlm`: the shipped checkpoint unless another is named."""

    checkpoint: LocalPath = Field(default=SHIPPED, description="Folder of the checkpoint; the shipped one by default.")
    reflection_tokens: int = Field(default=128, gt=0, description="Longest reflection in tokens.")
    prompt_tokens: int = Field(default=96, gt=0, description="Longest refined prompt in tokens.")


def wording_of(folder: Path) -> Wording:
    """Return the wording a checkpoint was tuned with: what its manifest says, full English without one.

    Raises:
        CheckpointError: if the manifest is damaged or names no wording of ours.
    """
    if not (folder / manifest.FILE).exists():
        return WORDINGS["full"]
    name = manifest.read_manifest(folder).details.get("wording", "full")
    if name not in WORDINGS:
        raise CheckpointError(f"{folder} was tuned with the wording {name!r}; known are {', '.join(WORDINGS)}.")
    return WORDINGS[name]


def device_of(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        ModelError: if this build of torch does not have it.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name.split(":")[0]]:
        raise ModelError(f'device = "{name}" is not there for this build of torch; set device = "auto" or "cpu".')
    return torch.device(name)


class QwenVL:
    """Judges, reflects and refines; weights load at the first call.

    Args:
        folder: The checkpoint.
        options: How it is used.
        repository: Its name on the hub, if it came from there.
        lora: Folder of a LoRA.

    Raises:
        CheckpointError: on construction, if a manifest is damaged or of another base.
    """

    worker = Worker.LOCAL

    def __init__(
        self, folder: Path, options: VlmOptions, repository: str | None = None, lora: Path | None = None
    ) -> None:
        self._folder, self._options, self._lora = folder, options, lora
        self.wording = wording_of(lora or folder)
        self.name = _identity(folder, options, self.wording, repository, lora)
        self.batch_size = options.batch_size
        slots = {Context.VERDICT: self.wording.verdict, Context.HISTORY: self.wording.history}
        self.reads = frozenset(what for what, words in slots.items() if words)

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """Score each picture by P(yes) of yes and no.

        Raises:
            CheckpointError: if the weights are missing, damaged or of another model.
            ModelError: if the device is not there.
        """
        if not questions:
            return []
        asks = [
            self._ask(item.image, judge_instruction(spelled(item.prompt, self.wording), self.wording))
            for item in questions
        ]
        chances, tokens = self._model.first_token(asks)
        yes, no = (chances[:, self._model.spellings(word)].sum(1).tolist() for word in (YES, NO))
        return [self._verdict(item.id, *told) for item, *told in zip(questions, yes, no, tokens, strict=True)]

    def _verdict(self, candidate: str, yes: float, no: float, tokens: int) -> Verdict:
        mass = yes + no
        if not mass >= self._options.least_mass:  # also refuses NaN
            reason = (
                f"{self.name} did not answer yes or no: the two have {mass:.2f} of the probability, "
                f"at least {self._options.least_mass:.2f} is asked for."
            )
            return Verdict(candidate, self.name, failure=reason, tokens=tokens)
        return Verdict(candidate, self.name, min(1.0, yes / mass), tokens=tokens)

    def reflect(self, items: Sequence[ReflectRequest]) -> list[Reflection]:
        """Say what to edit in each picture; an answer that cannot be read is a failure on that item."""
        if not items:
            return []
        asks = [
            self._ask(
                item.image,
                reflect_instruction(
                    spelled(item.prompt, self.wording),
                    item.verdict.rationale if item.verdict else "",
                    item.history,
                    self.wording,
                ),
            )
            for item in items
        ]
        written = self._model.write(asks, self._options.reflection_tokens)
        return [self._reflection(item.id, answer) for item, answer in zip(items, written, strict=True)]

    def _reflection(self, candidate: str, answer: Written) -> Reflection:
        text = answer.text if answer.finished else whole_sentences(answer.text)
        try:
            edits = parse_reflection(text)
        except ValueError as error:
            return Reflection(candidate, self.name, raw=answer.text, failure=str(error), tokens=answer.tokens)
        return Reflection(candidate, self.name, JOIN.join(edits), edits, answer.text, tokens=answer.tokens)

    def refine(self, items: Sequence[RefineRequest]) -> list[RefinedPrompt]:
        """Rewrite each prompt more explicitly; an answer that cannot be read is a failure on that item."""
        if not items:
            return []
        asks = [
            self._ask(
                item.image,
                refine_instruction(
                    spelled(item.prompt, self.wording),
                    spelled(item.current, self.wording),
                    item.reflection or "",
                    item.verdict.rationale if item.verdict else "",
                    self.wording,
                ),
            )
            for item in items
        ]
        written = self._model.write(asks, self._options.prompt_tokens)
        return [self._refined(item, answer) for item, answer in zip(items, written, strict=True)]

    def _refined(self, item: RefineRequest, answer: Written) -> RefinedPrompt:
        try:
            if not answer.finished:
                raise ValueError(f"The refiner's prompt did not end within {self._options.prompt_tokens} tokens.")
            text = parse_refined(answer.text, item.prompt)
        except ValueError as error:
            return RefinedPrompt(item.id, self.name, failure=str(error), tokens=answer.tokens)
        return RefinedPrompt(item.id, self.name, text, tokens=answer.tokens)

    def _ask(self, image: Image, text: str) -> Ask:
        from reflectionflow.models.vision_language import Ask

        return Ask(image, text, self.wording.system)

    @cached_property
    def _model(self) -> VisionLanguage:
        import torch

        from reflectionflow.models.vision_language import load

        dtype = getattr(torch, self._options.dtype)
        loaded = load(self._folder, device_of(self._options.device), dtype, self._options.most_pixels)
        if self._lora is not None:
            try:
                with quiet("transformers"):
                    loaded.model.load_adapter(str(self._lora))
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise CheckpointError(f"The LoRA in {self._lora} cannot be read: {error}") from error
            loaded.model.eval().requires_grad_(False)
        return loaded


def own_identity(folder: Path, repository: str | None) -> str:
    """Return `name@revision` of a checkpoint, by its manifest if it has one."""
    if (folder / manifest.FILE).exists():
        return manifest.read_manifest(folder).identity
    return identity(folder, repository)


def asked(wording: Wording, options: Mapping[str, Any]) -> str:
    """Return a hash of the words that a model is asked in and of the options that decide its answers."""
    return hashlib.sha256(canonical_json({"wording": to_json(wording), **options}).encode()).hexdigest()[:6]


def _identity(folder: Path, options: VlmOptions, wording: Wording, repository: str | None, lora: Path | None) -> str:
    """Return `name@revision` and a hash of what else decides answers."""
    own = own_identity(folder, repository)
    if lora is not None:
        has_manifest = (lora / manifest.FILE).exists()
        base = manifest.read_manifest(lora).details.get("base") if has_manifest else own
        if base != own:
            raise CheckpointError(f"The LoRA {lora} was tuned on {base}, not on {own}; name that checkpoint.")
        own += f"+{manifest.read_manifest(lora).identity if has_manifest else fingerprint(lora)}"
    plain = ("batch_size", "device", "checkpoint", "hub", "revision", "lora")
    deciding = {name: getattr(options, name) for name in type(options).model_fields if name not in plain}
    return f"{own}+{asked(wording, deciding)}"


def missing(folder: Path) -> list[str]:
    """Return what is wrong with a checkpoint, one sentence each; weights are not read."""
    if not folder.is_dir() or (folder / manifest.FILE).exists():
        return manifest.problems(folder)
    return checkpoints.problems(folder, MODEL_TYPE)


def _needs(options: QwenVlOptions) -> list[str]:
    if options.checkpoint is None:
        found = hub.missing(options.hub or "", options.revision)
    else:
        found = missing(options.checkpoint)
    if options.lora is not None and not (options.lora / "adapter_config.json").is_file():
        found = [*found, f"{options.lora} holds no LoRA (adapter_config.json); give the folder of one"]
    return found


def _load(options: QwenVlOptions) -> QwenVL:
    folder = hub.folder_of(options.checkpoint, options.hub, options.revision)
    return QwenVL(folder, options, options.hub, options.lora)


ROLES = (Role.VERIFIER, Role.REFLECTOR, Role.REFINER)
SCENES_SPEC = ModelSpec(
    roles=ROLES,
    options=ScenesVlmOptions,
    load=lambda options: QwenVL(options.checkpoint, options),
    needs=lambda options: missing(options.checkpoint),
    summary="A small Qwen2.5-VL trained on Scenes: judges, reflects and refines.",
)
SPEC = ModelSpec(
    roles=ROLES,
    options=QwenVlOptions,
    load=_load,
    needs=_needs,
    summary="Qwen2.5-VL of any size, with or without a LoRA: judges by P(yes), reflects and refines.",
)
