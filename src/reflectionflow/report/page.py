"""The HTML report: one file with its pictures inside, readable on screen (light and dark), on a phone and on paper.

Its few lines of script only move the sliders and open what is folded before printing; without them nothing is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from reflectionflow.report.chains import chains_of, single_drafts
from reflectionflow.report.previews import previews_of
from reflectionflow.report.story import Story, Turn
from reflectionflow.report.wording import plain
from reflectionflow.types import Recipe, Spend

_SPEND_NAMES = {
    "images": "Pictures painted",
    "denoiser_evaluations": "Denoiser evaluations",
    "verifier_calls": "Verifier calls",
    "reflector_calls": "Reflector calls",
    "refiner_calls": "Refiner calls",
    "tokens": "Language model tokens",
    "seconds": "Model seconds",
}
_ALWAYS = frozenset({"images", "denoiser_evaluations", "verifier_calls", "seconds"})


@dataclass(frozen=True)
class Round:
    """The turns of one round."""

    number: int
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class SpendRow:
    """One line of the table of costs."""

    name: str
    charged: str
    paid: str


@dataclass(frozen=True)
class Curve:
    """Scores in the order of place, drawn in a box of `width` × `height` px.

    Attributes:
        width: Pixels.
        height: Pixels.
        dots: (x, y, number, score) of every judged picture.
        line: The best score so far, as the points of an SVG polyline.
        low: Score at the bottom edge.
        high: Score at the top edge.
    """

    width: int
    height: int
    dots: tuple[tuple[float, float, int, float], ...]
    line: str
    low: float
    high: float


def html_page(story: Story) -> str:
    """Return the report of one search as a complete HTML document."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = PackageLoader("reflectionflow.report", "templates")
    environment = Environment(
        loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    path = story.path
    return environment.get_template("report.html.jinja").render(
        story=story,
        prompt=plain(story.result.prompt),
        command=plain(story.command),
        result=story.result,
        shortfalls=[plain(short.sentence) for short in story.shortfalls],
        path=path,
        answer=path[-1] if path else None,
        gain=_gain(path),
        previews=previews_of(story),
        chains=chains_of(story),
        singles=single_drafts(story),
        rounds=_rounds(story),
        total=len(story.turns),
        curve=_curve(story),
        spend=spend_rows(story.result.charged, story.result.paid),
        recipe=_recipe_rows(story),
    )


def spend_rows(charged: Spend, paid: Spend) -> list[SpendRow]:
    """Return the costs role by role, without the roles that took no part."""
    rows = []
    for item in dataclasses.fields(Spend):
        values = [getattr(ledger, item.name) for ledger in (charged, paid)]
        if any(values) or item.name in _ALWAYS:
            texts = [f"{value:.1f}" if isinstance(value, float) else f"{value:,}" for value in values]
            rows.append(SpendRow(_SPEND_NAMES[item.name], *texts))
    return rows


def _gain(path: Sequence[Turn]) -> str:
    """Return how much the answer's score is above its draft's, with its sign; empty where the draft is the answer."""
    first, last = (path[0].score, path[-1].score) if path else (None, None)
    return "" if first is None or last is None or len(path) == 1 else f"{last - first:+.4f}"


def _rounds(story: Story) -> list[Round]:
    rounds: dict[int, list[Turn]] = {}
    for turn in story.turns.values():
        rounds.setdefault(turn.step.place[0], []).append(turn)
    return [Round(number, tuple(turns)) for number, turns in sorted(rounds.items())]


def _recipe_rows(story: Story) -> list[tuple[str, str]]:
    """Return the best picture's recipe as name and value; the prompt only when it is not the user's own."""
    best = story.result.best
    if best is None or best.candidate is None:
        return []
    recipe: Recipe = best.candidate.recipe
    rows = [
        ("generator", recipe.generator),
        ("seed", str(recipe.seed)),
        ("size", f"{recipe.width} × {recipe.height} px"),
        ("denoiser steps", str(recipe.steps)),
        ("guidance scale", f"{recipe.guidance:g}"),
        *((name, str(value)) for name, value in recipe.settings),
    ]
    if recipe.prompt != story.result.prompt:
        rows.insert(0, ("painted from", recipe.prompt))
    return [(plain(name), plain(value)) for name, value in rows]


def _curve(story: Story) -> Curve | None:
    """Return the scores as a drawing; none when fewer than two pictures were judged."""
    judged = [(turn.number, turn.score) for turn in story.turns.values() if turn.score is not None]
    if len(judged) < 2:
        return None
    width, height, edge = 640, 120, 8
    low, high = min(score for _, score in judged), max(score for _, score in judged)
    span = (high - low) or 1.0
    last = max(n for n, _ in judged)

    def at(number: int, score: float) -> tuple[float, float]:
        x = edge + (width - 2 * edge) * (number - 1) / max(1, last - 1)
        return round(x, 1), round(height - edge - (height - 2 * edge) * (score - low) / span, 1)

    dots: list[tuple[float, float, int, float]] = []
    points: list[str] = []
    top = low
    for number, score in judged:
        x, before = at(number, top)
        top = max(top, score)
        dots.append((*at(number, score), number, score))
        points += [f"{x},{at(number, top)[1]}"] if not points else [f"{x},{before}", f"{x},{at(number, top)[1]}"]
    return Curve(width, height, tuple(dots), " ".join(points), low, high)
