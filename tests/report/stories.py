"""Stories for the report's tests: a search over noise, a chain of corrections, a search in which all failed."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

from reflectionflow.report import Story
from reflectionflow.types import (
    Candidate,
    Failure,
    Recipe,
    Reflection,
    SearchResult,
    Spend,
    Step,
    StopReason,
    Verdict,
    settings,
)

PROMPT = "a photo of a red star left of a blue heart"


def png(candidate: Candidate) -> bytes:
    random = np.random.default_rng(candidate.recipe.seed)
    picture = Image.new("RGB", (candidate.width, candidate.height), tuple(random.integers(90, 256, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    for _ in range(5):
        x, y = random.integers(0, [candidate.width, candidate.height]).tolist()
        r = int(random.integers(6, max(8, candidate.width // 4)))
        pen.ellipse((x - r, y - r, x + r, y + r), fill=tuple(random.integers(0, 256, 3).tolist()))
    out = BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()


def candidate(seed: int, width: int = 128, height: int = 128, parent: str | None = None, text: str | None = None):
    more = settings({"weights": "sha256:3f9a0c", "dtype": "float32", "scheduler": "flow-match-euler"})
    recipe = Recipe("scenes-flux@1", PROMPT, seed, width, height, 20, 3.5, parent, text, more)
    return Candidate(recipe, f"{seed:064x}", width, height)


def judged(place: tuple[int, int], item: Candidate, score: float, text: str = "") -> Step:
    aspects = (("objects", min(1.0, score * 1.1)), ("colours", score), ("places", score * score))
    words = text or "The star is red; the heart is not to its right."
    verdict = Verdict(item.id, "scenes-clip@1", score=score, aspects=aspects, rationale=words)
    reflection = Reflection(item.id, "critic@1", item.recipe.reflection) if item.recipe.reflection else None
    return Step(place, item, verdict, reflection)


def noise_story(images: int = 14, width: int = 128, height: int = 128, prompt: str = PROMPT) -> Story:
    scores = np.random.default_rng(3).uniform(0.2, 0.9, images)
    steps = [judged((0, i), candidate(1000 + i, width, height), float(s)) for i, s in enumerate(scores)]
    steps.append(Step((0, images), None, failure=Failure("rf1:0", "The picture holds no finite numbers; try float32.")))
    unread = candidate(1000 + images + 1, width, height)
    failed = Verdict(unread.id, "scenes-clip@1", failure="The answer held no score: 'maybe'.")
    steps.append(Step((0, images + 1), unread, failed))
    best = max(steps[:images], key=lambda step: step.verdict.score)
    spend = Spend(images + 2, 20 * (images + 2), images + 1, seconds=12.34)
    result = SearchResult(prompt, "noise", best, tuple(steps), StopReason.BUDGET, spend, Spend())
    command = f'reflectionflow generate "{prompt}" --images {images + 2}'
    return Story(result, "rf1:" + "ab" * 32, "scenes", "0.1.0", command, png)


def chain_story() -> Story:
    drafts = [judged((0, i), candidate(i), 0.3 + 0.05 * i) for i in range(4)]
    parent = drafts[3].candidate
    fixed = candidate(10, parent=parent.id, text="Move the blue heart to the right of the star.")
    again = candidate(11, parent=fixed.id, text="Make the star red.")
    steps = (*drafts, judged((1, 0), fixed, 0.7), judged((2, 0), again, 0.93, "Everything is where it should be."))
    spend = Spend(6, 120, 6, 2, seconds=4.0)
    result = SearchResult(PROMPT, "reflection", steps[-1], steps, StopReason.ACCEPTED, spend, spend)
    return Story(result, "rf1:" + "cd" * 32, "scenes", "0.1.0", "reflectionflow generate ...", png)


def failed_story() -> Story:
    failures = [Failure(f"rf1:{i}", "The endpoint answered 503 three times; try again later.") for i in range(3)]
    steps = tuple(Step((0, i), None, failure=failure) for i, failure in enumerate(failures))
    result = SearchResult(PROMPT, "noise", None, steps, StopReason.FAILED, Spend(3), Spend(3))
    return Story(result, "rf1:" + "ef" * 32, "scenes", "0.1.0", "reflectionflow generate ...", png)
