"""The nearest picture that satisfies a prompt, and the edits that lead to it: what a perfect reflector would say.

`repair` takes what a picture shows and returns what it should show, with as little changed as a person would change:
wrong colours are changed, surplus objects removed where they count, missing ones added at a free place or put in the
place of something the prompt does not name, objects in the wrong place moved. Nothing here is random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product

from reflectionflow.errors import MisuseError
from reflectionflow.geneval import COLORS, Metadata, Options, decide, relations
from reflectionflow.genref.edits import led_to
from reflectionflow.genref.graph import GRID, Graph, Node, apart, found_in, inside, way
from reflectionflow.genref.inplace import Task, Want, at_least, cost, in_place
from reflectionflow.genref.teacher import FAR, reflect, relation_of
from reflectionflow.genref.worded import Rule, worded

SIDE = 128.0
CROWD = 4
"""With this many objects a picture is full: what is missing takes the place of what is not asked for."""
GAP = 0.025
"""Least free space between two objects, as a share of the picture's side."""
SIZES = (0.3, 0.26, 0.22)
"""Sizes of added objects, the first that finds room."""
NINTHS = tuple((x / 6, y / 6) for y, x in product((1, 3, 5), repeat=2))
MOST_LAYOUTS = 10_000
OPTIONS = Options()
CENT = 0.01
"""Less than any two costs of edits differ by."""


@dataclass(frozen=True)
class Repair:
    """What a picture should show, and how it gets there.

    Attributes:
        graph: The nearest graph that satisfies the prompt; the given one if it does already.
        edits: The edits in the teacher's words, no more than are needed; none when there is nothing to correct.
            Followed to the letter (`edits.led_to`) they lead to a graph that satisfies the prompt too, seldom to this
            very one; where no wording does, they are the teacher's.
    """

    graph: Graph
    edits: tuple[str, ...]


Rules = tuple[Rule, ...]


def passes(metadata: Metadata, graph: Graph) -> bool:
    """Return whether a picture of exactly these objects satisfies a prompt by GenEval's rules."""
    return decide(metadata, found_in(graph, SIDE)).correct


def repair(metadata: Metadata, graph: Graph) -> Repair:
    """Return the nearest picture that satisfies a prompt, and the edits that lead to it.

    Args:
        metadata: The prompt; each class may stand in one include clause.
        graph: What the picture shows.

    Raises:
        MisuseError: if the prompt names a class twice or asks for more than fits into a picture.
    """
    nouns = [clause.class_name for clause in metadata.include]
    if len(set(nouns)) < len(nouns):
        raise MisuseError(f"{metadata.prompt!r} asks for one class in two clauses, which nothing can satisfy for sure.")
    if passes(metadata, graph):
        return Repair(graph, ())
    judge = partial(passes, metadata)
    task = Task(_wants(metadata), graph, _fresh_colors(graph), judge, lambda after: _repair(metadata, after).edits)
    nearer = in_place(task, at_least(task) + CENT)  # nothing can be cheaper than that
    if not nearer:
        found = _repair(metadata, graph)
        nearer = in_place(task, cost(found.edits, graph, judge))
    return Repair(led_to(nearer, graph), nearer) if nearer else found


def _repair(metadata: Metadata, graph: Graph) -> Repair:
    """Return the repair that changes colours, removes, adds and moves, and replaces only where a picture is full."""
    nouns = {clause.class_name for clause in metadata.include}
    rules = _rules(metadata)
    kept, missing = _sorted_out(metadata, graph, rules)
    changed = _placed(_completed(kept, missing, nouns, rules), rules, nouns)
    if not passes(metadata, changed):  # too crowded: what is asked for alone, laid out anew
        kept, missing = _sorted_out(metadata, (), rules)
        changed = _placed(_completed(kept, missing, nouns, rules), rules, nouns)
    if not passes(metadata, changed):
        raise MisuseError(f"{metadata.prompt!r} asks for more than fits into a picture.")
    anchors = {rule.noun: rule.anchor for rule in rules} | {
        rule.anchor: rule.noun for rule in rules if not any(other.noun == rule.anchor for other in rules)
    }
    edits = reflect(metadata, graph, changed, anchors)
    return Repair(changed, worded(edits, graph, changed, rules, partial(passes, metadata)))


def _wants(metadata: Metadata) -> tuple[Want, ...]:
    return tuple(Want(clause.class_name, clause.color) for clause in metadata.include for _ in range(clause.count))


def _rules(metadata: Metadata) -> tuple[Rule, ...]:
    return tuple(
        Rule(clause.class_name, clause.position.relation, metadata.include[clause.position.target].class_name)
        for clause in metadata.include
        if clause.position is not None
    )


def _sorted_out(metadata: Metadata, graph: Graph, rules: Rules) -> tuple[Graph, list[Node]]:
    """Return the objects that stay, in their colours, and those that are missing, still without a place."""
    nouns = {clause.class_name for clause in metadata.include}
    related = {noun for rule in rules for noun in (rule.noun, rule.anchor)}
    most = {clause.class_name: clause.count - 1 for clause in metadata.exclude}
    groups = {node.noun: [other for other in graph if other.noun == node.noun] for node in graph}
    kept = [node for noun, group in groups.items() if noun not in nouns for node in group[: most.get(noun)]]
    missing: list[Node] = []
    for clause in metadata.include:
        noun, color = clause.class_name, clause.color
        group = sorted(groups.get(noun, []), key=lambda node: (node.color != color, -node.size))
        chosen, rest = group[: clause.count], group[clause.count : most.get(noun)]
        if color is not None:
            chosen = [replace(node, color=color) for node in chosen]
            rest = [node for node in rest if node.color == color]
        kept += chosen if noun in related else [*chosen, *rest]
        if len(chosen) < clause.count:
            shown = color or (chosen[0].color if chosen else _fresh_colors((*graph, *missing))[0])
            missing += [Node(noun, shown, 0.5, 0.5, SIZES[0])] * (clause.count - len(chosen))
    return tuple(kept), missing


def _fresh_colors(graph: Graph) -> tuple[str, ...]:
    """Return the colours, those that the picture does not show first."""
    taken = {node.color for node in graph}
    return tuple(sorted(COLORS, key=lambda color: color in taken))


def _completed(kept: Graph, missing: list[Node], named: set[str], rules: Rules) -> Graph:
    """Return the picture with what is missing: in the place of something unnamed if it is full, else at a free one."""
    there = list(kept)
    for node in missing:
        extras = [index for index, other in enumerate(there) if other.noun not in named]
        found = None if extras and len(there) >= CROWD else _free(node, tuple(there), rules)
        if found is None and extras:
            index = min(extras, key=lambda place: there[place].size)
            there[index] = replace(node, x=there[index].x, y=there[index].y, size=there[index].size)
        else:
            there.append(found or replace(node, size=SIZES[-1]))
    return tuple(there)


def _free(node: Node, others: Graph, rules: Rules) -> Node | None:
    """Return the object at the free place, of those that obey the rules about it, farthest from all others."""
    mine = tuple(rule for rule in rules if node.noun in (rule.noun, rule.anchor))
    for size, places in product(SIZES, (NINTHS, GRID)):
        fitting = [
            found
            for x, y in places
            if inside(found := replace(node, x=x, y=y, size=size)) and apart(found, others, GAP)
        ]
        fitting.sort(key=lambda found: (_askew((*others, found), mine), *_loneliness(found, others)))
        first = next((found for found in fitting if _obeys((*others, found), mine)), None)
        if first is not None:
            return first
    return None


def _loneliness(node: Node, others: Graph) -> tuple[float, float]:
    """Return what is smallest for the place farthest from all others, and, of equal ones, nearest to the middle."""
    nearest = min((way(node, other) for other in others), default=0.0)
    return round(-nearest, 6), round(max(abs(node.x - 0.5), abs(node.y - 0.5)), 6)


def _placed(graph: Graph, rules: Rules, named: set[str]) -> Graph:
    """Return the picture with the fewest and shortest moves after which all rules hold."""
    if _obeys(graph, rules):
        return graph
    movable = [node for node in graph if any(node.noun in (rule.noun, rule.anchor) for rule in rules)]
    moves = [move for node in movable for x, y in GRID if (move := _moved(graph, node, x, y))]
    moves.sort(key=lambda move: (_askew(move[0], rules), round(move[1], 6)))
    first = next((moved for moved, _ in moves if _obeys(moved, rules)), None)
    return _laid_out(graph, movable, rules, named) if first is None else first


def _moved(graph: Graph, node: Node, x: float, y: float) -> tuple[Graph, float] | None:
    """Return the picture with one object elsewhere and how far it went; none where that is too near or not free."""
    others = tuple(other for other in graph if other is not node)
    found = replace(node, x=x, y=y)
    if way(found, node) < FAR or not inside(found) or not apart(found, others, GAP):
        return None
    return tuple(found if other is node else other for other in graph), way(found, node)


def _laid_out(graph: Graph, movable: list[Node], rules: Rules, named: set[str]) -> Graph:
    """Return the picture with its related objects laid out anew in ninths, the nearest layout that obeys the rules.

    When the others leave no room, what the prompt does not name goes.
    """
    others = tuple(node for node in graph if all(node is not other for other in movable))
    smaller = [replace(node, size=min(node.size, SIZES[1])) for node in movable]
    for rest in (others, tuple(node for node in others if node.noun in named), ()):
        layouts = islice(_layouts((), smaller, rest, rules, 0.0), MOST_LAYOUTS)
        best = min(layouts, key=lambda layout: round(layout[1], 6), default=None)
        if best is not None:
            return (*rest, *best[0])
    return graph


def _layouts(done: Graph, left: list[Node], rest: Graph, rules: Rules, gone: float) -> Iterator[tuple[Graph, float]]:
    """Yield every layout of the objects in ninths that obeys the rules, and how far they went in all."""
    if not left:
        yield done, gone
        return
    for x, y in NINTHS:
        found = replace(left[0], x=x, y=y)
        here = (*done, found)
        if apart(found, (*rest, *done), GAP) and not _askew(here, rules) and _obeys(here, rules):
            yield from _layouts(here, left[1:], rest, rules, gone + way(found, left[0]))


def _pairs(graph: Graph, rules: Rules) -> Iterator[tuple[Node, str, Node]]:
    """Yield every two objects that a rule is about, with the relation it asks for."""
    for rule, node, anchor in product(rules, graph, graph):
        if node.noun == rule.noun and anchor.noun == rule.anchor:
            yield node, rule.relation, anchor


def _askew(graph: Graph, rules: Rules) -> int:
    """Return how many pairs stand otherwise than asked in what a person would say of them first."""
    return sum(relation_of(node, anchor) != relation for node, relation, anchor in _pairs(graph, rules))


def _obeys(graph: Graph, rules: Rules) -> bool:
    """Return whether every rule whose two objects are there holds by GenEval's."""
    for node, relation, anchor in _pairs(graph, rules):
        first, second = (found_in((item,), SIDE)[item.noun][0] for item in (node, anchor))
        if relation not in relations(first, second, OPTIONS):
            return False
    return True
