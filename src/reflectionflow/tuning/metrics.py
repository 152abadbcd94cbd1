"""How well scores tell true from false: order (AUROC) and promise (calibration)."""

from __future__ import annotations

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
