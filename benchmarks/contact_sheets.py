"""Paint pictures to be labelled by looking, as numbered contact sheets that do not tell the prompt.

    python benchmarks/contact_sheets.py --kind singles --pictures 200 --out docs/labels/singles
    python benchmarks/contact_sheets.py --kind mixed --pictures 300 --out docs/labels/mixed
    python benchmarks/contact_sheets.py --kind mixed --pictures 64 --split test --out docs/pictures/test

`singles` paints "a photo of a star" and so on, the same number of each object; `mixed` paints validation prompts, the
same number of each of the seven tags. Both are shuffled. Written are lossless sheets of 25 pictures (`sheet-01.webp`)
and `key.json`: the prompt and seed of every number. Whoever labels looks at the sheets and not at the key.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from reflectionflow.geneval import Metadata
from reflectionflow.request import Request, carry_out, plan
from reflectionflow.runs import RunDirectory
from reflectionflow.scenes.prompts import TAGS, suite
from reflectionflow.scenes.splits import Split

SIDE, MARGIN, ACROSS = 128, 16, 5
SHUFFLE = 20261120


@dataclass(frozen=True)
class Numbered:
    """One picture of a sheet."""

    number: int
    prompt: str
    tag: str
    seed: int
    image: Image.Image


def wanted(kind: str, pictures: int, split: Split) -> tuple[list[Metadata], int, dict[str, int]]:
    """Return the prompts, how many pictures each, and how many pictures a tag may give."""
    tags = TAGS[:1] if kind == "singles" else TAGS
    share = {tag: pictures // len(tags) + (place < pictures % len(tags)) for place, tag in enumerate(tags)}
    prompts = [item for item in suite(split, max(share.values())) if item.tag in tags]
    fewest = min(sum(item.tag == tag for item in prompts) for tag in tags)
    return prompts, -(-max(share.values()) // fewest), share


def painted(prompts: list[Metadata], images: int, share: dict[str, int], stack: str, seed: int) -> list[Numbered]:
    """Paint and shuffle; of each tag the first pictures of as many prompts as possible are taken."""
    by_prompt = {item.prompt: item for item in prompts}
    with tempfile.TemporaryDirectory() as folder:
        request = Request(tuple(by_prompt), "noise", images=images, seed=seed, stack=stack, out=Path(folder) / "run")
        carry_out(plan(request), lambda event: None)
        found: dict[str, list[tuple[int, str, int, Image.Image]]] = defaultdict(list)
        with RunDirectory.read(request.out) as run:
            for result in run.results():
                steps = [step.candidate for step in result.result.steps if step.candidate]
                for place, candidate in enumerate(steps):
                    prompt = result.result.prompt
                    picture = run.image(candidate.image).convert("RGB")
                    found[by_prompt[prompt].tag].append((place, prompt, candidate.recipe.seed, picture))
    taken = []
    for tag, items in found.items():
        taken += [(tag, *item[1:]) for item in sorted(items, key=lambda item: item[0])[: share[tag]]]
    order = np.random.default_rng(SHUFFLE).permutation(len(taken))
    return [
        Numbered(number, prompt, tag, seed, picture)
        for number, (tag, prompt, seed, picture) in enumerate((taken[int(place)] for place in order), 1)
    ]


def sheets(pictures: list[Numbered]) -> list[Image.Image]:
    """Return contact sheets of 25 pictures, the number above each."""
    made = []
    for start in range(0, len(pictures), ACROSS * ACROSS):
        chosen = pictures[start : start + ACROSS * ACROSS]
        rows = -(-len(chosen) // ACROSS)
        sheet = Image.new("RGB", (ACROSS * SIDE, rows * (SIDE + MARGIN)), "white")
        draw = ImageDraw.Draw(sheet)
        for place, item in enumerate(chosen):
            x, y = place % ACROSS * SIDE, place // ACROSS * (SIDE + MARGIN)
            draw.text((x + 4, y + 2), str(item.number), fill="black")
            sheet.paste(item.image, (x, y + MARGIN))
        made.append(sheet)
    return made


def cut(folder: Path) -> dict[int, Image.Image]:
    """Return the pictures of the sheets of a folder by their numbers."""
    found: dict[int, Image.Image] = {}
    for number, path in enumerate(sorted(folder.glob("sheet-*.webp"))):
        sheet = Image.open(path).convert("RGB")
        for place in range(sheet.height // (SIDE + MARGIN) * ACROSS):
            x, y = place % ACROSS * SIDE, place // ACROSS * (SIDE + MARGIN) + MARGIN
            found[number * ACROSS * ACROSS + place + 1] = sheet.crop((x, y, x + SIDE, y + SIDE))
    return found


def main() -> None:
    """Paint and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("singles", "mixed"), required=True)
    parser.add_argument("--pictures", type=int, required=True)
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--stack", default="scenes")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    pictures = painted(*wanted(asked.kind, asked.pictures, Split(asked.split)), asked.stack, asked.seed)
    asked.out.mkdir(parents=True, exist_ok=True)
    for number, sheet in enumerate(sheets(pictures), 1):
        sheet.save(asked.out / f"sheet-{number:02}.webp", lossless=True)
    key = {item.number: {"prompt": item.prompt, "tag": item.tag, "seed": item.seed} for item in pictures}
    (asked.out / "key.json").write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")
    print(f"{len(pictures)} pictures on {-(-len(pictures) // ACROSS**2)} sheets in {asked.out}")


if __name__ == "__main__":
    main()
