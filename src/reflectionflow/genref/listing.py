"""What a picture shows, as a sentence of Scenes: "a red star at the top left, a blue heart in the middle".

Written from scene graphs to teach the vision-language model, read back from what it says.
"""

from __future__ import annotations

import re

from reflectionflow.genref.graph import Graph, Node
from reflectionflow.genref.teacher import place_of
from reflectionflow.prompts.vlm import JOIN
from reflectionflow.scenes.words import COLORS, OBJECTS, with_article

LONGEST_LIST = 6
USUAL = 0.28
"""Size of an object whose size nobody said, as a share of the picture's side: the middle of those of Scenes."""
EMPTY = "nothing"
_NINTHS = tuple(Node("", None, (column + 0.5) / 3, (row + 0.5) / 3, USUAL) for row in range(3) for column in range(3))
_CENTRES = {place_of(node): (node.x, node.y) for node in _NINTHS}
_SEEN = re.compile(
    rf"an? (?:(?P<color>{'|'.join(COLORS)}) )?(?P<noun>{'|'.join(OBJECTS)}) "
    rf"(?P<place>{'|'.join(sorted(_CENTRES, key=len, reverse=True))})"
)


def listing(graph: Graph) -> str:
    """Return the objects of a picture with their places, from left to right; at most `LONGEST_LIST` of them."""
    return ", ".join(f"{with_article(node.name)} {place_of(node)}" for node in graph[:LONGEST_LIST]) or EMPTY


def listed(said: str) -> Graph | None:
    """Read a listing back, with or without further sentences behind it.

    Objects stand in the middle of the ninth that is named. What cannot be read in the list is left out.

    Returns:
        The objects, from left to right; none when the first sentence is no list.
    """
    first = said.strip().lower().split(JOIN)[0].removesuffix(".")
    if first == EMPTY:
        return ()
    found = [match for part in first.split(", ") if (match := _SEEN.fullmatch(part.strip()))]
    nodes = [Node(seen["noun"], seen["color"], *_CENTRES[seen["place"]], USUAL) for seen in found]
    return tuple(sorted(nodes, key=lambda node: (node.x, node.y, node.noun))) if nodes else None
