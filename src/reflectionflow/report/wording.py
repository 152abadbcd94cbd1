"""Texts of people and models made fit to be shown, and what changed between two of them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum

_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows them, beyond the text they stand in."""
_TOKEN = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
_AKIN = 0.4  # below this likeness two texts are told as one replaced by the other, not word by word
_MOST = 2000  # words; comparing longer texts would take long, and nobody reads the comparison


class Kind(Enum):
    """What happened to a piece of text."""

    KEPT = "kept"
    ADDED = "added"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Piece:
    """A piece of text, and what happened to it."""

    kind: Kind
    text: str

    @property
    def core(self) -> str:
        """The text without the space around it."""
        return self.text.strip()

    @property
    def before(self) -> str:
        """The space it begins with; all of it where there is nothing else."""
        return self.text[: len(self.text) - len(self.text.lstrip())]

    @property
    def after(self) -> str:
        """The space it ends with, where there is something else."""
        return self.text[len(self.text.rstrip()) :] if self.core else ""


def plain(text: str) -> str:
    """Return a text without what a page or a terminal could take for a command.

    Line ends and tabs become spaces; other control characters, halves of surrogate pairs and marks that reorder the
    text around them become U+FFFD.
    """
    return "".join(_plain_character(character) for character in text)


def _plain_character(character: str) -> str:
    if character in "\t\n\r\v\f\x85\u2028\u2029":
        return " "
    return "\ufffd" if character in _REORDERING or unicodedata.category(character) in ("Cc", "Cs") else character


def changes(before: str, after: str) -> tuple[Piece, ...]:
    """Return how `before` became `after`, word by word (sign by sign where a script has no spaces).

    The kept and added pieces join to `after`, the kept and dropped ones to `before`. Two texts with little in common
    are one dropped and one added piece.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if max(len(old), len(new)) > _MOST or matcher.ratio() < _AKIN:
        whole = (Piece(Kind.DROPPED, before), Piece(Kind.ADDED, after))
        return tuple(piece for piece in whole if piece.text)
    pieces = []
    for operation, start, end, new_start, new_end in matcher.get_opcodes():
        if operation == "equal":
            pieces.append(Piece(Kind.KEPT, "".join(new[new_start:new_end])))
            continue
        pieces.append(Piece(Kind.DROPPED, "".join(old[start:end])))
        pieces.append(Piece(Kind.ADDED, "".join(new[new_start:new_end])))
    return tuple(piece for piece in pieces if piece.text)
