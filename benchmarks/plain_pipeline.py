"""Is the shipped generator as good through a plain `FluxPipeline` as through our own path? By judge B.

    python benchmarks/plain_pipeline.py --per-tag 14 --seeds 2

Paints validation prompts with our adapter (20 steps, T5 padded to 32) and with `pipe(prompt, height=128, width=128)`,
every other default of `FluxPipeline` (28 steps, guidance 3.5, T5 padded to 512), from the same seeds, and prints both
macro averages over GenEval's six tags and their difference with its 95 % bootstrap interval over prompts. Both start
from the same noise, so the difference is paired.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import torch
from diffusers import FluxPipeline
from rich.console import Console
from rich.progress import track

from reflectionflow.evaluation.scenes_judge import judge
from reflectionflow.models.flux import SHIPPED, FluxGenerator, ScenesFluxOptions
from reflectionflow.models.loading import quiet
from reflectionflow.roles import PaintRequest
from reflectionflow.scenes.prompts import suite
from reflectionflow.scenes.splits import Split
from reflectionflow.types import Recipe

DRAWS = 10_000
BATCH = 8


def main() -> None:
    """Paint, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-tag", type=int, default=14)
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    own = FluxGenerator(ScenesFluxOptions(batch_size=BATCH))
    known = own.defaults
    with quiet("transformers", "diffusers"):
        plain = FluxPipeline.from_pretrained(SHIPPED, local_files_only=True)
    plain.set_progress_bar_config(disable=True)
    items = [
        (metadata, seed)
        for metadata in suite(Split.VALIDATION, asked.per_tag)
        if metadata.tag != "composite"
        for seed in range(asked.seeds)
    ]
    found: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for start in track(range(0, len(items), BATCH), "painting", console=Console(stderr=True)):
        chosen = items[start : start + BATCH]
        size = (known.width, known.height, known.steps, known.guidance)
        requests = [PaintRequest(Recipe(own.name, metadata.prompt, seed, *size)) for metadata, seed in chosen]
        ours = [painting.image for painting in own.generate(requests)]
        noise = [torch.Generator("cpu").manual_seed(seed) for _, seed in chosen]
        prompts = [metadata.prompt for metadata, _ in chosen]
        theirs = plain(prompts, height=128, width=128, generator=noise).images
        for (metadata, _), first, second in zip(chosen, ours, theirs, strict=True):
            right = float(judge(first, metadata).correct), float(judge(second, metadata).correct)
            found[metadata.tag][metadata.prompt].append(right)
    tags = {tag: np.array([np.mean(pairs, axis=0) for pairs in prompts.values()]) for tag, prompts in found.items()}
    rng = np.random.default_rng(0)
    draws = np.mean(
        [rows[rng.integers(0, len(rows), (DRAWS, len(rows)))].mean(axis=1) for rows in tags.values()], axis=0
    )
    own_mean, plain_mean = np.mean([rows.mean(axis=0) for rows in tags.values()], axis=0)
    low, high = np.percentile(draws[:, 1] - draws[:, 0], [2.5, 97.5])
    print(f"{len(items)} pictures each, {asked.seeds} seeds a prompt, judge B, macro over six tags")
    print(f"own path        {own_mean:.3f}")
    print(f"plain pipeline  {plain_mean:.3f}")
    print(f"difference      {plain_mean - own_mean:+.3f} [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
