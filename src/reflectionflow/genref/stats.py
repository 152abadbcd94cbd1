"""What a GenRef folder holds, in numbers: sources, verbs, lengths, distances, and what was dropped and why.

A source is a subset, of which editing is two: rendered scenes or instruction edits, and retouched pictures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reflectionflow.genref.shards import MANIFEST, Triplet, read_manifest, read_triplets, shards_of

BIN = 8
BINS = 16
"""Histograms of differences have this many bins of this width; the last one is open."""
RETOUCH = "retouch"
VERBS = ("add", "remove", "replace", "change", "move")


@dataclass(frozen=True)
class Statistics:
    """Numbers of a data set.

    Attributes:
        samples: Readable triplets.
        subsets: How many of each subset.
        sources: How many of each source: the same, but for retouched pictures, which are of the subset editing.
        verbs: How many edits of each verb, by source; "other" where a reflection starts otherwise.
        edits: Mean number of edits of a reflection, by source.
        together: How many reflections have 1, 2 … edits, by source.
        words: Mean number of words of a reflection, by source.
        prompts: Mean number of words of a prompt, by source.
        changed: Quantiles 0, ¼, ½, ¾, 1 of the root mean squared difference of the two pictures (of 255), by source.
        histogram: How many triplets lie in each bin of that difference, by source; see `BIN` and `BINS`.
        apart: The same quantiles of the distance of the two scene graphs, for sources whose builder told it.
        converted: Pictures that had to be converted, by what was done.
        skipped: Broken samples by reason.
        dropped: Pairs the build left out, by source and reason; empty for data of others.
    """

    samples: int
    subsets: dict[str, int]
    sources: dict[str, int]
    verbs: dict[str, dict[str, int]]
    edits: dict[str, float]
    together: dict[str, dict[int, int]]
    words: dict[str, float]
    prompts: dict[str, float]
    changed: dict[str, tuple[float, ...]]
    histogram: dict[str, tuple[int, ...]]
    apart: dict[str, tuple[float, ...]]
    converted: dict[str, int]
    skipped: dict[str, int]
    dropped: dict[str, dict[str, int]]


def source_of(triplet: Triplet) -> str:
    """Return a sample's subset, or `retouch` where it is a generated picture that was retouched."""
    return RETOUCH if "retouched" in triplet.provenance else triplet.subset


def by_source(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return how many samples a build has of each source, under the names that `statistics` has for them."""
    counted = Counter[str]()
    for source, count in manifest.get("sources", {}).items():
        counted["general" if source == "reward" else source] += count["samples"]
    return dict(sorted((+counted or Counter(manifest["subsets"])).items()))


def difference(triplet: Triplet) -> float:
    """Return the root mean squared difference of the two pictures, of 255."""
    good, bad = (np.asarray(image, dtype=np.float32) for image in (triplet.good, triplet.bad))
    return float(np.sqrt(np.mean((good - bad) ** 2)))


def edits_in(reflection: str) -> list[str]:
    """Return the edits of a reflection: its sentences."""
    return [part.strip() for part in reflection.replace("\n", ". ").split(". ") if part.strip()]


def statistics(folder: Path) -> Statistics:
    """Read a whole data set, ours or a published one.

    Raises:
        MisuseError: if there are no shards.
    """
    skipped: Counter[str] = Counter()
    converted: Counter[str] = Counter()
    numbers = _gather(read_triplets(shards_of(folder), skipped, converted))
    finished = folder.is_dir() and (folder / MANIFEST).exists()
    dropped = read_manifest(folder).get("dropped", {}) if finished else {}
    told = {"skipped": dict(sorted(skipped.items())), "converted": dict(sorted(converted.items()))}
    return Statistics(**numbers, **told, dropped=dropped)  # type: ignore[arg-type]


def _gather(triplets: Iterable[Triplet]) -> dict[str, object]:
    subsets, sources = Counter[str](), Counter[str]()
    verbs: dict[str, Counter[str]] = defaultdict(Counter)
    edits, words, prompts, changed, apart = (defaultdict[str, list[float]](list) for _ in range(5))
    for triplet in triplets:
        subsets[triplet.subset] += 1
        name = source_of(triplet)
        sources[name] += 1
        parts = edits_in(triplet.reflection)
        for part in parts:
            verb = part.split()[0].lower()
            verbs[name][verb if verb in VERBS else "other"] += 1
        edits[name].append(len(parts))
        words[name].append(len(triplet.reflection.split()))
        prompts[name].append(len(triplet.prompt.split()))
        changed[name].append(difference(triplet))
        if "distance" in triplet.provenance:
            apart[name].append(float(triplet.provenance["distance"]))
    return {
        "samples": sum(subsets.values()),
        "subsets": dict(sorted(subsets.items())),
        "sources": dict(sorted(sources.items())),
        "verbs": {name: dict(sorted(counts.items())) for name, counts in sorted(verbs.items())},
        **{
            what: {name: round(float(np.mean(values)), 3) for name, values in sorted(found.items())}
            for what, found in (("edits", edits), ("words", words), ("prompts", prompts))
        },
        "together": {name: dict(sorted(Counter(map(int, values)).items())) for name, values in sorted(edits.items())},
        "changed": {name: _quantiles(values) for name, values in sorted(changed.items())},
        "histogram": {name: _histogram(values) for name, values in sorted(changed.items())},
        "apart": {name: _quantiles(values) for name, values in sorted(apart.items())},
    }


def _quantiles(values: list[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 2) for value in np.quantile(values, (0, 0.25, 0.5, 0.75, 1)))


def _histogram(values: list[float]) -> tuple[int, ...]:
    places = np.minimum(np.asarray(values) // BIN, BINS - 1).astype(int)
    return tuple(np.bincount(places, minlength=BINS).tolist())
