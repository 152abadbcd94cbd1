"""Which combinations training never sees: a pure function of the combination's words.

A combination belongs to test with probability 0.1, to validation with 0.1, else to training, by its hash. Held out are
object-colour pairs, ordered pairs with a relation, and unordered pairs of coloured objects. Single objects and counts
are too few to hold out and are shared by all splits, as in GenEval.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from functools import lru_cache
from itertools import combinations

from reflectionflow.scenes.words import COLORS, OBJECTS, RELATIONS


class Split(Enum):
    """The three parts of the world's combinations."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def split_of(*words: str) -> Split:
    """Return the split of a combination."""
    draw = int(hashlib.sha256("|".join(words).encode()).hexdigest(), 16) % 100
    if draw < 10:
        return Split.TEST
    return Split.VALIDATION if draw < 20 else Split.TRAIN


def pair_split(first: tuple[str, str], second: tuple[str, str]) -> Split:
    """Return the split of an unordered pair of (noun, colour)."""
    return split_of("pair", *(word for thing in sorted((first, second)) for word in thing))


@lru_cache(maxsize=1)
def held_out_colors() -> frozenset[tuple[str, str]]:
    """Return the (noun, colour) pairs that no training scene contains."""
    return frozenset(
        (noun, color) for noun in OBJECTS for color in COLORS if split_of("color", noun, color) is not Split.TRAIN
    )


@lru_cache(maxsize=1)
def held_out_pairs() -> frozenset[tuple[tuple[str, str], tuple[str, str]]]:
    """Return the unordered pairs of (noun, colour), sorted, that no training scene contains."""
    things = sorted((noun, color) for noun in OBJECTS for color in COLORS)
    return frozenset(
        (first, second)
        for first, second in combinations(things, 2)
        if first[0] != second[0] and pair_split(first, second) is not Split.TRAIN
    )


@lru_cache(maxsize=1)
def held_out_relations() -> frozenset[tuple[str, str, str]]:
    """Return the (noun, relation, noun) triples that no training text states."""
    return frozenset(
        (first, relation, second)
        for first in OBJECTS
        for second in OBJECTS
        for relation in RELATIONS
        if first != second and split_of("relation", first, relation, second) is not Split.TRAIN
    )
