"""Two evaluations side by side: as JSON data and as one self-contained page with the pictures on which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reflectionflow.evaluation.comparing import Comparison, Disagreement, Side
from reflectionflow.evaluation.pages.cases import thumbnail
from reflectionflow.evaluation.pages.grids import SAME, Cell, Grid, change, oracle_note, p_value, score
from reflectionflow.evaluation.pages.writing import environment
from reflectionflow.evaluation.running import RUN
from reflectionflow.evaluation.tables import plain
from reflectionflow.runs import RunDirectory, RunReader
from reflectionflow.types import to_json

MOST = 60
"""Differing prompts shown with pictures."""


@dataclass(frozen=True)
class Shown:
    """One difference with both pictures, as data addresses; empty where there is no pick."""

    found: Disagreement
    first: str
    second: str


def comparison_json(comparisons: Sequence[Comparison]) -> Any:
    """Return comparisons as JSON data."""
    return plain(
        [
            {
                "first": _named(item.first),
                "second": _named(item.second),
                "oracle": item.oracle,
                "related": list(item.roles),
                "settings": to_json(item.settings),
                "prompts": item.prompts,
                "seeds": list(item.seeds),
                "group": item.group,
                "budgets": to_json(item.points),
                "tags": to_json(item.tags),
                "differing": [
                    {
                        "tag": found.item.tag,
                        "prompt": found.item.prompt,
                        "seed": found.seed,
                        "first": to_json(found.first),
                        "second": to_json(found.second),
                    }
                    for found in item.disagreements
                ],
            }
            for item in comparisons
        ]
    )


def comparison_page(comparisons: Sequence[Comparison]) -> str:
    """Return comparisons as a complete HTML document.

    Raises:
        MisuseError: if a run that holds the pictures is gone.
    """
    first, second = comparisons[0].first, comparisons[0].second
    with RunDirectory.read(first.folder / RUN) as one, RunDirectory.read(second.folder / RUN) as other:
        parts = [(item, grids_of(item), _shown(item, one, other)) for item in comparisons]
        template = environment().get_template("comparison.html.jinja")
        return template.render(
            first=first, second=second, parts=parts, oracle=oracle_note(comparisons[0].roles), most=MOST
        )


def grids_of(comparison: Comparison) -> list[Grid]:
    """Return the tables of a comparison."""
    first, second = str(comparison.first.folder), str(comparison.second.folder)
    exact = "McNemar" if len(comparison.seeds) == 1 else "p, sign test"
    points = tuple(
        (
            Cell(f"{point.budget}"),
            score(point.first),
            score(point.second),
            change(point.difference),
            change(point.against),
            Cell(p_value(point.p)),
            Cell(p_value(point.p_holm)),
            Cell(p_value(point.p_exact)),
            Cell(f"{point.better} : {point.worse}"),
        )
        for point in comparison.points
    )
    most = comparison.points[-1].budget
    against = f"to {first} with {most}"
    head = ("pictures", first, second, "difference", against, "p", "p, Holm", exact, "prompts better : worse")
    notes = [
        f"{comparison.group}, {comparison.prompts} common prompts, seeds {', '.join(map(str, comparison.seeds))}; "
        "second minus first, paired. Holm's p is adjusted for the methods compared.",
        f"“{against}”: not inferior by more than a margin where the whole interval lies above minus that margin.",
    ]
    if any(point.same for point in comparison.points):
        notes.append(SAME)
    tags = tuple((Cell(tag), change(estimate)) for tag, estimate in comparison.tags.items())
    grids = [
        Grid("scores", "Score by number of pictures", head, points, tuple(notes)),
        Grid("tags", f"Difference by tag, {most} pictures", ("tag", "difference"), tags),
    ]
    if comparison.settings:
        rows = tuple((Cell(item.name), Cell(item.first), Cell(item.second)) for item in comparison.settings)
        told = ("The difference may come of any of these.",)
        grids.insert(0, Grid("settings", "Where the two evaluations differ", ("", first, second), rows, told))
    return [replace(grid, oracle=comparison.oracle, roles=comparison.roles) for grid in grids]


def _shown(comparison: Comparison, one: RunReader, other: RunReader) -> list[Shown]:
    def picture(run: RunReader, image: str | None) -> str:
        return "" if image is None else thumbnail(run, image)

    return [
        Shown(found, picture(one, found.first.picture), picture(other, found.second.picture))
        for found in comparison.disagreements[:MOST]
    ]


def _named(side: Side) -> dict[str, Any]:
    return {"evaluation": str(side.folder), "method": side.method, "stack": side.results.about.stack}


def write_page(comparisons: Sequence[Comparison], file: Path) -> None:
    """Write the page.

    Raises:
        StorageError: if it cannot be written.
    """
    from reflectionflow.runs.storage import storage_errors, write_atomically

    page = comparison_page(comparisons)
    with storage_errors(file.parent, "writing the comparison"):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, page.encode())
