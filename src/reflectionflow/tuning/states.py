"""Checkpoints of a training: what is trained, its optimiser, its average and its losses, and the configuration.

Frozen weights are not saved, since a training reads them from its base again. What a checkpoint was trained with lies
beside it, because the data order and the optimiser's state mean nothing under another configuration.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from reflectionflow.errors import CheckpointError, MisuseError

if TYPE_CHECKING:
    import torch

CHECKPOINT = re.compile(r"^step-(\d+)$")
RECORD = "config.json"
"""The file of a checkpoint that says how it was trained; checkpoints of earlier versions have none."""
WEIGHTS = "pytorch_model.bin"
FREE = frozenset(
    {
        *(f"run.{name}" for name in ("steps", "output", "state", "checkpoint_every", "sample_every", "log_every")),
        *(f"run.{name}" for name in ("threads", "workers", "compile")),
        *(f"optimiser.{name}" for name in ("learning_rate", "warmup", "final", "clip")),
        *("base.checkpointing", "data.latents"),
    }
)
"""What may change when a training goes on: how long, how fast, where and how often it tells, and the learning rate.

The other values of an optimiser are part of its saved state, so that a change would do nothing.
"""


def described(config: BaseModel, known: Mapping[str, str]) -> dict[str, Any]:
    """Return what must be the same when a training goes on: values that are no defaults, by "table.key".

    Args:
        config: Of the training.
        known: Values that stand for those of the file, such as a base's name and revision for its folder.
    """
    found = _flat(config.model_dump(mode="json", exclude_defaults=True)) | dict(known)
    return {name: value for name, value in sorted(found.items()) if name not in FREE}


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


def latest_checkpoint(state: Path) -> Path | None:
    """Return the checkpoint with the largest step number (numbers compared as numbers), or none."""
    found = [(int(match.group(1)), entry) for entry in state.glob("step-*") if (match := CHECKPOINT.match(entry.name))]
    return max(found)[1] if found else None


def save_trained_alone(accelerator: Any) -> None:
    """Let an accelerator save and load the weights that are trained, and buffers, without the frozen weights."""

    def keep(models: list[Any], weights: list[dict[str, torch.Tensor]], _folder: str) -> None:
        for place, model in enumerate(models):
            names = _trained(model)
            weights[place] = {name: tensor for name, tensor in weights[place].items() if name in names}

    def load(models: list[Any], folder: str) -> None:
        import torch

        (model,) = models
        saved = torch.load(Path(folder) / WEIGHTS, map_location="cpu", weights_only=True)
        strange = sorted((_trained(model) - saved.keys()) | set(model.load_state_dict(saved, strict=False)[1]))
        if strange:
            raise RuntimeError(f"{len(strange)} of its weights are not those that are trained, as {strange[0]}")
        models.clear()  # nothing is left to be loaded

    accelerator.register_save_state_pre_hook(keep)
    accelerator.register_load_state_pre_hook(load)


def _trained(model: torch.nn.Module) -> set[str]:
    """Return the names of trained weights and of buffers; a weight may have two."""
    import torch

    named = model.state_dict(keep_vars=True).items()
    return {name for name, value in named if value.requires_grad or not isinstance(value, torch.nn.Parameter)}


def save(accelerator: Any, ema: Any, state: Path, step: int, losses: list[float], record: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its final name, then rename: a killed save leaves the one before."""
    import torch

    final, draft = state / f"step-{step}", state / f"writing-{step}"
    if accelerator.is_main_process:
        shutil.rmtree(draft, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(draft), safe_serialization=False)  # two names may share a tensor (T5's embedding)
    accelerator.wait_for_everyone()  # each writes its random states into the draft
    if not accelerator.is_main_process:
        return
    torch.save(ema.state_dict(), draft / "ema.pt")
    (draft / "losses.json").write_text(json.dumps(losses), "utf-8")
    (draft / RECORD).write_text(json.dumps(record, indent=2), "utf-8")
    os.replace(draft, final)
    for entry in sorted(state.glob("step-*"), key=lambda item: int(item.name.split("-")[1]))[:-2]:
        shutil.rmtree(entry)


def resume(accelerator: Any, ema: Any, state: Path, record: Mapping[str, Any]) -> tuple[int, list[float]]:
    """Load the latest checkpoint, if any; return the next step and the losses so far.

    Raises:
        CheckpointError: if it is damaged or of another model.
        MisuseError: if it was trained with another configuration.
    """
    import torch

    found = latest_checkpoint(state)
    if found is None:
        return 0, []
    try:
        _check(found, record)
        accelerator.load_state(str(found))
        ema.load_state_dict(torch.load(found / "ema.pt", map_location="cpu", weights_only=True))
        ema.to(accelerator.device)  # not where it lay in the process that saved it
        losses = json.loads((found / "losses.json").read_text("utf-8"))
    except (OSError, EOFError, LookupError, RuntimeError, ValueError, UnpicklingError) as error:
        raise CheckpointError(f"The checkpoint {found} cannot be resumed ({error}); delete it to go on.") from error
    return int(found.name.split("-")[1]), losses


def _check(checkpoint: Path, record: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another configuration; one that says nothing of its own is believed.

    Raises:
        MisuseError: if a value differs.
    """
    if not (checkpoint / RECORD).is_file():
        return
    before: dict[str, Any] = json.loads((checkpoint / RECORD).read_text("utf-8"))
    now: dict[str, Any] = json.loads(json.dumps(record))
    changed = [name for name in sorted({*before, *now} - FREE) if before.get(name) != now.get(name)]
    if changed:
        told = ", ".join(f"{name} = {_shown(before, name)} (now {_shown(now, name)})" for name in changed)
        raise MisuseError(
            f"The checkpoint {checkpoint} was trained with {told}; put these values back to go on, or give another "
            "run.state to start anew."
        )


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name]) if name in values else "its default"
