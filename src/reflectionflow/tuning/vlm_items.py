"""What a vision-language model is asked while it learns: questions about one picture, and their right answers.

All answers come from what the picture is known to show: a scene, or what detector A sees. Each question stands alone;
no answer can be told from another one. A reflection is thought aloud, as in GenRef-CoT: first what the picture shows,
then the edits, because edits that rules derive from the small model's own list are better than its own (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from reflectionflow.errors import MisuseError
from reflectionflow.geneval import COUNTING, Metadata
from reflectionflow.genref.graph import Graph
from reflectionflow.genref.listing import listing
from reflectionflow.genref.refine import explicit_prompt
from reflectionflow.genref.repair import passes, repair
from reflectionflow.prompts.vlm import (
    JOIN,
    NO,
    NOTHING,
    YES,
    Wording,
    judge_instruction,
    list_instruction,
    refine_instruction,
    reflect_instruction,
)
from reflectionflow.scenes.claims import draw_claims, draw_statement, near_miss
from reflectionflow.scenes.prompts import TAGS, belongs, write
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.world import CANVAS, Scene, Thing
from reflectionflow.tuning.config import Section

if TYPE_CHECKING:
    from PIL.Image import Image

ATTEMPTS = 12
SURE = 0.9
"""Confidence from which a detection counts for every rule of GenEval."""


class Task(Enum):
    """What is asked; the values number the tasks in batches, 0 is none."""

    LIST = 1
    JUDGE = 2
    REFLECT = 3
    REFINE = 4


class QuestionSection(Section):
    """How many questions are asked about a picture."""

    true: int = Field(default=2, ge=0, description="Prompts it satisfies, to be judged yes.")
    near: int = Field(default=2, ge=0, description="Near misses, to be judged no.")
    reflect: int = Field(default=1, ge=0, description="Prompts to reflect on.")
    refine: int = Field(default=1, ge=0, description="Prompts to refine.")
    own: float = Field(default=0.7, ge=0, le=1, description="Share of reflections about the prompt it was painted for.")
    nothing: float = Field(default=0.2, ge=0, le=1, description="Share of other reflections with nothing to correct.")


@dataclass(frozen=True)
class Asked:
    """One question and its answer, and the prompt it is about with its tag, empty for none."""

    task: Task
    text: str
    answer: str
    tag: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class Known:
    """A picture of which it is known what it shows.

    Attributes:
        image: RGB.
        graph: Its objects.
        prompt: What it was painted for, when that is a prompt of the grammar.
        passed: Whether it satisfies that prompt by GenEval's rules, counting what the graph holds.
        sure: Whether everything in it is beyond doubt an object or none, so that objects can be counted.
    """

    image: Image
    graph: Graph
    prompt: Metadata | None = None
    passed: bool | None = None
    sure: bool = True


@dataclass(frozen=True)
class Shown:
    """A picture and what is asked about it; `graph` is none where nobody knows its objects."""

    image: Image
    asked: tuple[Asked, ...]
    graph: Graph | None = None


def scene_of(graph: Graph) -> Scene:
    """Return a graph as a scene on some background."""
    return Scene(
        tuple(
            Thing(node.noun, node.color or "white", node.x * CANVAS, node.y * CANVAS, node.size * CANVAS)
            for node in graph
        )
    )


def questions(
    rng: np.random.Generator, known: Known, section: QuestionSection, wording: Wording, split: Split = Split.TRAIN
) -> tuple[Asked, ...]:
    """Draw the questions about a picture: list, judge, reflect and refine."""
    asked = [Asked(Task.LIST, list_instruction(wording), listing(known.graph))]
    asked += judged(rng, known, section, wording, split)
    for number in range(max(section.reflect, section.refine)):
        prompt = _to_reflect(rng, known, section, split)
        if prompt is None:
            continue
        answer = reflected(prompt, known.graph)
        if answer is None:
            continue
        edits, refined = answer
        if number < section.reflect:
            told = reflect_instruction(prompt.prompt, wording=wording)
            thought = f"{listing(known.graph)}{JOIN}{edits}"
            asked.append(Asked(Task.REFLECT, told, thought, prompt.tag, prompt.prompt))
        if number < section.refine:
            told = refine_instruction(prompt.prompt, prompt.prompt, wording=wording)
            asked.append(Asked(Task.REFINE, told, refined, prompt.tag, prompt.prompt))
    return tuple(asked)


def judged(
    rng: np.random.Generator, known: Known, section: QuestionSection, wording: Wording, split: Split
) -> list[Asked]:
    """Draw prompts to be judged: the picture's own, then true ones and near misses until both are as many as wanted."""
    wanted = {True: section.true, False: section.near}
    told: list[tuple[Metadata, bool]] = []
    if known.prompt is not None and known.passed is not None and wanted[known.passed]:
        told.append((known.prompt, known.passed))
        wanted[known.passed] -= 1
    if known.graph:
        tags = TAGS if known.sure else tuple(tag for tag in TAGS if tag != COUNTING)
        claims = draw_claims(rng, scene_of(known.graph), split, wanted[True], wanted[False], tags)
        told += [(claim.metadata, claim.true) for claim in claims]
    return [
        Asked(Task.JUDGE, judge_instruction(metadata.prompt, wording), YES if true else NO, metadata.tag)
        for metadata, true in told
    ]


def reflected(prompt: Metadata, graph: Graph) -> tuple[str, str] | None:
    """Return the reflection and the refined prompt for a picture; none where no repair is known."""
    try:
        found = repair(prompt, graph)
    except MisuseError:
        return None
    return JOIN.join(found.edits) or NOTHING, explicit_prompt(prompt, found.graph)


def _to_reflect(rng: np.random.Generator, known: Known, section: QuestionSection, split: Split) -> Metadata | None:
    """Return the prompt the picture was painted for, or one that it nearly satisfies: one or two things changed."""
    plain = known.prompt is not None and known.passed == passes(known.prompt, known.graph)
    if plain and (not known.graph or rng.random() < section.own):
        return known.prompt
    if not known.graph:
        return None
    scene = scene_of(known.graph)
    changes = 0 if rng.random() < section.nothing else 1 + int(rng.random() < 0.4)
    for _attempt in range(ATTEMPTS):
        statement = draw_statement(rng, scene)
        for _change in range(changes):
            statement = near_miss(rng, scene, statement) or statement
        if belongs(statement, split) and (known.sure or statement[0].count == 1):
            return write(statement)
    return None


def tasks_of(asked: Sequence[Asked], task: Task) -> list[Asked]:
    """Return the questions of one task."""
    return [item for item in asked if item.task is task]
