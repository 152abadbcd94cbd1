"""How good the Scenes stack is, by judge B: one picture a prompt, best of N by the verifier, best possible of N.

    python benchmarks/scenes_quality.py --per-tag 20 --images 8 --out work/quality

Paints `--images` drafts for each prompt of the validation suite through the search runtime (the same command resumes),
judges every picture with the judge that nothing else uses, and prints per tag and as a macro average over GenEval's six
tags: the expected score of one picture, that of the verifier's pick from N (unbiased over the drafts, ties shared), and
pass@N. Intervals are 95 % percentile bootstraps over prompts, stratified by tag. Test prompts are not used.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from math import comb
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from reflectionflow.evaluation.scenes_judge import judge
from reflectionflow.geneval import Metadata
from reflectionflow.request import Request, carry_out, plan
from reflectionflow.runs import RunDirectory
from reflectionflow.scenes.prompts import suite
from reflectionflow.scenes.splits import Split

SIX = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
DRAWS = 10_000


@dataclass(frozen=True)
class Row:
    """One prompt: its tag, the verifier's scores and the judge's decisions of its drafts."""

    tag: str
    scores: np.ndarray
    correct: np.ndarray


def best_of(row: Row, n: int) -> float:
    """Return the expected decision on the verifier's pick among n of the N drafts; tied scores share the pick."""
    total, value, start = len(row.scores), 0.0, 0
    order = np.argsort(row.scores, kind="stable")
    scores, correct = row.scores[order], row.correct[order]
    while start < total:
        stop = int(np.searchsorted(scores, scores[start], side="right"))
        value += (comb(stop, n) - comb(start, n)) / comb(total, n) * float(correct[start:stop].mean())
        start = stop
    return value


def possible(row: Row, n: int) -> float:
    """Return pass@n: the probability that any of n drafts is right."""
    wrong = int((~row.correct).sum())
    return 1.0 - comb(wrong, n) / comb(len(row.correct), n)


def macro(values: dict[str, np.ndarray], tags: tuple[str, ...], rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the mean over tags of the mean over prompts, with its bootstrap interval."""
    point = float(np.mean([values[tag].mean() for tag in tags]))
    draws = np.mean(
        [values[tag][rng.integers(0, len(values[tag]), (DRAWS, len(values[tag])))].mean(axis=1) for tag in tags], axis=0
    )
    low, high = np.percentile(draws, [2.5, 97.5])
    return point, float(low), float(high)


def judged(folder: Path, prompts: dict[str, Metadata], console: Console) -> list[Row]:
    """Judge every picture of a finished run."""
    rows = []
    with RunDirectory.read(folder) as run:
        for found in track(run.results(), "judging", console=console):
            steps = [
                step for step in found.result.steps if step.candidate and step.verdict and step.verdict.failure is None
            ]
            metadata = prompts[found.result.prompt]
            correct = [judge(run.image(step.candidate.image), metadata).correct for step in steps]
            scores = [step.verdict.score for step in steps]
            rows.append(Row(metadata.tag, np.asarray(scores), np.asarray(correct, dtype=bool)))
    return rows


def main() -> None:
    """Paint, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-tag", type=int, default=20)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stack", default="scenes")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    console = Console(stderr=True)
    prompts = {item.prompt: item for item in suite(Split.VALIDATION, asked.per_tag)}
    made = plan(Request(tuple(prompts), images=asked.images, seed=asked.seed, stack=asked.stack, out=asked.out))
    console.print(f"{len(prompts)} prompts × {asked.images} pictures")
    done = [0]

    def count(event: object) -> None:
        done[0] += getattr(event, "kind", "") == "judged"
        if getattr(event, "kind", "") == "judged" and done[0] % 100 == 0:
            console.print(f"{done[0]} of {len(prompts) * asked.images} pictures")

    carry_out(made, count)
    rows = judged(made.folder, prompts, console)
    sizes = [n for n in (1, 2, 4, 8, 16, 32) if n <= asked.images]
    rng = np.random.default_rng(0)
    print(f"validation, {asked.per_tag} prompts a tag at most, {asked.images} drafts, seed {asked.seed}, judge B")
    for title, measure in (("picked by the verifier", best_of), ("best possible", possible)):
        print(f"\n{title:24}" + "".join(f"{f'of {n}':>22}" for n in sizes))
        for name, tags in [(tag, (tag,)) for tag in (*SIX, "composite")] + [("macro over six tags", SIX)]:
            cells = []
            for n in sizes:
                values = {tag: np.array([measure(row, n) for row in rows if row.tag == tag]) for tag in tags}
                point, low, high = macro(values, tags, rng)
                cells.append(f"{point:.3f} [{low:.3f}, {high:.3f}]")
            print(f"{name:24}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
