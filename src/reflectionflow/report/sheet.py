"""The contact sheet: every picture of a search on one page, score and seed below, the best one framed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reflectionflow.report.story import Story, said_of
from reflectionflow.types import Step

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

_CELL = 256  # px, the longer side of a picture on the sheet
_GAP = 20
_CAPTION = 58
_HEAD = 84
_PAPER, _INK, _QUIET, _EMPTY, _BEST = "#ffffff", "#1c1e21", "#6b7078", "#eceef1", "#0f7b5f"


def contact_sheet(story: Story) -> Image:
    """Return the contact sheet (RGB): pictures in the order of their place, each 256 px wide or high."""
    from PIL import Image, ImageDraw

    steps = story.numbered
    columns = max(3, math.ceil(math.sqrt(len(steps) * 1.3)))
    rows = max(1, math.ceil(len(steps) / columns))
    tall = _height(story)
    size = (_GAP + columns * (_CELL + _GAP), _HEAD + rows * (tall + _CAPTION + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    _heading(pen, story, size[0] - 2 * _GAP)
    for index, (number, step) in enumerate(steps):
        left = _GAP + index % columns * (_CELL + _GAP)
        top = _HEAD + index // columns * (tall + _CAPTION + _GAP)
        _cell(sheet, pen, story, step, (left, top, tall))
        _caption(pen, story, number, step, (left, top + tall))
    return sheet


def _height(story: Story) -> int:
    """Return the height of a picture cell: that of the tallest picture when it is as wide as a cell."""
    shapes = [(step.candidate.width, step.candidate.height) for step in story.result.steps if step.candidate]
    return max((round(_CELL * min(1.0, height / width)) for width, height in shapes), default=_CELL)


def _heading(pen: ImageDraw, story: Story, width: int) -> None:
    result = story.result
    count = len(result.steps)
    facts = f"{count} picture{'s' if count != 1 else ''} · strategy {result.strategy} · stack {story.stack}"
    pen.text((_GAP, 18), _shortened(pen, result.prompt, 24, width), fill=_INK, font=_font(24))
    pen.text((_GAP, 50), _shortened(pen, facts, 16, width), fill=_QUIET, font=_font(16))


def _cell(sheet: Image, pen: ImageDraw, story: Story, step: Step, place: tuple[int, int, int]) -> None:
    """Draw one picture, or an empty box, into the cell at (left, top, height)."""
    from PIL import Image

    left, top, tall = place
    if step.candidate is None:
        pen.rectangle((left, top, left + _CELL - 1, top + tall - 1), fill=_EMPTY)
        pen.text((left + _CELL / 2, top + tall / 2), "no picture", fill=_QUIET, font=_font(18), anchor="mm")
        return
    picture = story.open(step.candidate)
    scale = min(_CELL / picture.width, tall / picture.height)
    shown = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    x, y = left + (_CELL - shown.width) // 2, top + (tall - shown.height) // 2
    sheet.paste(shown, (x, y))
    if story.is_best(step):
        pen.rectangle((x - 7, y - 7, x + shown.width + 6, y + shown.height + 6), outline=_BEST, width=5)


def _caption(pen: ImageDraw, story: Story, number: int, step: Step, corner: tuple[int, int]) -> None:
    left, top = corner
    best = story.is_best(step)
    pen.text((left, top + 12), said_of(step), fill=_BEST if best else _INK, font=_font(19))
    if best:
        pen.text((left + _CELL, top + 14), "best", fill=_BEST, font=_font(16), anchor="ra")
    seed = "" if step.candidate is None else f" · seed {step.candidate.recipe.seed}"
    pen.text((left, top + 36), _shortened(pen, f"No. {number}{seed}", 13, _CELL), fill=_QUIET, font=_font(13))


def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


def _shortened(pen: ImageDraw, text: str, size: int, width: int) -> str:
    """Return the text cut at its end, with an ellipsis, to fit `width` pixels."""
    font = _font(size)
    if pen.textlength(text, font=font) <= width:
        return text
    while text and pen.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text.rstrip() + "…"
