"""A vision-language model as the teacher of real pictures: GenRef-CoT of a pair, and captions.

It is shown two pictures in an order the caller draws, and not told which is better. Whatever cannot be read of its
answers is no thought but a reason, which is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from reflectionflow.genref.memo import RememberedEndpoint
from reflectionflow.genref.teacher import Thought
from reflectionflow.genref.teaching import Comparison, Untaught
from reflectionflow.models.endpoint import Fault, Said, data_url, json_answer, messages
from reflectionflow.prompts.teacher import (
    CAPTION,
    COMPARE,
    COMPARED,
    compare_question,
    exchanged,
    parse_caption,
    parse_comparison,
)

if TYPE_CHECKING:
    from PIL.Image import Image

SILENT = "the teacher did not answer"
UNREADABLE = "the teacher's answer cannot be read"
CUT = "the teacher's answer was cut off at max_tokens"


class View(Protocol):
    """A picture that can be looked at."""

    def image(self) -> Image:
        """Return its pixels, RGB."""


class VlmTeacher:
    """Teaches through an endpoint.

    Args:
        endpoint: Where the model is served.
    """

    def __init__(self, endpoint: RememberedEndpoint) -> None:
        self._endpoint = endpoint
        options = endpoint.endpoint.options
        self.name = f"{options.served}@{options.revision}"
        self.most = 4 * options.concurrency
        """Comparisons that are well asked at once."""
        self._limit = {options.token_limit: options.max_tokens}

    def compare(self, asked: Sequence[Comparison[View]]) -> list[Thought | Untaught]:
        """Answer each comparison.

        Raises:
            ModelError: if the endpoint refuses for good.
        """
        return [_thought(said) for said in self._endpoint.ask([self._comparison(item) for item in asked])]

    def exchanged(self, thought: Thought, asked: Comparison[View]) -> Thought:
        """Return the thought with the pictures' names exchanged."""
        better = 3 - thought.better if thought.better else 0
        return Thought(exchanged(thought.differences), better, thought.edits)

    def captions(self, images: Sequence[Image]) -> list[str | Untaught]:
        """Describe each picture in one sentence.

        Raises:
            ModelError: if the endpoint refuses for good.
        """
        bodies = [{"messages": messages("", [data_url(image)], CAPTION), **self._limit} for image in images]
        return [_caption(said) for said in self._endpoint.ask(bodies)]

    def _comparison(self, asked: Comparison[View]) -> Mapping[str, Any]:
        pictures = [data_url(view.image()) for view in (asked.first, asked.second)]
        question = messages(COMPARE, pictures, compare_question(asked.prompt))
        return {"messages": question, **json_answer("comparison", COMPARED), **self._limit}


def _thought(said: Said | Fault) -> Thought | Untaught:
    if isinstance(said, Fault):
        return Untaught(SILENT)
    if said.cut:
        return Untaught(CUT)
    try:
        told = parse_comparison(said.text)
    except ValueError:
        return Untaught(UNREADABLE)
    return Thought(told.differences, told.better, told.edits)


def _caption(said: Said | Fault) -> str | Untaught:
    if isinstance(said, Fault):
        return Untaught(SILENT)
    if said.cut:
        return Untaught(CUT)
    try:
        return parse_caption(said.text)
    except ValueError:
        return Untaught(UNREADABLE)
