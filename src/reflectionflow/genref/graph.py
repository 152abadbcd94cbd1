"""Scene graphs of pictures as a detector sees them, and the distance between two.

Pairs are made of a failed picture and the passing one *nearest* to it, so that a reflection names few changes and the
corrector learns to change what is named and to keep the rest. Nothing here knows of Scenes: nouns and colours are the
detector's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from reflectionflow.geneval import Detection

LEAST = 0.3
"""Detections below this confidence, GenEval's own threshold, are no objects of the graph."""
MISSING, OTHER_NOUN, OTHER_COLOR, FARTHEST = 1.0, 1.2, 0.4, 0.5
"""Costs: an object without a partner, a partner of another class or colour, one at the other end of the picture."""


@dataclass(frozen=True)
class Node:
    """One object of a picture; the centre and the size are shares of the picture's side."""

    noun: str
    color: str | None
    x: float
    y: float
    size: float

    @property
    def name(self) -> str:
        """Colour and noun."""
        return self.noun if self.color is None else f"{self.color} {self.noun}"


Graph = tuple[Node, ...]
GRID = tuple((x / 16, y / 16) for y, x in product(range(2, 15), repeat=2))
"""Where the centre of an object that is put somewhere may lie, row by row."""


def way(first: Node, second: Node) -> float:
    """Return how far two centres are apart in x or in y, whichever is more, in shares of the picture's side."""
    return max(abs(first.x - second.x), abs(first.y - second.y))


def inside(node: Node) -> bool:
    """Return whether the whole of an object lies in the picture."""
    return node.size / 2 <= min(node.x, node.y, 1 - node.x, 1 - node.y)


def apart(node: Node, others: Graph, gap: float) -> bool:
    """Return whether at least `gap`, a share of the picture's side, lies between an object's box and all others."""
    return all(way(node, other) >= (node.size + other.size) / 2 + gap for other in others)


@dataclass(frozen=True)
class Match:
    """Which object of one picture is which of another.

    Attributes:
        kept: Objects of both, first and second.
        removed: Objects of the first without a partner.
        added: Objects of the second without a partner.
        cost: The distance of the pictures.
    """

    kept: tuple[tuple[Node, Node], ...]
    removed: tuple[Node, ...]
    added: tuple[Node, ...]
    cost: float


def graph_of(found: Mapping[str, Sequence[Detection]], side: float, least: float = LEAST) -> Graph:
    """Return the objects of a picture of `side` pixels, from left to right and then from top to bottom."""
    nodes = []
    for noun, items in found.items():
        for item in items:
            if item.score >= least:
                x1, y1, x2, y2 = (float(value) / side for value in item.box)
                size = math.sqrt(max(0.0, x2 - x1) * max(0.0, y2 - y1))
                nodes.append(Node(noun, item.colour, (x1 + x2) / 2, (y1 + y2) / 2, size))
    return tuple(sorted(nodes, key=lambda node: (node.x, node.y, node.noun)))


def found_in(graph: Graph, side: float) -> dict[str, list[Detection]]:
    """Return a graph as a detector sure of everything would report it, in a picture of `side` pixels."""
    found: dict[str, list[Detection]] = {}
    for node in graph:
        half = node.size / 2
        box = ((node.x - half) * side, (node.y - half) * side, (node.x + half) * side, (node.y + half) * side)
        found.setdefault(node.noun, []).append(Detection(box, 1.0, node.color))
    return found


def pair_cost(first: Node, second: Node) -> float:
    """Return what it costs to call two objects the same one; above 2 · MISSING nobody would."""
    apart = math.hypot(first.x - second.x, first.y - second.y) / math.sqrt(2)
    cost = FARTHEST * min(1.0, apart) + 0.2 * abs(first.size - second.size)
    if first.noun != second.noun:
        cost += OTHER_NOUN
    if first.color != second.color:
        cost += OTHER_COLOR
    return cost


@lru_cache(maxsize=65536)
def match(first: Graph, second: Graph) -> Match:
    """Return the cheapest way to tell which object is which: an assignment in which objects may stay alone."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = len(first), len(second)
    costs = np.full((rows + columns, rows + columns), 0.0)
    costs[:rows, columns:] = np.inf
    costs[rows:, :columns] = np.inf
    for row, node in enumerate(first):
        costs[row, :columns] = [pair_cost(node, other) for other in second]
        costs[row, columns + row] = MISSING
    for column in range(columns):
        costs[rows + column, column] = MISSING
    chosen = linear_sum_assignment(np.where(np.isinf(costs), 1e6, costs))
    kept, removed, added = [], [], []
    for row, column in zip(*(side.tolist() for side in chosen), strict=True):
        if row < rows and column < columns:
            kept.append((first[row], second[column]))
        elif row < rows:
            removed.append(first[row])
        elif column < columns:
            added.append(second[column])
    cost = float(costs[chosen].sum())
    return Match(tuple(kept), tuple(removed), tuple(added), cost)


def distance(first: Graph, second: Graph) -> float:
    """Return how far two pictures are apart: 0 for the same objects in the same places; symmetric."""
    return match(first, second).cost
