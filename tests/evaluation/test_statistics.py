"""Every estimator against brute force over all subsets, or against a closed form."""

from __future__ import annotations

import tracemalloc
from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test
from scipy.stats import t as student

from reflectionflow.evaluation.intervals import wilson
from reflectionflow.evaluation.statistics import (
    Bootstrap,
    Estimate,
    Sampled,
    auroc,
    best_of,
    calibration_error,
    decompose,
    holm,
    mcnemar,
    pass_at,
    pictures_to_reach,
    sample_efficiency,
    sign_flip,
    sign_test,
    tag_interval,
)
from reflectionflow.evaluation.statistics.bootstrap import AT_ONCE

PICTURES = st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.4001, 0.9]), st.booleans()), min_size=1, max_size=7)


@settings(max_examples=30, deadline=None)
@given(PICTURES)
def test_best_of_n_is_the_mean_over_all_subsets_with_ties_shared(pictures):
    scores, correct = map(np.array, zip(*pictures, strict=True))
    sizes = range(1, len(pictures) + 1)
    for n, found in zip(sizes, best_of(scores, correct, sizes), strict=True):
        picks = []
        for subset in map(list, combinations(range(len(pictures)), n)):
            best = [index for index in subset if scores[index] == scores[subset].max()]
            picks.append(correct[best].mean())
        # Within a subset tied pictures share the pick, and over all subsets each of a tie comes up equally often.
        assert found == pytest.approx(np.mean(picks), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_pass_at_n_is_the_share_of_subsets_with_a_right_picture(correct):
    sizes = range(1, len(correct) + 1)
    for n, found in zip(sizes, pass_at(correct, sizes), strict=True):
        brute = np.mean([any(subset) for subset in combinations(correct, n)])
        assert found == pytest.approx(brute, abs=1e-12)
        assert found == pytest.approx(1 - comb(correct.count(False), n) / comb(len(correct), n), abs=1e-12)


def test_one_of_n_is_the_plain_mean_and_thousands_of_pictures_do_not_overflow():
    rng = np.random.default_rng(0)
    correct = rng.random(5000) < 0.3
    assert best_of(rng.random(5000), correct, [1])[0] == pytest.approx(correct.mean())
    assert pass_at(correct, [1, 5000]) == pytest.approx([correct.mean(), 1.0])


@pytest.mark.parametrize("size", [0, 4])
def test_more_pictures_than_there_are_cannot_be_asked_for(size):
    with pytest.raises(ValueError, match=f"best of {size} cannot be estimated from 3 pictures; ask for 1 to 3"):
        best_of([0.1, 0.2, 0.3], [0, 1, 1], [size])
    with pytest.raises(ValueError, match="ask for 1 to 3"):
        pass_at([0, 1, 1], [size])


def test_the_bootstraps_spread_is_that_of_the_stratified_mean():
    rng = np.random.default_rng(1)
    tags = ["a"] * 12 + ["b"] * 5 + ["c"] * 40
    values = rng.random(57)
    groups = [values[:12], values[12:17], values[17:]]
    sampled = Bootstrap(tags).macro(values)
    assert sampled.point[0] == pytest.approx(np.mean([group.mean() for group in groups]))
    error = np.sqrt(sum(group.var(ddof=1) / group.size for group in groups)) / 3
    assert sampled.draws.std() == pytest.approx(error, rel=0.03)
    assert sampled.draws.mean() == pytest.approx(sampled.point[0], abs=4 * error / 100)


def test_tags_are_resampled_apart_and_prompts_paired():
    tags = ["a", "a", "a", "b", "b"]
    values = np.array([0.2, 0.5, 0.9, 0.0, 1.0])
    bootstrap = Bootstrap(tags, draws=500)
    assert np.ptp(bootstrap.macro([1, 1, 1, 0, 0]).draws) == 0  # a tag's size never varies
    difference = bootstrap.macro(values + 0.125) - bootstrap.macro(values)
    assert difference.draws == pytest.approx(0.125)
    assert np.ptp(bootstrap.macro(values, ["b"]).draws) == 1
    assert bootstrap.macro(values, ["b"]).point == pytest.approx([0.5])


def test_a_pooled_ratio_is_the_mean_over_the_units_it_counts():
    bootstrap = Bootstrap(["a", "a", "b", "b"], draws=200)
    hits, units = np.array([1.0, 0, 2, 1]), np.array([1.0, 0, 2, 2])
    share = bootstrap.pooled(hits) / bootstrap.pooled(units)
    assert share.point == pytest.approx([4 / 5])
    assert np.nanmin(share.draws) >= 0
    assert np.nanmax(share.draws) <= 1


def test_statistics_that_are_no_number_on_some_resamples_are_left_out_of_the_interval():
    estimate = Sampled(np.array([0.5]), np.array([[np.nan], [0.2], [0.8], [np.nan]])).estimate
    assert (estimate.low, estimate.high) == (0.2, 0.8)
    nothing = Sampled(np.array([np.nan]), np.full((4, 1), np.nan)).estimate
    assert all(np.isnan([nothing.value, nothing.low, nothing.high]))


def test_an_interval_holds_its_value():
    beside = Sampled(np.array([1.0, 3.0]), np.full((4, 2), 2.0)).estimates()
    assert beside == [Estimate(1.0, 1.0, 2.0), Estimate(3.0, 2.0, 3.0)]


def test_prompts_without_values_are_refused():
    with pytest.raises(ValueError, match="3 rows of values for 2 prompts"):
        Bootstrap(["a", "a"], draws=10).macro([1, 2, 3])
    with pytest.raises(ValueError, match="no prompts"):
        Bootstrap([])


def test_a_tags_interval_never_has_no_width():
    everything, nothing = tag_interval(np.ones(14)), tag_interval(np.zeros(14))
    assert everything.high == 1
    assert 0.7 < everything.low < 0.8
    assert (nothing.low, nothing.high) == pytest.approx((0, 1 - everything.low))
    alone = tag_interval([1.0])
    assert (alone.low, alone.high) == (0, 1)


def test_replicates_that_agree_count_as_one_and_replicates_that_do_not_as_several():
    one_each = tag_interval([1.0, 0.0] * 20)
    half_each = tag_interval([0.25, 0.75] * 20)
    assert half_each.high - half_each.low < 0.55 * (one_each.high - one_each.low)


def test_replicates_that_happen_to_agree_count_at_most_as_all_trials():
    almost = [0.5] * 38 + [0.0, 1.0]
    assert tag_interval(almost).high - tag_interval(almost).low < 0.1
    quantile = float(student.ppf(0.975, 39))
    found = tag_interval(almost, 2)
    assert (found.low, found.high) == pytest.approx(wilson(40, 80, z=quantile))
    assert tag_interval([1.0, 0.0] * 20, 1) == tag_interval([1.0, 0.0] * 20)


def test_where_nothing_varies_shares_and_differences_still_have_a_width():
    bootstrap = Bootstrap(["a"] * 14 + ["b"] * 14)
    ones = np.ones(28)
    assert bootstrap.macro(ones).estimate.is_flat
    share = bootstrap.shares(ones)[0]
    assert (share.value, share.high) == (1, 1)
    assert 0.8 < share.low < 0.9
    assert bootstrap.shares(ones, ["a"])[0] == tag_interval(np.ones(14))
    halves = bootstrap.shares(np.r_[np.ones(14), np.zeros(14)])[0]  # one tag all right, the other all wrong
    assert halves.value == 0.5
    assert (halves.low, halves.high) == pytest.approx(wilson(14, 28, z=float(student.ppf(0.975, 27))))
    none, all_better = (bootstrap.changes(values)[0] for values in (0 * ones, ones))
    assert (none.low, none.high) == pytest.approx((-(1 - share.low), 1 - share.low))
    assert (all_better.low, all_better.high) == pytest.approx((2 * share.low - 1, 1))
    uneven = Bootstrap(["a"] * 40 + ["b"] * 2)  # the two prompts of b weigh as much as the forty of a
    assert uneven.shares(np.ones(42))[0].low < bootstrap.shares(ones)[0].low
    alone = Bootstrap(["a"])
    assert (alone.shares([1.0])[0].low, alone.changes([0.0])[0].low, alone.changes([0.0])[0].high) == (0, -1, 1)


def test_a_verifiers_efficiency_has_no_interval_where_it_never_varies():
    gap = decompose(Bootstrap(["a"] * 4), [0.5] * 4, [1.0] * 4, [1.0] * 4)
    assert gap.efficiency.value == 1
    assert np.isnan([gap.efficiency.low, gap.efficiency.high]).all()
    assert gap.verifier_gap.low == 0 < gap.verifier_gap.high
    assert gap.headroom.low == 0 < gap.headroom.high


def test_tags_of_one_prompt_are_resampled_together_and_alike_for_all_statistics():
    bootstrap = Bootstrap(["a", "b", "c", "d", "e", "e"], draws=4000)
    values = np.array([0.0, 0, 1, 1, 0.5, 0.5])
    sampled = bootstrap.macro(values)
    assert sampled.draws.std() == pytest.approx(4 / 5 * np.sqrt(1 / 3 / 4), rel=0.05)
    assert bootstrap.macro(1 - values).draws == pytest.approx(1 - sampled.draws)
    assert bootstrap.pooled(values).draws == pytest.approx(5 * sampled.draws + 0.5)
    assert np.ptp(bootstrap.macro(values, ["a", "e"]).draws) == 0  # alone


def peak(work):
    """Return how many bytes a piece of work holds at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_resamples_of_many_prompts_fit_into_memory():
    tags = ["a"] * 4000
    values = np.arange(4000.0)[:, None] / 4000
    assert peak(lambda: sign_flip(values, tags, draws=2000)) < 4 * 8 * AT_ONCE
    assert peak(lambda: Bootstrap(tags, draws=2000).macro(values)) < 2 * 2000 * 4000 + 4 * 8 * AT_ONCE  # 2 bytes each


def test_with_a_lone_prompt_in_a_tag_ratios_have_no_interval():
    values = np.array([1.0, 0, 1, 0, 1])
    gap = decompose(Bootstrap(["a", "b", "b", "b", "b"]), values / 2, values, np.ones(5))
    assert gap.efficiency.value == pytest.approx(3 / 5)
    assert np.isnan([gap.efficiency.low, gap.efficiency.high]).all()
    assert gap.picked.low < 0.2
    assert gap.picked.high > 0.9


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (0, 6), (3, 9), (10, 10), (25, 8)])
def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_pairs(better, worse):
    first = np.r_[np.zeros(better), np.ones(worse), np.ones(4), np.zeros(3)]
    second = np.r_[np.ones(better), np.zeros(worse), np.ones(4), np.zeros(3)]
    total = better + worse
    tail = sum(comb(total, k) for k in range(min(better, worse) + 1)) / 2**total if total else 1
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))
    assert sign_test((second - first) / 3) == mcnemar(first, second)


def test_mcnemar_takes_no_shares():
    with pytest.raises(ValueError, match="use the sign test"):
        mcnemar([0, 0.5], [1, 1])


def test_the_sign_flip_test_agrees_with_all_sign_patterns():
    tags = ["a"] * 6 + ["b"] * 3
    differences = np.array([1, 0.5, -0.5, 1, 0, 1, 0.5, 1, -1])
    weights = np.array([1 / 12] * 6 + [1 / 6] * 3)
    patterns = np.array(list(product((-1, 1), repeat=9)))
    exact = np.mean(np.abs(patterns @ (weights * differences)) >= abs(weights @ differences) - 1e-12)
    assert sign_flip(differences, tags, draws=40_000)[0] == pytest.approx(exact, abs=0.01)
    reference = permutation_test((weights * differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert reference.pvalue == pytest.approx(exact)


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@settings(max_examples=40, deadline=None)
@given(PICTURES)
def test_auroc_is_the_share_of_pairs_in_order(pictures):
    right = [score for score, correct in pictures if correct]
    wrong = [score for score, correct in pictures if not correct]
    found = auroc(*zip(*pictures, strict=True))
    if not right or not wrong:
        assert np.isnan(found)
        return
    assert found == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a in right for b in wrong]))


def test_the_calibration_error_by_hand():
    scores, correct = [0.05, 0.05, 0.95, 0.95, 1.0], [0, 0, 1, 0, 1]
    assert calibration_error(scores, correct) == pytest.approx((2 * 0.05 + 3 * abs(2.9 / 3 - 2 / 3)) / 5)
    assert calibration_error([0.3] * 10, [1] * 3 + [0] * 7) == pytest.approx(0)
    assert np.isnan(calibration_error([], []))


def test_the_gap_splits_the_score():
    bootstrap = Bootstrap(["a", "a", "b", "b"], draws=300)
    gap = decompose(bootstrap, [0.25, 0.25, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [1, 0.5, 1, 0.5])
    assert (gap.base.value, gap.picked.value, gap.possible.value) == (0.375, 0.5, 0.75)
    assert gap.efficiency.value == pytest.approx(1 / 3)
    assert gap.verifier_gap.value == pytest.approx(0.25)
    assert gap.headroom.value == pytest.approx(0.25)


def test_pictures_to_reach_a_score_are_interpolated_over_the_logarithm():
    budgets, curve = [1, 2, 4, 8], [0.5, 0.6, 0.6, 0.8]
    targets = [0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.81]
    expected = [1, 1, 2**0.5, 2, 2**2.5, 8, np.inf]
    assert pictures_to_reach(budgets, [curve] * 7, targets) == pytest.approx(expected)
    assert pictures_to_reach([1], [[0.5]], [0.5]) == [1]


def test_a_method_that_is_a_doubling_ahead_needs_half_the_pictures():
    budgets, steps = [1, 2, 4, 8], np.array([0.1, 0.2, 0.3, 0.4])
    noise = np.random.default_rng(0).normal(0, 0.01, (200, 1))
    baseline = Sampled(steps, steps + noise)
    ahead = sample_efficiency(budgets, baseline, Sampled(steps + 0.1, steps + 0.1 + noise))
    assert (ahead.pictures.value, ahead.ratio.value) == pytest.approx((4, 2))
    assert (ahead.ratio.low, ahead.ratio.high) == pytest.approx((2, 2))
    behind = sample_efficiency(budgets, baseline, Sampled(steps - 0.1, steps - 0.1 + noise))
    assert behind.pictures.value == np.inf
    assert behind.ratio.value == behind.ratio.high == 0
