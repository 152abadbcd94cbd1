"""A tiny world without torch: noise pictures, a verifier that likes brightness, a critic who asks for more of it.

The models truly play the roles of `reflectionflow.roles`: they are deterministic functions of what they are asked, per
item, so laws about searches can be tested on them to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reflectionflow.roles import (
    Capabilities,
    Defaults,
    Painting,
    PaintRequest,
    Question,
    RefineRequest,
    ReflectRequest,
    Stack,
    Worker,
)
from reflectionflow.types import Failure, Recipe, RefinedPrompt, Reflection, Scalar, Verdict

Hook = Callable[[Sequence[Any]], None]
"""Called with the requests before a model answers; may block, raise or take notes."""


def nothing(requests: Sequence[Any]) -> None:
    """A hook that does nothing."""


@dataclass
class Painter:
    """Paints seeded noise; a correction is its parent made brighter by an amount drawn from the seed."""

    name: str = "painter@1"
    worker: Worker = Worker.LOCAL
    batch_size: int = 4
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(corrects=True, multiple=8, smallest=8))
    defaults: Defaults = field(default_factory=lambda: Defaults(16, 16, 5, 3.5))
    settings: dict[str, Scalar] = field(default_factory=lambda: {"weights": "none"})
    before: Hook = nothing
    fails: Callable[[Recipe], Failure | None] = lambda recipe: None
    log: Path | None = None

    def layout(self, recipe: Recipe) -> Hashable:
        return (recipe.width, recipe.height, recipe.parent is not None)

    def generate(self, requests: Sequence[PaintRequest]) -> list[Painting | Failure]:
        self.before(requests)
        assert len({self.layout(request.recipe) for request in requests}) == 1
        if self.log is not None:
            with self.log.open("a") as file:
                file.writelines(f"{request.id}\n" for request in requests)
        return [self._paint(request) for request in requests]

    def _paint(self, request: PaintRequest) -> Painting | Failure:
        recipe = request.recipe
        if (failure := self.fails(recipe)) is not None:
            return failure
        rng = np.random.default_rng(recipe.seed)
        if request.parent is None:
            pixels = rng.integers(0, 256, (recipe.height, recipe.width, 3)) * rng.uniform(0.2, 0.9)
        else:
            pixels = np.asarray(request.parent) + rng.integers(-8, 24)
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        return Painting(request.id, image, recipe.steps)


@dataclass
class Brightness:
    """Scores a picture by its mean brightness."""

    name: str = "brightness@1"
    worker: Worker = Worker.LOCAL
    batch_size: int = 4
    before: Hook = nothing
    fails: Callable[[Question], str | None] = lambda question: None

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        self.before(questions)
        return [self._judge(question) for question in questions]

    def _judge(self, question: Question) -> Verdict:
        if (reason := self.fails(question)) is not None:
            return Verdict(question.candidate.id, self.name, failure=reason)
        score = float(np.asarray(question.image).mean()) / 255
        return Verdict(
            question.candidate.id, self.name, score, (("brightness", score),), "as bright as it is", tokens=3
        )


@dataclass
class Critic:
    """Asks for a brighter picture until it is bright enough."""

    name: str = "critic@1"
    worker: Worker = Worker.LOCAL
    batch_size: int = 4
    before: Hook = nothing
    enough: float = 0.99

    def reflect(self, items: Sequence[ReflectRequest]) -> list[Reflection]:
        self.before(items)
        return [self._reflect(item) for item in items]

    def _reflect(self, item: ReflectRequest) -> Reflection:
        mean = float(np.asarray(item.image).mean()) / 255
        text = "" if mean > self.enough else f"make it brighter than {mean:.4f} ({len(item.history)} before)"
        return Reflection(item.candidate.id, self.name, text, (text,) if text else (), text, tokens=5)


@dataclass
class Rewriter:
    """Adds a word to the prompt."""

    name: str = "rewriter@1"
    worker: Worker = Worker.LOCAL
    batch_size: int = 4
    before: Hook = nothing

    def refine(self, items: Sequence[RefineRequest]) -> list[RefinedPrompt]:
        self.before(items)
        return [RefinedPrompt(item.candidate.id, self.name, f"{item.current}, bright", tokens=7) for item in items]


@dataclass
class Reordered:
    """Any model, its answers passed through `change` before they are given back."""

    inner: Any
    change: Callable[[list[Any]], list[Any]]

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if name in ("generate", "judge", "reflect", "refine"):
            return lambda requests: self.change(list(value(requests)))
        return value


def shuffled(seed: int = 0) -> Callable[[list[Any]], list[Any]]:
    """Return a change that puts answers into another order."""
    rng = np.random.default_rng(seed)
    return lambda answers: [answers[i] for i in rng.permutation(len(answers))]


def stack(**parts: Any) -> Stack:
    """Return a stack of this world's models, with some of them replaced."""
    painter = Painter()
    usual: dict[str, Any] = {
        "generator": painter,
        "verifier": Brightness(),
        "corrector": painter,
        "reflector": Critic(),
        "refiner": Rewriter(),
    }
    return replace(Stack("tiny", usual["generator"], usual["verifier"]), **{**usual, **parts})
