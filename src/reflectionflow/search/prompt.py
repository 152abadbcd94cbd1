"""Prompt-level scaling: each chain's prompt is rewritten from its last picture, and painted from new noise.

arXiv 2504.16080, "noise and prompt scaling". Deviations from its release (`tts/tts_t2i_noise_prompt_scaling.py`): the
refiner may look at the best picture of the chain instead of the last, and at a reflection on it.
"""

from __future__ import annotations

from pydantic import Field

from reflectionflow.runtime import Place, Role, Task, Tools
from reflectionflow.search.chains import Chain, draft, first_chains, in_rounds, reflect, rewrite
from reflectionflow.search.options import ChainOptions, Parent, StrategySpec
from reflectionflow.types import StopReason


class PromptOptions(ChainOptions):
    """Options of prompt-level scaling."""

    parent: Parent = Field(default=Parent.LATEST, description="The picture the refiner looks at: latest or best.")
    reflect: bool = Field(default=False, description="The refiner is told what a reflector says of the picture.")


async def prompt(task: Task, tools: Tools, options: PromptOptions) -> StopReason:
    """Paint `width` drafts, then in every round rewrite each chain's prompt and paint it from new noise.

    The rewritten prompt starts from the one the picture was painted from. A refinement that fails leaves that one as it
    is; a reflection that fails, or finds nothing, is left out.
    """

    async def move(chain: Chain, place: Place) -> Chain:
        seen = chain.parent(options.parent)
        if seen is None or seen.candidate is None:
            return chain.plus(await draft(task, tools, place))
        reflection = None
        if options.reflect:
            reflection = await reflect(tools, seen.candidate, seen, chain.said, options, Role.REFINER)
        if reflection is not None and (reflection.failure is not None or not reflection.text.strip()):
            reflection = None
        better = await rewrite(tools, seen.candidate, seen, reflection, options)
        return chain.plus(await draft(task, tools, place, better), reflection)

    chains = await first_chains(task, tools, options.width, options.width)
    return await in_rounds(tools, chains, move, options.accept)


def _needs(options: PromptOptions) -> frozenset[Role]:
    return frozenset({Role.REFINER, Role.REFLECTOR} if options.reflect else {Role.REFINER})


PROMPT = StrategySpec(
    "prompt",
    PromptOptions,
    prompt,
    _needs,
    nested=True,
    summary="Chains whose prompt is rewritten from their last picture and painted from new noise.",
)
