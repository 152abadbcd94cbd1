"""What a tuning of a corrector leaves: a LoRA or a transformer, its own T5 if it has one, and how it conditions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflectionflow.models.condition.options import ConditionOptions
from reflectionflow.models.corrector import LORA, TRANSFORMER
from reflectionflow.models.loading import quiet
from reflectionflow.models.manifest import FILE as MANIFEST
from reflectionflow.models.manifest import read_manifest, write_manifest
from reflectionflow.tuning.saving import save_pipeline, tidy_config
from reflectionflow.tuning.words import load_encoder, save_encoder

if TYPE_CHECKING:
    from reflectionflow.tuning.corrector import CorrectorConfig


def save(pipe: Any, config: CorrectorConfig, options: ConditionOptions, base: str, words: Path | None) -> None:
    """Save the LoRA under diffusers' names, or the whole transformer, and how it conditions, in a manifest.

    Args:
        pipe: The tuned pipeline; it is in bf16 afterwards.
        config: How it was tuned.
        options: How flawed pictures condition it.
        base: Name and revision of the generator that it belongs to.
        words: Where its T5 came from, none for the base's.
    """
    import torch
    from diffusers import FluxTransformer2DModel

    output, transformer = Path(config.run.output), pipe.transformer
    output.mkdir(parents=True, exist_ok=True)
    with quiet("transformers", "diffusers"):
        if config.lora.rank:
            from peft.utils import get_peft_model_state_dict

            weights = {
                name: tensor.to(torch.bfloat16) for name, tensor in get_peft_model_state_dict(transformer).items()
            }
            type(pipe).save_lora_weights(output, weights)
        else:
            transformer.to(torch.bfloat16).save_pretrained(output / TRANSFORMER, safe_serialization=True)
            tidy_config(output / TRANSFORMER / "config.json", _class_name=FluxTransformer2DModel.__name__)
    if words is not None and _differ(pipe.text_encoder_2, load_encoder(Path(config.base.checkpoint))):
        save_encoder(pipe.text_encoder_2, output)
    write_manifest(
        output,
        name="flux-corrector",
        kind=LORA if config.lora.rank else TRANSFORMER,
        scale=config.lora.alpha / config.lora.rank if config.lora.rank else 1.0,
        base=base,
        condition={name: getattr(value, "value", value) for name, value in asdict(options).items()},
        paddings=config.data.paddings,
    )


def _differ(first: Any, second: Any) -> bool:
    """Return whether two encoders of one shape have other weights: a generator's before its distillation has not.

    They are compared in the precision of the first.
    """
    other = second.state_dict()
    return any(not value.equal(other[name].to(value)) for name, value in first.state_dict().items())


def save_control(pipe: Any, config: CorrectorConfig) -> None:
    """Save the control as a whole `FluxPipeline`, a LoRA merged, with the base's sizes and words."""
    output, base = Path(config.run.output), Path(config.base.checkpoint)
    if config.lora.rank:
        pipe.transformer.fuse_lora()
        pipe.transformer.unload_lora()
    save_pipeline(pipe, output)
    known = read_manifest(base) if (base / MANIFEST).exists() else None
    name, details = (base.resolve().name, {}) if known is None else (known.name, known.details)
    write_manifest(output, name=f"{name}-control", **details)
