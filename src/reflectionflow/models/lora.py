"""Whether a LoRA belongs to a base: its layers are there and have its shapes.

diffusers loads what it finds a place for, and says of the rest no more than a warning; a picture would then be painted
by the base alone, or by half a LoRA.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from reflectionflow.errors import CheckpointError

Shapes = Mapping[str, Sequence[int]]
"""Shapes of tensors by their names."""
LAYER = re.compile(r"^transformer\.(?P<layer>.+)\.lora_(?P<side>[AB])\.weight$")
BESIDE = re.compile(r"^text_encoder\.|\.alpha$|\.dora_scale$|\.lora_B\.bias$")
"""What may lie beside a transformer's LoRA."""
ELSEWHERE = re.compile(r"lora_down|processor|base_model|query_norm\.scale|^lora_unet_|^diffusion_model\.")
"""Names of other programs, which diffusers translates when it loads them."""


def misfit(lora: Shapes, base: Shapes) -> str | None:
    """Return why a LoRA under diffusers' names does not belong to a transformer, as half a sentence; none if it does.

    Args:
        lora: Of the tensors of the LoRA.
        base: Of the tensors of the transformer.
    """
    found = {name: match for name in lora if (match := LAYER.match(name))}
    strange = sorted(name for name in lora if name not in found and not BESIDE.search(name))
    if not found:
        return f"has no tensor for a FLUX transformer, such as transformer.x_embedder.lora_A.weight{_as(strange)}"
    if strange:
        return f"has {len(strange)} tensors that are not of a FLUX transformer's LoRA{_as(strange)}"
    absent = sorted({match["layer"] for match in found.values()} - {name.removesuffix(".weight") for name in base})
    if absent:
        return f"is for another base: this one has no {absent[0]}, and lacks {len(absent)} of its layers in all"
    for name, match in sorted(found.items()):
        wide, place = base[f"{match['layer']}.weight"], 1 if match["side"] == "A" else 0
        if len(wide) != 2 or len(lora[name]) != 2 or lora[name][place] != wide[place]:
            return f"is for another base: its {name} is {_size(lora[name])}, but the layer {_size(wide)}"
    return None


def files_misfit(folder: Path, base: Path) -> str | None:
    """Return why the LoRA in a folder does not belong to a pipeline, by the headers of their files.

    Names of other programs pass, and bases whose weights are not in safetensors; loading decides of those.

    Raises:
        CheckpointError: if a header is damaged.
    """
    lora, wide = shapes_in(folder), shapes_in(base / "transformer")
    if not wide or any(ELSEWHERE.search(name) for name in lora):
        return None
    return misfit(lora, wide)


def shapes_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors in the safetensors files of a folder, of which headers alone are read.

    Raises:
        CheckpointError: if a header is damaged.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            found |= {name: tuple(about["shape"]) for name, about in header.items() if name != "__metadata__"}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, MemoryError) as error:
            raise CheckpointError(f"{path} is no safetensors file ({error}); fetch it again.") from error
    return found


def _as(names: Sequence[str]) -> str:
    return f"; there is {names[0]}" if names else ""


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
