"""Checkpoints by their name on the Hugging Face hub: found in the local cache, never downloaded unasked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reflectionflow.errors import CheckpointError

INDEXES = ("model_index.json", "config.json")
LORA_INDEXES = ("pytorch_lora_weights.safetensors",)
"""The file by which a repository is found that holds a LoRA and no model."""


def cached_folder(repo: str, revision: str = "main", indexes: Sequence[str] = INDEXES) -> Path | None:
    """Return the snapshot of a hub repository in the local cache, or none when it was not downloaded."""
    from huggingface_hub import try_to_load_from_cache

    for index in indexes:
        found = try_to_load_from_cache(repo, index, revision=revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def missing(repo: str, revision: str = "main", indexes: Sequence[str] = INDEXES) -> list[str]:
    """Return a sentence with the remedy when a hub repository is not in the local cache."""
    if cached_folder(repo, revision, indexes) is not None:
        return []
    return [
        f"{repo} is not downloaded; run `hf download {repo}`, after accepting its licence if its page asks for that"
    ]


def folder_of(checkpoint: Path | None, hub: str | None, revision: str, indexes: Sequence[str] = INDEXES) -> Path:
    """Return where a checkpoint lies, given as a folder or by its name on the hub.

    Raises:
        CheckpointError: if it is given by name and was not downloaded.
    """
    if checkpoint is not None:
        return checkpoint
    found = cached_folder(hub, revision, indexes) if hub else None
    if found is None:
        raise CheckpointError(f"{hub} is not downloaded; run `hf download {hub}`, or give a folder as checkpoint.")
    return found
