"""What a user of `reflectionflow paper` names besides the evaluation itself, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reflectionflow.errors import MisuseError

if TYPE_CHECKING:
    from reflectionflow.evaluation.paper import Beside
    from reflectionflow.evaluation.paper.costs import Further
    from reflectionflow.evaluation.paper.methods import Part
    from reflectionflow.evaluation.planning import Plan

PickBy = Annotated[
    str,
    typer.Option(
        metavar="NAMES", help="Verifiers that pick from the same pictures: models or stack files, with commas."
    ),
]
ReflectBy = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Further reflectors asked about the same failed drafts: models or stack files, with commas; absent: "
        "scenes-vlm and scenes-teacher where the stack paints Scenes.",
    ),
]
ToldBy = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="Who speaks in the reflector's place for whole searches: models or stack files, with commas; "
        "another-picture gives every picture what was said of another one.",
    ),
]
GenRef = Annotated[
    Path | None, typer.Option("--genref", metavar="DIR", help="The data set to show: a folder of GenRef shards.")
]
Control = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PATH",
        help="A generator tuned on the data set's good pictures without a condition: noise scaling by it is a further "
        "row. A model or a stack file.",
    ),
]
Without = Annotated[
    str,
    typer.Option(
        metavar="PARTS",
        help="Parts not to paint, with commas: figure-2 (reflectors on the same drafts), width-depth, choices (parent, "
        "ranking, no reflections).",
    ),
]


@dataclass(frozen=True)
class Wanted:
    """The same, read but not yet found; see the options."""

    pick_by: list[str]
    reflect_by: list[str] | None
    told_by: list[str]
    without: frozenset[Part]
    genref: Path | None
    control: str | None

    @property
    def passed(self) -> dict[str, Any]:
        """The options as the user wrote them, for the record."""
        return {
            "pick_by": self.pick_by or None,
            "reflect_by": self.reflect_by,
            "told_by": self.told_by or None,
            "without": sorted(part.value for part in self.without) or None,
            "genref": None if self.genref is None else str(self.genref),
            "control": self.control,
        }

    def beside(self, planned: Plan) -> Beside:
        """Return it refused or read, before anything is painted."""
        from reflectionflow.evaluation.paper import Beside
        from reflectionflow.evaluation.paper.control import control_of
        from reflectionflow.evaluation.paper.methods import Part
        from reflectionflow.evaluation.paper.picking import pickers
        from reflectionflow.evaluation.paper.reflecting import critics
        from reflectionflow.evaluation.paper.speaking import speakers
        from reflectionflow.genref.stats import statistics

        return Beside(
            pickers=pickers(self.pick_by, planned),
            critics=() if Part.REFLECTIONS in self.without else critics(self.reflect_by, planned),
            control=None if self.control is None else control_of(self.control, planned),
            speakers=speakers(self.told_by, planned),
            dataset=None if self.genref is None else statistics(self.genref),
        )

    def costs(self, planned: Plan, stack: str) -> list[Further]:
        """Return what it needs at most.

        Raises:
            MisuseError: if a model cannot be meant by its name; all reasons at once.
        """
        from reflectionflow.evaluation.paper.costs import further
        from reflectionflow.stack import read

        if read(stack).missing():  # stand-ins say nothing of whom they stand for
            self._require_names()
            critics = self._critics(planned)
        else:
            critics = len(self.beside(planned).critics)
        return list(further(planned, self.pick_by, critics, self.control, self.told_by))

    def _require_names(self) -> None:
        from reflectionflow.errors import MisuseError
        from reflectionflow.evaluation.paper.named import unnameable
        from reflectionflow.evaluation.paper.speaking import ELSEWHERE
        from reflectionflow.roles import Role

        speakers = [name for name in self.told_by if name != ELSEWHERE]
        problems = unnameable("--pick-by", self.pick_by, Role.VERIFIER)
        problems += unnameable("--reflect-by", self.reflect_by or (), Role.REFLECTOR)
        problems += unnameable("--told-by", speakers, Role.REFLECTOR)
        problems += unnameable("--control", [] if self.control is None else [self.control], Role.GENERATOR)
        if problems:
            raise MisuseError("\n".join(problems))

    def _critics(self, planned: Plan) -> int:
        """Return how many reflectors Figure 2 shows for models that cannot be loaded here."""
        from reflectionflow.evaluation.paper.methods import Part
        from reflectionflow.evaluation.paper.reflecting import usual

        models = planned.models
        if models.corrector is None or Part.REFLECTIONS in self.without:
            return 0
        others = usual(models) if self.reflect_by is None else self.reflect_by
        return (models.reflector is not None) + len(others)


def wanted_of(
    pick_by: str, reflect_by: str | None, told_by: str, without: str, genref: Path | None, control: str | None
) -> Wanted:
    """Return what the options say.

    Raises:
        MisuseError: if a part is none that can be left out, or an option asks for more of what another leaves out; all
            reasons at once.
    """
    from reflectionflow.evaluation.paper.methods import Part

    parts = [part.value for part in Part]
    left = _names(without)
    problems = [f"--without {name}: choose among {', '.join(parts)}." for name in left if name not in parts]
    if Part.REFLECTIONS in left and reflect_by is not None:
        problems.append("--reflect-by names reflectors for Figure 2, which --without leaves out; drop one of the two.")
    if Part.CHOICES in left and told_by.strip():
        problems.append(
            "--told-by is compared with ReflectionFlow ranked by score, which --without choices leaves out; drop one of"
            " the two."
        )
    if problems:
        raise MisuseError("\n".join(problems))
    others = None if reflect_by is None else _names(reflect_by)
    return Wanted(_names(pick_by), others, _names(told_by), frozenset(map(Part, left)), genref, control)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
