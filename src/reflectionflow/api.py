"""ReflectionFlow from Python: `generate`, `agenerate` and the `Result` they return.

    import reflectionflow as rf
    result = rf.generate("a photo of a red star left of a blue heart", images=16)
    result.best.image.show()

Both work inside a running event loop, such as a notebook's. Nothing is kept between calls: to use loaded models for
many searches, load them once (`models = reflectionflow.stack.load("scenes")`) and pass them as `stack`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reflectionflow.request import Consumer, Request, carry_out, carry_out_async, plan
from reflectionflow.runtime import Strategy
from reflectionflow.runtime.events import ignore
from reflectionflow.stack import DEFAULT_STACK
from reflectionflow.types import Candidate, Spend, Step, StopReason

if TYPE_CHECKING:
    from PIL.Image import Image

    from reflectionflow.report.files import Book
    from reflectionflow.roles import Stack


@dataclass(frozen=True)
class Best:
    """The chosen picture of a search.

    Attributes:
        path: PNG file, with its recipe in its text chunks.
        candidate: Its recipe and content hash.
        score: What the verifier gave it, in [0, 1].
    """

    path: Path
    candidate: Candidate
    score: float

    @property
    def image(self) -> Image:
        """The pixels (RGB), read from the file at each use."""
        from PIL import Image

        with Image.open(self.path) as picture:
            return picture.convert("RGB")


@dataclass(frozen=True)
class Result:
    """What came of one search.

    Attributes:
        prompt: The prompt.
        best: The chosen picture, or none when nothing could be painted and judged; `failures` then says why.
        steps: Every picture of the search with what was said of it, ordered by place.
        spend: What the search cost as if it had run alone.
        paid: What this call really computed; zero for whatever the run's journal already held.
        stop: Why the search ended.
        run: The run directory, with report.html and contact-sheet.png.
        failures: The distinct reasons why pictures could not be painted or judged; then how many reflections and
            refinements failed, if any did, and why.
    """

    prompt: str
    best: Best | None
    steps: tuple[Step, ...]
    spend: Spend
    paid: Spend
    stop: StopReason
    run: Path
    failures: tuple[str, ...] = ()

    def _repr_png_(self) -> bytes | None:
        """Return the best picture's file, which notebooks show."""
        return None if self.best is None else self.best.path.read_bytes()


async def agenerate(
    prompt: str,
    *,
    strategy: str | Path | Strategy | None = None,
    images: int | None = None,
    chains: int | None = None,
    drafts: int | None = None,
    parent: Literal["latest", "best"] | None = None,
    refine: bool | None = None,
    reflect: bool | None = None,
    accept: float | None = None,
    seed: int = 0,
    stack: str | Path | Stack = DEFAULT_STACK,
    size: int | tuple[int, int] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    out: str | Path | None = None,
    on_event: Consumer | None = None,
) -> Result:
    """Search for the picture a prompt asks for.

    The same call continues, or repeats for nothing, the run that an earlier one left in its directory.

    Args:
        prompt: What the picture should show.
        strategy: Name of a search method or of a shipped strategy file, path of a strategy file, or a strategy itself,
            such as `reflectionflow.search.reflection.REFLECTION.configured(history=0)`; none for the stack's, which is
            reflection for scenes and noise for a stack that names none.
        images: Pictures to paint at most, drafts and corrections alike, ≥ 1; none for the strategy's default.
        chains: Width of the search: chains that run side by side; none leaves it to the strategy, as for the next five.
        drafts: First drafts, of which the best become chains.
        parent: The picture of a chain the next one is made from.
        refine: Whether a refiner rewrites the prompt before a correction.
        reflect: Whether a reflector says what is wrong.
        accept: Score in [0, 1] at which the search stops.
        seed: Seed of the run, 0 ≤ seed < 2**63.
        stack: Name of a shipped stack, path of a stack file, or the models themselves.
        size: Pixels of each side, or (width, height); none for the stack's default, as for the next two.
        steps: Denoiser steps.
        guidance: Guidance scale.
        out: The run directory; none for `runs/<prompt>-<hash of what is asked>`.
        on_event: Called with every event of the search, in order.

    Raises:
        MisuseError: if something was asked for that cannot be done; nothing was painted.
        ModelError: if a model failed.
        StorageError: if the run cannot be written.
    """
    options = _options(width=chains, drafts=drafts, parent=parent, refine=refine, reflect=reflect, accept=accept)
    request = _request(prompt, strategy, options, images, seed, stack, size, steps, guidance, out)
    planned = await asyncio.to_thread(plan, request)  # a model may take its time to load
    return _result(await carry_out_async(planned, on_event or ignore))


def generate(
    prompt: str,
    *,
    strategy: str | Path | Strategy | None = None,
    images: int | None = None,
    chains: int | None = None,
    drafts: int | None = None,
    parent: Literal["latest", "best"] | None = None,
    refine: bool | None = None,
    reflect: bool | None = None,
    accept: float | None = None,
    seed: int = 0,
    stack: str | Path | Stack = DEFAULT_STACK,
    size: int | tuple[int, int] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    out: str | Path | None = None,
    on_event: Consumer | None = None,
) -> Result:
    """Search for the picture a prompt asks for, and wait for it; see `agenerate` for arguments and errors.

    Inside a running event loop the search, and `on_event`, run in another thread.
    """
    options = _options(width=chains, drafts=drafts, parent=parent, refine=refine, reflect=reflect, accept=accept)
    request = _request(prompt, strategy, options, images, seed, stack, size, steps, guidance, out)
    return _result(carry_out(plan(request), on_event or ignore))


def _options(**given: Any) -> dict[str, Any]:
    """Return the strategy's options that were given, by their names."""
    return {name: value for name, value in given.items() if value is not None}


def _request(
    prompt: str,
    strategy: str | Path | Strategy | None,
    options: Mapping[str, Any],
    images: int | None,
    seed: int,
    stack: str | Path | Stack,
    size: int | tuple[int, int] | None,
    steps: int | None,
    guidance: float | None,
    out: str | Path | None,
) -> Request:
    return Request(
        prompts=(prompt,),
        strategy=strategy,
        options=options,
        images=images,
        seed=seed,
        stack=stack,
        size=(size, size) if isinstance(size, int) else size,
        steps=steps,
        guidance=guidance,
        out=None if out is None else Path(out),
    )


def _result(book: Book) -> Result:
    """Return the one search of a run as a caller sees it."""
    chapter = book.chapters[0]
    found = chapter.story.result
    best = found.best
    chosen = None
    if best is not None and best.candidate is not None and best.verdict is not None and best.verdict.score is not None:
        chosen = Best(chapter.best_path, best.candidate, best.verdict.score)
    return Result(
        prompt=found.prompt,
        best=chosen,
        steps=found.steps,
        spend=found.charged,
        paid=found.paid,
        stop=found.stop,
        run=chapter.folder,
        failures=(*chapter.story.failures, *(short.sentence for short in chapter.story.shortfalls)),
    )
