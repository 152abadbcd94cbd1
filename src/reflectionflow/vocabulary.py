"""Which words of a text a painter knows, for texts of users and of models alike."""

from __future__ import annotations

import re

from reflectionflow.roles import Capabilities, Generator

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
SHOWN_WORDS = 12


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation, in order."""
    return _WORD.findall(text.lower())


def unknown_words(text: str, painter: Generator) -> str:
    """Return a sentence that names the words of a text which a painter does not know; empty when it knows all."""
    can = painter.capabilities
    unknown = [word for word in dict.fromkeys(words_of(text)) if not _knows(can, word)]
    if not unknown:
        return ""
    quoted = ", ".join(f"'{word}'" for word in unknown)
    plural = "s" if len(unknown) > 1 else ""
    return f"{painter.name} does not know the word{plural} {quoted}; it knows {_shortened(can)}."


def _knows(can: Capabilities, word: str) -> bool:
    if can.words is None or word in can.words:
        return True
    parts = re.split(r"['’-]", word)
    return len(parts) > 1 and all(part in can.words for part in parts)


def _shortened(can: Capabilities) -> str:
    words = sorted(can.words or ())
    shown = ", ".join(words[:SHOWN_WORDS])
    return shown if len(words) <= SHOWN_WORDS else f"{shown} … ({len(words)} words)"
