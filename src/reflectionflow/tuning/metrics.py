"""How well scores tell true from false: order (AUROC) and promise (calibration)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def auroc(scores: np.ndarray, true: np.ndarray) -> float:
    """Return the probability that a true claim scores above a false one; ties count half."""
    from scipy.stats import rankdata

    positive = true > 0.5
    count, others = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def calibration_error(probabilities: np.ndarray, true: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error over equally wide bins."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [
        abs(float(probabilities[place == index].mean() - true[place == index].mean())) * float((place == index).mean())
        for index in range(bins)
        if bool((place == index).any())
    ]
    return float(sum(gaps))


def judged(probabilities: np.ndarray, true: np.ndarray, tags: Sequence[str]) -> dict[str, float]:
    """Return the numbers a verifier is compared by, rounded to 1e-4.

    Args:
        probabilities: The verifier's scores, in [0, 1].
        true: 1 for true claims, 0 for false ones; every tag has both.
        tags: The tag of each claim.

    Returns:
        "auroc TAG" for each tag in order of appearance, "auroc" (their mean), "accuracy" at one half and
        "calibration error".
    """
    names = np.asarray(tags)
    metrics = {f"auroc {tag}": auroc(probabilities[names == tag], true[names == tag]) for tag in dict.fromkeys(tags)}
    metrics["auroc"] = float(np.mean(list(metrics.values())))
    metrics["accuracy"] = float(((probabilities > 0.5) == (true > 0.5)).mean())
    metrics["calibration error"] = calibration_error(probabilities, true)
    return {name: round(value, 4) for name, value in metrics.items()}
