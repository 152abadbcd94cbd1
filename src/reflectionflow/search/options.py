"""How a search method declares its options: a frozen class each, checked in one place, part of a run's identity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reflectionflow.errors import MisuseError
from reflectionflow.plugins import option_fault
from reflectionflow.runtime import Role, Strategy, Task, Tools
from reflectionflow.types import StopReason, settings

MOST_CHAINS = 64
WIDTH_HINT = (
    "the width of a search is its number of chains; "
    "the size of the pictures is --size (in Python: size=(width, height))"
)


class SearchOptions(BaseModel):
    """Base of a search method's options: unknown names are refused, and every field carries a description."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Parent(Enum):
    """Which picture of a chain the next one is made from."""

    LATEST = "latest"
    BEST = "best"


class RoundOptions(SearchOptions):
    """What the methods that look at their pictures have in common."""

    accept: float | None = Field(
        default=None, ge=0, le=1, allow_inf_nan=False, description="Score at which the search stops; absent: never."
    )
    see_verdict: bool = Field(default=True, description="Reflector and refiner are told what the verifier said.")
    history: int = Field(default=3, ge=0, description="Earlier reflections of its chain that the reflector is told.")


class CorrectingOptions(RoundOptions):
    """What the methods that correct pictures have in common."""

    refine: bool | None = Field(
        default=False, description="A refiner rewrites the prompt before a correction; none: if the stack has one."
    )

    @property
    def welcomes(self) -> frozenset[Role]:
        """The roles that are made use of where the stack fills them."""
        return frozenset({Role.REFINER} if self.refine is None else ())

    def needs(self, *others: Role) -> frozenset[Role]:
        """Return these roles, and the others that the stack must fill."""
        return frozenset({Role.CORRECTOR, *others, *((Role.REFINER,) if self.refine else ())})


class ChainOptions(RoundOptions):
    """What the methods that run in chains have in common."""

    width: int = Field(default=2, ge=1, le=MOST_CHAINS, description="Chains that run side by side.")


OptionsT = TypeVar("OptionsT", bound=SearchOptions)


@dataclass(frozen=True)
class StrategySpec(Generic[OptionsT]):
    """A search method whose options are still to be chosen.

    Attributes:
        name: As the user types it.
        options: Its options, each field with a description and a default.
        run: The method: an async function of a task, its tools, and the options.
        needs: Returns the roles the stack must fill besides generator and verifier.
        nested: As in `Strategy`, whatever the options.
        summary: One line for lists and help.
        welcomes: Returns the roles it makes use of where the stack fills them.
    """

    name: str
    options: type[OptionsT]
    run: Callable[[Task, Tools, OptionsT], Awaitable[StopReason]]
    needs: Callable[[OptionsT], frozenset[Role]]
    nested: bool
    summary: str = ""
    welcomes: Callable[[OptionsT], frozenset[Role]] = lambda options: frozenset()

    def configured(self, **given: Any) -> Strategy:
        """Return the method with these options, and its defaults for the others.

        Raises:
            MisuseError: if options are unknown or refused; all reasons at once.
        """
        try:
            options = self.options.model_validate(given)
        except ValidationError as error:
            raise MisuseError("\n".join(self._faults(error))) from error

        async def run(task: Task, tools: Tools) -> StopReason:
            return await self.run(task, tools, options)

        return Strategy(
            name=self.name,
            run=run,
            nested=self.nested,
            needs=self.needs(options),
            welcomes=self.welcomes(options),
            summary=self.summary,
            options=settings(options.model_dump(mode="json")),
        )

    def _faults(self, error: ValidationError) -> list[str]:
        known = list(self.options.model_fields)
        faults = [fault for fault in error.errors() if fault["type"] != "default_factory_not_called"]
        return [with_hint(f"strategy {self.name}: {option_fault(fault, known)}", fault["loc"]) for fault in faults]


def with_hint(sentence: str, names: tuple[int | str, ...]) -> str:
    """Return a sentence about an option, saying what `width` means where it is about that one."""
    return f"{sentence}; {WIDTH_HINT}" if names[:1] == ("width",) else sentence
