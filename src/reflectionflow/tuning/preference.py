"""Losses of a reward model on pairs, by the names the release has for them, and the fit that calibrates its rewards.

With d = reward of the first picture - reward of the second, s the logistic function, k = 5 (ReflectionFlow's release,
`reward_modeling`; Bradley and Terry 1952, Rao and Kupper 1967):

    bt               -log s(d) where the first is preferred, -log s(-d) where the second is; ties have no part
    constant_margin  the same with d - 0.57
    margin           the same with d - the difference of the opinion scores
    scaled           bt, times the difference of the opinion scores
    btt              a preference: -log s(d - log k); a tie: -log [(k² - 1) s(d - log k) s(-d - log k)]

The mean is over the pairs that have a part: ties and invalid pairs never dilute it.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from reflectionflow.errors import MisuseError

if TYPE_CHECKING:
    import torch

TIE_FACTOR = 5.0
CONSTANT_MARGIN = 0.57
FIRST, SECOND, TIE, INVALID = 1, -1, 0, 22
"""Which picture of a pair is preferred; the release's numbers."""


class PreferenceLoss(Enum):
    """The losses by name."""

    BRADLEY_TERRY = "bt"
    CONSTANT_MARGIN = "constant_margin"
    MARGIN = "margin"
    SCALED = "scaled"
    RAO_KUPPER = "btt"


def loss_named(name: str) -> PreferenceLoss:
    """Return a loss by its name.

    Raises:
        MisuseError: if there is none of that name.
    """
    known = {loss.value: loss for loss in PreferenceLoss}
    if name not in known:
        raise MisuseError(f"There is no preference loss {name!r}; use one of {', '.join(known)}.")
    return known[name]


def preference_loss(
    loss: PreferenceLoss, first: torch.Tensor, second: torch.Tensor, preferred: torch.Tensor, margin: torch.Tensor
) -> torch.Tensor:
    """Return the mean loss of the pairs that have a part in it; 0, with a gradient of 0, when none has.

    Args:
        loss: Which one.
        first: Rewards of the first pictures [n].
        second: Rewards of the second pictures [n].
        preferred: `FIRST`, `SECOND`, `TIE` or `INVALID` [n].
        margin: How much better the preferred picture is in opinion scores, at least 0 [n].
    """
    import torch
    from torch.nn.functional import logsigmoid

    difference = (first - second) * torch.where(preferred == SECOND, -1.0, 1.0)
    clear, tied = (preferred == FIRST) | (preferred == SECOND), preferred == TIE
    if loss is PreferenceLoss.RAO_KUPPER:
        shift = math.log(TIE_FACTOR)
        win = -logsigmoid(difference - shift)
        tie = win - logsigmoid(-difference - shift) - math.log(TIE_FACTOR**2 - 1)
        each, counted = torch.where(tied, tie, win), clear | tied
    else:
        shifts: dict[PreferenceLoss, torch.Tensor | float] = {
            PreferenceLoss.CONSTANT_MARGIN: CONSTANT_MARGIN,
            PreferenceLoss.MARGIN: margin,
        }
        each = -logsigmoid(difference - shifts.get(loss, 0.0))
        each, counted = each * margin if loss is PreferenceLoss.SCALED else each, clear
    # Not each · counted: what does not count may be infinite.
    return torch.where(counted, each, 0.0).sum() / counted.sum().clamp(min=1)


def logistic_fit(rewards: np.ndarray, good: np.ndarray) -> tuple[float, float]:
    """Return scale and bias so that sigmoid(scale · reward + bias) is the probability that a picture is good.

    Platt's fit: the targets are (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2), so that it is finite where rewards separate the
    pictures perfectly. The scale is negative where larger rewards are worse pictures; the AUROC shows that too.

    Args:
        rewards: One per held-out picture.
        good: 1 for good pictures, 0 for others.

    Raises:
        MisuseError: if there are only good or only bad pictures.
    """
    from scipy.optimize import minimize

    positive = good > 0.5
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        raise MisuseError("Rewards are calibrated on good and bad pictures; the held-out ones are all of one kind.")
    centre, spread = float(rewards.mean()), float(rewards.std()) or 1.0
    scaled = (rewards - centre) / spread
    target = np.where(positive, (count + 1) / (count + 2), 1 / (others + 2))

    def cost(values: np.ndarray) -> float:
        logits = values[0] * scaled + values[1]
        return float(np.mean(np.logaddexp(0, logits) - target * logits))

    slope, offset = (float(value) for value in minimize(cost, np.zeros(2), method="BFGS").x)
    return slope / spread, offset - slope * centre / spread
