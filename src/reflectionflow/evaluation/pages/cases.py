"""Failures to look at: the picked picture, how it came about, and the right one that was passed over."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

from reflectionflow.evaluation.results import Outcome, Results, Row
from reflectionflow.runs import RunReader
from reflectionflow.types import SearchResult, Step

EACH = 4
"""Failures shown for each tag and method."""
SIDE = 192
LINKS = 3
"""Pictures of a chain that are shown before the picked one."""


@dataclass(frozen=True)
class Link:
    """One picture of a chain: a data address, and the critique it was corrected from."""

    source: str
    said: str


@dataclass(frozen=True)
class Case:
    """One failure.

    Attributes:
        tag: The prompt's tag.
        method: The method's name.
        seed: The run's seed.
        prompt: The prompt.
        mistake: What kind: a verifier's mistake, no right picture, or no picture at all.
        reason: Why the judge refuses it.
        score: What the verifier gave it.
        chain: The pictures that led to the pick, the pick last; empty when there is none.
        right: The right picture that was passed over, as a data address; empty when there is none.
        page: The prompt's page.
    """

    tag: str
    method: str
    seed: int
    prompt: str
    mistake: str
    reason: str
    score: float | None
    chain: tuple[Link, ...]
    right: str
    page: str


MISTAKES = {"passed": "a right picture was passed over", "none": "no picture is right", "empty": "no picture at all"}


def cases(results: Results, run: RunReader, pages: Sequence[str]) -> list[Case]:
    """Return failures at the largest budget: a few for each tag and method, the verifier's mistakes first.

    Args:
        results: The evaluation.
        run: Its run.
        pages: Address of each prompt's page.
    """
    found: list[Case] = []
    for tag in dict.fromkeys(item.tag for item in results.prompts):
        for method in results.about.methods:
            failed = [(row, outcome) for row, outcome in _last(results, method.name, tag) if not outcome.correct]
            failed.sort(key=lambda pair: not pair[1].verifier_mistake)
            found += [_case(results, run, row, outcome, pages) for row, outcome in failed[:EACH]]
    return found


def _last(results: Results, method: str, tag: str) -> Iterator[tuple[Row, Outcome]]:
    most = results.about.budgets[-1]
    for row in results.rows:
        if row.method == method and results.prompts[row.prompt].tag == tag and row.outcomes[-1].budget == most:
            yield row, row.outcomes[-1]


def _case(results: Results, run: RunReader, row: Row, outcome: Outcome, pages: Sequence[str]) -> Case:
    stored = run.result(row.search)
    chain = () if stored is None or outcome.candidate is None else _chain(stored.result, outcome.candidate, run)
    item = results.prompts[row.prompt]
    return Case(
        tag=item.tag,
        method=row.method,
        seed=row.seed,
        prompt=item.prompt,
        mistake="empty" if outcome.picture is None else "passed" if outcome.verifier_mistake else "none",
        reason=outcome.reason,
        score=outcome.score,
        chain=chain,
        right=thumbnail(run, outcome.right) if outcome.right else "",
        page=pages[row.prompt],
    )


def _chain(result: SearchResult, candidate: str, run: RunReader) -> tuple[Link, ...]:
    """Return the last pictures that led to a candidate, itself last."""
    by_id: dict[str, Step] = {step.candidate.id: step for step in result.steps if step.candidate}
    links: list[Link] = []
    current: str | None = candidate
    while current in by_id and len(links) <= LINKS:
        step = by_id[current]
        assert step.candidate is not None
        said = "" if step.reflection is None else step.reflection.text
        links.append(Link(thumbnail(run, step.candidate.image), said))
        current = step.candidate.recipe.parent
    return tuple(reversed(links))


def thumbnail(run: RunReader, image: str) -> str:
    """Return a stored picture as the data address of a JPEG, at most `SIDE` px wide and high."""
    picture = run.image(image)
    picture.thumbnail((SIDE, SIDE))
    out = BytesIO()
    picture.save(out, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"
