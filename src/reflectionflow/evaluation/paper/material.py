"""What the paper's exhibits are made from, and over which prompts each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from reflectionflow.evaluation.pages.grids import PROMPTS, to_tag
from reflectionflow.evaluation.paper.chains import Chains
from reflectionflow.evaluation.paper.exhibit import Column
from reflectionflow.evaluation.paper.methods import Lineup
from reflectionflow.evaluation.paper.picking import Picks
from reflectionflow.evaluation.paper.reflecting import Criticised
from reflectionflow.evaluation.paper.speaking import Spoken
from reflectionflow.evaluation.results import Results
from reflectionflow.evaluation.tables import Scores, Tables
from reflectionflow.genref.stats import Statistics


@dataclass(frozen=True)
class Scope:
    """The prompts that an exhibit is about.

    Attributes:
        name: What tables call them.
        tags: Their tags; scores are means over these.
        suffix: Ends the ids of their exhibits; empty for the declared score.
    """

    name: str
    tags: tuple[str, ...]
    suffix: str = ""

    @property
    def declared(self) -> bool:
        """Whether this is the declared score, for which the paper has values."""
        return not self.suffix

    def named(self, exhibit: str) -> str:
        """Return the id of an exhibit about these prompts."""
        return exhibit if self.declared else f"{exhibit}-{self.suffix}"

    @property
    def link(self) -> str:
        """Where the report lists these prompts."""
        return PROMPTS if self.declared else to_tag(self.tags[0])

    def titled(self, title: str) -> str:
        """Return the title of an exhibit about these prompts."""
        return title if self.declared else f"{title} ({self.name})"


@dataclass(frozen=True)
class Material:
    """What the exhibits are made from.

    Attributes:
        results: The outcomes.
        tables: Their tables.
        compared: The methods.
        picks: What other verifiers picked from the pictures of `picked_from`.
        picked_from: A method.
        oracles: Pickers that are related to the judge.
        left_out: Why parts of the paper are not shown, one sentence each.
        criticised: What reflectors said of failed drafts; none where nobody was asked.
        chains: Chains to look at; none where there are none.
        dataset: Numbers of the data set; none where it was not named.
        control: Whether the control's pick is right, [prompts, seeds, budgets]; none without a control.
        spoken: The same of ReflectionFlow, ranked by score, by who spoke in the reflector's place.
        beside: Names and versions of models besides those of the search, by what they do.
    """

    results: Results
    tables: Tables
    compared: Lineup
    picks: Picks
    picked_from: str
    oracles: frozenset[str]
    left_out: tuple[str, ...] = ()
    criticised: Criticised | None = None
    chains: Chains | None = None
    dataset: Statistics | None = None
    control: np.ndarray | None = None
    spoken: Spoken = field(default_factory=dict)
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def scores(self, method: str) -> Scores:
        """Return a method's scores."""
        return next(item for item in self.tables.scores if item.method == method)

    @property
    def group(self) -> str:
        """What the declared score is averaged over."""
        return next(iter(self.tables.groups))

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.results.about.seeds)

    def column(self, name: str, prompts: int, link: str = PROMPTS) -> Column:
        """Return a column over so many prompts, with all seeds, that the report lists there."""
        return Column(name, prompts * self.seeds, prompts, link=link)

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The declared score, and every tag that it leaves out: composite, where single pictures fail."""
        members = self.tables.groups[self.group]
        others = (tag for tag in self.tables.counts if tag not in members)
        return (Scope(self.group, members), *(Scope(tag, (tag,), tag) for tag in others))

    def prompts(self, scope: Scope) -> int:
        """Return how many prompts a scope has."""
        return sum(self.tables.counts[tag] for tag in scope.tags)

    def budgets(self, scope: Scope) -> tuple[Column, ...]:
        """Return a column per budget."""
        prompts = self.prompts(scope)
        return tuple(self.column(str(budget), prompts, scope.link) for budget in self.results.about.budgets)

    def theirs(self, scope: Scope, curve: Mapping[int, float]) -> tuple[float | None, ...]:
        """Return the paper's curve at our budgets; it has one for the declared score alone."""
        return tuple(curve.get(budget) for budget in self.results.about.budgets) if scope.declared else ()
