"""What a corrector is tuned from: the base's pipeline, and what takes the place of its parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflectionflow.errors import CheckpointError
from reflectionflow.models.corrector import WORDS
from reflectionflow.models.loading import quiet
from reflectionflow.tuning.corrector_modules import begin_with
from reflectionflow.tuning.loop import processes
from reflectionflow.tuning.words import load_encoder_like

if TYPE_CHECKING:
    from reflectionflow.tuning.corrector import CorrectorConfig


def narrow(config: CorrectorConfig) -> bool:
    """Return whether the base is in bf16: it is where a LoRA is tuned in bf16, since autocast would round it anyway.

    FLUX.1-dev then takes 34 GB in place of 67. The LoRA and its average stay in float32, and so does the autoencoder,
    which takes 0.3 GB.
    """
    return config.lora.rank > 0 and config.run.precision == "bf16"


def base_pipeline(config: CorrectorConfig) -> Any:
    """Return the base's pipeline, ready to be tuned.

    Raises:
        CheckpointError: if it cannot be read, or what training starts with.
    """
    import torch

    folder = Path(config.base.checkpoint)
    frozen = torch.bfloat16 if narrow(config) else torch.float32
    precisions = dict.fromkeys(("transformer", "text_encoder", "text_encoder_2"), frozen) | {"default": torch.float32}
    try:
        with quiet("transformers", "diffusers"):  # they warn when they are imported, too
            from diffusers import FluxPipeline

            from reflectionflow.models.condition.pipeline import FluxReflectionPipeline

            kind = FluxPipeline if config.condition == "none" else FluxReflectionPipeline
            pipe = kind.from_pretrained(folder, dtype=precisions, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder} holds no complete FluxPipeline ({error}).") from error
    if processes().device.type == "cpu":
        # The fused attention's backward pass in bf16 takes four times as long on a CPU as plain matrix products.
        with quiet("diffusers"):
            pipe.transformer.set_attention_backend("_native_math")
    if (first := _start(config)) is not None:
        begin_with(pipe.transformer, first)
    if (own := own_words(config)) is not None:
        words = load_encoder_like(own, pipe.text_encoder_2).to(frozen)
        with quiet("transformers", "diffusers"):
            pipe.register_modules(text_encoder_2=words)
    return pipe


def _start(config: CorrectorConfig) -> Path | None:
    """Return the folder of what training starts with, none for the base itself."""
    first = config.base.start or (config.distil.teacher if config.distil else None)
    return None if first is None else Path(first)


def own_words(config: CorrectorConfig) -> Path | None:
    """Return the folder of the T5 that the corrector reads with, none for the base's."""
    if config.base.words is not None:
        return Path(config.base.words)
    first = _start(config)
    return first if first is not None and (first / WORDS).is_dir() else None
