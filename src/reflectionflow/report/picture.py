"""The chosen picture as a PNG file that carries its own story in its text chunks.

The keys are `prompt`, `recipe` (canonical JSON), `candidate`, `run`, `score` and `Software`; any PNG reader shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from reflectionflow.report.story import Story
from reflectionflow.types import Step, canonical_json


def describe_picture(story: Story, step: Step) -> dict[str, str]:
    """Return the text chunks of one step's picture.

    Raises:
        ValueError: if the step has no picture.
    """
    if step.candidate is None:
        raise ValueError("a step without a picture has nothing to describe")
    score = None if step.verdict is None else step.verdict.score
    return {
        "prompt": story.result.prompt,
        "recipe": canonical_json(step.candidate.recipe),
        "candidate": step.candidate.id,
        "run": story.run,
        "score": "" if score is None else f"{score:.4f}",
        "Software": f"reflectionflow {story.version}",
    }


def best_picture(story: Story) -> bytes | None:
    """Return the best picture as a PNG file with its story inside; none when no picture was chosen.

    The pixels are those of the candidate's own file; only text is added.
    """
    best = story.result.best
    if best is None or best.candidate is None:
        return None
    return _with_text(story.png(best.candidate), describe_picture(story, best))


def read_description(path: Path) -> dict[str, str]:
    """Return the text chunks of a PNG file."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()
        return {key: value for key, value in picture.info.items() if isinstance(key, str) and isinstance(value, str)}


def _with_text(png: bytes, texts: Mapping[str, str]) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text) if not text.isascii() else info.add_text(key, text)
    out = BytesIO()
    with Image.open(BytesIO(png)) as picture:
        picture.save(out, format="PNG", pnginfo=info)
    return out.getvalue()
