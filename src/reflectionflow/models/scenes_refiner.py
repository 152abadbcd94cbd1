"""A refiner of Scenes whose rewritten prompts ask for all that the user asked for.

The small vision-language model writes the prompt; what it says is read by the grammar of Scenes, and a prompt that
lost a number, a colour, an object or a relation is not used: the user's own stands instead. Prompts outside the grammar
cannot be checked and get the model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reflectionflow.genref.refine import keeps
from reflectionflow.models.qwen_vl import QwenVL, ScenesVlmOptions, missing
from reflectionflow.plugins import ModelSpec
from reflectionflow.roles import RefineRequest, Role, Worker
from reflectionflow.scenes.prompts import parse
from reflectionflow.types import RefinedPrompt


class CheckedRefiner:
    """Rewrites prompts and takes back what lost a requirement."""

    worker = Worker.LOCAL

    def __init__(self, options: ScenesVlmOptions) -> None:
        self._writing = QwenVL(options.checkpoint, options)
        self.name = f"checked:{self._writing.name}"
        self.batch_size = options.batch_size

    def refine(self, items: Sequence[RefineRequest]) -> list[RefinedPrompt]:
        """Rewrite each prompt more explicitly, or give the user's own where the rewritten one asks for less."""
        written = self._writing.refine(items)
        return [replace(checked(item.prompt, one), refiner=self.name) for item, one in zip(items, written, strict=True)]


def checked(prompt: str, written: RefinedPrompt) -> RefinedPrompt:
    """Return a rewritten prompt as it is, or with the user's prompt as text if a requirement of that was lost.

    Failures, and rewritten prompts of what is not in the grammar of Scenes, stay as they are.
    """
    metadata = parse(prompt)
    if written.failure is not None or metadata is None or keeps(metadata, written.text):
        return written
    return replace(written, text=prompt)


SPEC = ModelSpec(
    roles=(Role.REFINER,),
    options=ScenesVlmOptions,
    load=CheckedRefiner,
    needs=lambda options: missing(options.checkpoint),
    summary="Rewrites with the small Qwen2.5-VL of Scenes; a prompt that lost a requirement gives way to the user's.",
)
