"""The rubric of a judge that answers in words: aspects and an overall score, each 0 to 10, the explanation first.

Explaining before scoring lets the score follow from what was seen. The aspects are the same for every prompt: a rubric
chosen by a benchmark's category, as in the release, would tell the judge what is being tested.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reflectionflow.prompts.answers import first_object
from reflectionflow.prompts.vlm import shown

MOST = 10.0
ASPECTS: Mapping[str, str] = {
    "content": "Everything the prompt asks for is there, in the right number, and nothing that contradicts it.",
    "attributes": "Every object has the color, material and shape the prompt gives it.",
    "layout": "Objects stand where the prompt says, and in the relations it says.",
    "quality": "Objects are whole and recognizable, without artifacts.",
}
RUBRIC = (
    "You judge how well an image fits the prompt it was generated for. First explain in a few sentences what you see"
    " and what differs from the prompt. Then give each aspect a number from 0 (not at all) to 10 (perfectly):\n"
    + "\n".join(f"- {name}: {told}" for name, told in ASPECTS.items())
    + "\nLast give an overall score from 0 to 10; an image that misses anything the prompt asks for scores at most 5."
    ' Answer with one JSON object with the keys "explanation", '
    + ", ".join(f'"{name}"' for name in ASPECTS)
    + ' and "score", in this order.'
)
_NUMBER = {"type": "number", "minimum": 0, "maximum": MOST}
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"explanation": {"type": "string"}, **dict.fromkeys(ASPECTS, _NUMBER), "score": _NUMBER},
    "required": ["explanation", *ASPECTS, "score"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Graded:
    """A judge's answer: the score and the aspects it gave, in [0, 1], and why."""

    score: float
    aspects: tuple[tuple[str, float], ...]
    explanation: str


def rubric_question(prompt: str) -> str:
    """Return what a judge is asked about one picture; `RUBRIC` comes before it as the system's words."""
    return f'The prompt is "{prompt}". Judge this image.'


def parse_rubric(raw: str) -> Graded:
    """Read a judge's answer; aspects it left out are left out.

    Raises:
        ValueError: if there is no JSON object, or no overall score from 0 to 10.
    """
    found = first_object(raw)
    score = _share(found.get("score"))
    if score is None:
        raise ValueError(f"The judge's answer has no score from 0 to 10: {shown(raw)}.")
    aspects = tuple((name, share) for name in ASPECTS if (share := _share(found.get(name))) is not None)
    return Graded(score, aspects, str(found.get("explanation", "")).strip())


def _share(value: Any) -> float | None:
    """Return a number from 0 to 10 as a share; none for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number / MOST if math.isfinite(number) and 0 <= number <= MOST else None
