"""What several reflectors say of the same failed drafts, as a table and side by side (the paper's Figure 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reflectionflow.evaluation.paper.exhibit import Column, Exhibit, Line
from reflectionflow.evaluation.paper.reflecting import NEW_NOISE, SMALL_VLM, Criticised, Told
from reflectionflow.evaluation.reflections import (
    PRECISION,
    RECALL,
    SAME,
    SILENT,
    Seen,
    Spot,
    mean_change,
    named_faults,
    shares,
)
from reflectionflow.evaluation.statistics import Estimate, Rate
from reflectionflow.geneval import Metadata

ID = "figure-2"
FAULTS = {PRECISION: PRECISION, RECALL: RECALL, SAME: "the same edits", SILENT: "nothing to correct"}
"""Shares of `named_faults` that are shown, and what stands above them."""
PASSES = "correction passes"


@dataclass(frozen=True)
class Example:
    """One failed draft, and what each reflector said of it.

    Attributes:
        prompt: Index of the prompt.
        seed: Seed of the run.
        picture: SHA-256 of the draft.
        told: By reflector.
    """

    prompt: int
    seed: int
    picture: str
    told: dict[str, Told]


def examples(found: Criticised, prompts: Sequence[Metadata]) -> tuple[Example, ...]:
    """Return the first failed draft of each tag, in the order of prompts, seeds and drafts."""
    first: dict[str, Spot] = {}
    for spot in sorted(found.drafts):
        first.setdefault(prompts[spot[0]].tag, spot)
    return tuple(
        Example(spot[0], spot[1], found.drafts[spot].image, {name: said[spot] for name, said in found.told.items()})
        for spot in first.values()
    )


def criticism(found: Criticised, prompts: Sequence[Metadata]) -> Exhibit | None:
    """Return the table: which faults are named, and how many corrections pass; none where no draft failed."""
    if not found.drafts:
        return None
    faults = FAULTS if found.graphs else {}
    columns = tuple(Column(name, len(found.drafts), counted="drafts") for name in (*faults.values(), PASSES))
    nothing: tuple[Estimate | None, ...] = (None,) * len(faults)
    lines = [Line(NEW_NOISE, (*nothing, shares(prompts, found.again)["all"]), apart=True)]
    for name, said in found.told.items():
        passes = shares(prompts, {spot: told.correct for spot, told in said.items()})["all"]
        lines.append(Line(name, (*_named(found, prompts, said), passes), apart=True))
    lines += [
        Line(f"{name} − {NEW_NOISE}", (*nothing, _beyond(found, prompts, said)), difference=True, apart=True)
        for name, said in found.told.items()
    ]
    return Exhibit(ID, "Figure 2: reflections on the same failed drafts", columns, tuple(lines), _notes(found))


def _named(found: Criticised, prompts: Sequence[Metadata], said: Mapping[Spot, Told]) -> tuple[Rate | None, ...]:
    if not found.graphs:
        return ()
    seen = {spot: Seen(draft, False, found.graphs[spot]) for spot, draft in found.drafts.items()}
    words = {spot: told.reflection for spot, told in said.items() if told.reflection is not None}
    rates = named_faults(prompts, seen, words)
    return tuple(rate if (rate := rates.get(name)) is not None and rate.trials else None for name in FAULTS)


def _beyond(found: Criticised, prompts: Sequence[Metadata], said: Mapping[Spot, Told]) -> Estimate:
    return mean_change(prompts, {spot: told.correct - found.again[spot] for spot, told in said.items()})


def _notes(found: Criticised) -> tuple[str, ...]:
    drafts = (
        f"{len(found.drafts)} drafts that the judge refuses, among the first ones of each prompt and seed; every "
        "reflector sees picture and prompt alone. The same corrector carries out what each says, from the same noise, "
        f"once; a draft of which nothing is said does not pass. “{NEW_NOISE.capitalize()}” is another draft instead."
    )
    read = (
        "Precision and recall: edits against those that lead from the judge's own reading to the nearest picture that "
        "passes; found when verb and object agree. Drafts whose reading implies none are not compared. That favours "
        "reflectors that plan by the same rules; the corrections that pass do not."
        if found.graphs
        else "The judge cannot say which edits it misses, so named faults are not counted."
    )
    known = [f"{', '.join(sorted(found.oracles))}: uses what labelled training data."] if found.oracles else []
    if SMALL_VLM in found.told:
        known.append(
            f"{SMALL_VLM}: the vision-language model's own words, tuned on the language of Scenes. An untuned one of "
            "its size does not speak it, so the paper's comparison of tuned and untuned has no row here."
        )
    return (drafts, read, *known, "Intervals: the unit is the prompt. The paper shows examples, and no numbers.")
