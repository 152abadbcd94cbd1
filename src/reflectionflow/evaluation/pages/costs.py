"""What clocks measured, in files of its own: `costs.json`, `costs.csv` and `costs.md`."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import StringIO

from reflectionflow.evaluation.pages.grids import Cell, Grid
from reflectionflow.evaluation.pages.markdown import grid_lines
from reflectionflow.evaluation.running import Done
from reflectionflow.evaluation.tables import Tables

HOUR = 3600.0
DIGITS = 6


@dataclass(frozen=True)
class CostLine:
    """What one method costs for a prompt at one budget, mean over prompts and seeds, as if it ran alone.

    Attributes:
        method: Its name.
        budget: Pictures allowed.
        denoiser_evaluations: Forward passes of the denoisers.
        seconds: Model time of all its calls, those of verifier, reflector and refiner too, as recorded when they were
            made: each call's share of the duration of its batch.
    """

    method: str
    budget: int
    denoiser_evaluations: float
    seconds: float


def cost_lines(done: Done, tables: Tables) -> list[CostLine]:
    """Return what each method costs for a prompt at each budget, in the order of the tables; nothing if not counted."""
    if not done.each:
        return []
    seconds = [value for line in done.each.values() for value in line]
    return [
        CostLine(line.method, line.budget, round(line.denoiser_evaluations, DIGITS), round(value, DIGITS))
        for line, value in zip(tables.spend, seconds, strict=True)
    ]


def costs_json(done: Done, lines: Sequence[CostLine]) -> str:
    """Return `costs.json`."""
    about = done.results.about
    data = {
        "oracle": about.oracle,
        "related": dict(about.related),
        "computed": dict(done.results.computed),
        "seconds": {kind: round(seconds, 3) for kind, seconds in done.seconds.items()},
        "model_hours": round(sum(done.seconds.values()) / HOUR, DIGITS),
        "each": [asdict(line) for line in lines],
    }
    return json.dumps(data, indent=2) + "\n"


def costs_csv(done: Done, lines: Sequence[CostLine]) -> str:
    """Return `costs.csv`: one line per method and budget; an oracle's names the related roles."""
    out = StringIO()
    writer = csv.DictWriter(out, [*CostLine.__dataclass_fields__, "oracle"], lineterminator="\n")
    writer.writeheader()
    oracle = " ".join(done.results.about.related)
    writer.writerows({**asdict(line), "oracle": oracle} for line in lines)
    return out.getvalue()


def costs_text(done: Done, lines: Sequence[CostLine]) -> str:
    """Return `costs.md`: the same as tables."""
    about = done.results.about
    each = Grid(
        "each",
        "Cost of one prompt",
        ("method, budget", "denoiser evaluations", "model seconds"),
        tuple(
            (
                Cell(f"{line.method}, {line.budget}"),
                Cell(f"{line.denoiser_evaluations:.1f}"),
                Cell(f"{line.seconds:.2f}"),
            )
            for line in lines
        ),
        (
            "Means over prompts and seeds, as if each method ran alone with that budget. Model seconds are those of "
            "all calls, of verifier, reflector and refiner too, as they were recorded: each call's share of its batch.",
        ),
        about.oracle,
        tuple(about.related),
    )
    whole = Grid(
        "whole",
        "Computed in all",
        ("call", "times", "model seconds"),
        tuple(
            (Cell(kind), Cell(f"{count:,}"), Cell(f"{done.seconds.get(kind, 0.0):,.1f}"))
            for kind, count in done.results.computed.items()
        ),
        ("Shared drafts once.",),
        about.oracle,
        tuple(about.related),
    )
    title = f"# What {', '.join(method.name for method in about.methods)} on {about.benchmark} cost"
    return "\n".join([title, *grid_lines(each), *grid_lines(whole)]) + "\n"
