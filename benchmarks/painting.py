"""Seconds a picture: one alone, and eight in a batch, as a ratio.

    python benchmarks/painting.py --repeats 5

The shipped generator, 20 denoiser steps, two threads. Aims: 0.35 s alone, 0.2 s a picture in a batch of 8.
"""

from __future__ import annotations

import argparse
import statistics
import time

from reflectionflow.models.flux import FluxGenerator, ScenesFluxOptions
from reflectionflow.roles import PaintRequest
from reflectionflow.types import Recipe


def seconds_each(batch: int, repeats: int) -> float:
    """Return the median seconds a picture at a batch size."""
    generator = FluxGenerator(ScenesFluxOptions(batch_size=batch))
    known = generator.defaults
    recipes = [
        Recipe(generator.name, "a photo of a red star", seed, known.width, known.height, known.steps, known.guidance)
        for seed in range(batch)
    ]
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        generator.generate([PaintRequest(recipe) for recipe in recipes])
        times.append((time.perf_counter() - begun) / batch)
    return statistics.median(times[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(2)
    alone, together = seconds_each(1, asked.repeats), seconds_each(8, asked.repeats)
    print(f"alone        {alone:.3f} s a picture")
    print(f"batch of 8   {together:.3f} s a picture")
    print(f"ratio        {alone / together:.2f}")


if __name__ == "__main__":
    main()
