"""Configurations of saved models, as others load them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reflectionflow.models.loading import quiet


def tidy_config(file: Path, **values: str) -> None:
    """Drop the folder a model was loaded from out of its `config.json`, parts included, and set some values.

    transformers loads in the dtype a configuration names, diffusers in float32 unless told.

    Args:
        file: The configuration.
        **values: What its keys are set to.
    """
    config = json.loads(file.read_text("utf-8"))
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        part.pop("_name_or_path", None)
        part.update({name: value for name, value in values.items() if part is config or name in part})
    file.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def save_adapter(model: Any, output: Path, base: str) -> None:
    """Save a model's LoRA in bf16, under PEFT's names.

    Args:
        model: A transformers model with an adapter; it is in bf16 afterwards.
        output: The folder.
        base: Which model it belongs to, told instead of the folder that one was loaded from.
    """
    import torch

    with quiet("transformers"):
        model.to("cpu", torch.bfloat16).save_pretrained(output, safe_serialization=True)
    tidy_config(output / "adapter_config.json", base_model_name_or_path=base)


def save_pipeline(pipe: Any, output: Path) -> None:
    """Save a plain `FluxPipeline` in bf16: it loads without this package."""
    import torch

    with quiet("transformers", "diffusers"):
        pipe.to(dtype=torch.bfloat16)
        pipe.save_pretrained(output, safe_serialization=True)
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        tidy_config(output / name / "config.json", **({"dtype": "float32"} if name.startswith("text") else {}))
