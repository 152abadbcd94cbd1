"""A page to look at a GenRef folder: its numbers as the paper's Figure 1 shows them, and samples of every source."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reflectionflow.genref.shards import Triplet, jpeg, read_triplets, shards_of
from reflectionflow.genref.stats import BIN, BINS, VERBS, Statistics, source_of, statistics

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Sample:
    """One triplet as the page draws it."""

    good: str
    bad: str
    prompt: str
    reflection: str
    differences: tuple[str, ...]


def page(folder: Path, each: int) -> str:
    """Return one HTML file with its pictures inside: statistics, and the first `each` samples of every source.

    Raises:
        MisuseError: if there are no shards.
    """
    shown: dict[str, list[Sample]] = defaultdict(list)
    for triplet in read_triplets(shards_of(folder), Counter()):
        if len(shown[source_of(triplet)]) < each:
            shown[source_of(triplet)].append(_sample(triplet))
    numbers = statistics(folder)
    return (
        _environment()
        .get_template("view.html")
        .render(
            title=folder.resolve().name,
            stats=numbers,
            figures=figures(numbers),
            shown=dict(sorted(shown.items())),
        )
    )


def figures(numbers: Statistics) -> str:
    """Return the numbers of a data set as tables and figures, a part of an HTML page with its own style."""
    told = {verb for counts in numbers.verbs.values() for verb in counts}
    part = _environment().get_template("figures.html")
    return part.render(
        stats=numbers,
        verbs=[verb for verb in (*VERBS, "other") if verb in told],
        most=max(numbers.sources.values(), default=1),
        width=BIN,
        bins=BINS,
        most_verbs=max((sum(counts.values()) for counts in numbers.verbs.values()), default=1),
        farthest=max((marks[-1] for marks in numbers.changed.values()), default=1) or 1,
    )


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader

    return Environment(
        loader=PackageLoader("reflectionflow.genref"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )


def _sample(triplet: Triplet) -> Sample:
    good, bad = (f"data:image/jpeg;base64,{base64.b64encode(jpeg(x)).decode()}" for x in (triplet.good, triplet.bad))
    differences = tuple((triplet.provenance.get("cot") or {}).get("differences", ()))
    return Sample(good, bad, triplet.prompt, triplet.reflection, differences)
