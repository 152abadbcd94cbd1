"""A vision-language model behind an OpenAI-compatible endpoint as verifier, reflector and refiner.

The verifier asks in one of two ways. *logprobs*: whether the picture shows the prompt, scored P(yes) / (P(yes) + P(no))
over the first answer token, as VQAScore (arXiv 2404.01291) does; the answer is never constrained to the two words,
because servers mask the probabilities with the constraint, and a label mass that is too small is a failure. *rubric*:
an explanation, then scores from 0 to 10 as JSON, mapped to [0, 1]; for endpoints that tell no probabilities.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar

from pydantic import Field

from reflectionflow.models.endpoint import (
    Endpoint,
    EndpointOptions,
    Fault,
    Said,
    data_url,
    json_answer,
    key_missing,
    messages,
)
from reflectionflow.plugins import ModelSpec
from reflectionflow.prompts.rubric import RUBRIC, SCHEMA, parse_rubric, rubric_question
from reflectionflow.prompts.vlm import (
    FULL,
    JOIN,
    NO,
    YES,
    judge_instruction,
    parse_refined,
    parse_reflection,
    refine_instruction,
    reflect_instruction,
    shown,
    whole_sentences,
)
from reflectionflow.roles import Question, RefineRequest, ReflectRequest, Role, Worker
from reflectionflow.types import Failure, RefinedPrompt, Reflection, Verdict, canonical_json, to_json

AnswerT = TypeVar("AnswerT", Verdict, Reflection, RefinedPrompt)
RequestT = TypeVar("RequestT", Question, ReflectRequest, RefineRequest)


class Judge(StrEnum):
    """How the verifier asks."""

    LOGPROBS = "logprobs"
    RUBRIC = "rubric"


class VlmOptions(EndpointOptions):
    """Options of `openai-vlm`."""

    judge: Judge = Field(
        default=Judge.LOGPROBS,
        description="logprobs: probability of yes; rubric: scores in words, where the endpoint tells no probabilities.",
    )
    top_logprobs: int = Field(default=20, ge=2, description="Likeliest first tokens asked for, with judge = logprobs.")
    label_token_ids: tuple[int, ...] = Field(
        default=(),
        description="Ids of the tokens that spell yes and no, for vLLM: exact however unlikely they are.",
    )
    least_mass: float = Field(
        default=0.5, gt=0, le=1, description="Least probability of yes and no together; below it there is no score."
    )


class RemoteVlm:
    """Plays verifier, reflector and refiner; each answer costs one request."""

    worker = Worker.REMOTE

    def __init__(self, options: VlmOptions) -> None:
        self.options = options
        self.batch_size = options.concurrency
        self.name = _identity(options)

    @cached_property
    def _endpoint(self) -> Endpoint:
        return Endpoint(self.options)

    def judge(self, questions: Sequence[Question]) -> list[Verdict | Failure]:
        """Score each picture in [0, 1].

        Raises:
            ModelError: if the endpoint refuses the key, the model or the form of the request.
        """
        if self.options.judge is Judge.RUBRIC:
            return self._answers(questions, self._rubric_body, self._graded, Verdict)
        return self._answers(questions, self._logprobs_body, self._probable, Verdict)

    def reflect(self, items: Sequence[ReflectRequest]) -> list[Reflection | Failure]:
        """Say of each picture what must be edited; an answer cut at its token limit keeps its whole sentences.

        Raises:
            ModelError: if the endpoint refuses the key, the model or the form of the request.
        """
        return self._answers(items, self._reflect_body, self._reflected, Reflection)

    def refine(self, items: Sequence[RefineRequest]) -> list[RefinedPrompt | Failure]:
        """Rewrite each prompt.

        Raises:
            ModelError: if the endpoint refuses the key, the model or the form of the request.
        """
        return self._answers(items, self._refine_body, self._refined, RefinedPrompt)

    def _answers(
        self,
        items: Sequence[RequestT],
        body: Callable[[RequestT, str], dict[str, Any]],
        read: Callable[[RequestT, Said], AnswerT],
        kind: type[AnswerT],
    ) -> list[AnswerT | Failure]:
        """Ask once per item; what may pass becomes a `Failure` that is tried again, what cannot a failed answer."""
        pictures: dict[int, str] = {}
        for item in items:
            pictures.setdefault(id(item.image), data_url(item.image))
        said = self._endpoint.ask([body(item, pictures[id(item.image)]) for item in items])
        return [self._answer(item, found, read, kind) for item, found in zip(items, said, strict=True)]

    def _answer(
        self, item: RequestT, said: Said | Fault, read: Callable[[RequestT, Said], AnswerT], kind: type[AnswerT]
    ) -> AnswerT | Failure:
        if isinstance(said, Fault):
            if said.passing:
                return Failure(item.id, said.reason, transient=True)
            return kind(item.id, self.name, failure=said.reason)
        try:
            return read(item, said)
        except ValueError as error:
            return kind(item.id, self.name, failure=str(error), tokens=said.tokens)

    def _limit(self, tokens: int) -> dict[str, int]:
        return {self.options.token_limit: tokens}

    def _logprobs_body(self, item: Question, picture: str) -> dict[str, Any]:
        labels = list(self.options.label_token_ids)
        return {
            "messages": messages(FULL.system, [picture], judge_instruction(item.prompt)),
            "logprobs": True,
            "top_logprobs": max(self.options.top_logprobs, len(labels)),
            **({"logprob_token_ids": labels} if labels else {}),
            **self._limit(1),
        }

    def _probable(self, item: Question, said: Said) -> Verdict:
        score = probability_of_yes(said.first, self.options.least_mass)
        return Verdict(item.id, self.name, score=score, tokens=said.tokens)

    def _rubric_body(self, item: Question, picture: str) -> dict[str, Any]:
        return {
            "messages": messages(RUBRIC, [picture], rubric_question(item.prompt)),
            **json_answer("verdict", SCHEMA),
            **self._limit(self.options.max_tokens),
        }

    def _graded(self, item: Question, said: Said) -> Verdict:
        graded = parse_rubric(self._whole(said))
        return Verdict(item.id, self.name, graded.score, graded.aspects, graded.explanation, tokens=said.tokens)

    def _reflect_body(self, item: ReflectRequest, picture: str) -> dict[str, Any]:
        verdict = item.verdict.rationale if item.verdict else ""
        asked = reflect_instruction(item.prompt, verdict, item.history)
        return {"messages": messages(FULL.system, [picture], asked), **self._limit(self.options.max_tokens)}

    def _reflected(self, item: ReflectRequest, said: Said) -> Reflection:
        edits = parse_reflection(whole_sentences(said.text) if said.cut else said.text)
        return Reflection(item.id, self.name, JOIN.join(edits), edits, said.text, tokens=said.tokens)

    def _refine_body(self, item: RefineRequest, picture: str) -> dict[str, Any]:
        verdict = item.verdict.rationale if item.verdict else ""
        asked = refine_instruction(item.prompt, item.current, item.reflection or "", verdict)
        return {"messages": messages(FULL.system, [picture], asked), **self._limit(self.options.max_tokens)}

    def _refined(self, item: RefineRequest, said: Said) -> RefinedPrompt:
        text = parse_refined(self._whole(said), item.prompt)
        return RefinedPrompt(item.id, self.name, text, tokens=said.tokens)

    def _whole(self, said: Said) -> str:
        if said.cut:
            limit = self.options.max_tokens
            raise ValueError(f"The answer was cut off at max_tokens = {limit}; raise it: {shown(said.text)}.")
        return said.text


def probability_of_yes(first: Sequence[tuple[str, float]], least_mass: float) -> float:
    """Return P(yes) / (P(yes) + P(no)) in [0, 1] over all spellings of the two words.

    Args:
        first: First tokens with their natural log-probabilities.
        least_mass: Least P(yes) + P(no).

    Raises:
        ValueError: if there are no probabilities, or yes and no together have too little.
    """
    if not first:
        raise ValueError('The endpoint tells no log-probabilities; set judge = "rubric", or let it tell them.')
    mass = {
        label: sum(math.exp(min(chance, 0.0)) for token, chance in first if _word(token) == label)
        for label in (YES, NO)
    }
    total = mass[YES] + mass[NO]
    if not total >= least_mass:
        likeliest = ", ".join(repr(token) for token, _ in sorted(first, key=lambda item: -item[1])[:3])
        raise ValueError(
            f"Yes and no together have probability {total:.3f}, less than {least_mass:g}; likeliest were {likeliest}."
        )
    return mass[YES] / total


def _word(token: str) -> str:
    """Return a token as a word; tokenizers mark a leading space in several ways."""
    return token.strip(" \t\n▁Ġ\"'*.,").lower()


def _identity(options: VlmOptions) -> str:
    """Return `model@revision+judge.hash`; the hash covers every word asked and every option that decides answers."""
    deciding = ("temperature", "max_tokens", "top_logprobs", "label_token_ids", "least_mass", "extra")
    told = {name: to_json(getattr(options, name)) for name in deciding}
    words = {"wording": to_json(FULL), "rubric": RUBRIC, "schema": SCHEMA, "question": rubric_question("{prompt}")}
    digest = hashlib.sha256(canonical_json({**told, **words}).encode()).hexdigest()[:8]
    return f"{options.served}@{options.revision}+{options.judge.value}.{digest}"


SPEC = ModelSpec(
    roles=(Role.VERIFIER, Role.REFLECTOR, Role.REFINER),
    options=VlmOptions,
    load=RemoteVlm,
    needs=key_missing,
    summary="A vision-language model behind an OpenAI-compatible endpoint: vLLM, SGLang, LLaMA-Factory, OpenAI.",
)
