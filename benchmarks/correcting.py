"""Seconds of a corrected picture against a plain one, alone and in a batch of 8, as ratios.

    python benchmarks/correcting.py --repeats 5

The shipped models, 20 denoiser steps, two threads; the condition's keys and values are computed once for all steps.
Aim: at most 1.35. Pairs are timed in turn, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import statistics
import time

from PIL import Image

from reflectionflow.models.corrector import FluxCorrector, ScenesCorrectorOptions
from reflectionflow.models.flux import FluxGenerator, ScenesFluxOptions
from reflectionflow.roles import PaintRequest
from reflectionflow.types import Recipe

PROMPT = "a photo of a red star left of a blue heart"
REFLECTION = "change the color of the star from blue to red"


def seconds(model: FluxGenerator, batch: int, reflection: str | None) -> float:
    """Return the seconds a picture of one call."""
    known, parent = model.defaults, Image.new("RGB", (128, 128), "lightblue")
    size = (known.width, known.height, known.steps, known.guidance)
    begun = time.perf_counter()
    if reflection is None:
        recipes = [Recipe(model.name, PROMPT, seed, *size) for seed in range(batch)]
        model.generate([PaintRequest(recipe) for recipe in recipes])
    else:
        recipes = [Recipe(model.name, PROMPT, n, *size, parent=str(n), reflection=reflection) for n in range(batch)]
        model.generate([PaintRequest(recipe, parent) for recipe in recipes])
    return (time.perf_counter() - begun) / batch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(2)
    for batch in (1, 8):
        plain = FluxGenerator(ScenesFluxOptions(batch_size=batch, pad_batches=False))
        corrector = FluxCorrector(ScenesCorrectorOptions(batch_size=batch, pad_batches=False))
        seconds(plain, batch, None)
        seconds(corrector, batch, REFLECTION)
        pairs = [(seconds(plain, batch, None), seconds(corrector, batch, REFLECTION)) for _ in range(asked.repeats)]
        ratio = statistics.median(corrected / painted for painted, corrected in pairs)
        first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"batch of {batch}: plain {first:.3f} s, corrected {second:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
