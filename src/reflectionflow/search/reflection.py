"""Reflection-level scaling, the method of arXiv 2504.16080: look at a picture, say what is wrong, paint it again.

Every draft and every correction counts as a picture of the budget, and the answer is the best of everything seen.
`docs/search.md` tells where this follows the paper's release and where it deviates; the release's own loop is the
shipped strategy file `release.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Any

from pydantic import Field, model_validator

from reflectionflow.ranking import best, ranked
from reflectionflow.runtime import Place, Role, Task, Tools
from reflectionflow.search.chains import (
    Chain,
    by_score,
    correct,
    draft,
    first_chains,
    in_rounds,
    reflect,
    score_of,
)
from reflectionflow.search.options import ChainOptions, CorrectingOptions, Parent, StrategySpec
from reflectionflow.search.selection import edits_asked
from reflectionflow.types import Reflection, Step, StopReason


class Rank(Enum):
    """By what the pictures that are corrected are chosen."""

    SCORE = "score"
    EDITS = "edits"


def _twice_the_width(validated: dict[str, Any]) -> int:
    return 2 * int(validated["width"])


def _what_reflectors_ask(validated: dict[str, Any]) -> Rank:
    return Rank.EDITS if validated["reflect"] else Rank.SCORE


class ReflectionOptions(ChainOptions, CorrectingOptions):
    """Options of reflection-level scaling."""

    drafts: int = Field(
        default_factory=_twice_the_width, ge=1, description="First drafts, of which the best become chains."
    )
    parent: Parent = Field(default=Parent.BEST, description="The picture of a chain that is corrected: latest or best.")
    reflect: bool = Field(
        default=True, description="A reflector says what is wrong; off: corrected by the prompt alone."
    )
    rank: Rank = Field(
        default_factory=_what_reflectors_ask,
        description="Which drafts become chains, and which picture is a chain's best: by the verifier's score, or the "
        "one of which the reflector asks the fewest edits; edits where a reflector is asked.",
    )
    sure: float = Field(
        default=0.9,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="A chain whose picture needs no correction rests if its score reaches this; else it drafts anew.",
    )

    @model_validator(mode="after")
    def _fits(self) -> ReflectionOptions:
        if self.rank is Rank.EDITS and not self.reflect:
            raise ValueError("rank edits counts what the reflector asks for: leave reflect on")
        return self


async def reflection(task: Task, tools: Tools, options: ReflectionOptions) -> StopReason:
    """Judge first drafts; then in every round reflect on each chain's picture, refine, correct and judge.

    A picture of which the reflector has nothing to say leaves its chain, which paints a fresh draft instead: reflectors
    err. Only where the verifier is sure too does the chain rest, and the search ends when all chains do. A refinement
    that fails leaves the prompt as it is; a reflection that fails costs the chain that picture.
    """

    async def move(chain: Chain, place: Place) -> Chain:
        chain, flawed, critique = await _next(tools, chain, options)
        if flawed is None or flawed.candidate is None or flawed.verdict is None:
            return chain.plus(await draft(task, tools, place))
        if critique is not None and critique.nothing_to_correct and (flawed.verdict.score or 0.0) >= options.sure:
            return replace(chain, resting=True)
        if critique is not None and (critique.failure is not None or not critique.text.strip()):
            return chain.without(flawed).plus(await draft(task, tools, place))
        return chain.plus(await correct(task, tools, place, flawed, critique, options), critique)

    async def by_edits(steps: Sequence[Step], width: int) -> Sequence[Step]:
        judged = ranked(steps)
        if not tools.affordable(1) or (options.accept is not None and score_of(best(judged)) >= options.accept):
            return judged[:width]  # nothing follows
        seen = await _seen(tools, [Chain(0, (step,)) for step in judged], options)
        critiques = {place: said for chain in seen for place, said in chain.critiques.items()}
        return _by_edits(judged, critiques)[:width]

    chosen = by_edits if options.rank is Rank.EDITS else by_score
    chains = await first_chains(task, tools, options.drafts, options.width, chosen)
    looking = partial(_seen, tools, options=options) if options.rank is Rank.EDITS else None
    return await in_rounds(tools, chains, move, options.accept, looking)


async def _next(tools: Tools, chain: Chain, options: ReflectionOptions) -> tuple[Chain, Step | None, Reflection | None]:
    """Return the chain, the picture of it to be corrected, and what is said of that one, if reflectors are asked."""
    flawed = chain.parent(options.parent)
    if options.rank is Rank.EDITS and options.parent is Parent.BEST:
        flawed = next(iter(_by_edits(chain.pictures, chain.critiques)), None)
    if flawed is None or flawed.candidate is None or not options.reflect:
        return chain, flawed, None
    return chain, flawed, await reflect(tools, flawed.candidate, flawed, chain.said, options)


async def _seen(tools: Tools, chains: Sequence[Chain], options: ReflectionOptions) -> list[Chain]:
    """Return chains after the reflector has looked at every picture of them, to rank them.

    What it says of the one that is chosen is asked for anew, since it is told what was tried meanwhile; the same
    question is not paid for twice.
    """
    new = [(chain, step) for chain in chains for step in chain.pictures if step.place not in chain.critiques]
    said = await tools.gather(
        *(
            reflect(tools, step.candidate, step, chain.said, options)
            for chain, step in new
            if step.candidate is not None
        )
    )
    found = [(chain, step.place, one) for (chain, step), one in zip(new, said, strict=True)]
    return [
        replace(chain, critiques={**chain.critiques, **{place: one for of, place, one in found if of is chain}})
        for chain in chains
    ]


def _by_edits(steps: Sequence[Step], critiques: Mapping[Place, Reflection]) -> list[Step]:
    """Return judged steps, the one that needs the fewest edits first; of equal ones the best, failed critiques last."""
    return sorted(ranked(steps), key=lambda step: edits_asked(critiques[step.place]))


REFLECTION = StrategySpec(
    "reflection",
    ReflectionOptions,
    reflection,
    lambda options: options.needs(*((Role.REFLECTOR,) if options.reflect else ())),
    nested=True,
    summary="The best drafts become chains: say what is wrong, paint it again; the best of everything wins.",
    welcomes=lambda options: options.welcomes,
)
