"""Preference losses equal their closed forms, are not diluted, and rewards are calibrated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reflectionflow.errors import MisuseError
from reflectionflow.tuning.preference import (
    FIRST,
    INVALID,
    SECOND,
    TIE,
    PreferenceLoss,
    logistic_fit,
    loss_named,
    preference_loss,
)


def s(x):
    return 1 / (1 + math.exp(-x))


def one(name, difference, preferred, margin=0.0):
    values = (torch.tensor([difference]), torch.zeros(1), torch.tensor([preferred]), torch.tensor([margin]))
    return float(preference_loss(loss_named(name), *values))


@pytest.mark.parametrize("d", [-2.0, -0.3, 0.0, 1.7])
def test_losses_equal_their_closed_forms(d):
    k = math.log(5)
    assert one("bt", d, FIRST) == pytest.approx(-math.log(s(d)), rel=1e-5)
    assert one("bt", d, SECOND) == pytest.approx(-math.log(s(-d)), rel=1e-5)
    assert one("constant_margin", d, FIRST) == pytest.approx(-math.log(s(d - 0.57)), rel=1e-5)
    assert one("margin", d, FIRST, 1.5) == pytest.approx(-math.log(s(d - 1.5)), rel=1e-5)
    assert one("scaled", d, FIRST, 1.5) == pytest.approx(-1.5 * math.log(s(d)), rel=1e-5)
    win, lose = s(d - k), s(-d - k)
    assert one("btt", d, FIRST) == pytest.approx(-math.log(win), rel=1e-5)
    assert one("btt", d, SECOND) == pytest.approx(-math.log(lose), rel=1e-5)
    assert one("btt", d, TIE) == pytest.approx(-math.log(1 - win - lose), rel=1e-4), "the three outcomes sum to one"


def test_a_tie_of_equal_rewards_has_two_thirds():
    assert math.exp(-one("btt", 0.0, TIE)) == pytest.approx(2 / 3, rel=1e-5)


@pytest.mark.parametrize("loss", PreferenceLoss)
def test_ties_and_invalid_pairs_never_dilute_the_mean(loss):
    rewards = torch.tensor([1.0, 0.5, 3.0, 1e6], requires_grad=True)
    others = torch.tensor([0.0, 2.0, 0.0, -1e6])
    margin = torch.tensor([0.2, 0.4, 0.3, 0.0])
    clear = torch.tensor([FIRST, SECOND, INVALID, INVALID])
    mean = preference_loss(loss, rewards, others, clear, margin)
    parts = [
        preference_loss(loss, rewards[i : i + 1], others[i : i + 1], clear[i : i + 1], margin[i : i + 1])
        for i in (0, 1)
    ]
    assert mean.item() == pytest.approx((parts[0] + parts[1]).item() / 2, rel=1e-5)
    mean.backward()
    assert rewards.grad[2:].tolist() == [0.0, 0.0]
    tied = torch.tensor([FIRST, SECOND, TIE, INVALID])
    with_tie = preference_loss(loss, rewards, others, tied, margin)
    if loss is PreferenceLoss.RAO_KUPPER:
        assert with_tie.item() != pytest.approx(mean.item())
    else:
        assert with_tie.item() == pytest.approx(mean.item())
    nothing = preference_loss(loss, rewards, others, torch.full((4,), INVALID), margin)
    assert nothing.item() == 0.0


def test_an_unknown_loss_is_refused():
    with pytest.raises(MisuseError, match=r"no preference loss 'hinge'; use one of bt, .*btt"):
        loss_named("hinge")


def test_rewards_become_probabilities():
    rng = np.random.default_rng(0)
    rewards = rng.normal(3.0, 4.0, 8000)
    good = (rng.random(8000) < 1 / (1 + np.exp(-(0.7 * rewards - 1.5)))).astype(float)
    scale, bias = logistic_fit(rewards, good)
    assert scale == pytest.approx(0.7, abs=0.05)
    assert bias == pytest.approx(-1.5, abs=0.12)


def test_separated_rewards_are_calibrated_finitely():
    scale, bias = logistic_fit(np.array([-1.0, -2.0, 5.0, 6.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert 0.5 < 1 / (1 + math.exp(-(scale * 6 + bias))) < 0.95
    assert math.isfinite(bias)
    with pytest.raises(MisuseError, match="all of one kind"):
        logistic_fit(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
