"""Which search methods the paper compares, and which of them a stack can play."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reflectionflow import roles
from reflectionflow.evaluation.planning import Method
from reflectionflow.search import strategy
from reflectionflow.search.options import MOST_CHAINS

NOISE, PROMPT, FLOW = "noise", "noise + prompt", "ReflectionFlow"
ADAPTIVE = "adaptive"
"""ReflectionFlow, best-first over drafts and corrections instead of chains: ours, not the paper's."""
MAIN = (NOISE, PROMPT, FLOW, ADAPTIVE)
"""What the paper's tables and curves compare."""
LATEST, BY_SCORE, SILENT = "latest parent", "ranked by score", "no reflections"
"""ReflectionFlow with one choice turned, the last one beside the one before: without reflections no edits rank."""
WIDTH = 2
"""Chains of ReflectionFlow where the width is not what varies: the default of the strategy, as in the paper."""


class Part(StrEnum):
    """Parts of the paper that need pictures of their own and can be left out."""

    REFLECTIONS = "figure-2"
    WIDTHS = "width-depth"
    CHOICES = "choices"


TITLES = {
    Part.REFLECTIONS: "Figure 2",
    Part.WIDTHS: "Width and depth",
    Part.CHOICES: "The comparison of parent, ranking and reflections",
}
"""What pages call them."""


@dataclass(frozen=True)
class Lineup:
    """What is compared.

    Attributes:
        methods: Noise first, which is the baseline; each once.
        widths: Names of the methods that differ in their number of chains alone, by that number, ascending.
        left_out: Why other methods of the paper are not among them, one sentence each.
        without: Parts that nobody wants.
    """

    methods: tuple[Method, ...]
    widths: Mapping[int, str]
    left_out: tuple[str, ...]
    without: frozenset[Part] = frozenset()

    def __contains__(self, name: str) -> bool:
        """Return whether a method takes part."""
        return any(method.name == name for method in self.methods)


def lineup(models: roles.Stack, images: int, without: Collection[Part] = ()) -> Lineup:
    """Return the paper's methods that a stack can play under a budget of so many pictures for each prompt.

    ReflectionFlow paints twice as many first drafts as it has chains, so widths go as far as a round of corrections
    still fits the budget.

    Args:
        models: Who plays.
        images: The largest budget.
        without: Parts whose methods nobody wants to pay for.
    """
    wanted = [
        _method(NOISE, "noise"),
        _method(PROMPT, "prompt"),
        _method(FLOW, "reflection", width=WIDTH),
        _method(ADAPTIVE, "adaptive"),
    ]
    if Part.CHOICES not in without:
        wanted += [
            _method(LATEST, "reflection", width=WIDTH, parent="latest"),
            _method(BY_SCORE, "reflection", width=WIDTH, rank="score"),
            _method(SILENT, "reflection", width=WIDTH, rank="score", reflect=False),
        ]
    widths = {} if Part.WIDTHS in without else _widths(images)
    wanted += [_method(name, "reflection", width=width) for width, name in widths.items()]
    missing = {method.name: _missing(method, models) for method in wanted}
    played = tuple(method for method in wanted if not missing[method.name])
    left_out = tuple(
        f"{name} is left out: the stack {models.name} has no {' and no '.join(lacking)}."
        for name, lacking in missing.items()
        if lacking
    ) + tuple(f"{TITLES[part]} is left out, as asked by --without {part.value}." for part in Part if part in without)
    every = {**widths, WIDTH: FLOW} if widths and not missing[FLOW] else {}
    return Lineup(played, dict(sorted(every.items())), left_out, frozenset(without))


def _widths(images: int) -> Mapping[int, str]:
    """Return other widths than the usual one, by their number of chains."""
    powers = [2**power for power in range(MOST_CHAINS.bit_length())]
    return {width: f"width {width}" for width in powers if 3 * width <= images and width != WIDTH}


def _method(name: str, of: str, **options: Any) -> Method:
    return Method(name, strategy(of, options))


def _missing(method: Method, models: roles.Stack) -> list[str]:
    needed = [role.value for role in roles.Role if role in method.strategy.needs]
    return [role for role in needed if getattr(models, role) is None]
