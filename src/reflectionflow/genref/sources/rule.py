"""Rule: verifiable prompts, GenEval's rules over detector A; failures joined with the nearest passing picture."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache, partial
from itertools import chain, zip_longest

from reflectionflow.geneval import Metadata, decide
from reflectionflow.genref.pairs import Pair, joined, nearest, without_doubles
from reflectionflow.genref.pool import Picture, Pool
from reflectionflow.genref.teacher import reflect
from reflectionflow.genref.teaching import GraphTeacher
from reflectionflow.models.detector import graded
from reflectionflow.scenes.prompts import TAGS, suite
from reflectionflow.scenes.splits import Split

IMAGES = 8
MOST = 3
"""Pairs of a prompt."""
ROUNDS = 40


@lru_cache(maxsize=2)
def prompts_of(number: int) -> tuple[Metadata, ...]:
    """Return the first prompts of training, tag after tag in turn; single objects, which seldom fail, come last."""
    asked = suite(Split.TRAIN, number)
    by_tag = [[item for item in asked if item.tag == tag] for tag in (*TAGS[1:], TAGS[0])]
    return tuple(item for item in chain.from_iterable(zip_longest(*by_tag)) if item is not None)


def prompts_of_round(turn: int, size: int) -> dict[str, Metadata]:
    """Return the prompts painted in a round by their texts; none when there are no more."""
    asked = prompts_of(size * ROUNDS // (len(TAGS) - 1))
    return {item.prompt: item for item in asked[turn * size : (turn + 1) * size]}


def pairs(pool: Pool, wanted: int, size: int, seed: int, drops: Counter[str]) -> list[Pair]:
    """Paint and pair until there are enough pairs or no more prompts; prompts that always or never pass are dropped.

    Args:
        pool: Paints.
        wanted: How many pairs at most.
        size: Prompts of a round; the rounds are runs that others read too (`retouch`), so they must agree on it.
        seed: Of the noise and of the teacher's order.
        drops: Counts what is left out, by reason.
    """
    found: list[Pair] = []
    for turn in range(ROUNDS):
        chosen = prompts_of_round(turn, size)
        if len(found) >= wanted or not chosen:
            break
        for prompt, pictures in pool.pictures(f"rule-{turn}", list(chosen), IMAGES, seed).items():
            found += of_prompt(chosen[prompt], pictures, seed, drops)
    return found[:wanted]


def of_prompt(metadata: Metadata, pictures: list[Picture], seed: int, drops: Counter[str]) -> list[Pair]:
    """Return the pairs of one prompt."""
    passing = [picture for picture in pictures if decide(metadata, picture.found).correct]
    failing = [picture for picture in pictures if picture not in passing]
    if not passing or not failing:
        drops["the prompt always passes" if passing else "the prompt never passes"] += 1
        return []

    def rank(picture: Picture) -> float:
        return graded(metadata, picture.found)

    teacher = GraphTeacher(rank, partial(reflect, metadata))
    made = [joined(bad, nearest(bad, passing), "rule", metadata.prompt, teacher, seed, drops) for bad in failing]
    return without_doubles([pair for pair in made if pair is not None], MOST, drops)
