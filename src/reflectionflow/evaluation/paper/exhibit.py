"""What an exhibit is: a table, and perhaps a figure of the same numbers, ours and the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reflectionflow.evaluation.pages.grids import PROMPTS, Cell
from reflectionflow.evaluation.statistics import Estimate

ORACLE = "(oracle)"
"""Ends the name of what is related to the judge."""


@dataclass(frozen=True)
class Column:
    """A column, or a tick of a figure's axis.

    Attributes:
        name: What stands in it.
        pairs: Pairs of prompt and seed, or pictures, behind each of its numbers.
        prompts: Prompts behind them; none where the seeds of one prompt may be in different columns.
        counted: What is counted where that is not told as prompts × seeds.
        digits: Decimals of the paper's values.
        link: Where the evaluation's report lists the prompts behind them.
    """

    name: str
    pairs: int
    prompts: int | None = None
    counted: str = "pairs"
    digits: int = 2
    link: str = PROMPTS

    @property
    def units(self) -> str:
        """The same in words: prompts × seeds."""
        return (
            f"{self.pairs} {self.counted}" if self.prompts is None else f"{self.prompts} × {self.pairs // self.prompts}"
        )


@dataclass(frozen=True)
class Line:
    """A row, or a curve.

    Attributes:
        name: What it is about.
        values: Ours, one per column; empty when there are none.
        published: The paper's, one per column; empty when there are none.
        setting: With what the paper's were made, in words.
        difference: Whether the values are paired differences.
        apart: Whether pictures are behind it that the report does not list: those of searches or questions besides.
        cells: The values in words, where tables do not tell them as shares or differences; else empty.
    """

    name: str
    values: tuple[Estimate | None, ...] = ()
    published: tuple[float | None, ...] = ()
    setting: str = ""
    difference: bool = False
    apart: bool = False
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Exhibit:
    """A table, and perhaps a figure of the same numbers.

    Attributes:
        id: Its anchor.
        title: What it shows.
        columns: What its numbers stand under.
        lines: Its rows.
        notes: How to read it, one sentence each.
        axis: What the columns are, for a figure; empty for a table alone.
    """

    id: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    axis: str = ""


def drawn(exhibit: Exhibit) -> Sequence[Line]:
    """Return the lines of an exhibit that can be drawn: ours, with a number in every column."""
    lines = [line for line in exhibit.lines if line.values and None not in line.values and not line.difference]
    return lines if exhibit.axis and len(exhibit.columns) > 1 else ()


def label(line: Line) -> str:
    """Return a line's name without what explains it, so that it fits beside a figure; an oracle still says so."""
    return f"{subject(line)} {ORACLE}" if ORACLE in line.name else subject(line)


def subject(line: Line) -> str:
    """Return a line's name without what explains it, and without whether it is an oracle's."""
    return line.name.split(" (")[0].split(",")[0]
