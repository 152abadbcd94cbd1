"""How well the Scenes verifier tells true prompts from near misses, on unseen scenes and claims.

    python benchmarks/verifier_auroc.py
    python benchmarks/verifier_auroc.py --checkpoint FOLDER --per-tag 400

Prints a line per tag: AUROC for claims of combinations that training states, and for claims of the test split, whose
combinations it never states; then accuracy at one half and calibration error. Pictures are roughened as in training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from reflectionflow.models.clip import ClipVerifier, ScenesClipOptions, shipped_checkpoint
from reflectionflow.roles import Question
from reflectionflow.scenes.splits import Split
from reflectionflow.tuning.clip_data import PictureSection, examined_scenes, pictures_of, roughen
from reflectionflow.tuning.metrics import judged
from reflectionflow.types import Candidate, Recipe

SEED = 9_000_003


def questions(split: Split, per_tag: int) -> tuple[list[Question], np.ndarray, list[str]]:
    scenes, claims = examined_scenes(split, per_tag, SEED)
    torch.manual_seed(SEED)
    rough = roughen(pictures_of(scenes), PictureSection())
    pixels = (rough + 1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()
    asked = []
    for number, (picture, group) in enumerate(zip(pixels, claims, strict=True)):
        for claim in group:
            recipe = Recipe("renderer@1", claim.text, number, 128, 128, steps=1, guidance=1.0)
            asked.append(Question(Candidate(recipe, "0" * 64, 128, 128), Image.fromarray(picture), claim.text))
    drawn = [claim for group in claims for claim in group]
    return asked, np.array([float(claim.true) for claim in drawn]), [claim.metadata.tag for claim in drawn]


def measure(verifier: ClipVerifier, split: Split, per_tag: int) -> dict[str, float]:
    asked, true, tags = questions(split, per_tag)
    verdicts = []
    for start in range(0, len(asked), verifier.batch_size):
        verdicts += verifier.judge(asked[start : start + verifier.batch_size])
    return judged(np.array([verdict.score for verdict in verdicts]), true, tags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=shipped_checkpoint())
    parser.add_argument("--per-tag", type=int, default=200)
    arguments = parser.parse_args()
    verifier = ClipVerifier(arguments.checkpoint, ScenesClipOptions(checkpoint=arguments.checkpoint))
    seen, held_out = (measure(verifier, split, arguments.per_tag) for split in (Split.TRAIN, Split.TEST))
    print(f"{verifier.name}, {arguments.per_tag} claims per tag\n{'':24}trained combinations   test combinations")
    for name, value in seen.items():
        print(f"{name:24}{value:20.3f}{held_out[name]:20.3f}")


if __name__ == "__main__":
    main()
