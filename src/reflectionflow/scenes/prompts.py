"""The prompts of Scenes: GenEval's six tags in its wording and metadata schema, and `composite`; writing and reading.

A `Statement` is what a prompt says, part by part; `write` gives its metadata, `parse` reads a prompt back.

    single_object   a photo of a star
    two_object      a photo of a star and a heart
    counting        a photo of three stars
    colors          a photo of a red star
    position        a photo of a star left of a heart
    color_attr      a photo of a red star and a blue heart
    composite       a photo of a red star left of a blue heart
                    a photo of a red star left of a blue heart and a green ring
                    a photo of a red star left of a blue heart and a green ring below the blue heart
                    a photo of a red star left of a blue heart and a green ring above a yellow fish
                    a photo of a red star, a blue heart, a green ring and a yellow fish

Which split a prompt belongs to is said in `split_of_statement`. At the default size a suite has, per tag, in test and
in validation: single_object 14 and counting 42 in both (shared by all splits), two_object 22 and 16, colors 13 and 16,
position 62 and 81 (all there are), color_attr and composite 100 each: 353 and 369 prompts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product

import numpy as np

from reflectionflow.geneval import COUNTING, Clause, Metadata, Position
from reflectionflow.scenes.splits import Split, pair_split, split_of
from reflectionflow.scenes.words import COLORS, NUMBERS, OBJECTS, RELATIONS, plural, with_article

PREFIX = "a photo of "
TAGS = ("single_object", "two_object", COUNTING, "colors", "position", "color_attr", "composite")
PER_TAG = 100
SUITE_SEED = 43
"""GenEval's own seed."""
_HELD = (Split.TRAIN, Split.VALIDATION, Split.TEST)
"""From seen in training to held back furthest."""


@dataclass(frozen=True)
class Named:
    """An object as a prompt names it: the noun, its colour or none."""

    noun: str
    color: str | None = None

    @property
    def text(self) -> str:
        """The colour, if any, and the noun."""
        return self.noun if self.color is None else f"{self.color} {self.noun}"


@dataclass(frozen=True)
class Part:
    """One part of a prompt's list.

    Attributes:
        thing: What is there.
        count: How many; above 1 only as a prompt's only part.
        relation: Where it is relative to `anchor`, or none.
        anchor: Another object, which must be there too. When an earlier part names it, this one says "the".
    """

    thing: Named
    count: int = 1
    relation: str | None = None
    anchor: Named | None = None


Statement = tuple[Part, ...]


def named(statement: Statement) -> tuple[Named, ...]:
    """Return the objects of a statement in the order of their first mention, each once."""
    mentions = [thing for part in statement for thing in (part.thing, part.anchor) if thing is not None]
    return tuple(dict.fromkeys(mentions))


def relations_of(statement: Statement) -> tuple[tuple[Named, str, Named], ...]:
    """Return the stated relations."""
    return tuple((part.thing, part.relation, part.anchor) for part in statement if part.relation and part.anchor)


def tag_of(statement: Statement) -> str:
    """Return the task a statement belongs to; what fits none of GenEval's is `composite`."""
    things, colored = named(statement), [thing.color is not None for thing in named(statement)]
    related = relations_of(statement)
    if len(things) == 1:
        if statement[0].count > 1:
            return COUNTING
        return "colors" if colored[0] else "single_object"
    if len(things) == 2 and all(colored) and not related:
        return "color_attr"
    if len(things) == 2 and not any(colored):
        return "position" if related else "two_object"
    return "composite"


def text_of(statement: Statement) -> str:
    """Return a statement in words."""
    parts: list[str] = []
    seen: set[Named] = set()
    for part in statement:
        if part.count > 1:
            color = "" if part.thing.color is None else f"{part.thing.color} "
            words = f"{NUMBERS[part.count]} {color}{plural(part.thing.noun)}"
        else:
            words = with_article(part.thing.text)
        if part.relation is not None and part.anchor is not None:
            anchor = f"the {part.anchor.text}" if part.anchor in seen else with_article(part.anchor.text)
            words += f" {part.relation} {anchor}"
        seen |= {part.thing} | ({part.anchor} if part.anchor else set())
        parts.append(words)
    return PREFIX + (parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}")


def write(statement: Statement, prompt: str | None = None) -> Metadata:
    """Return a statement as a prompt with GenEval's clauses; an anchor's clause precedes the ones placed by it.

    Args:
        statement: What the prompt says.
        prompt: How a user worded it; `text_of` by default.
    """
    include: list[Clause] = []
    index: dict[Named, int] = {}

    def add(thing: Named, count: int = 1, position: Position | None = None) -> None:
        index[thing] = len(include)
        include.append(Clause(thing.noun, count, thing.color, position))

    for part in statement:
        if part.relation is None or part.anchor is None:
            add(part.thing, part.count)
            continue
        if part.anchor not in index:
            add(part.anchor)
        add(part.thing, 1, Position(part.relation, index[part.anchor]))
    exclude = tuple(Clause(part.thing.noun, part.count + 1) for part in statement if part.count > 1)
    return Metadata(tag_of(statement), text_of(statement) if prompt is None else prompt, tuple(include), exclude)


_NOUNS = "|".join(OBJECTS)
_COLOR = f"(?:({'|'.join(COLORS)}) )?"
_PLURALS = {plural(noun): noun for noun in OBJECTS}
_PART = re.compile(rf"an? {_COLOR}({_NOUNS})(?: ({'|'.join(RELATIONS)}) (an?|the) {_COLOR}({_NOUNS}))?")
_COUNT = re.compile(rf"({'|'.join(NUMBERS[2:])}) {_COLOR}({'|'.join(_PLURALS)})")


def parse(prompt: str) -> Metadata | None:
    """Read a prompt, so that a picture of it can be judged.

    "a photo of" may be absent; capitals, a full stop at the end and spare spaces do not matter. The metadata keeps the
    prompt as it was given.

    Returns:
        Its metadata; none when it is outside the grammar, names a noun twice ("a red star and a blue star", which
        GenEval's clauses cannot tell apart), or says "the" of something it has not named.
    """
    statement = read(prompt)
    return None if statement is None else write(statement, prompt)


def read(prompt: str) -> Statement | None:
    """Return what a prompt says, under the conditions of `parse`."""
    text = " ".join(prompt.lower().split()).removesuffix(".").removeprefix(PREFIX)
    counted = _COUNT.fullmatch(text)
    if counted:
        number, color, name = counted.groups()
        return (Part(Named(_PLURALS[name], color), NUMBERS.index(number)),)
    head, _, last = text.rpartition(" and ")
    matches = [_PART.fullmatch(words) for words in ([*head.split(", "), last] if head else [last])]
    statement: list[Part] = []
    known: set[Named] = set()
    for match in matches:
        part = None if match is None else _part(match, known)
        if part is None:
            return None
        statement.append(part)
    return tuple(statement)


def _part(match: re.Match[str], known: set[Named]) -> Part | None:
    """Return one part, adding the objects it introduces to `known`; none when they contradict what is known."""
    color, noun, relation, article, anchor_color, anchor_noun = match.groups()
    thing = Named(noun, color)
    anchor = Named(anchor_noun, anchor_color) if relation else None
    new = [thing] if anchor is None or article == "the" else [thing, anchor]
    if anchor is not None and article == "the" and anchor not in known:
        return None
    nouns = [item.noun for item in (*known, *new)]
    if len(set(nouns)) != len(nouns):
        return None
    known.update(new)
    return Part(thing, 1, relation, anchor)


def combinations_of(statement: Statement) -> tuple[Split, ...]:
    """Return the splits of the held-out kinds of combinations inside a statement.

    These are its coloured objects, its unordered pairs of coloured objects, and its ordered pairs with a relation.
    """
    things = [(thing.noun, thing.color) for thing in named(statement) if thing.color is not None]
    return (
        *(split_of("color", noun, color) for noun, color in things),
        *(pair_split(first, second) for first, second in combinations(things, 2)),
        *(split_of("relation", a.noun, relation, b.noun) for a, relation, b in relations_of(statement)),
    )


def split_of_statement(statement: Statement) -> Split | None:
    """Return the split a statement belongs to; none for those that belong to no split or to all.

    - `single_object` and `counting` without a colour: to all splits (`is_shared`).
    - `two_object`: split_of("two", the nouns in alphabetical order).
    - `colors`, `position`, `color_attr` and counts with a colour: the split held back furthest among its combinations
      (`combinations_of`); for `color_attr` only when the pair itself is of that split, else none.
    - `composite`: split_of("composite", all its words in alphabetical order), if this is also the split held back
      furthest among its combinations; else none. So a composite of test holds at least one combination of test, its
      words as a whole are in no other split, and a composite of training holds no held-out combination at all.

    So nothing in a split contains a combination that is held back further than the split itself.
    """
    if is_shared(statement):
        return None
    tag = tag_of(statement)
    if tag == "two_object":
        return split_of("two", *sorted(thing.noun for thing in named(statement)))
    furthest = max(combinations_of(statement), key=_HELD.index)
    if tag == "color_attr":
        own = _pair(statement)
    elif tag == "composite":
        words = [word for thing in named(statement) for word in (thing.noun, thing.color) if word]
        own = split_of("composite", *sorted([*words, *(relation for _, relation, _ in relations_of(statement))]))
    else:
        own = furthest
    return own if own is furthest else None


def _pair(statement: Statement) -> Split:
    first, second = ((thing.noun, thing.color or "") for thing in named(statement))
    return pair_split(first, second)


def is_shared(statement: Statement) -> bool:
    """Return whether a statement belongs to every split: one object or a count, without a colour."""
    things = named(statement)
    return len(things) == 1 and things[0].color is None


def belongs(statement: Statement, split: Split) -> bool:
    """Return whether a statement may be asked in a split."""
    return is_shared(statement) or split_of_statement(statement) is split


def suite(split: Split, per_tag: int = PER_TAG) -> tuple[Metadata, ...]:
    """Return the prompts of a split, tag after tag in the order of `TAGS`, all different, always the same.

    A smaller suite holds the first prompts of each tag of a larger one.

    Args:
        split: Which combinations are asked for.
        per_tag: Most prompts of one tag; tags with fewer possible prompts give all of them.
    """
    prompts: list[Metadata] = []
    for number, tag in enumerate(TAGS):
        rng = np.random.default_rng([SUITE_SEED, number, _HELD.index(split)])
        chosen: dict[Statement, None] = {}
        for statement in _STATEMENTS[tag](rng):
            if len(chosen) == per_tag:
                break
            if belongs(statement, split):
                chosen[statement] = None
        prompts += [write(statement) for statement in chosen]
    return tuple(prompts)


def _shuffled(rng: np.random.Generator, statements: Sequence[Statement]) -> Iterator[Statement]:
    return (statements[int(index)] for index in rng.permutation(len(statements)))


def _singles(rng: np.random.Generator) -> Iterator[Statement]:
    return _shuffled(rng, [(Part(Named(noun)),) for noun in OBJECTS])


def _twos(rng: np.random.Generator) -> Iterator[Statement]:
    return _shuffled(rng, [(Part(Named(a)), Part(Named(b))) for a, b in permutations(OBJECTS, 2)])


def _counts(rng: np.random.Generator) -> Iterator[Statement]:
    return _shuffled(rng, [(Part(Named(noun), count),) for noun, count in product(OBJECTS, (2, 3, 4))])


def _colors(rng: np.random.Generator) -> Iterator[Statement]:
    return _shuffled(rng, [(Part(Named(noun, color)),) for noun, color in product(OBJECTS, COLORS)])


def _positions(rng: np.random.Generator) -> Iterator[Statement]:
    pairs = product(permutations(OBJECTS, 2), RELATIONS)
    return _shuffled(rng, [(Part(Named(a), 1, relation, Named(b)),) for (a, b), relation in pairs])


def _attributes(rng: np.random.Generator) -> Iterator[Statement]:
    while True:
        first, second = _things(rng, 2)
        yield (Part(first), Part(second))


def _composites(rng: np.random.Generator) -> Iterator[Statement]:
    while True:
        shape = int(rng.integers(len(COMPOSITES)))
        size, build = COMPOSITES[shape]
        relations = [RELATIONS[int(index)] for index in rng.integers(len(RELATIONS), size=2)]
        yield build(_things(rng, size), relations)


def _things(rng: np.random.Generator, count: int) -> list[Named]:
    nouns = rng.choice(len(OBJECTS), size=count, replace=False)
    colors = rng.choice(len(COLORS), size=count, replace=False)
    return [Named(OBJECTS[noun], COLORS[color]) for noun, color in zip(nouns.tolist(), colors.tolist(), strict=True)]


Build = Callable[[Sequence[Named], Sequence[str]], Statement]
COMPOSITES: tuple[tuple[int, Build], ...] = (
    (2, lambda t, r: (Part(t[0], 1, r[0], t[1]),)),
    (3, lambda t, r: (Part(t[0], 1, r[0], t[1]), Part(t[2]))),
    (3, lambda t, r: (Part(t[0], 1, r[0], t[1]), Part(t[2], 1, r[1], t[1]))),
    (4, lambda t, r: (Part(t[0], 1, r[0], t[1]), Part(t[2], 1, r[1], t[3]))),
    (4, lambda t, r: tuple(Part(thing) for thing in t)),
)
"""The shapes of composites: how many objects, and how things and relations become a statement."""

_STATEMENTS: dict[str, Callable[[np.random.Generator], Iterator[Statement]]] = dict(
    zip(TAGS, (_singles, _twos, _counts, _colors, _positions, _attributes, _composites), strict=True)
)
