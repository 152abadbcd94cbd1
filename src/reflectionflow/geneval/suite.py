"""The prompts of GenEval, drawn again rather than copied: byte for byte the published files.

One generator of random numbers serves all six tasks one after the other, so the order of every draw matters; afterwards
repeated prompts are dropped (`prompts/create_prompts.py` in djghosh13/geneval @ af4902f, MIT).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reflectionflow.geneval.types import COLORS, COUNTING, RELATIONS, Clause, Metadata, Position
from reflectionflow.geneval.vocabulary import NUMBERS, OBJECTS, plural, with_article

SEED = 43
PER_TAG = 100
METADATA_SHA256 = "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13"
"""Of the published `evaluation_metadata.jsonl`."""
PROMPTS_SHA256 = "55b6e3650e980c13daf30569eb666e000faf19bfc2b7b4cbe999fcdb7aa9d680"
"""Of the published `generation_prompts.txt`."""
NAMES_SHA256 = "608f6a0e5c8ca1c7a92b818430141fe268c85b7930b50f4160f1d65893b5bacd"
"""Of the published `object_names.txt`."""


def suite(seed: int = SEED, per_tag: int = PER_TAG) -> tuple[Metadata, ...]:
    """Return GenEval's prompts, tag after tag, all different.

    Args:
        seed: Of all draws; the published suite has 43.
        per_tag: Prompts drawn for every task but single_object, which always has all 80 objects; repetitions are
            dropped, so that a task may end with fewer. With the defaults the suite has 553 prompts.
    """
    rng = np.random.default_rng(seed)
    prompts = [
        *_single_object(rng),
        *_two_object(rng, per_tag),
        *_counting(rng, per_tag),
        *_colors(rng, per_tag),
        *_position(rng, per_tag),
        *_color_attr(rng, per_tag),
    ]
    return tuple(dict.fromkeys(prompts))


def metadata_text(prompts: tuple[Metadata, ...]) -> str:
    """Return the content of `evaluation_metadata.jsonl`: one JSON object a line."""
    return "".join(f"{prompt.line()}\n" for prompt in prompts)


def prompts_text(prompts: tuple[Metadata, ...]) -> str:
    """Return the content of `generation_prompts.txt`: one prompt a line, in the order of the metadata."""
    return "".join(f"{prompt.prompt}\n" for prompt in prompts)


def names_text() -> str:
    """Return the content of `object_names.txt`: one object a line, in the order in which detectors number them."""
    return "".join(f"{name}\n" for name in OBJECTS)


def _single_object(rng: np.random.Generator) -> Iterator[Metadata]:
    for number in rng.choice(len(OBJECTS), size=len(OBJECTS), replace=False).tolist():
        name = OBJECTS[number]
        yield Metadata("single_object", f"a photo of {with_article(name)}", (Clause(name),))


def _two_object(rng: np.random.Generator, count: int) -> Iterator[Metadata]:
    for _ in range(count):
        first, second = _pair(rng, len(OBJECTS))
        text = f"a photo of {with_article(OBJECTS[first])} and {with_article(OBJECTS[second])}"
        yield Metadata("two_object", text, (Clause(OBJECTS[first]), Clause(OBJECTS[second])))


def _counting(rng: np.random.Generator, count: int) -> Iterator[Metadata]:
    for _ in range(count):
        name = OBJECTS[int(rng.choice(len(OBJECTS)))]
        number = int(rng.integers(2, 4, endpoint=True))
        text = f"a photo of {NUMBERS[number]} {plural(name)}"
        yield Metadata(COUNTING, text, (Clause(name, number),), (Clause(name, number + 1),))


def _colors(rng: np.random.Generator, count: int) -> Iterator[Metadata]:
    for _ in range(count):
        # A person has no colour to ask for.
        name = OBJECTS[int(rng.choice(len(OBJECTS) - 1)) + 1]
        color = COLORS[int(rng.choice(len(COLORS)))]
        yield Metadata("colors", f"a photo of {with_article(color)} {name}", (Clause(name, 1, color),))


def _position(rng: np.random.Generator, count: int) -> Iterator[Metadata]:
    for _ in range(count):
        first, second = (OBJECTS[number] for number in _pair(rng, len(OBJECTS)))
        relation = RELATIONS[int(rng.choice(len(RELATIONS)))]
        text = f"a photo of {with_article(first)} {relation} {with_article(second)}"
        yield Metadata("position", text, (Clause(second), Clause(first, 1, None, Position(relation, 0))))


def _color_attr(rng: np.random.Generator, count: int) -> Iterator[Metadata]:
    for _ in range(count):
        names = [OBJECTS[number + 1] for number in _pair(rng, len(OBJECTS) - 1)]
        colors = [COLORS[number] for number in _pair(rng, len(COLORS))]
        parts = [f"{with_article(color)} {name}" for color, name in zip(colors, names, strict=True)]
        include = tuple(Clause(name, 1, color) for color, name in zip(colors, names, strict=True))
        yield Metadata("color_attr", f"a photo of {parts[0]} and {parts[1]}", include)


def _pair(rng: np.random.Generator, count: int) -> tuple[int, int]:
    first, second = rng.choice(count, size=2, replace=False).tolist()
    return first, second
