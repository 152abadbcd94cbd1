"""What the paper printed (arXiv 2504.16080): FLUX.1-dev at 1024 × 1024 on GenEval's 553 prompts. Theirs, not ours.

Table 1 and the difficulty split are as printed; the curves of Figure 4 were read off the published figure, to about
± 0.003. The paper gives no intervals. Its number of pictures counts corrections alone, drafts come on top.
"""

from __future__ import annotations

from collections.abc import Mapping

from reflectionflow.evaluation.paper.methods import FLOW, NOISE, PROMPT

BASE = "base"
OVERALL = "overall"
MOST = 32
_COLUMNS = (OVERALL, "single_object", "two_object", "counting", "colors", "position", "color_attr")
_BUDGETS = (1, 2, 4, 8, 16, 32)


def _row(*values: float) -> Mapping[str, float]:
    return dict(zip(_COLUMNS, values, strict=True))


def _curve(*values: float) -> Mapping[int, float]:
    return dict(zip(_BUDGETS, values, strict=True))


TABLE_ONE: Mapping[str, Mapping[str, float]] = {
    BASE: _row(0.67, 0.99, 0.81, 0.75, 0.80, 0.21, 0.48),
    NOISE: _row(0.85, 1.00, 0.96, 0.91, 0.91, 0.52, 0.78),
    PROMPT: _row(0.87, 0.99, 0.94, 0.85, 0.91, 0.80, 0.71),
    FLOW: _row(0.91, 1.00, 0.98, 0.90, 0.96, 0.93, 0.72),
}
"""By method and tag; the base with 1 picture, the others with 32."""

CURVES: Mapping[str, Mapping[int, float]] = {
    NOISE: _curve(0.667, 0.739, 0.783, 0.816, 0.833, 0.848),
    PROMPT: _curve(0.691, 0.721, 0.803, 0.840, 0.847, 0.867),
    FLOW: _curve(0.765, 0.847, 0.873, 0.888, 0.891, 0.913),
}
"""Figure 4, middle: the overall score by method and pictures."""

BEST_POSSIBLE = _curve(0.765, 0.862, 0.905, 0.941, 0.963, 0.984)
"""Figure 4, left: GenEval itself picks."""

PICKERS: Mapping[str, Mapping[int, float]] = {
    "SANA's NVILA verifier": _curve(0.765, 0.847, 0.873, 0.888, 0.891, 0.914),
    "own verifier (Qwen2.5-VL)": _curve(0.701, 0.786, 0.822, 0.836, 0.861, 0.873),
    "GPT-4o": _curve(0.725, 0.748, 0.767, 0.769, 0.776, 0.779),
}
"""Figure 4, left: the paper's verifiers pick."""

DIFFICULTY: Mapping[str, Mapping[str, float]] = {
    BASE: {"easy": 0.95, "medium": 0.55, "hard": 0.10},
    FLOW: {"easy": 0.97, "medium": 0.85, "hard": 0.81},
}
"""Figure 4, right, from the project's site; where it draws the lines between the levels is not known."""

FEWER = 10.0
"""Times fewer pictures than noise for its score with 32, as the project's site claims; drafts are not counted."""

SIDE = 1024
"""Width and height of the paper's pictures in px."""
SECONDS_PER_IMAGE = 20.3
PACE = (
    "20.3 s a picture, everything included: 651 s for 32 pictures of one prompt in the logs of the paper's release, "
    "whose GPU is not known. Pass --seconds-per-image for yours."
)

GENREF: Mapping[str, int] = {"general": 142_563, "length": 95_710, "rule": 184_709, "editing": 618_507}
"""Figure 1: triplets by subset."""
