"""The reward verifier: a Qwen2.5-VL with a reward head, tuned on preferences (`reflectionflow tune verifier`).

A reward has no scale of its own; the manifest beside the head has the logistic fit, made on held-out pictures, that
turns it into the probability that a picture is a good one (ReflectionFlow section 4.2; the release's Image-Verifier).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reflectionflow.errors import CheckpointError
from reflectionflow.models import hub
from reflectionflow.models.clip import SigmoidCalibration
from reflectionflow.models.loading import quiet
from reflectionflow.models.manifest import problems, read_manifest
from reflectionflow.models.qwen_vl import SHIPPED as SHIPPED_VLM
from reflectionflow.models.qwen_vl import LocalVlmOptions, SmallVlmOptions, asked, device_of, missing, own_identity
from reflectionflow.models.source import Source
from reflectionflow.plugins import LocalPath, ModelSpec
from reflectionflow.prompts.vlm import WORDINGS, Wording, score_instruction, spelled
from reflectionflow.roles import Question, Role, Worker
from reflectionflow.types import Verdict

if TYPE_CHECKING:
    from reflectionflow.models.reward_network import RewardNetwork
    from reflectionflow.models.vision_language import VisionLanguage

SHIPPED = Path(str(files("reflectionflow") / "scenes" / "checkpoints" / "reward"))
HEAD = "reward.safetensors"
ADAPTER = "adapter_config.json"


class Details(BaseModel):
    """What the manifest of a reward head says: backbone, wording, calibration."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    base: str
    wording: Literal["full", "scenes"]
    calibration: SigmoidCalibration


class RewardOptions(Source, LocalVlmOptions):
    """Options of `reward`: a head of your own and its backbone."""

    reward: LocalPath = Field(description="Folder of a head from `reflectionflow tune verifier`.")
    checkpoint: LocalPath | None = Field(default=None, description="Folder of the Qwen2.5-VL it was tuned on.")


class ScenesRewardOptions(SmallVlmOptions):
    """Options of `scenes-reward`: the shipped head and backbone unless others are named."""

    reward: LocalPath = Field(default=SHIPPED, description="Folder of the head; the shipped one by default.")
    checkpoint: LocalPath = Field(
        default=SHIPPED_VLM, description="Folder of its backbone; the shipped one by default."
    )


def details_of(folder: Path) -> Details:
    """Return what the manifest of a head says.

    Raises:
        CheckpointError: if it is missing, damaged or of something else.
    """
    try:
        return Details.model_validate(read_manifest(folder).details)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise CheckpointError(f"{folder} is no reward head ({faults}); make one with tune verifier.") from error


def calibrated(reward: float, calibration: SigmoidCalibration) -> float:
    """Return a reward as a probability in [0, 1]."""
    logit = max(-60.0, min(60.0, calibration.scale * reward + calibration.bias))
    return 1.0 / (1.0 + math.exp(-logit))


def score_text(prompt: str, wording: Wording) -> str:
    """Return what is read of a picture painted for a prompt, spelled as the wording spells prompts."""
    return score_instruction(spelled(prompt, wording), wording)


class RewardVerifier:
    """Judges by a reward head; weights load at the first call.

    Raises:
        CheckpointError: on construction, if the head's manifest is damaged or names another backbone.
    """

    worker = Worker.LOCAL

    def __init__(self, folder: Path, head: Path, options: LocalVlmOptions, repository: str | None = None) -> None:
        self._folder, self._head, self._options = folder, head, options
        self.details = details_of(head)
        base = own_identity(folder, repository)
        if self.details.base != base:
            raise CheckpointError(f"The head {head} was tuned on {self.details.base}, not on {base}; name that one.")
        self._wording = WORDINGS[self.details.wording]
        deciding = {"dtype": options.dtype, "most_pixels": options.most_pixels}
        self.name = f"{read_manifest(head).identity}+{asked(self._wording, deciding)}"
        self.batch_size = options.batch_size

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """Score each picture with the calibrated reward.

        Raises:
            CheckpointError: if the weights are missing, damaged or of another model.
            ModelError: if the device is not there.
        """
        import torch

        from reflectionflow.models.vision_language import Ask

        if not questions:
            return []
        vl, network = self._loaded
        texts = [score_text(item.prompt, self._wording) for item in questions]
        given = vl.inputs([Ask(q.image, text, self._wording.system) for q, text in zip(questions, texts, strict=True)])
        with torch.inference_mode():
            rewards = network(given).cpu().tolist()
        tokens = (given["attention_mask"].sum(1) + 1).tolist()
        return [
            self._verdict(item.id, reward, read) for item, reward, read in zip(questions, rewards, tokens, strict=True)
        ]

    def _verdict(self, candidate: str, reward: float, tokens: int) -> Verdict:
        if not math.isfinite(reward):
            return Verdict(candidate, self.name, failure=f"{self.name} gave the reward {reward}.", tokens=tokens)
        return Verdict(candidate, self.name, calibrated(reward, self.details.calibration), tokens=tokens)

    @cached_property
    def _loaded(self) -> tuple[VisionLanguage, RewardNetwork]:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from reflectionflow.models.reward_network import RewardNetwork
        from reflectionflow.models.vision_language import load

        device = device_of(self._options.device)
        vl = load(self._folder, device, getattr(torch, self._options.dtype), self._options.most_pixels)
        try:
            if (self._head / ADAPTER).is_file():
                with quiet("transformers"):
                    vl.model.load_adapter(str(self._head))
            network = RewardNetwork(vl)
            network.load_own(load_file(self._head / HEAD))
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise CheckpointError(f"The reward head in {self._head} cannot be read: {error}") from error
        return vl, network.eval().requires_grad_(False)


def _needs(options: RewardOptions) -> list[str]:
    own = (
        hub.missing(options.hub or "", options.revision) if options.checkpoint is None else missing(options.checkpoint)
    )
    return own + problems(options.reward)


def _load(options: RewardOptions) -> RewardVerifier:
    folder = hub.folder_of(options.checkpoint, options.hub, options.revision)
    return RewardVerifier(folder, options.reward, options, options.hub)


SCENES_SPEC = ModelSpec(
    roles=(Role.VERIFIER,),
    options=ScenesRewardOptions,
    load=lambda options: RewardVerifier(options.checkpoint, options.reward, options),
    needs=lambda options: missing(options.checkpoint) + problems(options.reward),
    summary="The vision-language model of Scenes with a reward head: how likely a picture is a good one.",
)
SPEC = ModelSpec(
    roles=(Role.VERIFIER,),
    options=RewardOptions,
    load=_load,
    needs=_needs,
    summary="Qwen2.5-VL with a reward head tuned on preferences.",
)
