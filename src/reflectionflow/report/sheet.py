"""The contact sheet: every picture of a search on one page, score and seed below, the best one framed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reflectionflow.report.lettering import shortened, write
from reflectionflow.report.story import Story, said_of
from reflectionflow.types import Step

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_CELL = 256  # px, the width of a picture on the sheet, and its largest height
_SMALL_CELL, _MANY = 128, 120  # px, the same on a sheet of more than so many pictures
_GAP = 20
_CAPTION = 58
_HEAD = 84
PAPER, INK, QUIET, EMPTY, BEST = "#ffffff", "#1c1e21", "#6b7078", "#eceef1", "#0f7b5f"


def contact_sheet(story: Story) -> Image:
    """Return the contact sheet (RGB): every picture in the order of its place, enlarged or reduced to a cell's size."""
    from PIL import Image, ImageDraw

    steps = story.numbered
    wide = _CELL if len(steps) <= _MANY else _SMALL_CELL
    columns = _columns(len(steps))
    rows = max(1, math.ceil(len(steps) / columns))
    tall = picture_height(story, wide)
    size = (_GAP + columns * (wide + _GAP), _HEAD + rows * (tall + _CAPTION + _GAP) + _GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    _heading(pen, story, size[0] - 2 * _GAP)
    for index, (number, step) in enumerate(steps):
        left = _GAP + index % columns * (wide + _GAP)
        top = _HEAD + index // columns * (tall + _CAPTION + _GAP)
        draw_picture(sheet, pen, story, step, (left, top, left + wide, top + tall))
        _caption(pen, story, number, step, (left, top + tall, wide))
    return sheet


def _columns(pictures: int) -> int:
    """Return how many pictures stand in a row: a little more than in a column, leaving few cells empty."""
    fewest, most = max(3, math.ceil(math.sqrt(pictures))), max(3, math.ceil(math.sqrt(1.7 * pictures)))
    return min(range(fewest, most + 1), key=lambda columns: (-pictures % columns, -columns))


def picture_height(story: Story, wide: int) -> int:
    """Return the height of a picture cell: that of the tallest picture when it is `wide` px wide, at most as much."""
    shapes = [(step.candidate.width, step.candidate.height) for step in story.result.steps if step.candidate]
    return max((round(wide * min(1.0, height / width)) for width, height in shapes), default=wide)


def _heading(pen: ImageDraw, story: Story, width: int) -> None:
    result = story.result
    count = len(result.steps)
    facts = f"{count} picture{'s' if count != 1 else ''} · strategy {result.strategy} · stack {story.stack}"
    write(pen, (_GAP, 18), shortened(result.prompt, 24, width), 24, INK)
    write(pen, (_GAP, 50), shortened(facts, 16, width), 16, QUIET)


def draw_picture(sheet: Image, pen: ImageDraw, story: Story, step: Step, box: tuple[int, int, int, int]) -> None:
    """Draw one step's picture, framed if it is the best, or an empty box, into a cell (left, top, right, bottom)."""
    from PIL import Image

    left, top, right, bottom = box
    if step.candidate is None:
        pen.rectangle((left, top, right - 1, bottom - 1), fill=EMPTY)
        write(pen, ((left + right) / 2, (top + bottom) / 2), "no picture", 18, QUIET, "mm")
        return
    picture = story.open(step.candidate)
    scale = min((right - left) / picture.width, (bottom - top) / picture.height)
    shown = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    x, y = left + (right - left - shown.width) // 2, top + (bottom - top - shown.height) // 2
    sheet.paste(shown, (x, y))
    if story.is_best(step):
        pen.rectangle((x - 7, y - 7, x + shown.width + 6, y + shown.height + 6), outline=BEST, width=5)


def _caption(pen: ImageDraw, story: Story, number: int, step: Step, place: tuple[int, int, int]) -> None:
    """Write score, number and seed below a cell, at (left, top, width)."""
    left, top, wide = place
    best = story.is_best(step)
    write(pen, (left, top + 12), said_of(step), 19, BEST if best else INK)
    if best:
        write(pen, (left + wide, top + 14), "best", 16, BEST, "ra")
    seed = "" if step.candidate is None else f" · seed {step.candidate.recipe.seed}"
    write(pen, (left, top + 36), shortened(f"No. {number}{seed}", 13, wide), 13, QUIET)
