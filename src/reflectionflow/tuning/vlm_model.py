"""The small vision-language model of Scenes, untrained, and what one training step computes of any Qwen2.5-VL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from reflectionflow.models.vision_language import VisionLanguage
from reflectionflow.scenes.words import COLORS
from reflectionflow.scenes.world import CANVAS
from reflectionflow.tuning.clip_data import NOTHING as BACKGROUND
from reflectionflow.tuning.config import Section
from reflectionflow.tuning.packing import IGNORED, mask_of
from reflectionflow.tuning.vlm_items import Task

if TYPE_CHECKING:
    import torch

HEAD = 32
"""Width of an attention head."""
MEAN = STD = (0.5, 0.5, 0.5)
LONGEST = 512
EAGER = "eager"
"""Attention as plain matrix products: with it a training step takes three quarters of the time on a CPU."""


class ShapeSection(Section):
    """Size of a model trained from scratch."""

    patch: int = Field(default=8, gt=0, description="Side of a patch in pixels; four patches are one token.")
    vision_width: int = Field(default=128, gt=0, multiple_of=HEAD)
    vision_layers: int = Field(default=4, gt=0)
    width: int = Field(default=192, gt=0, multiple_of=HEAD)
    layers: int = Field(default=6, gt=0)
    key_heads: int = Field(default=2, gt=0, description="Heads of keys and values, shared by those of queries.")
    start: str | None = Field(
        default=None, description="Folder of a trained model of this shape to go on from; none starts from nothing."
    )


class LossSection(Section):
    """Weights of the tasks: each is the mean cross-entropy of its answers' tokens."""

    list: float = Field(default=1.0, ge=0, description="The objects and their places.")
    judge: float = Field(default=1.0, ge=0, description="Yes or no.")
    reflect: float = Field(default=1.0, ge=0, description="Edits.")
    refine: float = Field(default=0.5, ge=0, description="Explicit prompts.")
    patches: float = Field(default=0.0, ge=0, description="A linear head that names what covers each patch; dropped.")

    def of(self, task: Task) -> float:
        """Return the weight of a task."""
        return float(getattr(self, task.name.lower()))


def build(shape: ShapeSection, frames: int = 1) -> VisionLanguage:
    """Return an untrained model of Scenes with its tokenizer and image processor.

    Args:
        shape: Its size.
        frames: How often a picture is repeated in a patch; full-size models, made for videos too, have 2.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from reflectionflow.scenes import tokenizers

    words = tokenizers.qwen_tokenizer()
    special = {
        f"{name}_token_id": words.convert_tokens_to_ids(token)
        for name, token in (
            ("image", tokenizers.IMAGE), ("video", tokenizers.VIDEO),
            ("vision_start", tokenizers.VISION_START), ("vision_end", tokenizers.VISION_END),
        )
    }  # fmt: skip
    vision = {
        "depth": shape.vision_layers, "hidden_size": shape.vision_width, "intermediate_size": 3 * shape.vision_width,
        "num_heads": shape.vision_width // HEAD, "patch_size": shape.patch, "spatial_merge_size": 2,
        "temporal_patch_size": frames, "window_size": CANVAS, "out_hidden_size": shape.width,
        "fullatt_block_indexes": list(range(shape.vision_layers)),
    }  # fmt: skip
    text = {
        "vocab_size": len(words), "hidden_size": shape.width, "intermediate_size": 8 * shape.width // 3 // 32 * 32,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.width // HEAD,
        "num_key_value_heads": shape.key_heads, "max_position_embeddings": LONGEST, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
        "bos_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id,
    }  # fmt: skip
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **special)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.pad_token_id = words.pad_token_id
    pixels = CANVAS * CANVAS
    processor = Qwen2VLImageProcessorPil(
        patch_size=shape.patch, merge_size=2, temporal_patch_size=frames, image_mean=list(MEAN), image_std=list(STD),
        size={"shortest_edge": pixels, "longest_edge": pixels},
    )  # fmt: skip
    return VisionLanguage(model, words, processor)


@dataclass(frozen=True)
class Read:
    """What a step computes: logits of the wanted tokens [m, vocabulary], and of each merged patch [tokens, 25]."""

    logits: torch.Tensor
    patches: torch.Tensor | None


def reader(model: Any, patches: bool) -> torch.nn.Module:
    """Wrap a model so that one `forward` takes a batch of `vlm_data` to the logits of its answers."""
    import torch

    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            width = model.config.text_config.hidden_size
            self.patches = torch.nn.Linear(width, BACKGROUND + 1 + len(COLORS)) if patches else None

        def forward(self, batch: Mapping[str, torch.Tensor]) -> Read:
            core = self.model.model
            seen = core.visual(batch["pixels"].to(core.visual.dtype), grid_thw=batch["grid"]).pooler_output
            words = core.get_input_embeddings()(batch["ids"])
            pictured = (batch["ids"] == self.model.config.image_token_id)[..., None]
            told = words.masked_scatter(pictured, seen.to(words.dtype))
            mask = mask_of(batch["groups"])
            if self.model.config.text_config._attn_implementation == EAGER:  # which adds its mask to the logits
                mask = torch.zeros_like(mask, dtype=told.dtype).masked_fill(~mask, torch.finfo(told.dtype).min)
            hidden = core.language_model(
                inputs_embeds=told, position_ids=batch["positions"], attention_mask=mask, use_cache=False
            ).last_hidden_state
            logits = self.model.lm_head(hidden[batch["targets"] != IGNORED]).float()
            return Read(logits, None if self.patches is None else self.patches(seen.float()))

    return Reader()


def losses(
    found: Read, batch: Mapping[str, torch.Tensor], weights: LossSection
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the weighted loss of a batch, and the loss of each task that is in it."""
    from torch.nn.functional import cross_entropy

    wanted = batch["targets"] != IGNORED
    each = cross_entropy(found.logits, batch["targets"][wanted], reduction="none")
    tasks = batch["tasks"][wanted]
    parts = {}
    total = each.sum() * 0.0
    for task in Task:
        mine = tasks == task.value
        part = (each * mine).sum() / mine.sum().clamp(min=1)
        parts[task.name.lower()] = part.detach()
        total = total + weights.of(task) * part
    if found.patches is not None:
        nouns, colors = batch["covers"]
        named = found.patches[:, : BACKGROUND + 1], found.patches[:, BACKGROUND + 1 :]
        objects = (colors != BACKGROUND) & (colors != IGNORED)
        covered = total * 0.0
        for guesses, truth in zip(named, (nouns, colors.where(objects, IGNORED)), strict=True):
            summed = cross_entropy(guesses, truth, ignore_index=IGNORED, reduction="sum")
            covered = covered + summed / (truth != IGNORED).sum().clamp(min=1)
        parts["patches"] = covered.detach()
        total = total + weights.patches * covered
    return total, parts
