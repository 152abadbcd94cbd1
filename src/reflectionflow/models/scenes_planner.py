"""A reflector of Scenes that looks with the small vision-language model and plans by rules.

The model thinks its reflections aloud: first what the picture shows, then the edits. It sees better than it plans, so
here its list is taken at its word, and the edits are those that lead from it to the nearest picture that satisfies the
prompt (`genref.repair`). It is no oracle: everything it knows of a picture, the model said. Prompts outside the grammar
of Scenes get the model's own edits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reflectionflow.errors import MisuseError
from reflectionflow.genref.edits import VERSION
from reflectionflow.genref.listing import listed
from reflectionflow.genref.repair import repair
from reflectionflow.models.qwen_vl import QwenVL, ScenesVlmOptions, missing
from reflectionflow.plugins import ModelSpec
from reflectionflow.prompts.vlm import JOIN
from reflectionflow.roles import ReflectRequest, Role, Worker
from reflectionflow.scenes.prompts import parse
from reflectionflow.types import Reflection


class PlanningReflector:
    """Says which edits lead from what the model sees to the prompt."""

    worker = Worker.LOCAL

    def __init__(self, options: ScenesVlmOptions) -> None:
        self._looking = QwenVL(options.checkpoint, options)
        self.name = f"planner-{VERSION}:{self._looking.name}"
        self.batch_size = options.batch_size
        self.reads = self._looking.reads

    def reflect(self, items: Sequence[ReflectRequest]) -> list[Reflection]:
        """Criticise each picture; what the model said is kept as the raw answer."""
        return [self._planned(item, said) for item, said in zip(items, self._looking.reflect(items), strict=True)]

    def _planned(self, item: ReflectRequest, said: Reflection) -> Reflection:
        metadata, graph = parse(item.prompt), listed(said.raw)
        own = replace(said, reflector=self.name)
        if metadata is None or graph is None:
            return own
        try:
            edits = repair(metadata, graph).edits
        except MisuseError:  # more than fits into a picture: the model's own words are the best there is
            return own
        return Reflection(item.id, self.name, JOIN.join(edits), edits, said.raw, tokens=said.tokens)


SPEC = ModelSpec(
    roles=(Role.REFLECTOR,),
    options=ScenesVlmOptions,
    load=PlanningReflector,
    needs=lambda options: missing(options.checkpoint),
    summary="Looks with the small Qwen2.5-VL of Scenes and derives the edits from what it lists, by rules.",
)
