"""Figures as inline SVG: score against pictures with bands, and where the points are lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from reflectionflow.evaluation.statistics import Estimate
from reflectionflow.evaluation.tables import Tables

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 52, 160, 14, 44
COLOURS = 8
"""Colours of lines in the pages' style sheet, --c0 and so on."""
LETTER = 7
"""Width in px of a letter of a label, at most."""
APART = 17
"""Least distance in px between the labels at the ends of lines."""


@dataclass(frozen=True)
class Curve:
    """What a line shows: a name, the numbers, and perhaps those of the best painted; one per tick of the axis."""

    name: str
    values: Sequence[Estimate]
    possible: Sequence[Estimate] = ()


@dataclass(frozen=True)
class Line:
    """One method's curve, in px: the band, the line, the best painted, its dots, and where its label stands."""

    name: str
    number: int
    band: str
    points: str
    possible: str
    dots: tuple[tuple[float, float, str], ...]
    end: tuple[float, float]
    label: float


@dataclass(frozen=True)
class Chart:
    """A figure: its lines, the ticks of both axes as (px, words), its title, and what stands under its lower axis."""

    title: str
    lines: tuple[Line, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM
    under: str = "pictures"


@dataclass(frozen=True)
class Bar:
    """One method's score in percent: a random picture's, gained by picking, lost by the verifier, headroom."""

    name: str
    parts: tuple[float, float, float, float]


def charts(tables: Tables, budgets: Sequence[int]) -> list[Chart]:
    """Return a chart for each group of tags; none with a single budget."""
    if len(budgets) < 2:
        return []
    return [_chart(group, tables, budgets) for group in tables.groups]


def bars(tables: Tables) -> list[Bar]:
    """Return where each method's points are lost, on the declared score."""
    group = next(iter(tables.groups))
    found = []
    for name, gaps in tables.gaps.items():
        base, picked, possible = (getattr(gaps[group], part).value for part in ("base", "picked", "possible"))
        parts = (min(base, picked), max(0.0, picked - base), max(0.0, possible - picked), 1 - possible)
        found.append(Bar(name, (parts[0] * 100, parts[1] * 100, parts[2] * 100, parts[3] * 100)))
    return found


def _chart(group: str, tables: Tables, budgets: Sequence[int]) -> Chart:
    curves = [Curve(found.method, found.groups[group], found.possible[group]) for found in tables.scores]
    return chart(group, curves, tuple(map(str, budgets)), logarithmic(budgets))


def logarithmic(budgets: Sequence[int]) -> tuple[float, ...]:
    """Return the places of budgets on a logarithmic axis, the first at 0 and the last at 1; there are two or more."""
    return tuple(math.log2(budget / budgets[0]) / math.log2(budgets[-1] / budgets[0]) for budget in budgets)


def chart(
    title: str, curves: Sequence[Curve], ticks: Sequence[str], places: Sequence[float], under: str = "pictures"
) -> Chart:
    """Return curves as a figure.

    Args:
        title: Of the figure.
        curves: At least one.
        ticks: Words at the lower axis.
        places: Of the ticks, in [0, 1].
        under: What the lower axis is.
    """
    # Labels stand right of the lines; long ones, such as those of oracles, need more room.
    right = max(RIGHT, LETTER * max(len(curve.name) for curve in curves) + 20)
    every = [item for curve in curves for item in (*curve.values, *curve.possible)]
    low = math.floor(10 * min(item.low for item in every)) / 10
    high = max(math.ceil(10 * max(item.high for item in every) - 1e-9) / 10, low + 0.1)
    across = [round(LEFT + (WIDTH - LEFT - right) * place, 1) for place in places]

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - low) / (high - low), 1)

    def points(values: Sequence[float]) -> str:
        return " ".join(f"{x},{y(value)}" for x, value in zip(across, values, strict=False))

    ends = [y(curve.values[-1].value) for curve in curves]
    labels = _spread(ends)
    lines = tuple(
        Line(
            name=curve.name,
            number=index % COLOURS,
            band=_around(points([e.low for e in curve.values]), points([e.high for e in curve.values])),
            points=points([e.value for e in curve.values]),
            possible=points([e.value for e in curve.possible]),
            dots=tuple(
                (x, y(e.value), _told(curve.name, t, e)) for x, t, e in zip(across, ticks, curve.values, strict=True)
            ),
            end=(across[-1], ends[index]),
            label=labels[index],
        )
        for index, curve in enumerate(curves)
    )
    up = tuple((y(low + 0.1 * step), f"{low + 0.1 * step:.1f}") for step in range(round((high - low) / 0.1) + 1))
    return Chart(title, lines, tuple(zip(across, ticks, strict=True)), up, right=WIDTH - right, under=under)


def _around(low: str, high: str) -> str:
    return " ".join([low, *reversed(high.split(" "))])


def _told(method: str, tick: str, estimate: Estimate) -> str:
    return f"{method}, {tick}: {estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _spread(places: Sequence[float]) -> list[float]:
    """Return places near the given ones that keep their order and do not touch, inside the figure."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    found = list(places)
    for before, index in pairwise(order):
        found[index] = max(found[index], found[before] + APART)
    lowest = HEIGHT - BOTTOM
    for after, index in pairwise(reversed(order)):
        found[after] = min(found[after], lowest)
        found[index] = min(found[index], found[after] - APART)
    return found
