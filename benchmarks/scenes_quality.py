"""How good the Scenes stack is, by judge B: one picture a prompt, best of N by the verifier, best possible of N.

    python benchmarks/scenes_quality.py --per-tag 20 --images 8 --out work/quality

Paints `--images` drafts for each prompt of the validation suite through the search runtime (the same command resumes),
judges every picture with the judge that nothing else uses, and prints per tag and as a macro average over GenEval's six
tags: the expected score of the stack's verifier's pick from N (unbiased over the drafts, ties shared), that of the pick
of detector A with GenEval's rules, an oracle, and pass@N. Intervals are 95 % percentile bootstraps over prompts,
stratified by tag. Test prompts are not used.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from reflectionflow.evaluation.scenes_judge import judge
from reflectionflow.evaluation.statistics import Bootstrap, best_of, pass_at
from reflectionflow.geneval import Metadata
from reflectionflow.models.detector import OracleOptions, OracleVerifier, graded
from reflectionflow.request import Request, carry_out, plan
from reflectionflow.runs import RunDirectory
from reflectionflow.scenes.prompts import suite
from reflectionflow.scenes.splits import Split

SIX = ("single_object", "two_object", "counting", "colors", "position", "color_attr")


@dataclass(frozen=True)
class Row:
    """One prompt: its tag, its drafts' scores by the stack's verifier and by the oracle, the judge's decisions."""

    tag: str
    scores: np.ndarray
    oracle: np.ndarray
    correct: np.ndarray


def judged(folder: Path, prompts: dict[str, Metadata], console: Console) -> list[Row]:
    """Judge every picture of a finished run."""
    rows = []
    oracle = OracleVerifier(OracleOptions())
    with RunDirectory.read(folder) as run:
        for found in track(run.results(), "judging", console=console):
            steps = [
                step for step in found.result.steps if step.candidate and step.verdict and step.verdict.failure is None
            ]
            metadata = prompts[found.result.prompt]
            images = [run.image(step.candidate.image) for step in steps]
            correct = [judge(image, metadata).correct for image in images]
            scores = [step.verdict.score for step in steps]
            seen = [round(graded(metadata, found), 4) for found in oracle.detections(images)]
            rows.append(Row(metadata.tag, np.asarray(scores), np.asarray(seen), np.asarray(correct, dtype=bool)))
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
    request = Request(tuple(prompts), "noise", images=asked.images, seed=asked.seed, stack=asked.stack, out=asked.out)
    made = plan(request)
    console.print(f"{len(prompts)} prompts × {asked.images} pictures")
    done = [0]

    def count(event: object) -> None:
        done[0] += getattr(event, "kind", "") == "judged"
        if getattr(event, "kind", "") == "judged" and done[0] % 100 == 0:
            console.print(f"{done[0]} of {len(prompts) * asked.images} pictures")

    carry_out(made, count)
    rows = judged(made.folder, prompts, console)
    sizes = [n for n in (1, 2, 4, 8, 16, 32) if n <= asked.images]
    print(f"validation, {asked.per_tag} prompts a tag at most, {asked.images} drafts, seed {asked.seed}, judge B")
    measures: dict[str, Callable[[Row], np.ndarray]] = {
        "picked by the verifier": lambda row: best_of(row.scores, row.correct, sizes),
        "picked by the oracle": lambda row: best_of(row.oracle, row.correct, sizes),
        "best possible": lambda row: pass_at(row.correct, sizes),
    }
    bootstrap = Bootstrap([row.tag for row in rows])
    for title, measure in measures.items():
        print(f"\n{title:24}" + "".join(f"{f'of {n}':>22}" for n in sizes))
        for name, tags in [(tag, (tag,)) for tag in (*SIX, "composite")] + [("macro over six tags", SIX)]:
            told = bootstrap.macro([measure(row) for row in rows], tags).estimates()
            cells = [f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" for found in told]
            print(f"{name:24}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
