"""The sheet of chains, after Figure 5 of arXiv 2504.16080: draft, what was criticised, corrected picture, and so on.

One row per chain of pictures, the one with the answer first, then the better ones. A long row goes on below, and a
branch has a row of its own; both begin with the picture they go on from. Of several searches a sheet shows only the
ways that led to their answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reflectionflow.report.chains import Chain, Row, chains_of
from reflectionflow.report.lettering import Run, shortened, width_of, wrapped, write, write_runs
from reflectionflow.report.sheet import BEST, INK, PAPER, QUIET, draw_picture, picture_height
from reflectionflow.report.story import Story, Turn
from reflectionflow.report.wording import Kind, Piece

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

MOST_ROWS = 24
"""Rows on a sheet; the page shows the others."""
_PICTURE, _NOTE, _GAP = 256, 248, 28  # px: a picture's width and largest height, the words between two, the space
_HEAD, _TITLE, _CAPTION, _FOOT = 100, 44, 66, 26  # px: the sheet's head, a row's title, under a picture, below a row
_ABREAST = 4  # pictures beside each other
_SIZE, _LINE = 17, 24  # px: type and the distance of lines
_EDIT_LINES, _PROMPT_LINES, _EDITS = 6, 9, 8  # at most, of each edit, of a prompt; edits of a reflection
_INDENT = 15  # px, of an edit behind its dot
_RULE = "#d9dce1"
_INKS = {Kind.KEPT: INK, Kind.ADDED: BEST}


@dataclass(frozen=True)
class _Paragraph:
    """A small heading over lines of text, some of which begin with a dot."""

    heading: str
    lines: list[list[Run]]
    dotted: frozenset[int] = frozenset()

    @property
    def height(self) -> int:
        """Pixels, with the space below."""
        return 24 + len(self.lines) * _LINE + 14


@dataclass(frozen=True)
class _Line:
    """Pictures beside each other, words before each but the first.

    Attributes:
        title: What stands above it; empty where a row only goes on.
        beside: What stands on the right of the title, in smaller type.
        turns: The pictures.
        notes: The words before each picture but the first.
    """

    title: str
    beside: str
    turns: tuple[Turn, ...]
    notes: tuple[tuple[_Paragraph, ...], ...]

    @property
    def width(self) -> int:
        """Pixels."""
        return len(self.turns) * _PICTURE + len(self.notes) * (_NOTE + 2 * _GAP)

    def height(self, tall: int) -> int:
        """Return the pixels from title to foot, with pictures `tall` px high."""
        words = max((_ARROW + sum(paragraph.height for paragraph in note) for note in self.notes), default=0)
        return (_TITLE if self.title else 0) + max(tall + _CAPTION, words) + _FOOT


_ARROW = 30  # px, the arrow above the words and the space below it


@dataclass(frozen=True)
class Way:
    """The way to the answer of one search, for a sheet of several.

    Attributes:
        story: The search.
        title: What stands above its row.
        remark: What stands beside the title, in smaller type.
    """

    story: Story
    title: str
    remark: str = ""


def chain_sheet(story: Story) -> Image | None:
    """Return the sheet of a story's chains (RGB); none where nothing came of any draft."""
    from PIL import Image, ImageDraw

    rows = [(chain, row) for chain in chains_of(story) for row in chain.rows]
    if not rows:
        return None
    lines = [line for chain, row in rows[:MOST_ROWS] for line in _lines(_turns(row), _title(chain, row), _scores(row))]
    tall = picture_height(story, _PICTURE)
    more = f"{len(rows) - MOST_ROWS} more rows are in the report." if len(rows) > MOST_ROWS else ""
    width = max(max(line.width for line in lines), 2 * _PICTURE + _NOTE) + 2 * _GAP
    height = _HEAD + sum(line.height(tall) for line in lines) + (_TITLE if more else 0)
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    _heading(pen, story, width - 2 * _GAP)
    top = _HEAD
    for line in lines:
        _draw(sheet, pen, story, line, top, tall)
        top += line.height(tall)
    if more:
        write(pen, (_GAP, top), more, _SIZE, QUIET)
    return sheet


def path_sheet(ways: Sequence[Way]) -> Image | None:
    """Return a sheet (RGB) of the ways from the draft to the answer, one below the other; none without a way."""
    from PIL import Image, ImageDraw

    rows = [
        (way.story, line) for way in ways if way.story.path for line in _lines(way.story.path, way.title, way.remark)
    ]
    if not rows:
        return None
    talls = [picture_height(story, _PICTURE) for story, _ in rows]
    heights = [line.height(tall) for (_, line), tall in zip(rows, talls, strict=True)]
    width = max(*(line.width for _, line in rows), 2 * _PICTURE + _NOTE + 2 * _GAP) + 2 * _GAP
    sheet = Image.new("RGB", (width, _GAP + sum(heights)), PAPER)
    pen = ImageDraw.Draw(sheet)
    top = _GAP
    for (story, line), tall, height in zip(rows, talls, heights, strict=True):
        _draw(sheet, pen, story, line, top, tall)
        top += height
    return sheet


def _turns(row: Row) -> tuple[Turn, ...]:
    return (*((row.branch_of,) if row.branch_of else ()), *row.turns)


def _lines(turns: Sequence[Turn], title: str, beside: str) -> Iterator[_Line]:
    for first in range(0, max(1, len(turns) - 1), _ABREAST - 1):
        shown = tuple(turns[first : first + _ABREAST])
        begins = first == 0
        yield _Line(title if begins else "", beside if begins else "", shown, tuple(_note(turn) for turn in shown[1:]))


def _title(chain: Chain, row: Row) -> str:
    if row.branch_of is not None:
        return f"Chain {chain.number}, branch from No. {row.branch_of.number}"
    return f"Chain {chain.number}"


def _scores(row: Row) -> str:
    judged = [turn for turn in row.turns if turn.score is not None]
    best = max(judged, key=lambda turn: turn.score or 0.0, default=None)
    return "no score" if best is None else f"best score {best.said}, No. {best.number}"


def _note(turn: Turn) -> tuple[_Paragraph, ...]:
    """Return the words that led to a picture."""
    lines: list[list[Run]] = []
    dotted = set()
    for edit in turn.edits[:_EDITS]:
        dotted.add(len(lines))
        told = f"{edit} (left out)" if edit in turn.left_out else edit
        lines += wrapped((Piece(Kind.KEPT, told),), _SIZE, _NOTE - _INDENT, _EDIT_LINES)
    if len(turn.edits) > _EDITS:
        lines.append([(Kind.KEPT, f"and {len(turn.edits) - _EDITS} more")])
    now = tuple(piece for piece in turn.rewritten if piece.kind is not Kind.DROPPED)
    paragraphs = (
        _Paragraph("Criticised", lines, frozenset(dotted)),
        _Paragraph("Prompt rewritten", wrapped(now, _SIZE, _NOTE, _PROMPT_LINES)),
    )
    return tuple(paragraph for paragraph in paragraphs if paragraph.lines)


def _heading(pen: ImageDraw, story: Story, width: int) -> None:
    result = story.result
    facts = f"{result.stop.value} {len(result.steps)} pictures · strategy {result.strategy} · stack {story.stack}"
    write(pen, (_GAP, 22), shortened(result.prompt, 26, width), 26, INK)
    write(pen, (_GAP, 58), shortened(facts, 16, width), 16, QUIET)


def _draw(sheet: Image, pen: ImageDraw, story: Story, line: _Line, top: int, tall: int) -> None:
    """Draw one line of the sheet from `top` downwards, its pictures `tall` px high."""
    if line.title:
        pen.line((_GAP, top, sheet.width - _GAP, top), fill=_RULE)
        title = shortened(line.title, 18, sheet.width - 2 * _GAP - 14 - round(width_of(line.beside, 15)))
        write(pen, (_GAP, top + 12), title, 18, INK)
        write(pen, (_GAP + width_of(title, 18) + 14, top + 14), line.beside, 15, QUIET)
        top += _TITLE
    left = _GAP
    for index, turn in enumerate(line.turns):
        if index:
            _draw_note(pen, line.notes[index - 1], left + _GAP, top)
            left += _NOTE + 2 * _GAP
        draw_picture(sheet, pen, story, turn.step, (left, top, left + _PICTURE, top + tall))
        _caption(pen, turn, left, top + tall)
        left += _PICTURE


def _draw_note(pen: ImageDraw, note: tuple[_Paragraph, ...], left: int, top: int) -> None:
    y, tip = top + 9, left + _NOTE
    pen.line((left, y, tip - 8, y), fill=QUIET, width=2)
    pen.polygon(((tip, y), (tip - 11, y - 6), (tip - 11, y + 6)), fill=QUIET)
    y = top + _ARROW
    for paragraph in note:
        write(pen, (left, y), paragraph.heading, 13, QUIET)
        for number, runs in enumerate(paragraph.lines):
            line = y + 22 + number * _LINE
            write_runs(pen, (left + (_INDENT if paragraph.dotted else 0), line), runs, _SIZE, _INKS)
            if number in paragraph.dotted:
                pen.ellipse((left + 1, line + 9, left + 6, line + 14), fill=QUIET)
        y += paragraph.height


def _caption(pen: ImageDraw, turn: Turn, left: int, top: int) -> None:
    ink = BEST if turn.best else INK
    write(pen, (left, top + 12), turn.said, 20, ink)
    beside = turn.gained or ("" if turn.origin else "draft")
    write(pen, (left + width_of(turn.said, 20) + 10, top + 16), beside, 15, QUIET)
    words = f"best · No. {turn.number}" if turn.best else f"No. {turn.number}"
    write(pen, (left + _PICTURE, top + 16), words, 15, BEST if turn.best else QUIET, "ra")
    remark = turn.why_not or " ".join(turn.remarks)
    write(pen, (left, top + 42), shortened(remark, 14, _PICTURE), 14, QUIET)
