"""Generated pictures whose content is known: renderings taken back to a noise level and painted to the end.

Image-to-image painting (SDEdit, arXiv 2108.01073) with the scene's own detailed caption keeps what is where and gives
it the generator's hand: its edges, its shades, its halos. So a detector learns from generated pictures without a person
or another detector naming what they show. Where the generator changed more than its hand, the label is wrong; the noise
levels are low enough for that to be rare.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from reflectionflow.errors import CheckpointError
from reflectionflow.models.loading import quiet
from reflectionflow.scenes.captions import detailed_caption
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.world import UNIFORM, Scene, draw_scene
from reflectionflow.tuning.clip_data import crowded_scene
from reflectionflow.tuning.config import Section
from reflectionflow.tuning.loop import processes

BATCH = 16
STEPS = 12


class RepaintSection(Section):
    """Which generator repaints, how many scenes, and how far it takes them back."""

    generator: str = Field(description="Folder of a `FluxPipeline` that paints Scenes.")
    pictures: int = Field(gt=0, description="How many scenes are repainted.")
    share: float = Field(default=0.3, ge=0, le=1, description="Share of the items of a step that are repainted.")
    lowest: float = Field(default=0.3, gt=0, le=1, description="Lowest strength: share of the noise levels painted.")
    highest: float = Field(default=0.55, gt=0, le=1, description="Highest strength.")
    guidance: float = Field(default=3.5, ge=1, description="Guidance scale.")
    crowded: float = Field(default=0.0, ge=0, le=1, description="Share of scenes with one to five of an object.")


@dataclass(frozen=True)
class Repainted:
    """Scenes and their repainted pictures, uint8, [n, 128, 128, 3]."""

    scenes: tuple[Scene, ...]
    pictures: np.ndarray


def scene_of(seed: int, number: int, crowded: float = 0.0) -> Scene:
    """Return scene `number` of a seed, of every combination; it never changes."""
    rng = np.random.default_rng([seed, number, 5])
    if crowded and rng.random() < crowded:
        return crowded_scene(rng, frozenset())
    return draw_scene(rng, UNIFORM)


def repainted(section: RepaintSection, seed: int, folder: Path, report: Callable[[int, int], None]) -> Repainted:
    """Repaint scenes batch by batch, kept in `folder`: a killed run goes on where it stopped.

    Raises:
        CheckpointError: if the generator cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scenes = tuple(scene_of(seed, number, section.crowded) for number in range(section.pictures))
    shape = (len(scenes), 128, 128, 3)
    mark, file = folder / "repainted.json", folder / "repainted.u8"
    key = [seed, *shape, section.model_dump()]
    known = json.loads(mark.read_text("utf-8")) if mark.exists() and file.exists() else {}
    done = known["done"] if known.get("key") == key else 0
    store = np.memmap(file, dtype=np.uint8, mode="r+" if done else "w+", shape=shape)
    paint = _painter(section) if done < len(scenes) else None
    for start in range(done, len(scenes), BATCH):
        assert paint is not None
        chosen = scenes[start : start + BATCH]
        store[start : start + len(chosen)] = paint(chosen, np.random.default_rng([seed, start, 6]))
        store.flush()
        mark.write_text(json.dumps({"key": key, "done": start + len(chosen)}), "utf-8")
        report(start + len(chosen), len(scenes))
    return Repainted(scenes, np.array(store))


def _painter(section: RepaintSection) -> Callable[[tuple[Scene, ...], np.random.Generator], np.ndarray]:
    """Load the generator as an image-to-image pipeline; return what repaints a batch of scenes."""
    import torch

    try:
        with quiet("transformers", "diffusers"):
            from diffusers import FluxImg2ImgPipeline

            pipe = FluxImg2ImgPipeline.from_pretrained(section.generator, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{section.generator} holds no complete FluxPipeline ({error}).") from error
    pipe.to(processes().device)
    pipe.set_progress_bar_config(disable=True)

    def paint(scenes: tuple[Scene, ...], rng: np.random.Generator) -> np.ndarray:
        prompts = [detailed_caption(scene, rng) for scene in scenes]
        painted = pipe(
            prompts, image=[render(scene) for scene in scenes], height=128, width=128, num_inference_steps=STEPS,
            strength=float(rng.uniform(section.lowest, section.highest)), guidance_scale=section.guidance,
            max_sequence_length=64, generator=torch.Generator().manual_seed(int(rng.integers(2**62))), output_type="np",
        ).images  # fmt: skip
        return np.asarray((painted * 255).round().astype(np.uint8))

    return paint
