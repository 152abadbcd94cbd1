"""Wilson score intervals: known values, and their place around the share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectionflow.evaluation.intervals import Share, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Newcombe 1998, table I, method 3 (score without continuity correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_equal_the_published_ones(hits, trials, low, high):
    assert wilson(hits, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_holds_the_share_and_mirrors_with_it(hits, misses):
    share, mirror = Share(hits, hits + misses), Share(misses, hits + misses)
    low, high = share.interval
    assert 0 <= low <= high <= 1
    if share.trials:
        assert low <= share.value <= high
    assert mirror.interval == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_more_hits_than_trials_are_refused():
    with pytest.raises(ValueError, match="3 hits in 2 trials"):
        wilson(3, 2)
