"""What a search costs on top of its models: 16 pictures for one prompt, against a bare loop, in one run.

    python benchmarks/overhead.py

Both sides use the same loaded models, the same recipes and the same batch size. The bare loop paints, judges and writes
PNG files; the search does the same through the runtime, with journal, hashes, fsync and events. The two are timed in
turns, and the ratio of their medians is printed: at most 1.10 is the aim. Each side has a process of its own: torch's
OpenMP gives up spinning when two threads of one process have used it, which would slow down the side that comes second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reflectionflow import roles, stack
from reflectionflow.request import Request, plan
from reflectionflow.runs import RunDirectory, RunSpec
from reflectionflow.runtime import run_searches
from reflectionflow.search.seeds import derive
from reflectionflow.types import Candidate, Recipe, settings

PROMPT = "a photo of a red star left of a blue heart"


def bare(models: roles.Stack, images: int, folder: Path) -> float:
    """Paint, judge and save without the runtime; return seconds."""
    generator, defaults = models.generator, models.defaults or models.generator.defaults
    begun = time.perf_counter()
    for start in range(0, images, generator.batch_size):
        requests = [
            roles.PaintRequest(
                Recipe(
                    generator.name, PROMPT, derive(0, PROMPT, (0, slot)), defaults.width, defaults.height,
                    defaults.steps, defaults.guidance, settings=settings(generator.settings),
                )
            )
            for slot in range(start, min(images, start + generator.batch_size))
        ]  # fmt: skip
        painted = generator.generate(requests)
        questions = []
        for request, done in zip(requests, painted, strict=True):
            if not isinstance(done, roles.Painting):
                raise RuntimeError(done.reason)
            done.image.save(folder / f"{request.recipe.seed}.png", compress_level=1)
            questions.append(roles.Question(Candidate(request.recipe, "0" * 64, 1, 1), done.image, PROMPT))
        for first in range(0, len(questions), models.verifier.batch_size):
            models.verifier.judge(questions[first : first + models.verifier.batch_size])
    return time.perf_counter() - begun


def searched(models: roles.Stack, images: int, folder: Path) -> float:
    """Run the noise search in a fresh run directory; return the seconds of the search itself."""
    made = plan(Request(prompts=(PROMPT,), strategy="noise", images=images, stack=models, out=folder))
    begun = time.perf_counter()
    with RunDirectory.open(made.folder, RunSpec(made.request.passed(), made.resolved)) as run:
        run_searches(made.searches, made.models, run, lambda event: None)
    return time.perf_counter() - begun


SIDES = {"bare loop": bare, "search": searched}


def child(side: str, images: int, repeats: int, name: str) -> None:
    """Time one side in this process, after one run that warms it up, and print the seconds as JSON."""
    models, seconds = stack.load(name), []
    with tempfile.TemporaryDirectory() as parent:
        for repeat in range(repeats + 1):
            folder = Path(parent) / str(repeat)
            if side == "bare loop":
                folder.mkdir()
            seconds.append(SIDES[side](models, images, folder))
    print(json.dumps(seconds[1:]))


def main() -> None:
    """Time both sides in turns, each time in a process of its own, and print the ratio of their medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="timed runs a process")
    parser.add_argument("--turns", type=int, default=3, help="processes a side")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--stack", default="scenes")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        child(asked.side, asked.images, asked.repeats, asked.stack)
        return
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(asked.turns):
        for side in SIDES:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", *sys.argv, "--side", side], capture_output=True, text=True, check=True
            )
            times[side] += json.loads(done.stdout)
    for name, seconds in times.items():
        print(f"{name:10} median {statistics.median(seconds):.3f} s of {sorted(round(value, 3) for value in seconds)}")
    print(f"ratio {statistics.median(times['search']) / statistics.median(times['bare loop']):.3f}")


if __name__ == "__main__":
    main()
