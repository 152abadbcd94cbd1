"""A third-party plug-in: a generator that draws seeded discs, and a verifier that likes bright pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field

from reflectionflow.roles import Capabilities, Defaults, Painting, PaintRequest, Question, Worker
from reflectionflow.stack import ModelOptions, ModelSpec, Role
from reflectionflow.types import Failure, Recipe, Verdict


class DiscOptions(ModelOptions):
    discs: int = Field(default=6, ge=1, le=100, description="Discs in each picture.")
    batch_size: int = Field(default=4, ge=1, description="Most pictures painted in one call.")


class Discs:
    """Draws coloured discs on a coloured ground; the recipe's seed decides all of it."""

    name = "example-discs@1"
    worker = Worker.LOCAL
    capabilities = Capabilities(multiple=16, smallest=32, largest=512, longest_prompt=40)
    defaults = Defaults(width=128, height=128, steps=4, guidance=1.0)

    def __init__(self, options: DiscOptions) -> None:
        self.batch_size = options.batch_size
        self.settings = {"discs": options.discs}

    def layout(self, recipe: Recipe) -> tuple[int, int]:
        return recipe.width, recipe.height

    def generate(self, requests: Sequence[PaintRequest]) -> list[Painting | Failure]:
        return [Painting(item.id, self._draw(item.recipe), item.recipe.steps) for item in requests]

    def _draw(self, recipe: Recipe) -> Image.Image:
        random = np.random.default_rng([recipe.seed, *recipe.prompt.encode()])
        picture = Image.new("RGB", (recipe.width, recipe.height), tuple(random.integers(0, 256, 3).tolist()))
        pen = ImageDraw.Draw(picture)
        for _ in range(self.settings["discs"]):
            x, y = random.integers(0, [recipe.width, recipe.height]).tolist()
            radius = int(random.integers(4, recipe.width // 4))
            pen.ellipse(
                (x - radius, y - radius, x + radius, y + radius), fill=tuple(random.integers(0, 256, 3).tolist())
            )
        return picture


class NoOptions(ModelOptions):
    pass


class Brightness:
    """Scores a picture by its mean brightness: black is 0, white is 1."""

    name = "example-brightness@1"
    worker = Worker.LOCAL
    batch_size = 8

    def __init__(self, options: NoOptions) -> None:
        pass

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        return [self._judge(question) for question in questions]

    def _judge(self, question: Question) -> Verdict:
        red, green, blue = np.asarray(question.image, dtype=np.float64).mean(axis=(0, 1)) / 255
        aspects = (("red", float(red)), ("green", float(green)), ("blue", float(blue)))
        score = float(red + green + blue) / 3
        rationale = f"The picture's mean brightness is {score:.0%}."
        return Verdict(question.id, self.name, score=score, aspects=aspects, rationale=rationale)


DISCS = ModelSpec((Role.GENERATOR,), DiscOptions, Discs, summary="Draws seeded discs.")
BRIGHTNESS = ModelSpec((Role.VERIFIER,), NoOptions, Brightness, summary="Likes bright pictures.")
