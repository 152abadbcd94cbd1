"""A person as reflector: sees what a model would say of a picture, and accepts, changes, replaces or drops it.

To the runtime this is a reflector like any other: its answers are journaled, so a continued run asks nothing twice.
It counts as remote, because waiting for somebody is no work of this machine; other models go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from reflectionflow.roles import Generator, Reflector, ReflectRequest, Role, Stack, Worker
from reflectionflow.types import Failure, Reflection
from reflectionflow.vocabulary import unknown_words

if TYPE_CHECKING:
    from PIL.Image import Image

    from reflectionflow.types import Candidate

ATTEMPTS = 5
"""How often a person is asked about one picture before words that cannot be used become a failed reflection."""


@dataclass(frozen=True)
class Review:
    """One picture a person is asked about.

    Attributes:
        candidate: Its recipe and file.
        image: Its pixels.
        prompt: The user's own prompt.
        score: The verifier's, in [0, 1], when the search shows it.
        suggestion: What the stack's own reflector says; none when the stack has none.
        problem: Why what was said of it before cannot be used, as a sentence; empty at the first time.
    """

    candidate: Candidate
    image: Image
    prompt: str
    score: float | None
    suggestion: Reflection | None
    problem: str = ""


class Reviewer(Protocol):
    """Where the person is: a terminal, a web page."""

    def review(self, item: Review) -> str:
        """Return the reflection to use, empty when there is nothing to correct; waits as long as it takes.

        Raises:
            ModelError: if nobody will answer any more.
        """


class Person:
    """Plays the reflector.

    Args:
        reviewer: Where the person is.
        adviser: The model whose reflections the person sees, or none.
        corrector: Who is to read the reflections; a person who uses words it does not know is told so and asked again.
    """

    worker = Worker.REMOTE
    batch_size = 1  # an answer is journaled before the next question

    def __init__(self, reviewer: Reviewer, adviser: Reflector | None, corrector: Generator | None = None) -> None:
        self.name = "person@1" if adviser is None else f"person@1({adviser.name})"
        self.relatives: frozenset[str] = getattr(adviser, "relatives", frozenset())
        self._reviewer = reviewer
        self._adviser = adviser
        self._corrector = corrector

    def reflect(self, items: Sequence[ReflectRequest]) -> list[Reflection | Failure]:
        """Ask about each picture, one after the other; nobody is asked while the adviser is only out of reach."""
        return [self._reflect(item) for item in items]

    def _reflect(self, item: ReflectRequest) -> Reflection | Failure:
        suggestion = None if self._adviser is None else self._adviser.reflect([item])[0]
        if isinstance(suggestion, Failure):
            if suggestion.transient:
                return suggestion
            suggestion = Reflection(item.id, self.name, failure=suggestion.reason)
        score = None if item.verdict is None else item.verdict.score
        text, problem = self._said(Review(item.candidate, item.image, item.prompt, score, suggestion))
        tokens = 0 if suggestion is None else suggestion.tokens
        if problem:
            return Reflection(item.candidate.id, self.name, raw=text, failure=problem, tokens=tokens)
        if suggestion is not None and suggestion.failure is None and text == suggestion.text.strip():
            return replace(suggestion, reflector=self.name)
        return Reflection(item.candidate.id, self.name, text, (text,) if text else (), text, tokens=tokens)

    def _said(self, item: Review) -> tuple[str, str]:
        """Return what the person says, and why it cannot be used where nothing usable came after all attempts."""
        text = ""
        for _ in range(ATTEMPTS):
            text = self._reviewer.review(item).strip()
            problem = "" if self._corrector is None else unknown_words(text, self._corrector)
            if not problem:
                return text, ""
            item = replace(item, problem=problem)
        return text, item.problem


class InTurn:
    """A model of several roles that two threads would ask at the same time: it answers one after the other."""

    def __init__(self, model: Any, lock: Lock) -> None:
        self._model, self._lock = model, lock

    def __getattr__(self, name: str) -> Any:
        """Return the model's attribute; its one method of a role waits for its turn."""
        value = getattr(self._model, name)
        if name not in ("generate", "judge", "reflect", "refine"):
            return value

        def answer(items: Sequence[Any]) -> Any:
            with self._lock:
                return value(items)

        return answer


def asking(stack: Stack, reviewer: Reviewer) -> Stack:
    """Return the stack with a person as reflector, who sees what the stack's own reflector would say if it has one."""
    adviser = stack.reflector
    if adviser is None:
        return replace(stack, reflector=Person(reviewer, None, stack.corrector))
    lock = Lock()
    shared: dict[str, Any] = {
        role.value: InTurn(adviser, lock) for role in Role if getattr(stack, role.value) is adviser
    }
    return replace(stack, **{**shared, "reflector": Person(reviewer, shared["reflector"], stack.corrector)})
