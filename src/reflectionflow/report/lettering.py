"""Type on drawn sheets: fonts that have the letters, lines that fit.

Pillow brings a font with the letters of English. Text in other letters is drawn in the first well-known font of this
machine that has them all; without one, accents are dropped and what is left is drawn as the boxes of the default font.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from reflectionflow.report.wording import Kind, Piece, plain

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

Point = tuple[float, float]
Run = tuple[Kind, str]

_DEFAULT = ""
_FAMILIES = (
    _DEFAULT,
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
)
_ABSENT = "\U0010ffff"
"""A character that no font has, so that its picture is the font's box for what it lacks."""


def write(pen: ImageDraw, place: Point, text: str, size: int, ink: str, anchor: str = "la") -> None:
    """Write one line of text at (x, y), `size` px high, in a font that has its letters.

    Fonts stand on one base line: the one Pillow's own font has when it is anchored so.
    """
    family, shown = _set(plain(text))
    x, y = place
    ascent, descent = _font(_DEFAULT, size).getmetrics()
    base = y + {"a": ascent, "m": (ascent - descent) / 2}[anchor[1]]
    pen.text((x, base), shown, fill=ink, font=_font(family, size), anchor=f"{anchor[0]}s")


def width_of(text: str, size: int) -> float:
    """Return how many pixels wide `write` draws a text."""
    family, shown = _set(plain(text))
    return _font(family, size).getlength(shown)


def shortened(text: str, size: int, width: float) -> str:
    """Return a text cut at its end, with an ellipsis, to fit `width` pixels."""
    if width_of(text, size) <= width:
        return text
    fits, fails = 0, len(text)  # bisection over the number of characters kept
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if width_of(text[:middle] + "…", size) <= width:
            fits = middle
        else:
            fails = middle
    return text[:fits].rstrip() + "…"


def wrapped(pieces: Sequence[Piece], size: int, width: float, most: int) -> list[list[Run]]:
    """Return text broken into at most `most` lines that fit `width` pixels; the last one ends in "…" if there is more.

    Lines break between words, and inside a word that is wider than a line.
    """
    lines: list[list[Run]] = [[]]
    used = 0.0
    for kind, word in _words(pieces, size, width):
        space = width_of(word, size)
        if used and used + width_of(word.rstrip(), size) > width:
            if len(lines) == most:
                last, text = lines[-1].pop()
                lines[-1].append((last, shortened(text.rstrip() + "……", size, width_of(text, size))))
                return lines
            lines.append([])
            used = 0.0
        lines[-1].append((kind, word))
        used += space
    return [line for line in lines if line]


def write_runs(pen: ImageDraw, place: Point, runs: Sequence[Run], size: int, inks: dict[Kind, str]) -> None:
    """Write one line of differently inked runs at (x, y)."""
    x, y = place
    for kind, text in runs:
        write(pen, (x, y), text, size, inks[kind])
        x += width_of(text, size)


def _words(pieces: Sequence[Piece], size: int, width: float) -> Iterator[Run]:
    """Yield the words of the pieces, each with the space after it; words wider than a line in parts."""
    for piece in pieces:
        word = ""
        for character in plain(piece.text):
            ends = word.endswith(" ") and character != " "
            if word and (ends or width_of(word + character, size) > width):
                yield piece.kind, word
                word = ""
            word += character
        if word:
            yield piece.kind, word


@lru_cache(maxsize=4096)
def _set(text: str) -> tuple[str, str]:
    """Return the font family for a text, and the text as that font can show it."""
    for family in _families():
        if all(_has(family, character) for character in set(text)):
            return family, text
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    lacking = {family: sum(not _has(family, c) for c in bare) for family in _families()}
    return min(lacking, key=lambda family: lacking[family]), bare


@lru_cache(maxsize=1)
def _families() -> tuple[str, ...]:
    return tuple(family for family in _FAMILIES if _exists(family))


def _exists(family: str) -> bool:
    try:
        _font(family, 16)
    except OSError:
        return False
    return True


@lru_cache(maxsize=65536)
def _has(family: str, character: str) -> bool:
    """Return whether a font has a letter of its own for a character."""
    if character.isspace():
        return True
    font = _font(family, 16)
    shown, absent = font.getmask(character), font.getmask(_ABSENT)
    return shown.size != absent.size or bytes(shown) != bytes(absent)


@lru_cache(maxsize=256)
def _font(family: str, size: int) -> FreeTypeFont:
    from PIL import ImageFont
    from PIL.ImageFont import FreeTypeFont

    font = ImageFont.truetype(family, size) if family else ImageFont.load_default(size=size)
    if not isinstance(font, FreeTypeFont):
        raise OSError("Pillow was built without FreeType; install its wheel")
    return font
