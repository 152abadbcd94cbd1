"""Models that lose, delay, reorder and corrupt their answers, drawn at random for each item and attempt."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reflectionflow.errors import TransientError
from reflectionflow.types import Failure, RefinedPrompt, Reflection, Verdict

METHODS = ("generate", "judge", "reflect", "refine")


@dataclass
class Faulty:
    """Any model of the tiny world, failing at a rate.

    Attributes:
        inner: The model.
        seed: Of the faults; an item's fate depends on it, on the item and on how often it was asked.
        rate: Part of the items whose answer is lost or corrupted, in [0, 1]; answers are always reordered.
        dropping: Part of the calls that answer all items but one, in [0, 1].
        before: Called before the model answers; may block.
    """

    inner: Any
    seed: int
    rate: float
    dropping: float = 0.0
    before: Callable[[Sequence[Any]], None] = lambda requests: None
    asked: Counter[str] = field(default_factory=Counter)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        return (lambda requests: self._answer(value, requests)) if name in METHODS else value

    def _answer(self, method: Callable[[Sequence[Any]], list[Any]], requests: Sequence[Any]) -> list[Any]:
        self.before(requests)
        draws = [self._draw(request.id) for request in requests]
        if any(draw.random() < self.rate / 4 for draw in draws):
            raise TransientError("The line went dead.")
        answers = [self._spoilt(answer, draw) for answer, draw in zip(method(requests), draws, strict=True)]
        draws[0].shuffle(answers)
        return answers[1:] if draws[0].random() < self.dropping else answers

    def _draw(self, item: str) -> random.Random:
        self.asked[item] += 1
        text = f"{self.seed} {self.inner.name} {item} {self.asked[item]}"
        return random.Random(hashlib.sha256(text.encode()).digest())

    def _spoilt(self, answer: Any, draw: random.Random) -> Any:
        if draw.random() >= self.rate:
            return answer
        match answer:
            case Verdict():
                wrong = {"failure": "The answer held no score: 'maybe'."}, {"score": math.nan}, {"score": -math.inf}
                return Verdict(answer.candidate, answer.verifier, **draw.choice(wrong))
            case Reflection():
                return replace(answer, **draw.choice([{"text": ""}, {"text": " "}, {"failure": "Not JSON."}]))
            case RefinedPrompt():
                return replace(answer, **draw.choice([{"text": ""}, {"text": "\n"}, {"failure": "Refused."}]))
            case _:
                return Failure(answer.id, "The picture was lost.", transient=draw.random() < 0.5)
