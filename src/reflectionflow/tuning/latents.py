"""Training scenes by number, and their latents computed once: a resumable file on disk.

Scene number i of a seed is a pure function of both, so texts can be drawn anew at every step while the latents, the
expensive part, are read back.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.splits import held_out_colors, held_out_pairs
from reflectionflow.scenes.world import Priors, Scene, draw_scene

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

CHUNK = 64


def training_scene(seed: int, index: int, priors: Priors) -> Scene:
    """Return training scene number `index`; it holds no held-out object-colour pair and no held-out pair of those."""
    return draw_scene(np.random.default_rng([seed, index, 1]), priors, held_out_colors(), held_out_pairs())


@dataclass(frozen=True)
class _Chunks:
    """Rendered training scenes in chunks, as a map-style data set."""

    seed: int
    count: int
    priors: Priors

    def __getitem__(self, chunk: int) -> np.ndarray:
        numbers = range(chunk * CHUNK, min(self.count, (chunk + 1) * CHUNK))
        return np.stack([np.asarray(render(training_scene(self.seed, index, self.priors))) for index in numbers])


def latents_of(
    vae: AutoencoderKL,
    folder: Path,
    seed: int,
    count: int,
    priors: Priors,
    report: Callable[[int, int], None],
    workers: int = 0,
) -> np.ndarray:
    """Return the latents of training scenes 0 … count-1, float16, shape [count, channels, 16, 16].

    They are computed in chunks, rendered by `workers` processes, and kept in `folder`; a killed run goes on where it
    stopped. `report(done, count)` is called after each chunk.
    """
    import torch
    from torch.utils.data import DataLoader

    from reflectionflow.tuning.vae import to_tensor

    folder.mkdir(parents=True, exist_ok=True)
    shape = (count, vae.config["latent_channels"], 16, 16)
    mark = folder / "latents.json"
    file = folder / "latents.f16"
    key = {"seed": seed, "shape": list(shape), "priors": repr(priors)}
    done = 0
    if mark.exists() and file.exists():
        known = json.loads(mark.read_text("utf-8"))
        done = known["done"] if known["key"] == key else 0
    store = np.memmap(file, dtype=np.float16, mode="r+" if done else "w+", shape=shape)
    device = next(vae.parameters()).device
    chunks: Any = _Chunks(seed, count, priors)
    starts = range(done, count, CHUNK)
    numbers = [start // CHUNK for start in starts]
    drawn = DataLoader(chunks, batch_size=None, sampler=numbers, num_workers=workers)
    for start, pictures in zip(starts, drawn, strict=True):
        stop = start + len(pictures)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            latents = vae.encode(to_tensor(pictures).to(device)).latent_dist.mode()
        store[start:stop] = latents.float().cpu().numpy().astype(np.float16)
        if stop == count or (start // CHUNK) % 16 == 0:
            store.flush()
            mark.write_text(json.dumps({"key": key, "done": stop}), "utf-8")
        report(stop, count)
    return store
