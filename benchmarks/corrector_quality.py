"""How good a corrector of Scenes is, by judge B: obedience, preservation, and what it is for.

    python benchmarks/corrector_quality.py --edits 40 --per-tag 10 --seed 7

First, on drafts of the shipped generator for captions of scenes that no training saw: a reflection about something that
the prompt leaves open, or that it supports too; is it carried out (per verb), do objects that it does not name keep
class, colour and box (intersection over union at least 0.5)? Second, on drafts of the validation suite that judge B
fails: how many pass after one correction with the teacher's reflection, against new noise for the same prompt, no
reflection, another picture's reflection for the same prompt, and the reflection without the picture; and how many of
its edits are carried out, by how many there are at once. The teacher reads pictures with detector A, so that no number
is judged by who wrote the reflection. Intervals: Wilson for shares, paired bootstrap over prompts for differences.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from reflectionflow.evaluation.intervals import Share
from reflectionflow.evaluation.scenes_judge import detect, judge
from reflectionflow.evaluation.statistics import Bootstrap, Estimate
from reflectionflow.genref.edits import carried_out, carry_out, parse_edit, preserved
from reflectionflow.genref.graph import Graph, graph_of
from reflectionflow.genref.repair import repair
from reflectionflow.genref.retouch import graph_of_things, things_of
from reflectionflow.genref.sources.editing import PRIORS, VERBS, clear, edit, prompt_of
from reflectionflow.genref.teacher import edits_of
from reflectionflow.models.corrector import CorrectorOptions, FluxCorrector
from reflectionflow.models.detector import OracleOptions, OracleVerifier
from reflectionflow.models.flux import SHIPPED, FluxGenerator, ScenesFluxOptions
from reflectionflow.roles import PaintRequest
from reflectionflow.scenes.captions import CaptionMix, short_caption
from reflectionflow.scenes.prompts import suite
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.world import Scene, draw_scene
from reflectionflow.types import Recipe

TAGS = ("two_object", "counting", "colors", "position", "color_attr", "composite")
JOIN = ". "
DRAFTS = 4
ARMS = ("correction", "new noise", "no reflection", "another picture's reflection", "reflection without picture")
Item = tuple[str, int, str, Image.Image]


class Painter:
    """Drafts and corrections by the models alone, in batches."""

    def __init__(self, base: Path, corrector: Path, console: Console) -> None:
        self.generator = FluxGenerator(ScenesFluxOptions(checkpoint=base, batch_size=8, pad_batches=False))
        settings = {"device": "cpu", "dtype": "float32", "batch_size": 8}
        self.corrector = FluxCorrector(CorrectorOptions(checkpoint=base, corrector=corrector, **settings))
        self.detector = OracleVerifier(OracleOptions())
        self._console = console

    def drafts(self, asked: Sequence[tuple[str, int]]) -> list[Image.Image]:
        """Paint (prompt, seed)."""
        known = self.generator.defaults
        size = (known.width, known.height, known.steps, known.guidance)
        requests = [PaintRequest(Recipe(self.generator.name, text, seed, *size)) for text, seed in asked]
        return self._painted(self.generator, requests, "drafts")

    def corrections(self, asked: Sequence[Item], what: str) -> list[Image.Image]:
        """Paint (prompt, seed, reflection, parent)."""
        known = self.corrector.defaults
        size = (known.width, known.height, known.steps, known.guidance)
        requests = [
            PaintRequest(Recipe(self.corrector.name, text, seed, *size, parent=str(n), reflection=said), parent)
            for n, (text, seed, said, parent) in enumerate(asked)
        ]
        return self._painted(self.corrector, requests, what)

    def _painted(self, model: FluxGenerator, requests: Sequence[PaintRequest], what: str) -> list[Image.Image]:
        layouts = defaultdict(list)
        for place, request in enumerate(requests):
            layouts[model.layout(request.recipe)].append(place)
        chunks = [some[at : at + 8] for some in layouts.values() for at in range(0, len(some), 8)]
        found: dict[int, Image.Image] = {}
        for chunk in track(chunks, description=what, console=self._console):
            for place, painting in zip(chunk, model.generate([requests[n] for n in chunk]), strict=True):
                found[place] = painting.image
        return [found[place] for place in range(len(requests))]

    def graphs(self, images: Sequence[Image.Image]) -> list[Graph]:
        """Return what detector A sees."""
        return [graph_of(found, 128.0) for found in self.detector.detections(images)]


def seen(image: Image.Image) -> Graph:
    """Return what judge B sees."""
    return graph_of(detect(image), 128.0)


def drawn_edits(painter: Painter, each: int, seed: int) -> list[tuple[str, str, bool, str, Image.Image]]:
    """Return `each` edits a verb of drafts: (verb, prompt, open, reflection, picture)."""
    rng = np.random.default_rng([seed, 40])
    scenes = [draw_scene(rng, PRIORS) for _ in range(each * 3)]
    asked = [(short_caption(scene, rng, CaptionMix()), seed * 1000 + n) for n, scene in enumerate(scenes)]
    images = painter.drafts(asked)
    found, counts = [], dict.fromkeys(VERBS, 0)
    for image, graph in zip(images, painter.graphs(images), strict=True):
        before = Scene(things_of(graph))
        if not 1 <= len(graph) <= 4 or not graph_of(detect(image), 128.0):
            continue
        for verb in VERBS:
            after = edit(verb, before, rng) if counts[verb] < each else None
            if after is None:
                continue
            said = edits_of(graph_of_things(before.things), graph_of_things(after.things))
            parsed = parse_edit(said[0]) if len(said) == 1 else None
            if not clear(said, graph) or parsed is None:
                continue
            counts[verb] += 1
            prompt, leaves_open = prompt_of(before, after, rng)
            found.append((verb, prompt, leaves_open, said[0], image))
    return found


def obedience(painter: Painter, each: int, seed: int) -> dict[str, Share | Estimate]:
    """Measure obedience per verb, with and without support by the prompt, and preservation."""
    drawn = drawn_edits(painter, each, seed)
    asked = [(prompt, seed * 7919 + n, said, image) for n, (_, prompt, _, said, image) in enumerate(drawn)]
    results = painter.corrections(asked, "edits")
    hits, kept, others = defaultdict(list), 0, 0
    for (verb, _, leaves_open, said, image), result in zip(drawn, results, strict=True):
        parsed, before, after = parse_edit(said), seen(image), seen(result)
        assert parsed is not None
        done = carried_out(parsed, before, after)
        for name in (verb, "left open" if leaves_open else "supported", "all"):
            hits[name].append(done)
        part = preserved([parsed], before, after)
        kept, others = kept + part[0], others + part[1]
    shares = {f"obedience, {name}": Share(sum(some), len(some)) for name, some in hits.items()}
    return {**shares, "preservation of objects": Share(kept, others)}


def use(painter: Painter, tags_asked: Sequence[str], per_tag: int, seed: int) -> dict[str, Share | Estimate]:
    """Measure what one correction of a failed draft brings, against other uses of one picture."""
    prompts = [item for item in suite(Split.VALIDATION, per_tag) if item.tag in tags_asked]
    asked = [(item.prompt, seed * 104729 + 100 * n + k) for n, item in enumerate(prompts) for k in range(DRAFTS)]
    drafts = painter.drafts(asked)
    graphs = painter.graphs(drafts)
    rows = []
    for place, (image, graph) in enumerate(zip(drafts, graphs, strict=True)):
        item = prompts[place // DRAFTS]
        edits = repair(item, graph).edits
        if not judge(image, item).correct and edits:
            rows.append((place // DRAFTS, item, image, JOIN.join(edits), asked[place][1] + 50))
    others = [_other(rows, n) for n in range(len(rows))]
    black = Image.new("RGB", (128, 128))
    painted = {
        "correction": painter.corrections([(m.prompt, s, said, im) for _, m, im, said, s in rows], "correction"),
        "new noise": painter.drafts([(m.prompt, s) for _, m, _, _, s in rows]),
        "no reflection": painter.corrections([(m.prompt, s, "", im) for _, m, im, _, s in rows], "no reflection"),
        "another picture's reflection": painter.corrections(
            [(m.prompt, s, said, im) for (_, m, im, _, s), said in zip(rows, others, strict=True)], "another's"
        ),
        "reflection without picture": painter.corrections(
            [(m.prompt, s, said, black) for _, m, _, said, s in rows], "without picture"
        ),
    }
    passed = {
        arm: np.asarray([judge(image, row[1]).correct for image, row in zip(images, rows, strict=True)])
        for arm, images in painted.items()
    }
    groups, tags = np.asarray([row[0] for row in rows]), np.asarray([row[1].tag for row in rows])
    found: dict[str, Share | Estimate] = {
        f"passes after {arm}": Share(int(p.sum()), len(p)) for arm, p in passed.items()
    }
    for tag in tags_asked:
        mine = tags == tag
        for arm in ARMS[:2]:
            found[f"passes after {arm}, {tag}"] = Share(int(passed[arm][mine].sum()), int(mine.sum()))
    found |= together([(row[2], row[3]) for row in rows], painted["correction"])
    for arm in ARMS[1:]:
        found[f"correction - {arm}"] = _difference(passed["correction"], passed[arm], groups, seed)
    return found


def together(asked: Sequence[tuple[Image.Image, str]], painted: Sequence[Image.Image]) -> dict[str, Share]:
    """Measure how many edits of (picture, reflection) are carried out, by how many a reflection has.

    An edit may be about what an earlier one makes, so each is held against the picture as those before it leave it.
    """
    hits = defaultdict(list)
    for (image, said), result in zip(asked, painted, strict=True):
        before, after, texts = seen(image), seen(result), said.split(JOIN)
        for wanted in (parse_edit(text) for text in texts):
            hits[len(texts)].append(wanted is not None and carried_out(wanted, before, after))
            before = before if wanted is None else carry_out([wanted], before)
    return {f"obedience, {n} edits at once": Share(sum(some), len(some)) for n, some in sorted(hits.items())}


def _other(rows: Sequence[tuple[int, object, Image.Image, str, int]], number: int) -> str:
    """Return a reflection on another picture of the same prompt that says something else, else of another prompt."""
    same = [row[3] for n, row in enumerate(rows) if n != number and row[0] == rows[number][0]]
    different = [said for said in same if said != rows[number][3]]
    return (different or [rows[(number + DRAFTS + 1) % len(rows)][3]])[0]


def _difference(first: np.ndarray, second: np.ndarray, groups: np.ndarray, seed: int) -> Estimate:
    """Return the mean paired difference with its 95 % interval, resampling prompts."""
    gain, (names, places) = first.astype(float) - second, np.unique(groups, return_inverse=True)
    prompts = Bootstrap([""] * len(names), seed=seed)
    return (prompts.pooled(np.bincount(places, gain)) / prompts.pooled(np.bincount(places))).estimate


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edits", type=int, default=40, help="edits a verb; 0 for none")
    parser.add_argument("--per-tag", type=int, default=10, help="prompts a tag")
    parser.add_argument("--tags", default=",".join(TAGS), help="tags of the failed drafts, separated by commas")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--base", type=Path, default=SHIPPED)
    parser.add_argument("--corrector", type=Path, default=SHIPPED.parent / "corrector")
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args()
    console = Console(stderr=True)
    painter = Painter(asked.base, asked.corrector, console)
    drawn = obedience(painter, asked.edits, asked.seed) if asked.edits else {}
    found = drawn | use(painter, asked.tags.split(","), asked.per_tag, asked.seed)
    plain = {}
    for name, value in found.items():
        if isinstance(value, Share):
            low, high = value.interval
            print(f"{name:46} {value.value:6.3f} [{low:.3f}, {high:.3f}]  n = {value.trials}")
            plain[name] = [value.hits, value.trials]
        else:
            print(f"{name:46} {value.value:+6.3f} [{value.low:+.3f}, {value.high:+.3f}]")
            plain[name] = [value.value, value.low, value.high]
    if asked.json:
        asked.json.write_text(json.dumps(plain, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
