"""Training scenes by number, and their latents computed once: a resumable file on disk.

Scene number i of a seed is a pure function of both, so texts can be drawn anew at every step while the latents, the
expensive part, are read back.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.splits import held_out_colors
from reflectionflow.scenes.world import Priors, Scene, draw_scene

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

CHUNK = 64


def training_scene(seed: int, index: int, priors: Priors) -> Scene:
    """Return training scene number `index`; it contains no held-out object-colour pair."""
    return draw_scene(np.random.default_rng([seed, index, 1]), priors, held_out_colors())


def latents_of(
    vae: AutoencoderKL, folder: Path, seed: int, count: int, priors: Priors, report: Callable[[int, int], None]
) -> np.ndarray:
    """Return the latents of training scenes 0 … count-1, float16, shape [count, channels, 16, 16].

    They are computed in chunks and kept in `folder`; a killed run goes on where it stopped. `report(done, count)` is
    called after each chunk.
    """
    import torch

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
    for start in range(done, count, CHUNK):
        stop = min(count, start + CHUNK)
        drawn = [np.asarray(render(training_scene(seed, index, priors))) for index in range(start, stop)]
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            latents = vae.encode(to_tensor(np.stack(drawn)).to(device)).latent_dist.mode()
        store[start:stop] = latents.float().cpu().numpy().astype(np.float16)
        if stop == count or (start // CHUNK) % 16 == 0:
            store.flush()
            mark.write_text(json.dumps({"key": key, "done": stop}), "utf-8")
        report(stop, count)
    return store
