"""Chains of ReflectionFlow to look at (the paper's Figure 5), chosen by a rule and never by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from reflectionflow.evaluation.paper.replaying import decisions_on, recorded
from reflectionflow.evaluation.results import Results, Row
from reflectionflow.evaluation.running import RUN
from reflectionflow.report import Story, Way, path_sheet
from reflectionflow.runs import RunDirectory, RunReader

WORDS = {True: "accepted", False: "refused"}


@dataclass(frozen=True)
class Change:
    """What the judge says of the two ends of the way to an answer that is a correction.

    Attributes:
        row: The search.
        draft: Whether the first picture of the way is accepted.
        answer: Whether the answer is.
        pictures: SHA-256 of the pictures on the way, the draft first.
        said: What was said of each but the last.
    """

    row: Row
    draft: bool
    answer: bool
    pictures: tuple[str, ...]
    said: tuple[str, ...]


@dataclass(frozen=True)
class Chains:
    """The chains that are shown.

    Attributes:
        method: Whose they are.
        shown: The first of each tag whose draft the judge refuses and whose answer it accepts.
        none: Tags without any such chain.
        answers: Answers of the method at the largest budget.
        counts: How many of them are corrections, by the judge's words on draft and answer.
        picture: The chains as a PNG file; empty when there are none.
    """

    method: str
    shown: tuple[Change, ...]
    none: tuple[str, ...]
    answers: int
    counts: dict[tuple[bool, bool], int]
    picture: bytes

    @property
    def notes(self) -> tuple[str, ...]:
        """By what rule they are chosen, and from how many, as sentences."""
        corrections = sum(self.counts.values())
        told = ", ".join(
            f"{WORDS[draft]} → {WORDS[answer]} {self.counts[draft, answer]}"
            for draft, answer in ((False, True), (True, False), (True, True), (False, False))
        )
        without = f"; there is none of {', '.join(self.none)}" if self.none else ""
        return (
            "Chosen by rule: of each tag the first chain, in the order of prompts and seeds, whose draft the judge "
            f"refuses and whose answer it accepts{without}.",
            f"{corrections} of {self.answers} answers are corrections; by the judge, draft → answer: {told}.",
            "Below each picture the score of the search's verifier; the search never sees the judge.",
        )


def chains_of(results: Results, method: str, folder: Path) -> Chains:
    """Return a method's chains at the largest budget.

    Args:
        results: The evaluation.
        method: A nested method.
        folder: The evaluation's directory.

    Raises:
        StorageError: if the run cannot be read.
    """
    rows = [row for row in results.rows if row.method == method]
    counts = {(draft, answer): 0 for draft in (False, True) for answer in (False, True)}
    first: dict[str, Change] = {}
    with RunDirectory.read(folder / RUN) as run:
        for row in rows:
            change = _change(row, run)
            if change is None:
                continue
            counts[change.draft, change.answer] += 1
            if change.answer and not change.draft:
                first.setdefault(results.prompts[row.prompt].tag, change)
        tags = tuple(dict.fromkeys(item.tag for item in results.prompts))
        shown = tuple(first[tag] for tag in tags if tag in first)
        picture = _picture([_way(change, results, run) for change in shown])
    return Chains(method, shown, tuple(tag for tag in tags if tag not in first), len(rows), counts, picture)


def _story(row: Row, run: RunReader) -> Story:
    return Story(
        result=recorded(run, row.search),
        run="",
        stack="",
        version="",
        command="",
        png=lambda candidate: run.image_path(candidate.image).read_bytes(),
    )


def _change(row: Row, run: RunReader) -> Change | None:
    """Return what became of the draft that led to an answer; none where the answer is a draft, or there is none."""
    story = _story(row, run)
    decided = decisions_on(row, story.result)
    way = [turn.step for turn in story.path]
    painted = [step.candidate for step in way if step.candidate is not None]
    if len(painted) < 2:
        return None
    ends = (decided[painted[0].id], decided[painted[-1].id])
    said = tuple("" if step.reflection is None else step.reflection.text for step in way[1:])
    return Change(row, *ends, tuple(candidate.image for candidate in painted), said)


def _way(change: Change, results: Results, run: RunReader) -> Way:
    item = results.prompts[change.row.prompt]
    remark = (
        f"{item.tag}, seed {change.row.seed}; the judge: draft {WORDS[change.draft]}, answer {WORDS[change.answer]}"
    )
    return Way(_story(change.row, run), item.prompt, remark)


def _picture(ways: Sequence[Way]) -> bytes:
    sheet = path_sheet(ways)
    if sheet is None:
        return b""
    out = BytesIO()
    sheet.save(out, format="PNG", optimize=True)
    return out.getvalue()
