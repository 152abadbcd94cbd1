"""Pairs of pictures of one prompt, and which of them is preferred: what a reward model learns from.

Sources: rendered scenes before and after an edit, judged by GenEval's rules; generated pictures of one prompt, judged
by detector A with those rules; and GenRef samples, where the enhanced picture is preferred.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from reflectionflow.genref.index import Entry
from reflectionflow.genref.sources.editing import VERBS, edit
from reflectionflow.models.detector import graded
from reflectionflow.models.reward import score_text
from reflectionflow.models.vision_language import Ask
from reflectionflow.prompts.vlm import Wording
from reflectionflow.scenes.claims import draw_claims, is_true
from reflectionflow.scenes.prompts import parse, read
from reflectionflow.scenes.splits import Split
from reflectionflow.tuning.clip_data import PictureSection, training_scene
from reflectionflow.tuning.preference import FIRST, INVALID, SECOND, TIE
from reflectionflow.tuning.vlm_data import roughened
from reflectionflow.tuning.vlm_pool import Labelled

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

ATTEMPTS = 12
LEAST_MARGIN = 0.05
"""Two failing pictures whose grades differ by less are not told apart."""
Rng = np.random.Generator


@dataclass(frozen=True)
class Pair:
    """Two pictures of one prompt.

    Attributes:
        prompt: What both are pictures of.
        first: RGB.
        second: RGB.
        preferred: `FIRST`, `SECOND`, `TIE` or `INVALID`.
        margin: How much better the preferred one is, in grades of [0, 1].
        good: Whether the first and the second are good pictures, where that is known.
    """

    prompt: str
    first: Image
    second: Image
    preferred: int
    margin: float
    good: tuple[bool, bool] | None = None


class PairSource(Protocol):
    """Draws pairs."""

    def draw(self, rng: Rng) -> Pair:
        """Return one pair: a pure function of the generator's state."""


def swapped(pair: Pair, rng: Rng) -> Pair:
    """Return the pair, its pictures exchanged half of the time."""
    if rng.random() < 0.5:
        return pair
    preferred = {FIRST: SECOND, SECOND: FIRST}.get(pair.preferred, pair.preferred)
    good = None if pair.good is None else (pair.good[1], pair.good[0])
    return Pair(pair.prompt, pair.second, pair.first, preferred, pair.margin, good)


@dataclass(frozen=True)
class EditedScenes:
    """A scene and an edited one, and a prompt that is true of the first."""

    pictures: PictureSection
    split: Split = Split.TRAIN

    def draw(self, rng: Rng) -> Pair:
        """Return a pair; a tie where the edit does not matter for the prompt."""
        while True:
            scene = training_scene(rng, self.pictures)
            claims = draw_claims(rng, scene, self.split, true=1, near=0)
            statement = read(claims[0].text) if claims else None
            if statement is None:
                continue
            for _attempt in range(ATTEMPTS):
                other = edit(VERBS[int(rng.integers(len(VERBS)))], scene, rng)
                if other is not None:
                    right, wrong = roughened([scene, other], self.pictures, int(rng.integers(2**62)))
                    still = is_true(statement, other)
                    kind, margin = (TIE, 0.0) if still else (FIRST, 1.0)
                    return swapped(Pair(claims[0].text, right, wrong, kind, margin, (True, still)), rng)


@dataclass(frozen=True)
class PaintedPairs:
    """Two labelled pictures of one prompt, of those numbered."""

    pool: Labelled
    groups: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, pool: Labelled, numbers: Sequence[int]) -> PaintedPairs:
        """Group pictures by prompt; prompts outside the grammar and those with one picture give no pairs."""
        groups: dict[str, list[int]] = defaultdict(list)
        for number in numbers:
            if parse(pool.prompts[number]) is not None:
                groups[pool.prompts[number]].append(number)
        return cls(pool, tuple(tuple(group) for group in groups.values() if len(group) > 1))

    def draw(self, rng: Rng) -> Pair:
        """Return a pair: what passes is preferred to what fails, two that pass are a tie, else the better grade."""
        group = self.groups[int(rng.integers(len(self.groups)))]
        numbers = [group[int(index)] for index in rng.choice(len(group), size=2, replace=False)]
        known = [self.pool.known(number) for number in numbers]
        metadata = known[0].prompt
        assert metadata is not None
        grades = [graded(metadata, self.pool.found[number]) for number in numbers]
        good = (bool(known[0].passed), bool(known[1].passed))
        difference = grades[0] - grades[1]
        preferred = FIRST if difference > 0 else SECOND
        if all(good):
            preferred = TIE
        elif not any(good) and abs(difference) < LEAST_MARGIN:
            preferred = INVALID
        return Pair(metadata.prompt, known[0].image, known[1].image, preferred, abs(difference), good)


@dataclass(frozen=True)
class TripletPairs:
    """GenRef samples: the enhanced picture is preferred; in rule samples it is good and the flawed one is not."""

    entries: tuple[Entry, ...]

    def draw(self, rng: Rng) -> Pair:
        """Return a pair."""
        triplet = self.entries[int(rng.integers(len(self.entries)))].read()
        good = (True, False) if triplet.subset == "rule" else None
        return swapped(Pair(triplet.prompt, triplet.good, triplet.bad, FIRST, 1.0, good), rng)


class PairData:
    """The pairs of each step.

    Args:
        sources: Where pairs come from, with their weights.
        vl: Spells questions and prepares pictures.
        wording: In which prompts are told.
    """

    def __init__(self, sources: Sequence[tuple[float, PairSource]], vl: Any, wording: Wording) -> None:
        self._sources, self._vl, self._wording = [source for _, source in sources], vl, wording
        weights = np.asarray([weight for weight, _ in sources], dtype=np.float64)
        self._weights = weights / weights.sum()

    def batch(self, step: int, rng: Rng, share: int) -> dict[str, torch.Tensor]:
        """Return what `collate` returns for `share` drawn pairs."""
        chosen = rng.choice(len(self._sources), size=share, p=self._weights)
        return self.collate([self._sources[int(number)].draw(rng) for number in chosen])

    def collate(self, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
        """Return what `VisionLanguage.inputs` does, first all first and then all second pictures, and the preferences.

        Returns:
            Also "preferred" and "margin" [n].
        """
        import torch

        texts = [score_text(pair.prompt, self._wording) for pair in pairs]
        sides = [[pair.first for pair in pairs], [pair.second for pair in pairs]]
        asks = [
            Ask(image, text, self._wording.system) for side in sides for image, text in zip(side, texts, strict=True)
        ]
        given: dict[str, torch.Tensor] = self._vl.inputs(asks)
        return {name: tensor.cpu() for name, tensor in given.items()} | {
            "preferred": torch.tensor([pair.preferred for pair in pairs]),
            "margin": torch.tensor([pair.margin for pair in pairs]),
        }
