"""How good a vision-language model is, asked as at inference: one question at a time, on pictures it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reflectionflow.genref.listing import listed
from reflectionflow.genref.refine import keeps
from reflectionflow.models.vision_language import Ask, VisionLanguage
from reflectionflow.prompts.vlm import NO, YES, Wording, judge_instruction, parse_refined, parse_reflection
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.splits import Split
from reflectionflow.tuning.clip_data import PictureSection, examined_scenes
from reflectionflow.tuning.metrics import auroc, judged
from reflectionflow.tuning.vlm_data import Source, roughened
from reflectionflow.tuning.vlm_items import Asked, Task, tasks_of

if TYPE_CHECKING:
    from PIL.Image import Image

SEED = 9_000_004
BATCH = 32
LONGEST = 96


@dataclass(frozen=True)
class Examined:
    """Questions of one task, with their pictures."""

    images: tuple[Image, ...]
    asked: tuple[Asked, ...]

    def __len__(self) -> int:
        return len(self.asked)

    def asks(self, wording: Wording, start: int) -> list[Ask]:
        """Return a batch of questions."""
        stop = start + BATCH
        pairs = zip(self.images[start:stop], self.asked[start:stop], strict=True)
        return [Ask(image, item.text, wording.system) for image, item in pairs]


def drawn(source: Source, count: int, task: Task, seed: int = SEED) -> Examined:
    """Return questions of one task about `count` pictures of a source; fewer where a picture gives none."""
    rng = np.random.default_rng([seed, task.value])
    found = [
        (shown.image, item)
        for shown in (source.draw(rng) for _ in range(count))
        for item in tasks_of(shown.asked, task)
    ]
    return Examined(tuple(image for image, _ in found), tuple(item for _, item in found))


def claims(split: Split, section: PictureSection, wording: Wording) -> Examined:
    """Return roughened scenes with prompts of a split to be judged, every tag half true."""
    scenes, told = examined_scenes(split, section.validation, SEED)
    images = roughened(scenes, section, SEED)
    found = [
        (
            image,
            Asked(Task.JUDGE, judge_instruction(claim.text, wording), YES if claim.true else NO, claim.metadata.tag),
        )
        for image, group in zip(images, told, strict=True)
        for claim in group
    ]
    return Examined(tuple(image for image, _ in found), tuple(item for _, item in found))


def probabilities(vl: VisionLanguage, examined: Examined, wording: Wording) -> tuple[np.ndarray, np.ndarray]:
    """Return P(yes) of yes and no for every question, and the probability of the two together."""
    yes, no = vl.spellings(YES), vl.spellings(NO)
    scores, masses = [], []
    for start in range(0, len(examined), BATCH):
        chances, _ = vl.first_token(examined.asks(wording, start))
        mass = chances[:, yes].sum(1) + chances[:, no].sum(1)
        scores += (chances[:, yes].sum(1) / mass.clamp(min=1e-9)).tolist()
        masses += mass.tolist()
    return np.asarray(scores), np.asarray(masses)


def judge_metrics(vl: VisionLanguage, examined: Examined, wording: Wording) -> dict[str, float]:
    """Return AUROC per tag, accuracy, calibration error and the least probability of yes and no together."""
    scores, masses = probabilities(vl, examined, wording)
    true = np.asarray([float(item.answer == YES) for item in examined.asked])
    numbers = judged(scores, true, [item.tag for item in examined.asked])
    return {**numbers, "label mass": round(float(masses.min()), 4)}


def one_auroc(vl: VisionLanguage, examined: Examined, wording: Wording) -> dict[str, float]:
    """Return the AUROC over all questions where both answers occur, else nothing."""
    true = np.asarray([float(item.answer == YES) for item in examined.asked])
    if not 0 < true.sum() < len(true):
        return {}
    return {"judge auroc": round(auroc(probabilities(vl, examined, wording)[0], true), 4)}


def answers(vl: VisionLanguage, examined: Examined, wording: Wording) -> list[str]:
    """Return the model's answers."""
    starts = range(0, len(examined), BATCH)
    return [item.text for start in starts for item in vl.write(examined.asks(wording, start), LONGEST)]


def text_metrics(vl: VisionLanguage, groups: Mapping[Task, Examined], wording: Wording) -> dict[str, float]:
    """Return how well a model lists, reflects and refines.

    Returns:
        "list exact", "list objects" (found of all, whatever their place), "reflect exact" (the same edits in any
        order), "reflect found" (whether there is something to correct), "refine kept" (prompts that keep every
        requirement).
    """
    metrics: dict[str, float] = {}
    for task, examined in groups.items():
        if len(examined):
            metrics |= _SCORES[task](examined.asked, answers(vl, examined, wording))
    return {name: round(value, 4) for name, value in metrics.items()}


def _listed(asked: Sequence[Asked], told: Sequence[str]) -> dict[str, float]:
    found = there = 0
    for item, answer in zip(asked, told, strict=True):
        wanted, named = ([node.name for node in listed(text) or ()] for text in (item.answer, answer))
        there += len(wanted)
        found += sum(min(wanted.count(name), named.count(name)) for name in set(wanted))
    exact = np.mean([item.answer == answer for item, answer in zip(asked, told, strict=True)])
    return {"list exact": float(exact), "list objects": found / max(1, there)}


def _reflected(asked: Sequence[Asked], told: Sequence[str]) -> dict[str, float]:
    pairs = [(set(parse_reflection(item.answer)), _edits(answer)) for item, answer in zip(asked, told, strict=True)]
    return {
        "reflect exact": float(np.mean([wanted == edits for wanted, edits in pairs])),
        "reflect found": float(np.mean([edits is not None and bool(wanted) == bool(edits) for wanted, edits in pairs])),
    }


def _edits(answer: str) -> set[str] | None:
    try:
        return set(parse_reflection(answer))
    except ValueError:
        return None


def _refined(asked: Sequence[Asked], told: Sequence[str]) -> dict[str, float]:
    return {"refine kept": float(np.mean([_kept(item, answer) for item, answer in zip(asked, told, strict=True)]))}


def _kept(item: Asked, answer: str) -> bool:
    metadata = parse(item.prompt)
    if metadata is None:
        return item.answer == answer
    try:
        return keeps(metadata, parse_refined(answer, metadata.prompt))
    except ValueError:
        return False


_SCORES = {Task.LIST: _listed, Task.REFLECT: _reflected, Task.REFINE: _refined}
