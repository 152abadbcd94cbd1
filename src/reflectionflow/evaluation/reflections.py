"""What reflections are worth: against the edits that the judge's own reading implies, and by what is painted of them.

Drafts are told apart by spots, of which the first number is the prompt's: it is the unit of every interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from reflectionflow.evaluation.statistics import Bootstrap, Estimate, Rate, Tallies
from reflectionflow.geneval import Metadata
from reflectionflow.genref.edits import Edit, Verb, parse_edit
from reflectionflow.genref.graph import Graph
from reflectionflow.genref.repair import repair
from reflectionflow.types import Candidate, Reflection

Spot = tuple[int, ...]
"""(index of the prompt, what tells its drafts apart …)."""
UNREAD = "unreadable"
"""Stands for the verb of an edit in words of another form."""
PRECISION, RECALL, SAME = "precision", "recall", "failed pictures: the same edits"
SILENT = 'failed pictures: false "nothing to correct"'


@dataclass(frozen=True)
class Seen:
    """One picture as the judge sees it.

    Attributes:
        candidate: The picture.
        correct: Whether it satisfies its prompt.
        graph: The objects in it.
    """

    candidate: Candidate
    correct: bool
    graph: Graph


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


def named_faults(
    prompts: Sequence[Metadata], drafts: Mapping[Spot, Seen], told: Mapping[Spot, Reflection]
) -> dict[str, Rate]:
    """Return how one reflector's reflections compare with what the judge's own reading of each picture implies.

    Implied edits lead from the judge's reading to the nearest picture that passes. Failed pictures whose reading
    implies none (the judge half sees an object) are not compared.

    Args:
        prompts: The prompts, in words that edits can be read from (Scenes).
        drafts: The pictures.
        told: The reflections on them; each has its draft.

    Returns:
        By name: precision and recall of edits, over all and by verb; shares of exact reflections, of failed pictures
        with nothing to correct, of false alarms on pictures that pass, and of answers without a readable edit.
    """
    tallies = Tallies()
    for spot, reflection in told.items():
        prompt, seen, failed = spot[0], drafts[spot], reflection.failure is not None
        tallies.add("no readable answer", prompt, failed)
        if seen.correct:
            tallies.add("passing pictures: false alarm", prompt, bool(reflection.text))
            continue
        tallies.add(SILENT, prompt, reflection.nothing_to_correct)
        wanted = repair(prompts[prompt], seen.graph).edits
        tallies.add("failed pictures: compared", prompt, bool(wanted))
        if wanted:
            _count(tallies, prompt, compared(edits_of(reflection), wanted, prompts[prompt]))
    return tallies.rates()


def _count(tallies: Tallies, prompt: int, pair: Compared) -> None:
    """Count what one reflection names, misses and makes up."""
    tallies.add(SAME, prompt, pair.same)
    tallies.add("failed pictures: in the same words", prompt, pair.same_words)
    tallies.add(PRECISION, prompt, len(pair.found), len(pair.named))
    tallies.add(RECALL, prompt, len(pair.found), len(pair.wanted))
    for verb in (item.value for item in Verb):
        named, wanted, found = (part.count(verb) for part in (pair.named, pair.wanted, pair.found))
        tallies.add(f"{PRECISION}, {verb}", prompt, found, named)
        tallies.add(f"{RECALL}, {verb}", prompt, found, wanted)
    tallies.add("edits in words of another form", prompt, pair.named.count(UNREAD), len(pair.named))


def shares(prompts: Sequence[Metadata], values: Mapping[Spot, bool]) -> dict[str, Rate]:
    """Return the share of drafts for which something holds: of all, and of each tag."""
    tallies = Tallies()
    for spot, value in values.items():
        tallies.add("all", spot[0], value)
        tallies.add(prompts[spot[0]].tag, spot[0], value)
    return tallies.rates()


def mean_change(prompts: Sequence[Metadata], values: Mapping[Spot, int]) -> Estimate:
    """Return the mean of paired differences over drafts, with a bootstrap interval over prompts within their tags.

    Tags of a single prompt are resampled together, because one prompt cannot tell its spread; a single prompt in all
    says nothing of others.

    Args:
        prompts: The prompts.
        values: A difference in {-1, 0, 1} of each draft.
    """
    chosen: dict[int, list[int]] = {}
    for spot, value in values.items():
        chosen.setdefault(spot[0], []).append(value)
    counts = Counter(prompts[prompt].tag for prompt in chosen)
    tags = [prompts[prompt].tag if counts[prompts[prompt].tag] > 1 else "" for prompt in chosen]
    boot = Bootstrap(tags)
    moved = boot.pooled([sum(some) for some in chosen.values()])
    found = (moved / boot.pooled([len(some) for some in chosen.values()])).estimate
    return found if len(chosen) > 1 else Estimate(found.value, -1.0, 1.0)
