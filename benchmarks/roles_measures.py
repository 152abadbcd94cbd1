"""What verifiers and refiners are measured by, as functions of scores and words alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from reflectionflow.evaluation.statistics import auroc
from reflectionflow.geneval import Metadata, decide
from reflectionflow.genref.graph import found_in
from reflectionflow.genref.refine import keeps, read_explicit
from reflectionflow.scenes.prompts import parse

SIDE = 128.0


def mean_ranks(scores: ArrayLike) -> NDArray[np.float64]:
    """Return the ensemble of several verifiers: the mean over them of each picture's rank among those of its prompt.

    Args:
        scores: [verifiers, pictures]; not a number where a verifier gave none.

    Returns:
        In (0, 1], larger is better, ties with their mean rank; not a number where any verifier gave none. [pictures]
    """
    given = np.asarray(scores, dtype=float)
    known = np.maximum(1, (~np.isnan(given)).sum(axis=1, keepdims=True))
    # Rounded, so that equal sums of ranks tie whatever the order of the verifiers.
    return np.round((rankdata(given, axis=1, nan_policy="omit") / known).mean(axis=0), 9)


def ordered_pairs(scores: ArrayLike, correct: ArrayLike) -> tuple[float, int]:
    """Return how many pairs of a right and a wrong picture of one prompt are ordered rightly (ties half), of how many.

    Pictures without a score (not a number) are in no pair.
    """
    given, right = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool)
    given, right = given[~np.isnan(given)], right[~np.isnan(given)]
    pairs = int(right.sum() * (~right).sum())
    return (auroc(given, right) * pairs, pairs) if pairs else (0.0, 0)


def requirement_lost(metadata: Metadata, text: str) -> str:
    """Return what a rewritten prompt no longer asks for, in words; empty when it keeps every requirement."""
    if keeps(metadata, text):
        return ""
    graph = read_explicit(text)
    if graph is not None:
        return " ".join(decide(metadata, found_in(graph, SIDE)).reason.split("\n"))
    return "it cannot be read" if parse(text) is None else "it states another number, colour, object or relation"
