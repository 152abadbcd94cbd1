"""The data set that a corrector learns from, by the numbers of the paper's Figure 1: `genref stats` in short."""

from __future__ import annotations

from reflectionflow.evaluation.pages.grids import Cell, Grid
from reflectionflow.evaluation.paper import published
from reflectionflow.genref.stats import Statistics

ID = "figure-1"


def dataset_grid(found: Statistics) -> Grid:
    """Return the numbers of a data set by source, the paper's counts below ours."""
    apart = bool(found.apart)
    rows: list[tuple[Cell, ...]] = []
    width = 6 + apart
    for name, count in found.sources.items():
        verbs = ", ".join(f"{number:,} {verb}" for verb, number in found.verbs[name].items())
        numbers = (f"{found.prompts[name]:.1f}", f"{found.words[name]:.1f}", f"{found.edits[name]:.1f}")
        changed = f"{found.changed[name][2]:.1f}"
        graphs = (f"{found.apart[name][2]:.2f}" if name in found.apart else "–",) if apart else ()
        rows.append(tuple(map(Cell, (name, f"{count:,}", *numbers, changed, *graphs, verbs))))
        if name in published.GENREF:
            theirs = (f"the paper: {name}", f"{published.GENREF[name]:,}", *("–",) * (width - 1))
            rows.append(tuple(Cell(text, quiet=True) for text in theirs))
    head: tuple[str, ...] = (
        "source",
        "triplets",
        "words a prompt",
        "words a reflection",
        "edits a reflection",
        "pictures differ by",
    )
    head += (("scene graphs differ by",) if apart else ()) + ("edits by verb",)
    notes = (
        f"{found.samples:,} triplets of flawed picture, reflection and enhanced picture. Differences are medians: of "
        "pictures the root mean squared difference, of 255; of scene graphs the distance that the builder told.",
        "The paper's counts were read off its figure; retouched pictures are of its subset editing.",
    )
    return Grid(ID, "Figure 1: the data set GenRef", head, tuple(rows), notes)
