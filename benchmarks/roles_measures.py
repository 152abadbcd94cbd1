"""What the models of a search are measured by, as functions of scores and words alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from scipy.stats import t as student

from reflectionflow.evaluation.intervals import wilson
from reflectionflow.evaluation.statistics import Estimate, auroc
from reflectionflow.geneval import Metadata, decide
from reflectionflow.genref.edits import Edit, parse_edit
from reflectionflow.genref.graph import found_in
from reflectionflow.genref.refine import keeps, read_explicit
from reflectionflow.scenes.prompts import parse
from reflectionflow.types import Reflection

SIDE = 128.0
UNREAD = "unreadable"
"""Stands for the verb of an edit in words of another form."""


@dataclass(frozen=True)
class Rate(Estimate):
    """A share of trials with its 95 % interval; not a number without trials.

    Attributes:
        trials: How many trials there were.
    """

    trials: int


@dataclass(frozen=True)
class Compared:
    """A reflection against the edits that the judge's own reading implies.

    Attributes:
        named: Verb of each edit of the reflection, `UNREAD` where it has none that is known.
        wanted: Verb of each implied edit.
        found: Verb of each edit that is in both.
        same_words: Whether the two have the same texts, in any order.
    """

    named: tuple[str, ...]
    wanted: tuple[str, ...]
    found: tuple[str, ...]
    same_words: bool

    @property
    def same(self) -> bool:
        """Whether every edit of either is found in the other."""
        return len(self.named) == len(self.wanted) == len(self.found)


def compared(named: Sequence[str], wanted: Sequence[str], metadata: Metadata) -> Compared:
    """Compare the edits of a reflection with the implied ones; each counts for at most one of the other side."""
    read = [parse_edit(text) for text in named]
    implied = [_as_asked(edit, metadata) for text in wanted if (edit := parse_edit(text)) is not None]
    told = [edit for edit in read if edit is not None]
    return Compared(
        tuple(UNREAD if edit is None else edit.verb.value for edit in read),
        tuple(edit.verb.value for edit in implied),
        tuple(edit.verb.value for edit in matched(told, implied)),
        set(named) == set(wanted),
    )


def agree(first: Edit, second: Edit) -> bool:
    """Return whether two edits do the same to the same object; a colour that one of them leaves out may be any."""
    one, other = first.name, second.name
    return (
        first.verb is second.verb
        and one.noun == other.noun
        and (one.color == other.color or one.color is None or other.color is None)
    )


def matched(named: Sequence[Edit], wanted: Sequence[Edit]) -> tuple[Edit, ...]:
    """Return the wanted edits that were named: the most that one-to-one agreement allows."""
    if not named or not wanted:
        return ()
    agreement = np.array([[agree(one, other) for other in wanted] for one in named], dtype=float)
    rows, columns = linear_sum_assignment(agreement, maximize=True)
    return tuple(wanted[column] for row, column in zip(rows, columns, strict=True) if agreement[row, column])


def _as_asked(edit: Edit, metadata: Metadata) -> Edit:
    """Return an edit without the colour of what is added, where the prompt leaves that open."""
    colored = {clause.class_name for clause in metadata.include if clause.color is not None}
    if edit.verb.value != "add" or edit.name.noun in colored:
        return edit
    return replace(edit, name=replace(edit.name, color=None))


def edits_of(reflection: Reflection) -> tuple[str, ...]:
    """Return the separate edits of a reflection; the whole text where a model does not separate them."""
    return reflection.edits or ((reflection.text,) if reflection.text else ())


def mean_ranks(scores: ArrayLike) -> NDArray[np.float64]:
    """Return the ensemble of several verifiers: the mean over them of each picture's rank among those of its prompt.

    Args:
        scores: [verifiers, pictures]; not a number where a verifier gave none.

    Returns:
        In (0, 1], larger is better, ties with their mean rank; not a number where any verifier gave none. [pictures]
    """
    given = np.asarray(scores, dtype=float)
    known = np.maximum(1, (~np.isnan(given)).sum(axis=1, keepdims=True))
    # Rounded, so that equal sums of ranks tie whatever the order of the verifiers.
    return np.round((rankdata(given, axis=1, nan_policy="omit") / known).mean(axis=0), 9)


def ordered_pairs(scores: ArrayLike, correct: ArrayLike) -> tuple[float, int]:
    """Return how many pairs of a right and a wrong picture of one prompt are ordered rightly (ties half), of how many.

    Pictures without a score (not a number) are in no pair.
    """
    given, right = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool)
    given, right = given[~np.isnan(given)], right[~np.isnan(given)]
    pairs = int(right.sum() * (~right).sum())
    return (auroc(given, right) * pairs, pairs) if pairs else (0.0, 0)


def requirement_lost(metadata: Metadata, text: str) -> str:
    """Return what a rewritten prompt no longer asks for, in words; empty when it keeps every requirement."""
    if keeps(metadata, text):
        return ""
    graph = read_explicit(text)
    if graph is not None:
        return " ".join(decide(metadata, found_in(graph, SIDE)).reason.split("\n"))
    return "it cannot be read" if parse(text) is None else "it states another number, colour, object or relation"


class Tallies:
    """Hits and trials by name, kept apart by prompt."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[int, list[int]]] = {}

    def add(self, name: str, prompt: int, hits: int, trials: int = 1) -> None:
        """Count some trials of a prompt."""
        counts = self._counts.setdefault(name, {}).setdefault(prompt, [0, 0])
        counts[0] += hits
        counts[1] += trials

    def rates(self) -> dict[str, Rate]:
        """Return each share of hits, in the order of first mention."""
        return {name: rate(list(counts.values())) for name, counts in self._counts.items()}


def rate(counts: Sequence[Sequence[int]]) -> Rate:
    """Return the share of hits over all prompts, with a 95 % interval whose unit is the prompt.

    It is Wilson's for as many independent trials as would vary as the prompts do, at most all of them, and as many as
    there are prompts where nothing varies; its quantile is Student's (Korn and Graubard 1998).

    Args:
        counts: (hits, trials) of each prompt.

    Returns:
        The rate; not a number without trials.
    """
    tried = np.array([pair for pair in counts if pair[1]], dtype=float).reshape(-1, 2)
    total = float(tried[:, 1].sum())
    if not total:
        return Rate(np.nan, np.nan, np.nan, 0)
    share, prompts = float(tried[:, 0].sum() / total), len(tried)
    if prompts == 1:
        return Rate(share, 0.0, 1.0, int(total))
    residuals = tried[:, 0] - share * tried[:, 1]
    variance = float((residuals**2).sum()) / total**2 * prompts / (prompts - 1)
    trials = min(share * (1 - share) / variance, total) if variance > 0 else float(prompts)
    low, high = wilson(share * trials, trials, z=float(student.ppf(0.975, prompts - 1)))
    return Rate(share, low, high, int(total))
