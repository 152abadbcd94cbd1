"""Checkpoints without a manifest, as a model hub gives them: what is missing, without torch."""

from __future__ import annotations

import json
from pathlib import Path

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin")
HEADER_LENGTH = 8
"""A safetensors file begins with the length of its JSON header in eight bytes, little-endian."""


def problems(folder: Path, model_type: str) -> list[str]:
    """Return what is wrong with a transformers checkpoint of a model that reads words; weights are not read.

    Args:
        folder: Where it should lie.
        model_type: What its configuration must say it is, such as `clip`.
    """
    found = weight_problems(folder, model_type)
    if folder.is_dir() and not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        found.append(f"{folder} has no tokenizer (tokenizer.json or vocab.json); fetch the checkpoint again")
    return found


def weight_problems(folder: Path, model_type: str) -> list[str]:
    """Return what is wrong with configuration and weights, one sentence each; weights are not read.

    Args:
        folder: Where it should lie.
        model_type: What its configuration must say it is, such as `clip`.
    """
    if not folder.is_dir():
        return [f"the folder {folder} does not exist; give the folder of a checkpoint"]
    found: list[str] = []
    try:
        told = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        found.append(f"{folder} has no readable config.json; give the folder of a checkpoint in transformers layout")
    else:
        if told != model_type:
            found.append(f"{folder} holds a model of type {told!r}; give one of type {model_type!r}")
    weights = [path for pattern in WEIGHTS for path in folder.glob(pattern)]
    if not weights:
        found.append(f"{folder} has no weights (model.safetensors); fetch the checkpoint again")
    found += [sentence for path in weights if path.suffix == ".safetensors" if (sentence := _truncated(path))]
    return found


def _truncated(path: Path) -> str:
    """Return a sentence when a safetensors file is shorter or longer than its header says, else nothing."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(HEADER_LENGTH), "little")
            header = json.loads(file.read(length)) if 0 < length < size else None
        if header is None:
            raise ValueError("it has no header")
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{path} is no safetensors file; fetch the checkpoint again"
    expected = HEADER_LENGTH + length + max(ends, default=0)
    return "" if size == expected else f"{path} has {size} bytes instead of {expected}; fetch the checkpoint again"
