"""Where a vision-language model's pictures come from, and the batches they make.

Sources: rendered scenes, roughened as painted pictures are; scenes repainted by the generator (`tuning/repaint.py`);
generated pictures labelled by detector A (`tuning/vlm_pool.py`); and GenRef triplets, whose reflections are answers,
which is how a full-size reflector is tuned (ReflectionFlow section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image
from pydantic import Field

from reflectionflow.genref.graph import Graph, graph_of
from reflectionflow.genref.index import Entry, Index
from reflectionflow.genref.pool import SIDE
from reflectionflow.prompts.vlm import NO, NOTHING, YES, Wording, judge_instruction, reflect_instruction
from reflectionflow.scenes.claims import detections
from reflectionflow.scenes.words import COLORS, OBJECTS
from reflectionflow.scenes.world import Scene
from reflectionflow.tuning.clip_data import NOTHING as BACKGROUND
from reflectionflow.tuning.clip_data import PictureSection, pictures_of, roughen, training_scene
from reflectionflow.tuning.config import Section
from reflectionflow.tuning.packing import collated, packed
from reflectionflow.tuning.repaint import Repainted, RepaintSection
from reflectionflow.tuning.vlm_items import Asked, Known, QuestionSection, Shown, Task, questions
from reflectionflow.tuning.vlm_pool import Labelled

if TYPE_CHECKING:
    import torch

Rng = np.random.Generator


class DataSection(Section):
    """Which pictures are seen, how often, and what is asked about them. A weight of 0 leaves a source out."""

    rendered: float = Field(default=1.0, ge=0, description="Weight of rendered scenes.")
    pool: tuple[str, ...] = Field(default=(), description="Runs, GenRef builds or shards that detector A labels.")
    painted: float = Field(default=1.0, ge=0, description="Weight of the labelled pictures, if there are any.")
    repaint: RepaintSection | None = Field(default=None, description="Scenes repainted by the generator.")
    shards: str | None = Field(default=None, description="Folder of GenRef shards whose reflections are the answers.")
    triplets: float = Field(default=1.0, ge=0, description="Weight of the triplets, if there are any.")
    keep_out: int = Field(default=0, ge=0, description="Last triplets of each subset that only validation sees.")
    examined: int = Field(default=200, ge=0, description="Validation pictures per task and source; 0 examines nothing.")
    questions: QuestionSection = QuestionSection()
    pictures: PictureSection = PictureSection()


class Source(Protocol):
    """Draws pictures with questions."""

    def draw(self, rng: Rng) -> Shown:
        """Return one picture: a pure function of the generator's state."""


@dataclass(frozen=True)
class Rendered:
    """Scenes by the world's priors, evenly, or crowded; roughened."""

    pictures: PictureSection
    questions: QuestionSection
    wording: Wording

    def draw(self, rng: Rng) -> Shown:
        """Return a scene with its questions."""
        scene = training_scene(rng, self.pictures)
        image = roughened([scene], self.pictures, int(rng.integers(2**62)))[0]
        known = Known(image, graph_of(detections(scene), SIDE))
        return Shown(image, questions(rng, known, self.questions, self.wording), known.graph)


@dataclass(frozen=True)
class Painted:
    """Labelled pictures; with `held_out` those that validation sees."""

    pool: Labelled
    numbers: tuple[int, ...]
    questions: QuestionSection
    wording: Wording

    def draw(self, rng: Rng) -> Shown:
        """Return a generated picture with its questions."""
        known = self.pool.known(self.numbers[int(rng.integers(len(self.numbers)))])
        return Shown(known.image, questions(rng, known, self.questions, self.wording), known.graph)


@dataclass(frozen=True)
class Repaints:
    """Scenes repainted by the generator."""

    repainted: Repainted
    questions: QuestionSection
    wording: Wording

    def draw(self, rng: Rng) -> Shown:
        """Return a repainted scene with its questions."""
        number = int(rng.integers(len(self.repainted.scenes)))
        image = Image.fromarray(self.repainted.pictures[number])
        known = Known(image, graph_of(detections(self.repainted.scenes[number]), SIDE))
        return Shown(image, questions(rng, known, self.questions, self.wording), known.graph)


@dataclass(frozen=True)
class Triplets:
    """GenRef samples: the flawed picture with its reflection, or the enhanced one with nothing to correct."""

    entries: tuple[Entry, ...]
    wording: Wording
    enhanced: float = 0.25

    def draw(self, rng: Rng) -> Shown:
        """Return one of a sample's pictures with its reflection, and, in rule samples, its judgement."""
        triplet = self.entries[int(rng.integers(len(self.entries)))].read()
        good = bool(rng.random() < self.enhanced)
        answer = NOTHING if good else triplet.reflection
        asked = [Asked(Task.REFLECT, reflect_instruction(triplet.prompt, wording=self.wording), answer, triplet.subset)]
        if triplet.subset == "rule":
            told = judge_instruction(triplet.prompt, self.wording)
            asked.append(Asked(Task.JUDGE, told, YES if good else NO, triplet.subset))
        return Shown(triplet.good if good else triplet.bad, tuple(asked))


def entries_of(index: Index, keep_out: int, held_out: bool) -> tuple[Entry, ...]:
    """Return the samples that training sees, or those that validation does: the last `keep_out` of each subset."""
    found: list[Entry] = []
    for entries in index.subsets.values():
        cut = max(0, len(entries) - keep_out)
        found += entries[cut:] if held_out else entries[:cut]
    return tuple(found)


def roughened(scenes: Sequence[Scene], section: PictureSection, seed: int) -> list[Image.Image]:
    """Return rendered scenes as roughened pictures, the same for the same seed."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rough = roughen(pictures_of(scenes), section)
    array = rough.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(picture) for picture in array]


def covers(graph: Graph | None, rows: int, columns: int) -> np.ndarray:
    """Return which noun and which colour covers the middle of each merged patch, [2, rows · columns].

    The background is `BACKGROUND`; -100 everywhere where nobody knows the objects.
    """
    found = np.full((2, rows, columns), -100 if graph is None else BACKGROUND, dtype=np.int64)
    y, x = (np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns
    for node in graph or ():
        inside = (np.abs(y - node.y) <= node.size / 2)[:, None] & (np.abs(x - node.x) <= node.size / 2)[None, :]
        color = BACKGROUND if node.color is None else COLORS.index(node.color)
        found[:, inside] = np.array([[OBJECTS.index(node.noun)], [color]])
    return found.reshape(2, -1)


class VlmData:
    """The pictures and questions of each step.

    Args:
        sources: Where pictures come from, with their weights.
        vl: Spells questions and prepares pictures.
        wording: Whose system message is used.
    """

    def __init__(self, sources: Sequence[tuple[float, Source]], vl: Any, wording: Wording) -> None:
        self._sources, self._vl, self._wording = [source for _, source in sources], vl, wording
        weights = np.asarray([weight for weight, _ in sources], dtype=np.float64)
        self._weights = weights / weights.sum()

    def batch(self, step: int, rng: Rng, share: int) -> dict[str, torch.Tensor]:
        """Return what `collate` returns for `share` drawn pictures."""
        return self.collate([self.draw(rng) for _ in range(share)])

    def draw(self, rng: Rng) -> Shown:
        """Return one picture with at least one question."""
        while True:
            shown = self._sources[int(rng.choice(len(self._sources), p=self._weights))].draw(rng)
            if shown.asked:
                return shown

    def collate(self, shown: Sequence[Shown]) -> dict[str, torch.Tensor]:
        """Return packed questions (`packing.collated`), "pixels" and "grid" of the pictures, and "covers"."""
        import torch

        pixels, grid, _ = self._vl.seen([item.image for item in shown])
        merge = self._vl.processor.merge_size
        shapes = [(int(rows) // merge, int(columns) // merge) for _, rows, columns in grid.tolist()]
        rows = [packed(self._vl, item, *shape, self._wording) for item, shape in zip(shown, shapes, strict=True)]
        known = [covers(item.graph, *shape) for item, shape in zip(shown, shapes, strict=True)]
        covered = torch.from_numpy(np.concatenate(known, axis=1))
        return {**collated(rows), "pixels": pixels, "grid": grid, "covers": covered}
