"""Pictures as a page carries them: each one once, as small as it is ever shown, the file itself a link away."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO

from reflectionflow.report.story import Story
from reflectionflow.types import Candidate

_ANSWER, _USUAL, _MANY_SIDE = 1024, 512, 256  # px, the longer side at most: chosen picture, others, others among many
_MANY = 96  # pictures on a page from which on they are sent smaller
_LARGE = 256  # px, the longer side below which pictures are enlarged by a whole factor, so that people can see them
_QUALITY = 88


@dataclass(frozen=True)
class Preview:
    """A picture as the page carries it.

    Attributes:
        name: Its name inside the page.
        width: Pixels of the picture as painted.
        height: Pixels of the picture as painted.
        source: A JPEG as a data address.
        link: Where its file is, as seen from the page; empty when it cannot be linked to.
    """

    name: str
    width: int
    height: int
    source: str
    link: str


def previews_of(story: Story) -> dict[str, Preview]:
    """Return a preview of every distinct picture of a story, by the SHA-256 of its file, in the order of place."""
    candidates: dict[str, Candidate] = {}
    for _, step in story.numbered:
        if step.candidate is not None:
            candidates.setdefault(step.candidate.image, step.candidate)
    best = story.result.best.candidate if story.result.best else None
    usual = _USUAL if len(candidates) <= _MANY else _MANY_SIDE
    return {
        image: _preview(story, candidate, f"p{number}", _ANSWER if best and best.image == image else usual)
        for number, (image, candidate) in enumerate(candidates.items(), start=1)
    }


def _preview(story: Story, candidate: Candidate, name: str, side: int) -> Preview:
    source = f"data:image/jpeg;base64,{base64.b64encode(_jpeg(story, candidate, side)).decode('ascii')}"
    return Preview(name, candidate.width, candidate.height, source, story.link(candidate))


def _jpeg(story: Story, candidate: Candidate, side: int) -> bytes:
    """Return a picture reduced to `side` px, or enlarged when it is small."""
    from PIL import Image

    picture = story.open(candidate)
    longer = max(picture.size)
    if longer < _LARGE:
        factor = -(-_USUAL // longer) if side >= _USUAL else -(-side // longer)
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.LANCZOS)
    else:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = BytesIO()
    picture.save(out, format="JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return out.getvalue()
