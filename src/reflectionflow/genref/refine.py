"""Explicit prompts: a short prompt with every object, colour and place said, so that a picture of it satisfies both.

The teacher of a refiner writes them from the repaired graph of a picture (`repair`): what the prompt leaves open stays
as the picture has it. They have the wording of detailed captions, which the generator of Scenes has read.
"""

from __future__ import annotations

import re
from dataclasses import replace

from reflectionflow.geneval import Metadata
from reflectionflow.genref.graph import Graph, Node
from reflectionflow.genref.repair import NINTHS, passes
from reflectionflow.genref.teacher import place_of
from reflectionflow.scenes.prompts import PREFIX, Named, Part, parse, read, text_of
from reflectionflow.scenes.words import COLORS, OBJECTS, PLACES, with_article

SIZE = 0.28
_PLACES = {("in the middle" if word == "middle" else f"at the {word}"): NINTHS[row * 3 + column]
           for row, words in enumerate(PLACES) for column, word in enumerate(words)}  # fmt: skip
_PART = re.compile(rf"an? (?:({'|'.join(COLORS)}) )?({'|'.join(OBJECTS)}) ({'|'.join(_PLACES)})")


def explicit_prompt(metadata: Metadata, graph: Graph) -> str:
    """Return a prompt that says of every object asked for which colour it has and where it is.

    Where ninths of the picture are too coarse to say a relation, it states the relations themselves, with all colours.

    Args:
        metadata: The user's prompt.
        graph: A picture that satisfies it.
    """
    chosen = [
        node for clause in metadata.include for node in _chosen(graph, clause.class_name, clause.color, clause.count)
    ]
    if not chosen:
        return metadata.prompt
    text = PREFIX + ", ".join(f"{with_article(node.name)} {place_of(node)}" for node in chosen)
    return text if keeps(metadata, text) else _with_colors(metadata, chosen)


def read_explicit(text: str) -> Graph | None:
    """Return what an explicit prompt asks for, objects in the middles of their ninths; none if it is no such prompt."""
    parts = [_PART.fullmatch(part) for part in text.removeprefix(PREFIX).split(", ")]
    nodes = [
        Node(match.group(2), match.group(1), *_PLACES[match.group(3)], SIZE) for match in parts if match is not None
    ]
    return tuple(nodes) if len(nodes) == len(parts) else None


def keeps(metadata: Metadata, text: str) -> bool:
    """Return whether a rewritten prompt asks for everything the user's prompt asks for.

    It may be explicit, or in the grammar of the suites: then what it states must contain what the prompt states.
    """
    graph = read_explicit(text)
    if graph is not None:
        return passes(metadata, graph)
    told = parse(text)
    if told is None or len(told.include) != len(metadata.include):
        return False
    return told.exclude == metadata.exclude and all(
        replace(new, color=old.color) == old and (old.color is None or new.color == old.color)
        for old, new in zip(metadata.include, told.include, strict=True)
    )


def _chosen(graph: Graph, noun: str, color: str | None, count: int) -> list[Node]:
    return [node for node in graph if node.noun == noun and color in (None, node.color)][:count]


def _with_colors(metadata: Metadata, chosen: list[Node]) -> str:
    """Return the prompt with the colours of the chosen objects, where it names none."""
    statement = read(metadata.prompt)
    if statement is None:
        return metadata.prompt
    colors = {node.noun: node.color for node in chosen}

    def colored(thing: Named) -> Named:
        return Named(thing.noun, thing.color or colors.get(thing.noun))

    return text_of(
        tuple(
            Part(colored(part.thing), part.count, part.relation, part.anchor and colored(part.anchor))
            for part in statement
        )
    )
