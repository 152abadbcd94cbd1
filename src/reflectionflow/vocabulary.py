"""Which words of a text a painter knows, for texts of users and of models alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reflectionflow.roles import Capabilities, Generator

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
SHOWN_WORDS = 12


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation, in order."""
    return _WORD.findall(text.lower())


def unknown_words(text: str, *painters: Generator) -> str:
    """Return what words of a text painters do not know, and what they paint instead; empty when they know all.

    It is one sentence for painters of which the same is to be said.
    """
    told: dict[tuple[str, str, str], list[Generator]] = {}
    for painter in painters:
        can = painter.capabilities
        unknown = [word for word in dict.fromkeys(words_of(text)) if not _knows(can, word)]
        quoted = ", ".join(f"'{word}'" for word in unknown)
        if unknown:
            plural = "s" if len(unknown) > 1 else ""
            told.setdefault((f"know the word{plural} {quoted}", *_instead(can)), []).append(painter)
    sentences = []
    for (lacking, verb, instead), some in told.items():
        names, several = together(some)
        does, able = ("do", f"they {verb}") if several else ("does", f"it {verb}s")
        sentences.append(f"{names} {does} not {lacking}; {able} {instead}.")
    return " ".join(sentences)


def together(painters: Sequence[Generator]) -> tuple[str, bool]:
    """Return the names of painters for a sentence, each once, and whether there are several."""
    names = list(dict.fromkeys(painter.name for painter in painters))
    return " and ".join(names), len(names) > 1


def _knows(can: Capabilities, word: str) -> bool:
    if can.words is None or word in can.words:
        return True
    parts = re.split(r"['’-]", word)
    return len(parts) > 1 and all(part in can.words for part in parts)


def _instead(can: Capabilities) -> tuple[str, str]:
    """Return what can be asked for: a verb and its object."""
    if can.paints:
        return "paint", can.paints
    words = sorted(can.words or ())
    shown = ", ".join(words[:SHOWN_WORDS])
    return "know", shown if len(words) <= SHOWN_WORDS else f"{shown} … ({len(words)} words)"
