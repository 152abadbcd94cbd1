"""Check a run against itself: everything in it is named by its content, so everything can be derived again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from reflectionflow.ranking import best
from reflectionflow.runs.directory import RunDirectory, RunReader
from reflectionflow.runs.journal import Row
from reflectionflow.runs.results import StoredResult
from reflectionflow.types import Candidate, Recipe, RefinedPrompt, Reflection, Step, Verdict, content_id

PAINTING = frozenset({"draft", "correct"})
_ANSWERS: dict[str, type[Any]] = {"judge": Verdict, "reflect": Reflection, "refine": RefinedPrompt}


@dataclass(frozen=True)
class VerifyReport:
    """What checking a run found.

    Attributes:
        problems: What is wrong, one sentence each.
        notes: What is harmless but worth knowing (left-overs of a killed process), one sentence each.
        calls: Journaled calls that were checked.
        images: Stored pictures that were checked.
        results: Search results that were checked.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    calls: int
    images: int
    results: int

    @property
    def ok(self) -> bool:
        """True when there is no problem."""
        return not self.problems


def verify(path: str | os.PathLike[str]) -> VerifyReport:
    """Derive again every id, every hash and every link of the run in `path`.

    Raises:
        MisuseError: if `path` is not a run.
        StorageError: if it cannot be read at all.
    """
    with RunDirectory.read(path) as run:
        problems = run.journal.problems()
        rows = list(run.calls())
        painted = {row.id: row.answer["image"] for row in rows if row.role in PAINTING and _names_image(row.answer)}
        for row in rows:
            problems += [f"call {row.id} ({row.role}): {problem}" for problem in _row_problems(row, painted)]
        stored = set(run.images.hashes())
        problems += _image_problems(run, stored, _sizes(rows))
        results = run.results()
        for result in results:
            problems += [f"search {result.id}: {problem}" for problem in _result_problems(result, painted)]
        return VerifyReport(
            tuple(problems), tuple(_notes(run, stored - set(painted.values()))), len(rows), len(stored), len(results)
        )


def _names_image(answer: Any) -> bool:
    return isinstance(answer, Mapping) and isinstance(answer.get("image"), str)


def _row_problems(row: Row, painted: Mapping[str, str]) -> Iterator[str]:
    if row.role in PAINTING:
        yield from _painting_problems(row, painted)
    elif row.role in _ANSWERS:
        yield from _question_problems(row, painted)
    else:
        yield f"{row.role!r} is not a kind of call."


def _painting_problems(row: Row, painted: Mapping[str, str]) -> Iterator[str]:
    try:
        recipe = Recipe.from_json(row.request)
    except (KeyError, TypeError, ValueError) as error:
        yield f"the recipe cannot be read ({error!r})."
        return
    if recipe.id != row.id:
        yield f"the recipe's hash is {recipe.id}."
    if recipe.generator != row.model:
        yield f"the recipe names the generator {recipe.generator}, the row {row.model}."
    if recipe.parent is not None and recipe.parent not in painted:
        yield f"its parent {recipe.parent} was never painted."
    if row.answer is not None and not _names_image(row.answer):
        yield "its answer names no picture."


def _question_problems(row: Row, painted: Mapping[str, str]) -> Iterator[str]:
    derived = content_id(f"call/{row.role}", {"model": row.model, **row.request})
    if derived != row.id:
        yield f"the question's hash is {derived}."
    candidate = row.request.get("candidate")
    if candidate not in painted:
        yield f"it is about {candidate}, which was never painted."
    if row.answer is None:
        return
    try:
        answer = _ANSWERS[row.role].from_json(row.answer)
    except (KeyError, TypeError, ValueError) as error:
        yield f"the answer cannot be read ({error!r})."
        return
    if answer.candidate != candidate:
        yield f"the answer is about {answer.candidate}, the question about {candidate}."


def _sizes(rows: Iterable[Row]) -> dict[str, tuple[Any, Any]]:
    """Return width and height of every painted picture by its hash, as the journal says."""
    painted = (row.answer for row in rows if row.role in PAINTING and _names_image(row.answer))
    return {answer["image"]: (answer.get("width"), answer.get("height")) for answer in painted}


def _image_problems(run: RunReader, stored: set[str], sizes: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    for missing in sorted(sizes.keys() - stored):
        yield f"picture {missing} is in the journal but not in images."
    for sha256 in sorted(stored):
        path = run.image_path(sha256)
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "absent"
        if found != sha256:
            yield f"picture {sha256} has the hash {found}: the file was changed or damaged."
            continue
        with Image.open(path) as image:
            if sha256 in sizes and image.size != sizes[sha256]:
                yield f"picture {sha256} is {image.size} pixels, the journal says {sizes[sha256]}."


def _result_problems(stored: StoredResult, painted: Mapping[str, str]) -> Iterator[str]:
    result = stored.result
    for step in result.steps:
        yield from _step_problems(step, painted)
    if result.best != best(result.steps):
        yield "its best picture is not the best of its steps."
    task = {name: value for name, value in stored.search["task"].items() if name != "budget"}
    derived = content_id("search", {**stored.search, "task": task, "label": stored.label})
    if derived != stored.id:
        yield f"the search's hash is {derived}."


def _step_problems(step: Step, painted: Mapping[str, str]) -> Iterator[str]:
    if step.candidate is None:
        if step.failure is None:
            yield f"the step at {step.place} has neither a picture nor a failure."
        return
    yield from _candidate_problems(step.candidate, painted)
    if step.verdict is not None and step.verdict.candidate != step.candidate.id:
        yield f"the verdict at {step.place} is about another picture."
    if step.reflection is not None and step.reflection.candidate != step.candidate.recipe.parent:
        yield f"the reflection at {step.place} is not about the picture's parent."


def _candidate_problems(candidate: Candidate, painted: Mapping[str, str]) -> Iterator[str]:
    known = painted.get(candidate.id)
    if known is None:
        yield f"candidate {candidate.id} is not in the journal."
    elif known != candidate.image:
        yield f"candidate {candidate.id} has picture {candidate.image}, the journal says {known}."


def _notes(run: RunReader, unused: set[str]) -> Iterator[str]:
    temporaries = run.images.temporaries()
    if temporaries:
        yield f"{len(temporaries)} temporary files of a killed process lie in images; continuing the run removes them."
    if unused:
        yield f"{len(unused)} pictures have no journal row (a process was killed between the two); they are harmless."
