"""What a default run of Scenes takes with its models loaded, and how much of that is model time.

    python benchmarks/default_run.py

`generate` with nothing but a prompt and 16 pictures: drafts, verdicts, reflections and corrections by the stack
`scenes`. Two prompts, each with several seeds; one run before warms up and is left out. Printed: the seconds of a
search (under 25 are aimed at), the bare model seconds in it by role at the batch sizes that were used, and the ratio
of the two (at most 1.25 is aimed at).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

from reflectionflow import roles, stack
from reflectionflow.request import Request, plan
from reflectionflow.runs import RunDirectory, RunSpec
from reflectionflow.runtime import run_searches

PROMPTS = (
    "a photo of an orange square and a blue star",
    "a photo of a red star left of a blue heart and a green moon above a pink ring",
)


def timed(models: roles.Stack, prompt: str, images: int, seed: int, folder: Path) -> tuple[float, dict[str, float]]:
    """Search once; return the seconds it took, and the models' seconds by the kind of call."""
    made = plan(Request(prompts=(prompt,), images=images, seed=seed, stack=models, out=folder))
    begun = time.perf_counter()
    with RunDirectory.open(made.folder, RunSpec(made.request.passed(), made.resolved)) as run:
        run_searches(made.searches, made.models, run, lambda event: None)
        wall = time.perf_counter() - begun
        return wall, {role: seconds for role, (_, seconds) in run.journal.seconds().items()}


def main() -> None:
    """Time the default search and print seconds, model seconds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3, help="timed runs of each prompt")
    parser.add_argument("--stack", default="scenes")
    asked = parser.parse_args()
    models = stack.load(asked.stack)
    walls, ratios, by_role = [], [], Counter[str]()
    with tempfile.TemporaryDirectory() as parent:
        timed(models, PROMPTS[0], asked.images, 0, Path(parent) / "warm")
        for seed in range(1, asked.seeds + 1):
            for number, prompt in enumerate(PROMPTS):
                wall, spent = timed(models, prompt, asked.images, seed, Path(parent) / f"{seed}-{number}")
                walls.append(wall)
                ratios.append(wall / sum(spent.values()))
                by_role.update(spent)
    told = ", ".join(f"{role} {seconds / len(walls):.2f}" for role, seconds in by_role.items())
    around = f"{min(walls):.2f} to {max(walls):.2f} s"
    print(f"search of {asked.images} pictures: median {statistics.median(walls):.2f} s, {around}")
    print(f"model seconds a search: {told}")
    print(f"search over model seconds: median {statistics.median(ratios):.3f}, at most {max(ratios):.3f}")


if __name__ == "__main__":
    main()
