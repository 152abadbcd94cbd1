"""Planted truth: simulated generators and verifiers whose pass rates are known, hundreds of evaluations at a time.

Each column of the values is one simulated evaluation; all share the resamples, which do not depend on the data. Limits
are three standard errors of the simulation beyond the nominal rate, so a right program fails once in several hundred
changes of the seed, and the seeds are fixed.
"""

from __future__ import annotations

import numpy as np
import pytest

from reflectionflow.evaluation.statistics import Bootstrap, Sampled, best_of, pass_at, sign_flip, tag_interval

SIMULATIONS = 400
TAGS = ["single"] * 14 + ["counting"] * 40 + ["position"] * 40 + ["composite"] * 25
RATES = {"single": (9, 1), "counting": (1.5, 1.5), "position": (1, 3), "composite": (1, 9)}
"""The beta distribution of each tag's prompts' pass rates."""
TRUTH = float(np.mean([a / (a + b) for a, b in RATES.values()]))
SEEDS = 2
SLACK = 3 * np.sqrt(0.05 * 0.95 / SIMULATIONS)


@pytest.fixture(scope="module")
def bootstrap():
    return Bootstrap(TAGS, draws=2000)


@pytest.fixture(scope="module")
def rates():
    """Pass rates of fresh prompts for each simulation, [prompts, simulations]."""
    rng = np.random.default_rng(1)
    return np.array([rng.beta(*RATES[tag], SIMULATIONS) for tag in TAGS])


def outcomes(rng, rates):
    """Mean over seeds of yes-or-no outcomes, [prompts, simulations]."""
    return (rng.random((SEEDS, *rates.shape)) < rates).mean(axis=0)


def ends(sampled: Sampled):
    found = sampled.estimates()
    return np.array([item.low for item in found]), np.array([item.high for item in found])


def test_intervals_of_the_macro_score_cover_the_truth_at_their_nominal_rate(bootstrap, rates):
    low, high = ends(bootstrap.macro(outcomes(np.random.default_rng(2), rates)))
    covered = np.mean((low <= TRUTH) & (high >= TRUTH))
    assert abs(covered - 0.95) < SLACK


def test_intervals_of_a_true_gain_cover_it_at_their_nominal_rate(bootstrap, rates):
    rng = np.random.default_rng(3)
    better = rates + 0.3 * (1 - rates)
    difference = bootstrap.macro(outcomes(rng, better)) - bootstrap.macro(outcomes(rng, rates))
    low, high = ends(difference)
    truth = 0.3 * (1 - TRUTH)
    assert abs(np.mean((low <= truth) & (high >= truth)) - 0.95) < SLACK
    assert np.mean(low > 0) > 0.9  # so large a gain is seen


def test_a_null_effect_is_flagged_at_no_more_than_the_nominal_rate(bootstrap, rates):
    rng = np.random.default_rng(4)
    first, second = outcomes(rng, rates), outcomes(rng, rates)
    low, high = ends(bootstrap.macro(second) - bootstrap.macro(first))
    assert np.mean((low > 0) | (high < 0)) <= 0.05 + SLACK
    assert np.mean(sign_flip(second - first, TAGS, draws=1000) <= 0.05) <= 0.05 + SLACK


def test_an_effect_that_helps_some_prompts_and_harms_others_is_none(bootstrap, rates):
    rng = np.random.default_rng(5)
    shift = rng.uniform(-1, 1, rates.shape) * np.minimum(rates, 1 - rates)
    difference = bootstrap.macro(outcomes(rng, rates + shift)) - bootstrap.macro(outcomes(rng, rates))
    low, high = ends(difference)
    assert np.mean((low > 0) | (high < 0)) <= 0.05 + SLACK


UNEVEN = {
    "six of 1, one of 100": [1] * 6 + [100],
    "1 and 20": [1, 20],
    "three of 1, three of 25": [1] * 3 + [25] * 3,
    "fifty of 1": [1] * 50,
    "six of 2, one of 100": [2] * 6 + [100],
    "2 and 40": [2, 40],
    "3 and 4": [3, 4],
}


@pytest.mark.parametrize("sizes", UNEVEN.values(), ids=UNEVEN)
@pytest.mark.parametrize("alike", [True, False])
def test_intervals_cover_the_truth_and_flag_no_null_where_tags_have_few_prompts(sizes, alike):
    tags = [f"tag {index}" for index, size in enumerate(sizes) for _ in range(size)]
    shapes = [(9, 1) if alike else list(RATES.values())[index % 4] for index in range(len(sizes))]
    truth = float(np.mean([a / (a + b) for a, b in shapes]))
    rng = np.random.default_rng(11)
    rates = np.array([rng.beta(*shapes[int(tag.split()[1])], SIMULATIONS) for tag in tags])
    bootstrap = Bootstrap(tags, draws=1000)
    first, second, better = (outcomes(rng, rate) for rate in (rates, rates, rates + 0.3 * (1 - rates)))
    found = bootstrap.shares(first)
    assert np.mean([item.low <= truth <= item.high for item in found]) >= 0.95 - SLACK
    assert np.mean([item.excludes_zero for item in bootstrap.changes(second - first)]) <= 0.05 + SLACK
    gain = 0.3 * (1 - truth)
    covered = [item.low <= gain <= item.high for item in bootstrap.changes(better - first)]
    assert np.mean(covered) >= 0.95 - SLACK


@pytest.mark.parametrize("tag", ["single", "counting", "composite"])
def test_a_tags_interval_covers_its_truth(rates, tag):
    values = outcomes(np.random.default_rng(6), rates)[[other == tag for other in TAGS]]
    truth = RATES[tag][0] / sum(RATES[tag])
    found = [tag_interval(column) for column in values.T]
    assert np.mean([item.low <= truth <= item.high for item in found]) >= 0.95 - SLACK


@pytest.mark.parametrize(("prompts", "seeds", "rate"), [(6, 2, (1, 1)), (8, 2, (500, 500)), (10, 8, (500, 500))])
def test_an_interval_of_few_prompts_covers_its_truth_whether_or_not_they_differ(prompts, seeds, rate):
    rng = np.random.default_rng(8)
    values = (rng.random((seeds, prompts, SIMULATIONS)) < rng.beta(*rate, (prompts, SIMULATIONS))).mean(axis=0)
    truth = rate[0] / sum(rate)
    found = [tag_interval(column, seeds) for column in values.T]
    assert np.mean([item.low <= truth <= item.high for item in found]) >= 0.95 - SLACK


@pytest.mark.parametrize(("prompts", "rare"), [(14, 0.03), (40, 0.005), (6, 0.1)])
def test_intervals_of_rare_differences_cover_the_truth_although_most_evaluations_see_none(prompts, rare):
    rng = np.random.default_rng(9)
    better = (rng.random((prompts, SIMULATIONS)) < rare).astype(float)
    bootstrap = Bootstrap(["one"] * prompts, draws=1000)
    covered = [
        np.mean([item.low <= rare <= item.high for item in found])
        for found in (bootstrap.macro(better).estimates(), bootstrap.changes(better), bootstrap.shares(better))
    ]
    assert covered[0] < 0.6  # a bootstrap of nothing is nothing
    assert min(covered[1:]) >= 0.95 - SLACK


def test_best_of_n_of_a_simulated_verifier_is_unbiased_and_its_interval_covers_the_truth():
    """A picture is right with its prompt's rate; the verifier's score is normal, one deviation higher when right."""
    prompts, pictures, sizes, simulations = 30, 8, [1, 2, 4, 8], 100
    rng = np.random.default_rng(7)

    def evaluations(count, drawn):
        rate = rng.beta(1, 2, (count, drawn))[..., None]
        correct = rng.random((count, drawn, pictures)) < rate
        return correct, rng.normal(correct, 1.0)

    correct, scores = evaluations(100_000, 1)
    picked = np.take_along_axis(correct, scores.argmax(axis=-1)[..., None], axis=-1).mean()
    truth = {"picked": float(picked), "possible": float(correct.any(axis=-1).mean())}
    correct, scores = evaluations(prompts, simulations)
    values = np.array(
        [[best_of(s, c, sizes) for s, c in zip(*row, strict=True)] for row in zip(scores, correct, strict=True)]
    )
    possible = np.array([[pass_at(c, sizes) for c in row] for row in correct])
    bootstrap = Bootstrap(["one"] * prompts, draws=2000)
    for name, found in (("picked", values), ("possible", possible)):
        sampled = bootstrap.macro(found[..., -1])
        error = sampled.draws.std(axis=0).mean() / np.sqrt(simulations)
        assert abs(sampled.point.mean() - truth[name]) < 4 * error
        low, high = ends(sampled)
        assert abs(np.mean((low <= truth[name]) & (high >= truth[name])) - 0.95) < 3 * np.sqrt(
            0.05 * 0.95 / simulations
        )
    assert (np.diff(values.mean(axis=(0, 1))) > 0).all()  # an informative verifier gains by every doubling
    one = bootstrap.macro(values[..., 0]).point
    assert one == pytest.approx(correct.mean(axis=(0, 2)))
