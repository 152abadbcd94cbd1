"""Every word of the Scenes world: what captions, reflections, refined prompts and judge questions are made of.

Tokenizers are built from this file alone, so it is fixed before any training; a model trained on it never meets an
unknown token in a text of ours. Colours, their order and the prompt templates are GenEval's (`create_prompts.py`).
One deviation: plurals of nouns in -s, -sh, -ch take "es" ("crosses", "fishes"), where GenEval writes "fishs".
"""

from __future__ import annotations

from collections.abc import Collection

from reflectionflow.prompts.correction import REFLECTION_MARK

OBJECTS = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "diamond",
    "cross",
    "moon",
    "ring",
    "arrow",
    "house",
    "tree",
    "fish",
    "mushroom",
)
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = ("zero", "one", "two", "three", "four")
SIZES = ("small", "big")
PLACES = (
    ("top left", "top", "top right"),
    ("left", "middle", "right"),
    ("bottom left", "bottom", "bottom right"),
)
BACKGROUNDS = ("sky", "sand", "mint", "rose", "gray", "lilac")
PATTERNS = ("plain", "soft", "dotted", "hilly")

VERBS = ("add", "remove", "replace", "move", "change", "keep", "make")
FUNCTION_WORDS = (
    "a an the of and or with on in at to from by for it its is are as that this there than into instead same next "
    "photo picture image scene background color colors object objects side corner center "
    "no not nothing none else any all every each both other another one more fewer less exactly only still too "
    "many much how what which where does do did has have show shows shown match matches see please "
    "left right top bottom above below middle under over between beside near apart away "
    "clear clearly separate separated whole larger smaller bigger lower higher further "
    "correct wrong missing extra good bad better best first second third fourth last "
    "yes answer question prompt describe list write rewrite reflection score judge differences preference "
    "instruction instructions edit edits up down "
)
PUNCTUATION = (".", ",", ";", ":", "?", "-", "'", '"', "(", ")")


def plural(noun: str) -> str:
    """Return the plural of an object word."""
    return noun + ("es" if noun.endswith(("s", "sh", "ch", "x")) else "s")


def with_article(phrase: str) -> str:
    """Return `phrase` behind "a" or "an" (by first letter, as GenEval does)."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def vocabulary() -> tuple[str, ...]:
    """Return every word and mark, lower case, in a fixed order without repetition."""
    words: list[str] = [*PUNCTUATION, REFLECTION_MARK.lower(), *FUNCTION_WORDS.split()]
    words += [*OBJECTS, *(plural(noun) for noun in OBJECTS), *COLORS, *NUMBERS, *SIZES, *BACKGROUNDS, *PATTERNS]
    words += [part for relation in RELATIONS for part in relation.split()]
    words += [part for row in PLACES for place in row for part in place.split()]
    words += VERBS
    return tuple(dict.fromkeys(words))


def known_words() -> frozenset[str]:
    """Return the words a prompt may use."""
    return frozenset(word for word in vocabulary() if word.isalpha())


def painted(words: Collection[str] | None) -> str:
    """Return what a painter that knows these words paints, for sentences; empty where it is not Scenes."""
    if words is None or not {*OBJECTS, *COLORS} <= set(words):
        return ""
    *most, last = RELATIONS
    return (
        f"objects ({', '.join(OBJECTS)}) in colours ({', '.join(COLORS)}), up to {NUMBERS[-1]} of a kind, or one "
        f"{', '.join(most)} or {last} another"
    )
