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
class Draft:
    """One painted picture, of which nothing is known but what its run says.

    Attributes:
        prompt: What it was painted for.
        place: Its place among the pictures of the prompt.
        candidate: Its id.
        seed: The seed of its noise.
        score: The run's verifier's score, none if it failed.
        path: Its file in the run.
    """

    prompt: str
    place: int
    candidate: str
    seed: int
    score: float | None
    path: Path

    def image(self) -> Image.Image:
        """Return its pixels, RGB."""
        return _read(self.path)


@dataclass(frozen=True)
class Picture(Draft):
    """One painted picture of Scenes, and what is in it.

    Attributes:
        found: What detector A sees.
        graph: The same as a scene graph.
    """

    found: Found
    graph: Graph


def drafts(paint: Painter, folder: Path, prompts: Sequence[str], images: int, seed: int) -> list[Draft]:
    """Return the pictures of a run in its order, painted where it does not hold them yet.

    Args:
        paint: Paints.
        folder: The run directory.
        prompts: What to paint.
        images: Pictures of each prompt.
        seed: Seed of the run.
    """
    paint(prompts, images, seed, folder)
    found: list[Draft] = []
    with RunDirectory.read(folder) as run:
        for stored in run.results():
            prompt = stored.result.prompt
            for place, step in enumerate(stored.result.steps):
                if step.candidate is not None:
                    score = None if step.verdict is None else step.verdict.score
                    path = run.image_path(step.candidate.image)
                    noise = step.candidate.recipe.seed
                    found.append(Draft(prompt, place, step.candidate.id, noise, score, path))
    return found


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
        rows = drafts(self._paint, self._folder / name, prompts, images, seed)
        pictures: dict[str, list[Picture]] = {prompt: [] for prompt in prompts}
        for start in range(0, len(rows), CHUNK):
            chosen = rows[start : start + CHUNK]
            seen = self._detector.detections([draft.image() for draft in chosen])
            for draft, found in zip(chosen, seen, strict=True):
                pictures[draft.prompt].append(Picture(**vars(draft), found=found, graph=graph_of(found, SIDE)))
        return pictures
