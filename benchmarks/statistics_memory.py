"""How much memory do the statistics of an evaluation take? Peaks at two sizes, against dense resamples.

    python benchmarks/statistics_memory.py [--prompts 250,2500]

Counts, for benchmarks of so many prompts in ten tags, what the bootstrap and the randomisation test hold at most, and
what their resamples would take as one matrix of floating-point numbers each; prints both and their ratio.
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from reflectionflow.evaluation.statistics import Bootstrap, Sampled, sign_flip
from reflectionflow.evaluation.statistics.bootstrap import DRAWS

TAGS = 10
COLUMNS = 5
MEGABYTE = 1e6


def peak(work: Callable[[], object]) -> float:
    """Return how many megabytes a piece of work holds at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()


def resample(tags: Sequence[str], values: np.ndarray) -> Sampled:
    """Return the macro mean of values, resampled."""
    return Bootstrap(tags).macro(values)


def main() -> None:
    """Print the peaks of both at each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", default="250,2500", metavar="N,N", help="numbers of prompts")
    for prompts in map(int, parser.parse_args().prompts.split(",")):
        tags = [f"tag {index % TAGS}" for index in range(prompts)]
        values = np.random.default_rng(0).random((prompts, COLUMNS)) - 0.5
        dense = DRAWS * prompts * 8 / MEGABYTE
        works = {"bootstrap": partial(resample, tags, values), "randomisation test": partial(sign_flip, values, tags)}
        for name, work in works.items():
            most = peak(work)
            print(f"{prompts:6} prompts, {name:18} {most:7.1f} MB, dense {dense:7.1f} MB, ratio {most / dense:.2f}")


if __name__ == "__main__":
    main()
