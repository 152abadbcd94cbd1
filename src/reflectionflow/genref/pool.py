"""The pool GenRef is chosen from: pictures of a run, as a detector sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from reflectionflow.geneval import Detection
from reflectionflow.genref.graph import Graph, graph_of
from reflectionflow.models.detector import OracleOptions, OracleVerifier
from reflectionflow.runs import RunDirectory

Found = dict[str, list[Detection]]
Painter = Callable[[Sequence[str], int, int, Path], None]
"""Paints `images` pictures of each prompt with a seed into a run directory; a finished run costs nothing."""
SIDE = 128.0
CHUNK = 32
MOST_PROMPTS = 48


def prompts_a_round(wanted: int) -> int:
    """Return how many prompts are painted before pairs are counted again."""
    return min(MOST_PROMPTS, max(6, 2 * wanted))


@dataclass(frozen=True)
class Picture:
    """One painted picture.

    Attributes:
        prompt: What it was painted for.
        place: Its place among the pictures of the prompt.
        candidate: Its id.
        seed: The seed of its noise.
        score: The run's verifier's score, none if it failed.
        path: Its file in the run.
        found: What detector A sees.
        graph: The same as a scene graph.
    """

    prompt: str
    place: int
    candidate: str
    seed: int
    score: float | None
    path: Path
    found: Found
    graph: Graph

    def image(self) -> Image.Image:
        """Return its pixels, RGB."""
        return _read(self.path)


def _read(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


class Pool:
    """Paints and detects; what a run already holds is not painted again."""

    def __init__(self, paint: Painter, folder: Path) -> None:
        self._paint, self._folder = paint, folder

    @cached_property
    def _detector(self) -> OracleVerifier:
        return OracleVerifier(OracleOptions())

    def pictures(self, name: str, prompts: Sequence[str], images: int, seed: int) -> dict[str, list[Picture]]:
        """Return the pictures of each prompt in their order.

        Args:
            name: Of the run directory.
            prompts: What to paint.
            images: Pictures of each prompt.
            seed: Seed of the run.
        """
        folder = self._folder / name
        self._paint(prompts, images, seed, folder)
        rows = []
        with RunDirectory.read(folder) as run:
            for stored in run.results():
                for place, step in enumerate(stored.result.steps):
                    if step.candidate is not None:
                        score = None if step.verdict is None else step.verdict.score
                        rows.append((stored.result.prompt, place, step.candidate, score))
            paths = [run.image_path(candidate.image) for _, _, candidate, _ in rows]
        pictures: dict[str, list[Picture]] = {prompt: [] for prompt in prompts}
        for start in range(0, len(rows), CHUNK):
            chosen, files = rows[start : start + CHUNK], paths[start : start + CHUNK]
            seen = self._detector.detections([_read(file) for file in files])
            for (prompt, place, candidate, score), file, found in zip(chosen, files, seen, strict=True):
                graph = graph_of(found, SIDE)
                recipe = candidate.recipe
                pictures[prompt].append(Picture(prompt, place, candidate.id, recipe.seed, score, file, found, graph))
        return pictures
