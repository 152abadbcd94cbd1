"""The HTML report: one file, pictures inside it, no scripts, readable on screen (light and dark) and on paper."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from reflectionflow.report.story import Story, said_of, why_not
from reflectionflow.types import Candidate, Recipe, Spend, Step

_THUMBNAIL = 384  # px, the longer side of a card's picture; larger ones are sent as JPEG of this size
_PARENT = 104  # px, the longer side of a parent's picture on its child's card
_ENLARGED = 256  # px, pictures smaller than this are enlarged by a whole factor so that people can see them

_SPEND_NAMES = {
    "images": "Pictures painted",
    "denoiser_evaluations": "Denoiser evaluations",
    "verifier_calls": "Pictures judged",
    "reflector_calls": "Reflections written",
    "refiner_calls": "Prompts rewritten",
    "tokens": "Language model tokens",
    "seconds": "Model seconds",
}


@dataclass(frozen=True)
class Parent:
    """The picture a correction started from: its number, its thumbnail as a data address."""

    number: int | None
    source: str


@dataclass(frozen=True)
class Card:
    """One step as the template draws it.

    Attributes:
        number: Counted from 1 in the order of place.
        place: (round, slot).
        source: The picture as a data address; empty when there is none.
        said: The score, or a few words instead.
        why: Why there is no picture or no score; empty when there are both.
        best: Whether it was chosen.
        seed: Seed of its noise, or none without a picture.
        rationale: The verifier's words.
        aspects: Named partial scores.
        parent: What it was corrected from, or none for a draft.
        reflection: The critique it was corrected from.
        refined: The rewritten prompt it was painted from.
    """

    number: int
    place: tuple[int, int]
    source: str
    said: str
    why: str
    best: bool
    seed: int | None
    rationale: str
    aspects: tuple[tuple[str, float], ...]
    parent: Parent | None
    reflection: str
    refined: str


@dataclass(frozen=True)
class Round:
    """The cards of one round."""

    number: int
    cards: tuple[Card, ...]


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
    cards = [_card(story, number, step) for number, step in story.numbered]
    best = next((card for card in cards if card.best), None)
    return environment.get_template("report.html.jinja").render(
        story=story,
        result=story.result,
        best=best,
        best_source=_best_source(story),
        best_width=_shown_width(story),
        rounds=_rounds(cards),
        total=len(cards),
        curve=_curve(story),
        spend=_spend_rows(story.result.charged, story.result.paid),
        recipe=_recipe_rows(story),
        candidate=story.result.best.candidate if story.result.best else None,
    )


def _card(story: Story, number: int, step: Step) -> Card:
    verdict = step.verdict
    return Card(
        number=number,
        place=step.place,
        source="" if step.candidate is None else _thumbnail(story, step.candidate, _THUMBNAIL),
        said=said_of(step),
        why=why_not(step),
        best=story.is_best(step),
        seed=None if step.candidate is None else step.candidate.recipe.seed,
        rationale="" if verdict is None else verdict.rationale,
        aspects=() if verdict is None else verdict.aspects,
        parent=_parent(story, step),
        reflection="" if step.reflection is None else step.reflection.text,
        refined="" if step.refined is None else step.refined.text,
    )


def _parent(story: Story, step: Step) -> Parent | None:
    parent = None if step.candidate is None else step.candidate.recipe.parent
    if parent is None:
        return None
    by_id = {item.candidate.id: item.candidate for item in story.result.steps if item.candidate}
    source = _thumbnail(story, by_id[parent], _PARENT) if parent in by_id else ""
    return Parent(number=story.numbers.get(parent), source=source)


def _rounds(cards: Sequence[Card]) -> list[Round]:
    numbers = sorted({card.place[0] for card in cards})
    return [Round(number, tuple(card for card in cards if card.place[0] == number)) for number in numbers]


def _thumbnail(story: Story, candidate: Candidate, side: int) -> str:
    """Return a picture as a data address: the file itself when no longer than `side` px, a smaller JPEG otherwise."""
    if max(candidate.width, candidate.height) <= side:
        return _address(story.png(candidate), "png")
    picture = story.open(candidate)
    picture.thumbnail((side, side))
    out = BytesIO()
    picture.save(out, format="JPEG", quality=88)
    return _address(out.getvalue(), "jpeg")


def _best_source(story: Story) -> str:
    best = story.result.best
    return "" if best is None or best.candidate is None else _address(_enlarged(story, best.candidate), "png")


def _enlarged(story: Story, candidate: Candidate) -> bytes:
    """Return the PNG file of a candidate, small ones resampled to at least 512 px by a whole factor."""
    from PIL import Image

    if max(candidate.width, candidate.height) >= _ENLARGED:
        return story.png(candidate)
    factor = -(-2 * _ENLARGED // max(candidate.width, candidate.height))
    picture = story.open(candidate)
    out = BytesIO()
    picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.LANCZOS).save(out, format="PNG")
    return out.getvalue()


def _shown_width(story: Story) -> int:
    """Return the width in CSS pixels at which the best picture is shown."""
    best = story.result.best
    if best is None or best.candidate is None:
        return 0
    return min(560, max(2 * best.candidate.width, 384))


def _address(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _spend_rows(charged: Spend, paid: Spend) -> list[SpendRow]:
    rows = []
    for item in dataclasses.fields(Spend):
        values = [getattr(ledger, item.name) for ledger in (charged, paid)]
        if any(values) or item.name in ("images", "denoiser_evaluations", "verifier_calls", "seconds"):
            texts = [f"{value:.1f}" if isinstance(value, float) else f"{value:,}" for value in values]
            rows.append(SpendRow(_SPEND_NAMES[item.name], *texts))
    return rows


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
    return rows


def _curve(story: Story) -> Curve | None:
    """Return the scores as a drawing; none when fewer than two pictures were judged."""
    judged = [(n, s.verdict.score) for n, s in story.numbered if s.verdict and s.verdict.score is not None]
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
