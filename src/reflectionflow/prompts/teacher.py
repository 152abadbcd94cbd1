"""What a vision-language model is asked when it teaches: GenRef-CoT of a pair of pictures, and captions.

The teacher sees two pictures, called A and B, and is not told which is better (ReflectionFlow section 4): it describes
the differences, gives its preference, and only then writes the instructions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reflectionflow.prompts.answers import first_object
from reflectionflow.prompts.vlm import parse_refined, parse_reflection, shown

COMPARE = (
    "You compare two images, A and B, that were made for the same prompt. First describe the differences that matter"
    " for the prompt: objects, their number, colors and positions; one sentence each, calling the images A and B. Then"
    ' say which one fits the prompt better: "A", "B", or "same". Last write the instructions that would turn the worse'
    " image into the better one: short imperative sentences, each one edit, most important first, such as"
    ' "remove the red chair", "add a second dog to the left of the bench", "change the color of the car from blue to'
    ' white". Instructions name objects, never A or B. Answer with one JSON object with the keys "differences",'
    ' "better" and "instructions", in this order.'
)
COMPARED: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "differences": {"type": "array", "items": {"type": "string"}},
        "better": {"type": "string", "enum": ["A", "B", "same"]},
        "instructions": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["differences", "better", "instructions"],
    "additionalProperties": False,
}
CAPTION = (
    "Describe this image in one sentence, as a prompt from which an image generator could paint it: its objects, how"
    " many there are, their colors and where they are, and its style. Answer with the sentence alone."
)
_BETTER = {"a": 1, "1": 1, "first": 1, "b": 2, "2": 2, "second": 2, "same": 0, "tie": 0, "neither": 0, "both": 0}
_NAMED = re.compile(
    r"\b(?:the )?(?:image|picture) ([AB])\b|(?<=\S )([AB])\b|^(B)\b"
    r"|^(A)(?= (?:shows|has|is|lacks|contains|depicts|includes|misses|does|only)\b|'s\b)",
    re.IGNORECASE,
)
"""A picture called by its letter; a capital A at the start of a sentence is one only before a verb."""
_EXCHANGE = re.compile(r"\b(first|second) picture\b")
_OTHER = {"first": "second", "second": "first"}


@dataclass(frozen=True)
class Told:
    """A teacher's answer.

    Attributes:
        differences: Sentences that call the pictures the first and the second.
        better: 1 or 2, the picture it prefers; 0 when neither.
        edits: The instructions; empty when neither is better.
    """

    differences: tuple[str, ...]
    better: int
    edits: tuple[str, ...]


def compare_question(prompt: str) -> str:
    """Return what a teacher is asked about two pictures; `COMPARE` comes before it as the system's words."""
    return f'The first image is A, the second is B. The prompt is "{prompt}".'


def parse_comparison(raw: str) -> Told:
    """Read a teacher's answer.

    Raises:
        ValueError: if there is no JSON object, no preference, or a preference without instructions.
    """
    found = first_object(raw)
    words = re.findall(r"\w+", str(found.get("better", "")).lower())
    sides = {_BETTER[word] for word in words if word in _BETTER}
    if len(sides) != 1:
        raise ValueError(f"The teacher's answer gives no preference: {shown(raw)}.")
    better = sides.pop()
    edits = parse_reflection("\n".join(_lines(found.get("instructions")))) if better else ()
    if better and not edits:
        raise ValueError(f"The teacher's answer gives no instruction: {shown(raw)}.")
    return Told(tuple(_ordinal(line) for line in _lines(found.get("differences"))), better, edits)


def exchanged(differences: tuple[str, ...]) -> tuple[str, ...]:
    """Return sentences that call two pictures the first and the second, as if the pictures changed places."""
    return tuple(_EXCHANGE.sub(lambda found: f"{_OTHER[found[1]]} picture", line) for line in differences)


def parse_caption(raw: str) -> str:
    """Read a caption: one line.

    Raises:
        ValueError: if it is empty, a refusal or endless.
    """
    return parse_refined(raw, "")


def _lines(value: Any) -> list[str]:
    parts = value if isinstance(value, list) else str(value or "").splitlines()
    return [line for part in parts if isinstance(part, str) and (line := " ".join(part.split()))]


def _ordinal(line: str) -> str:
    """Return a sentence that calls images A and B the first and the second picture."""

    def name(found: re.Match[str]) -> str:
        letter = next(group for group in found.groups() if group)
        if found[0] in ("a", "b"):  # an article, no name
            return found[0]
        return f"{'the' if found.start() else 'The'} {'first' if letter.upper() == 'A' else 'second'} picture"

    return _NAMED.sub(name, line)
