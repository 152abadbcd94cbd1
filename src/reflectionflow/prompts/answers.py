"""Reading JSON out of the answers of models that were asked for it."""

from __future__ import annotations

import json
from typing import Any

from reflectionflow.prompts.vlm import shown, without_thoughts


def first_object(raw: str) -> dict[str, Any]:
    """Return the first JSON object of an answer, whatever stands around it: thoughts, code fences, greetings.

    Raises:
        ValueError: if there is none.
    """
    text = without_thoughts(raw)
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            found: dict[str, Any] = decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
        else:
            return found
    raise ValueError(f"The answer holds no JSON object: {shown(raw)}.")
