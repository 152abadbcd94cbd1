"""A verifier of Scenes that asks for the whole prompt and for each of its objects.

"A photo of a red star and a blue heart" becomes three questions: that one, "a photo of a red star" and "a photo of a
blue heart"; questions about parts are what TIFA (arXiv 2303.11897) and the Davidsonian Scene Graph (arXiv 2310.18235)
judge by. The score is the geometric mean of P(yes), on the scale of one question. On corrections of composites and of
two coloured objects it orders right and wrong pictures better than the whole prompt alone; asking for each place too
added nothing (docs/log.md). Prompts outside the grammar of Scenes, and those of one object, are one question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from reflectionflow.models.qwen_vl import QwenVL, ScenesVlmOptions, missing
from reflectionflow.plugins import ModelSpec
from reflectionflow.roles import Question, Role, Worker
from reflectionflow.scenes.prompts import Part, named, read, text_of
from reflectionflow.types import Verdict


def questions_of(prompt: str) -> tuple[str, ...]:
    """Return what is asked of a picture: the prompt as it is, then each of its objects if there are several."""
    statement = read(prompt)
    things = () if statement is None else named(statement)
    return (prompt, *(text_of((Part(thing),)) for thing in things if len(things) > 1))


class PartsVerifier:
    """Judges by the whole prompt and by its objects; weights load at the first call."""

    worker = Worker.LOCAL

    def __init__(self, options: ScenesVlmOptions) -> None:
        self._model = QwenVL(options.checkpoint, options)
        self.name = f"parts:{self._model.name}"
        self.batch_size = options.batch_size

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """Score each picture by the geometric mean of P(yes); one answer that is neither fails the picture.

        Raises:
            CheckpointError: if the weights are missing, damaged or of another model.
            ModelError: if the device is not there.
        """
        asked = [questions_of(question.prompt) for question in questions]
        flat = [
            replace(question, prompt=text) for question, texts in zip(questions, asked, strict=True) for text in texts
        ]
        parts = [flat[start : start + self.batch_size] for start in range(0, len(flat), self.batch_size)]
        answers = iter([verdict for part in parts for verdict in self._model.judge(part)])
        return [
            self._verdict(question, [(text, next(answers)) for text in texts])
            for question, texts in zip(questions, asked, strict=True)
        ]

    def _verdict(self, question: Question, answers: Sequence[tuple[str, Verdict]]) -> Verdict:
        own = [verdict for _, verdict in answers]
        tokens = sum(verdict.tokens for verdict in own)
        failure = next((verdict.failure for verdict in own if verdict.failure is not None), None)
        if failure is not None:
            return Verdict(question.id, self.name, failure=failure, tokens=tokens)
        scores = [verdict.score or 0.0 for verdict in own]
        aspects = tuple(zip((text for text, _ in answers), scores, strict=True)) if len(own) > 1 else ()
        return Verdict(question.id, self.name, min(1.0, math.prod(scores) ** (1 / len(own))), aspects, tokens=tokens)


SPEC = ModelSpec(
    roles=(Role.VERIFIER,),
    options=ScenesVlmOptions,
    load=PartsVerifier,
    needs=lambda options: missing(options.checkpoint),
    summary="Asks the small Qwen2.5-VL of Scenes for the whole prompt and for each of its objects.",
)
