"""The tiny world of `tests/support/world.py` as models that a stack file can name by their dotted path."""

from __future__ import annotations

from pydantic import Field
from tests.support.world import Brightness, Critic, Painter, Rewriter

from reflectionflow.roles import Capabilities
from reflectionflow.stack import ModelOptions, ModelSpec, Role
from reflectionflow.types import Failure, RefinedPrompt, Reflection, Verdict


class NoOptions(ModelOptions):
    pass


class CriticOptions(ModelOptions):
    enough: float = Field(default=0.99, description="Brightness with which the critic is content.")


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


PAINTER = ModelSpec((Role.GENERATOR, Role.CORRECTOR), NoOptions, lambda options: Painter())
SMALL = ModelSpec(
    (Role.CORRECTOR,), NoOptions,
    lambda options: Painter(capabilities=Capabilities(corrects=True, multiple=8, smallest=16, largest=64)),
)  # fmt: skip
BRIGHTNESS = ModelSpec((Role.VERIFIER,), NoOptions, lambda options: Brightness())
CRITIC = ModelSpec((Role.REFLECTOR,), CriticOptions, lambda options: Critic(enough=options.enough))
REWRITER = ModelSpec((Role.REFINER,), NoOptions, lambda options: Rewriter())
UNABLE = ModelSpec((Role.VERIFIER, Role.REFLECTOR, Role.REFINER), NoOptions, lambda options: Unable())
AWAY = ModelSpec((Role.VERIFIER, Role.REFLECTOR, Role.REFINER), NoOptions, lambda options: Away())
