"""The tiny world of `tests/support/world.py` as models that a stack file can name by their dotted path."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field
from tests.support.world import Brightness, Critic, Painter, Rewriter

from reflectionflow.errors import ModelError
from reflectionflow.roles import Capabilities
from reflectionflow.scenes.words import known_words
from reflectionflow.stack import ModelOptions, ModelSpec, Role
from reflectionflow.types import Failure, RefinedPrompt, Reflection, Verdict


class NoOptions(ModelOptions):
    pass


class CriticOptions(ModelOptions):
    enough: float = Field(default=0.99, description="Brightness with which the critic is content.")


class DtypeOptions(ModelOptions):
    dtype: str = Field(default="float32", description="What it counts in.")


def exhausted(requests):
    raise ModelError("The memory is exhausted; use a smaller size.")


class Unable:
    """Plays every role of words, and fails."""

    name, worker, batch_size = "unable@1", Painter.worker, 4

    def judge(self, questions):
        return [Verdict(item.id, self.name, failure="The eye was closed.") for item in questions]

    def reflect(self, items):
        return [Reflection(item.id, self.name, failure="No words came.") for item in items]

    def refine(self, items):
        return [RefinedPrompt(item.id, self.name, failure="No words came.") for item in items]


class Away:
    """Plays every role of words, and cannot be reached."""

    name, worker, batch_size = "away@1", Painter.worker, 4

    def judge(self, items):
        return [Failure(item.id, "The server did not answer.", transient=True) for item in items]

    reflect = refine = judge


KNOWN = Capabilities(True, 8, 8, words=frozenset(["a", "red", "star", "paint", "it"]))


class Terse(Painter):
    """Paints as ever, and reads one edit of a reflection."""

    def _paint(self, request):
        painted = super()._paint(request)
        return replace(painted, left_out=tuple((request.recipe.reflection or "").split(". ")[1:]))


class Wordy(Critic):
    """Asks for the same three edits whatever it sees; `apart` says whether it tells them one by one."""

    def __init__(self, apart):
        super().__init__()
        self.apart = apart

    def _reflect(self, item):
        edits = ("make it brighter", "add a blue heart", "remove the moon")
        text = ". ".join(edits)
        return Reflection(item.candidate.id, self.name, text, edits if self.apart else (text,), text)


PAINTER = ModelSpec((Role.GENERATOR, Role.CORRECTOR), NoOptions, lambda options: Painter())
EXHAUSTED = ModelSpec(
    (Role.GENERATOR,), DtypeOptions,
    lambda options: Painter(
        capabilities=Capabilities(multiple=8, smallest=8, words=known_words()), settings={"dtype": options.dtype},
        before=exhausted,
    ),
)  # fmt: skip
SMALL = ModelSpec(
    (Role.CORRECTOR,), NoOptions,
    lambda options: Painter(capabilities=Capabilities(corrects=True, multiple=8, smallest=16, largest=64)),
)  # fmt: skip
BRIGHTNESS = ModelSpec((Role.VERIFIER,), NoOptions, lambda options: Brightness())
CRITIC = ModelSpec((Role.REFLECTOR,), CriticOptions, lambda options: Critic(enough=options.enough))
TERSE = ModelSpec((Role.CORRECTOR,), NoOptions, lambda options: Terse())
LITERAL = ModelSpec((Role.CORRECTOR,), NoOptions, lambda options: Painter(capabilities=KNOWN))
WORDY = ModelSpec((Role.REFLECTOR,), NoOptions, lambda options: Wordy(apart=True))
RAMBLING = ModelSpec((Role.REFLECTOR,), NoOptions, lambda options: Wordy(apart=False))
REWRITER = ModelSpec((Role.REFINER,), NoOptions, lambda options: Rewriter())
UNABLE = ModelSpec((Role.VERIFIER, Role.REFLECTOR, Role.REFINER), NoOptions, lambda options: Unable())
AWAY = ModelSpec((Role.VERIFIER, Role.REFLECTOR, Role.REFINER), NoOptions, lambda options: Away())
