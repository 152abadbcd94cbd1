"""Train the verifier of Scenes: a small `CLIPModel` that says whether a picture satisfies a prompt, from scratch.

Each item is a rendered scene, roughened as painted pictures are, with a few claims about it (`scenes.claims`). The
loss is the sigmoid loss of SigLIP (arXiv 2303.15343) on scale · cos + bias, one term per picture and claim of its own.
Beside it two linear heads, dropped afterwards, ask the picture tower for what is known of a scene: the pooled vector
for its facts (which objects, how many, their colours and places), every patch for the object that covers it. A claim
is one bit, these are hundreds; the tower learns to see from them and to be asked from the claims.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from reflectionflow.models.loading import quiet
from reflectionflow.models.manifest import write_manifest
from reflectionflow.scenes.claims import draw_claims
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.words import COLORS, OBJECTS
from reflectionflow.scenes.world import CANVAS
from reflectionflow.tuning.clip_data import (
    FACTS,
    NOTHING,
    Batch,
    PictureSection,
    collate,
    examination,
    roughen,
    training_scene,
)
from reflectionflow.tuning.config import Section, StageConfig
from reflectionflow.tuning.loop import is_main_process, train
from reflectionflow.tuning.metrics import judged
from reflectionflow.tuning.reports import NOBODY, Reports

if TYPE_CHECKING:
    import torch
    from transformers import CLIPModel, CLIPTokenizer

NAME = "scenes-clip"
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
TEXT_GROUPS = 3
"""Texts are sorted by length into this many groups: the longest claim has 22 tokens, the usual one 9."""


class ClipSection(Section):
    """Shape of the two towers."""

    patch: int = Field(default=16, gt=0, description="Side of a patch in pixels.")
    vision_width: int = Field(gt=0)
    vision_layers: int = Field(gt=0)
    text_width: int = Field(gt=0)
    text_layers: int = Field(gt=0)
    projection: int = Field(gt=0, description="Width of the shared space.")
    facts: float = Field(default=0.05, ge=0, description="Weight of the loss that asks for the scene's facts.")
    patches: float = Field(default=0.5, ge=0, description="Weight of the loss that asks what covers each patch.")


class ClipConfig(StageConfig):
    """A configuration of `reflectionflow tune clip`."""

    clip: ClipSection
    pictures: PictureSection = PictureSection()


@dataclass(frozen=True)
class Seen:
    """What the module gives: a logit per claim [m], facts and places [n, FACTS + 28], patches [n, patches, 25]."""

    logits: torch.Tensor
    facts: torch.Tensor
    patches: torch.Tensor


def build(section: ClipSection) -> tuple[CLIPModel, CLIPTokenizer]:
    """Return an untrained model and its tokenizer."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    from reflectionflow.scenes.tokenizers import CLIP_LENGTH, clip_tokenizer

    words = clip_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=section.text_width, intermediate_size=3 * section.text_width,
        num_hidden_layers=section.text_layers, num_attention_heads=section.text_width // 32,
        max_position_embeddings=CLIP_LENGTH, projection_dim=section.projection, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=section.vision_width, intermediate_size=3 * section.vision_width, image_size=CANVAS,
        num_hidden_layers=section.vision_layers, num_attention_heads=section.vision_width // 32,
        patch_size=section.patch, projection_dim=section.projection,
    )  # fmt: skip
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=section.projection,
        logit_scale_init_value=math.log(10.0),
    )  # fmt: skip
    return CLIPModel(config), words


def judge_module(model: CLIPModel) -> torch.nn.Module:
    """Wrap the model so that one `forward` gives the claims' logits and the facts seen in the pictures."""
    import torch
    from torch.nn.functional import normalize

    class Judge(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            width = model.config.vision_config.hidden_size
            self.bias = torch.nn.Parameter(torch.tensor(-4.0))
            self.facts = torch.nn.Linear(width, FACTS + 2 * len(OBJECTS))
            self.patches = torch.nn.Linear(width, NOTHING + 1 + len(COLORS))

        def forward(self, pictures: torch.Tensor, tokens: torch.Tensor, owner: torch.Tensor) -> Seen:
            seen = self.model.vision_model(pixel_values=pictures)
            images = normalize(self.model.visual_projection(seen.pooler_output).float(), dim=-1)
            texts = normalize(self.model.text_projection(self.told(tokens)).float(), dim=-1)
            logits = self.model.logit_scale.exp() * (images[owner] * texts).sum(-1) + self.bias
            patches = self.patches(seen.last_hidden_state[:, 1:])
            return Seen(logits, self.facts(seen.pooler_output).float(), patches.float())

        def told(self, tokens: torch.Tensor) -> torch.Tensor:
            """Return the texts' pooled vectors, computed in groups of about equal lengths."""
            end = self.model.config.text_config.eos_token_id
            lengths = (tokens != end).sum(1) + 1
            groups = lengths.argsort().tensor_split(TEXT_GROUPS)
            parts = [self.model.text_model(input_ids=tokens[g, : int(lengths[g].max())]).pooler_output for g in groups]
            return torch.cat(parts)[torch.cat(groups).argsort()]

    return Judge()


@dataclass(frozen=True)
class ClipData:
    """Scenes with a few claims each."""

    section: PictureSection
    patch: int
    words: CLIPTokenizer

    def batch(self, step: int, rng: np.random.Generator, share: int) -> dict[str, torch.Tensor]:
        """Return the fields of a `Batch` with clean pictures."""
        scenes = [training_scene(rng, self.section) for _ in range(share)]
        claims = [draw_claims(rng, scene, Split.TRAIN, self.section.true, self.section.near) for scene in scenes]
        return vars(collate(scenes, claims, self.words, self.patch))


class ClipProgram:
    """The verifier, its loss and its validation."""

    def __init__(self, config: ClipConfig) -> None:
        import torch

        self.config = config
        torch.manual_seed(config.run.seed)
        self.model, self.words = build(config.clip)
        self.judge = judge_module(self.model)
        self.data = ClipData(config.pictures, config.clip.patch, self.words)
        self.modules: torch.nn.Module = self.judge
        self.examinations = {
            "": examination(Split.TRAIN, config.pictures, self.words, config.clip.patch),
            "held-out ": examination(Split.VALIDATION, config.pictures, self.words, config.clip.patch),
        }

    def loss(self, step: int, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Sigmoid loss of the claims plus the weighted errors of facts, places and patches."""
        from torch.nn.functional import binary_cross_entropy_with_logits as binary
        from torch.nn.functional import cross_entropy

        weights, share = self.config.clip, len(batch["pictures"])
        rough = roughen(batch["pictures"], self.config.pictures)
        seen: Seen = self.modules(rough, batch["tokens"], batch["owner"])
        claimed = binary(seen.logits, batch["true"])
        known = binary(seen.facts[:, :FACTS], batch["facts"], reduction="sum") / share
        places, covers = batch["places"], batch["covers"]
        placed = places.isfinite()
        error = (seen.facts[:, FACTS:].view_as(places) - places.nan_to_num()).square()[placed].sum() / share
        patches = seen.patches.transpose(1, 2)
        nouns, colors = patches[:, : NOTHING + 1], patches[:, NOTHING + 1 :]
        covered = cross_entropy(nouns, covers[:, 0]) + cross_entropy(colors, covers[:, 1], ignore_index=NOTHING)
        loss = claimed + weights.facts * (known + 2 * error) + weights.patches * covered
        parts = {"claims": claimed, "facts": known, "places": error, "patches": covered}
        return loss, {name: value.detach() for name, value in parts.items()}

    def logits(self, batch: Batch) -> np.ndarray:
        """Return the logit of every claim of a batch, without gradients."""
        import torch

        device = self.model.logit_scale.device
        found = np.empty(len(batch.owner), dtype=np.float64)
        with torch.no_grad():
            for start in range(0, len(batch.pictures), 64):
                chosen = (batch.owner >= start) & (batch.owner < start + 64)
                parts = batch.pictures[start : start + 64], batch.tokens[chosen], batch.owner[chosen] - start
                found[chosen.numpy()] = self.judge(*(part.to(device) for part in parts)).logits.cpu().numpy()
        return found

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Measure, on unseen pictures and claims, AUROC per tag, accuracy and calibration.

        "held-out" numbers are of claims whose combinations training never states, about scenes with any colours.
        """
        metrics: dict[str, float] = {}
        for kind, examined in self.examinations.items():
            probabilities = 1 / (1 + np.exp(-self.logits(examined.batch)))
            numbers = judged(probabilities, examined.batch.true.numpy(), examined.tags)
            metrics |= {f"{kind}{name}": value for name, value in numbers.items()}
        return metrics


def save(program: ClipProgram, output: Path) -> None:
    """Save a plain `CLIPModel` and its tokenizer with bf16 weights and a manifest; it loads without this package."""
    import torch

    scale = float(program.model.logit_scale.detach().exp())
    bias = float(program.judge.get_parameter("bias").detach())
    output.mkdir(parents=True, exist_ok=True)
    with quiet("transformers"):
        program.model.to("cpu", torch.bfloat16).save_pretrained(output, safe_serialization=True)
        program.words.save_pretrained(output)
    # transformers loads in the dtype a configuration names; a CPU judges in float32.
    file = output / "config.json"
    data = json.loads(file.read_text("utf-8")) | {"dtype": "float32"}
    for tower in ("text_config", "vision_config"):
        data[tower]["dtype"] = "float32"
    file.write_text(json.dumps(data, indent=2) + "\n", "utf-8")
    calibration = {"kind": "sigmoid", "scale": round(scale, 4), "bias": round(bias, 4)}
    write_manifest(output, name=NAME, calibration=calibration, image_size=CANVAS, mean=MEAN, std=STD)


def run(config: ClipConfig, told: Reports = NOBODY) -> Mapping[str, float]:
    """Train and save the verifier; return its metrics on unseen pictures and claims."""
    import torch

    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    program = ClipProgram(config)
    train(program, config, told.step)
    if not is_main_process():
        return {}
    metrics = program.validate(config.run.steps, Path(config.run.state) / "samples")
    save(program, Path(config.run.output))
    return metrics
