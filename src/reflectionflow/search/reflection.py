"""Reflection-level scaling, the method of arXiv 2504.16080: look at a picture, say what is wrong, paint it again.

Every draft and every correction counts as a picture of the budget, and the answer is the best of everything seen.
`docs/search.md` tells where this follows the paper's release and where it deviates; the release's own loop is the
shipped strategy file `release.toml`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field

from reflectionflow.runtime import Place, Role, Task, Tools
from reflectionflow.search.chains import Chain, draft, first_chains, in_rounds, judge, reflect, rewrite
from reflectionflow.search.options import ChainOptions, Parent, StrategySpec
from reflectionflow.search.seeds import derive
from reflectionflow.types import RefinedPrompt, StopReason


def _twice_the_width(validated: dict[str, Any]) -> int:
    return 2 * int(validated["width"])


class ReflectionOptions(ChainOptions):
    """Options of reflection-level scaling."""

    drafts: int = Field(
        default_factory=_twice_the_width, ge=1, description="First drafts, of which the best become chains."
    )
    parent: Parent = Field(default=Parent.BEST, description="The picture of a chain that is corrected: latest or best.")
    reflect: bool = Field(
        default=True, description="A reflector says what is wrong; off: corrected by the prompt alone."
    )
    refine: bool | None = Field(
        default=False, description="A refiner rewrites the prompt before a correction; none: if the stack has one."
    )
    sure: float = Field(
        default=0.9,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="A chain whose picture needs no correction rests if its score reaches this; else it drafts anew.",
    )


async def reflection(task: Task, tools: Tools, options: ReflectionOptions) -> StopReason:
    """Judge first drafts; then in every round reflect on each chain's picture, refine, correct and judge.

    A picture of which the reflector has nothing to say leaves its chain, which paints a fresh draft instead: reflectors
    err. Only where the verifier is sure too does the chain rest, and the search ends when all chains do. A refinement
    that fails leaves the prompt as it is; a reflection that fails costs the chain that picture.
    """
    refining = tools.has(Role.REFINER) if options.refine is None else options.refine

    async def move(chain: Chain, place: Place) -> Chain:
        flawed = chain.parent(options.parent)
        if flawed is None or flawed.candidate is None or flawed.verdict is None:
            return chain.plus(await draft(task, tools, place))
        critique = await reflect(tools, flawed.candidate, flawed, chain, options) if options.reflect else None
        if critique is not None and critique.nothing_to_correct and (flawed.verdict.score or 0.0) >= options.sure:
            return replace(chain, resting=True)
        if critique is not None and (critique.failure is not None or not critique.text.strip()):
            return chain.without(flawed).plus(await draft(task, tools, place))
        prompt: str | RefinedPrompt = flawed.candidate.recipe.prompt
        if refining:
            prompt = await rewrite(tools, flawed.candidate, flawed, critique, options)
        seed = derive(task.seed, task.prompt, place)
        picture = await tools.correct(flawed.candidate, critique, prompt, seed, place)
        return chain.plus(await judge(tools, place, picture), critique)

    chains = await first_chains(task, tools, options.drafts, options.width)
    return await in_rounds(tools, chains, move, options.accept)


def _needs(options: ReflectionOptions) -> frozenset[Role]:
    wanted = {Role.CORRECTOR: True, Role.REFLECTOR: options.reflect, Role.REFINER: options.refine is True}
    return frozenset(role for role, needed in wanted.items() if needed)


def _welcomes(options: ReflectionOptions) -> frozenset[Role]:
    return frozenset({Role.REFINER} if options.refine is None else ())


REFLECTION = StrategySpec(
    "reflection",
    ReflectionOptions,
    reflection,
    _needs,
    nested=True,
    summary="The best drafts become chains: say what is wrong, paint it again; the best of everything wins.",
    welcomes=_welcomes,
)
