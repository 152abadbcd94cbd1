"""Pictures of the paper's exhibits as a page shows them: drafts with what was said of them, and chains."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from reflectionflow.evaluation.pages.cases import thumbnail
from reflectionflow.evaluation.pages.writing import pages_of
from reflectionflow.evaluation.paper.chains import Chains
from reflectionflow.evaluation.paper.criticism import examples
from reflectionflow.evaluation.paper.reflecting import Criticised, Told
from reflectionflow.evaluation.results import Results
from reflectionflow.runs import RunReader

EXAMPLES = "Chosen by rule: of each tag the first failed draft, in the order of prompts, seeds and drafts."


@dataclass(frozen=True)
class Side:
    """What one reflector said of a draft: name, words, the correction as a data address, what the judge says of it."""

    name: str
    said: str
    source: str
    outcome: str
    correct: bool


@dataclass(frozen=True)
class ShownExample:
    """One failed draft, what each reflector said of it beside each other, and the prompt's page."""

    prompt: str
    seed: int
    page: str
    source: str
    sides: tuple[Side, ...]


@dataclass(frozen=True)
class ShownChains:
    """The picture of the chains as a data address, its caption, and (prompt, seed, page) of each row."""

    title: str
    source: str
    notes: tuple[str, ...]
    rows: tuple[tuple[str, int, str], ...]


def said(told: Told) -> str:
    """Return a reflector's words, or that it had none."""
    if told.reflection is None:
        return "not asked"
    if told.reflection.failure is not None:
        return f"failed: {told.reflection.failure}"
    return told.reflection.text or "nothing to correct"


def outcome(told: Told) -> str:
    """Return what became of a reflection, in a few words."""
    if told.corrected is None:
        return "no correction"
    return "the correction passes" if told.correct else "the correction fails"


def shown_examples(found: Criticised, results: Results, run: RunReader) -> list[ShownExample]:
    """Return the examples with their pictures."""
    pages = pages_of(results)
    shown = []
    for example in examples(found, results.prompts):
        sides = tuple(
            Side(
                name=name,
                said=said(told),
                source="" if told.corrected is None else thumbnail(run, told.corrected.image),
                outcome=outcome(told),
                correct=told.correct,
            )
            for name, told in example.told.items()
        )
        prompt = results.prompts[example.prompt].prompt
        draft = thumbnail(run, example.picture)
        shown.append(ShownExample(prompt, example.seed, pages[example.prompt], draft, sides))
    return shown


def chains_title(chains: Chains) -> str:
    """Return the heading of the chains."""
    return f"Figure 5: chains of {chains.method}"


def shown_chains(chains: Chains, results: Results) -> ShownChains:
    """Return the chains as a page shows them."""
    pages = pages_of(results)
    rows = tuple((results.prompts[c.row.prompt].prompt, c.row.seed, pages[c.row.prompt]) for c in chains.shown)
    source = f"data:image/png;base64,{base64.b64encode(chains.picture).decode('ascii')}"
    return ShownChains(chains_title(chains), source, chains.notes, rows)
