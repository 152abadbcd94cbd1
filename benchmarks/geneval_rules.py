"""Are GenEval's rules ever the bottleneck? Decisions a second against pictures a second of the Scenes generator.

    python benchmarks/geneval_rules.py

Times, in turns and in one process, (a) the rules alone, on detections that judge B found before the clock starts, and
(b) the shipped generator painting pictures at its defaults; prints both rates and their ratio, which should be at least
20. Judge B as a whole, detecting and deciding, is timed as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

from PIL.Image import Image

from reflectionflow.evaluation.scenes_judge import detect, judge
from reflectionflow.geneval import Metadata, decide
from reflectionflow.models.flux import FluxGenerator, ScenesFluxOptions
from reflectionflow.roles import Painting, PaintRequest
from reflectionflow.scenes.prompts import suite
from reflectionflow.scenes.splits import Split
from reflectionflow.types import Recipe

BATCH = 8
REPEATS = 100
"""Times the rules go over all pictures: once is too short for a clock."""
AIM = 20.0


def paint(generator: FluxGenerator, prompts: Sequence[Metadata], seed: int) -> list[Image]:
    """Return a picture of each prompt at the generator's defaults."""
    usual = generator.defaults
    size = (usual.width, usual.height, usual.steps, usual.guidance)
    images: list[Image] = []
    for start in range(0, len(prompts), BATCH):
        part = prompts[start : start + BATCH]
        requests = [PaintRequest(Recipe(generator.name, item.prompt, seed, *size)) for item in part]
        for painting in generator.generate(requests):
            if not isinstance(painting, Painting):
                raise RuntimeError(painting.reason)
            images.append(painting.image)
    return images


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Time all three in turns and print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=32, help="pictures a turn")
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    generator = FluxGenerator(ScenesFluxOptions(batch_size=BATCH))
    drawn = suite(Split.VALIDATION, asked.images)
    prompts = [drawn[number * len(drawn) // asked.images] for number in range(asked.images)]
    images = paint(generator, prompts, seed=0)  # warms up
    seen = [detect(image) for image in images]

    def rules() -> None:
        for _ in range(REPEATS):
            for metadata, found in zip(prompts, seen, strict=True):
                decide(metadata, found)

    def whole() -> None:
        for metadata, image in zip(prompts, images, strict=True):
            judge(image, metadata)

    rates: dict[str, list[float]] = {"generator": [], "rules alone": [], "judge B": []}
    for turn in range(asked.turns):
        rates["generator"].append(asked.images / seconds(lambda turn=turn: paint(generator, prompts, turn + 1)))
        rates["rules alone"].append(REPEATS * asked.images / seconds(rules))
        rates["judge B"].append(asked.images / seconds(whole))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:12} {medians[name]:10.1f} pictures/s (median of {sorted(round(value, 1) for value in values)})")
    print(f"rules alone / generator {medians['rules alone'] / medians['generator']:.0f} (aim: at least {AIM:.0f})")
    print(f"judge B / generator     {medians['judge B'] / medians['generator']:.1f}")


if __name__ == "__main__":
    main()
