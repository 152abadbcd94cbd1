"""Honest numbers about search methods: estimators, intervals and tests whose unit is the prompt.

Prompts are drawn within their tags; pictures and seeds of one prompt belong together and are never treated as
independent. Whatever compares two methods does so on the same prompts and the same resamples.
"""

from __future__ import annotations

from reflectionflow.evaluation.statistics.bootstrap import FEW, Bootstrap, Estimate, Sampled, tag_interval
from reflectionflow.evaluation.statistics.decomposition import Gap, decompose
from reflectionflow.evaluation.statistics.efficiency import Efficiency, pictures_to_reach, sample_efficiency
from reflectionflow.evaluation.statistics.rates import Rate, Tallies, rate
from reflectionflow.evaluation.statistics.reliability import auroc, calibration_error
from reflectionflow.evaluation.statistics.selection import best_of, pass_at
from reflectionflow.evaluation.statistics.significance import holm, mcnemar, sign_flip, sign_test

__all__ = [
    "FEW",
    "Bootstrap",
    "Efficiency",
    "Estimate",
    "Gap",
    "Rate",
    "Sampled",
    "Tallies",
    "auroc",
    "best_of",
    "calibration_error",
    "decompose",
    "holm",
    "mcnemar",
    "pass_at",
    "pictures_to_reach",
    "rate",
    "sample_efficiency",
    "sign_flip",
    "sign_test",
    "tag_interval",
]
