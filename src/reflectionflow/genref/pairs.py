"""From pictures to pairs: which flawed picture goes with which enhanced one, and which pairs are dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from reflectionflow.genref.graph import Graph, distance
from reflectionflow.genref.pool import Picture
from reflectionflow.genref.shards import Triplet
from reflectionflow.genref.teacher import Thought
from reflectionflow.genref.teaching import PREFERS_FLAWED, Comparison, Teacher, Untaught, flawed_first
from reflectionflow.prompts.vlm import JOIN

ALIKE = 0.08
"""Pairs of one prompt with the same edits whose flawed pictures are this near are one pair."""


@dataclass(frozen=True)
class Pair:
    """A flawed and an enhanced picture, with what leads from one to the other.

    Attributes:
        prompt: What both are pictures of.
        flawed: The worse one's pixels, made when needed.
        enhanced: The better one's.
        flawed_graph: What a detector sees in the worse one.
        enhanced_graph: What it sees in the better one.
        edits: The reflection, edit by edit.
        subset: rule, general, length or editing.
        thought: GenRef-CoT of the pair, none where there is nothing to prefer (editing).
        provenance: Where the pictures come from.
    """

    prompt: str
    flawed: Callable[[], Image.Image]
    enhanced: Callable[[], Image.Image]
    flawed_graph: Graph
    enhanced_graph: Graph
    edits: tuple[str, ...]
    subset: str
    thought: Thought | None
    provenance: Mapping[str, Any]

    def triplet(self, source: str, number: int) -> Triplet:
        """Return the pair as sample `number` of the source it comes from."""
        thought = self.thought
        cot = None if thought is None else {"differences": thought.differences, "edits": thought.edits}
        about = {**self.provenance, "edits": self.edits, "cot": cot, "distance": round(self.distance, 4)}
        key = f"{source}-{number:06}"
        return Triplet(key, self.enhanced(), self.flawed(), JOIN.join(self.edits), self.prompt, self.subset, about)

    @property
    def distance(self) -> float:
        """How far the two pictures are apart."""
        return distance(self.flawed_graph, self.enhanced_graph)


def nearest(flawed: Picture, among: Sequence[Picture]) -> Picture:
    """Return the picture nearest in scene graph; ties go by place."""
    return min(among, key=lambda other: (round(distance(flawed.graph, other.graph), 6), other.place))


def joined(
    flawed: Picture,
    enhanced: Picture,
    subset: str,
    prompt: str,
    teacher: Teacher[Picture],
    seed: int,
    drops: Counter[str],
) -> Pair | None:
    """Join two pictures, or say in `drops` why they make no pair.

    The teacher compares them in an order drawn from the seed, without being told which is better; where it prefers the
    other one, the pair contradicts its origin and is dropped.
    """
    swapped = bool(np.random.default_rng([seed, flawed.place, enhanced.place]).integers(2))
    first, second = (enhanced, flawed) if swapped else (flawed, enhanced)
    asked = Comparison(prompt, first, second)
    found = teacher.compare([asked])[0]
    if isinstance(found, Untaught):
        drops[found.reason] += 1
        return None
    if found.better == 0 and flawed.graph == enhanced.graph:
        drops["the teacher sees no difference"] += 1
        return None
    # Whoever reads the sample sees the flawed picture first, in whatever order the teacher compared them.
    thought = flawed_first(teacher, asked, swapped, found)
    if thought is None:
        drops[PREFERS_FLAWED] += 1
        return None
    if not thought.edits:
        drops["nothing that matters differs"] += 1
        return None
    about = {
        side: {"candidate": picture.candidate, "seed": picture.seed, "prompt": picture.prompt, "score": picture.score}
        for side, picture in (("flawed", flawed), ("enhanced", enhanced))
    }
    return Pair(
        prompt, flawed.image, enhanced.image, flawed.graph, enhanced.graph, thought.edits, subset, thought, about
    )


def without_doubles(pairs: Sequence[Pair], most: int, drops: Counter[str]) -> list[Pair]:
    """Return at most `most` pairs of one prompt, nearest first, no two alike."""
    kept: list[Pair] = []
    for pair in sorted(pairs, key=lambda pair: pair.distance):
        if any(pair.edits == other.edits and distance(pair.flawed_graph, other.flawed_graph) < ALIKE for other in kept):
            drops["nearly a double"] += 1
        elif len(kept) >= most:
            drops["enough pairs of the prompt"] += 1
        else:
            kept.append(pair)
    return kept
