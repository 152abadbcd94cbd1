"""Which detections count: thresholds, order, ties, the cap of 16, suppression."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reflectionflow.geneval import Detection, Options, keep, overlap

OPTIONS = Options()
SCORES = st.lists(st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.3, 0.9, 0.5])), max_size=40)


def detections(scores, boxes=None):
    boxes = boxes or [(10.0 * i, 0.0, 10.0 * i + 9, 9.0) for i in range(len(scores))]
    return [Detection(box, float(score)) for box, score in zip(boxes, scores, strict=True)]


def kept_scores(scores, threshold=0.3, options=OPTIONS):
    return [item.score for item in keep(detections(scores), threshold, options)]


def test_counting_keeps_only_scores_above_nine_tenths():
    assert kept_scores([0.9, 0.91, 0.89], threshold=0.9) == [0.91]


def test_a_score_of_exactly_the_threshold_in_single_precision_is_dropped():
    assert kept_scores([float(np.float32(0.3)), 0.3001]) == [0.3001]
    # As doubles, 0.3 + 1e-9 > 0.3; in single precision they are the same number.
    assert kept_scores([0.3 + 1e-9]) == []


def test_equal_scores_come_out_in_reversed_order_of_arrival():
    items = detections([0.5, 0.5, 0.5])
    assert keep(items, 0.3, OPTIONS) == (items[2], items[1], items[0])


def test_many_equal_scores_still_come_out_in_reversed_order():
    items = detections([0.5] * 40)
    assert keep(items, 0.3, OPTIONS) == tuple(reversed(items[24:]))


def test_no_detections_give_none():
    assert keep([], 0.3, OPTIONS) == ()


@given(SCORES)
@example([0.9, float(np.float32(0.9))])  # equal in single precision, in which scores are compared
def test_never_more_than_sixteen_and_always_the_best_in_order(scores):
    kept = [np.float32(score) for score in kept_scores(scores)]
    passing = sorted((np.float32(s) for s in scores if np.float32(s) > np.float32(0.3)), reverse=True)
    assert kept == passing[:16]


@given(SCORES, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_keeps_a_prefix_of_what_a_lower_one_keeps(scores, first, second):
    low, high = sorted([first, second])
    kept = kept_scores(scores, threshold=high)
    assert kept == kept_scores(scores, threshold=low)[: len(kept)]


@pytest.mark.parametrize(
    ("other", "expected"),
    [((0, 0, 9, 9), 1.0), ((10, 10, 19, 19), 0.0), ((9, 9, 19, 19), 1 / 220)],
)
def test_overlap_counts_inclusive_pixels(other, expected):
    assert overlap(Detection((0, 0, 9, 9), 1.0), Detection(other, 1.0)) == pytest.approx(expected, abs=1e-12)


def test_suppression_drops_what_overlaps_a_better_one_and_is_off_by_default():
    boxes = [(0, 0, 9, 9), (1, 0, 10, 9), (50, 50, 59, 59)]
    items = detections([0.8, 0.9, 0.7], boxes)
    assert keep(items, 0.3, OPTIONS) == (items[1], items[0], items[2])
    assert keep(items, 0.3, Options(max_overlap=0.5)) == (items[1], items[2])


def test_suppression_keeps_overlap_strictly_below_the_limit():
    items = detections([0.9, 0.8], [(0, 0, 9, 9), (0, 0, 9, 9)])
    assert keep(items, 0.3, Options(max_overlap=0.999)) == (items[0],)
    assert len(keep(items, 0.3, Options(max_overlap=1.001))) == 2


@given(SCORES, st.floats(0.01, 0.99))
def test_suppressed_survivors_never_overlap_by_the_limit_or_more(scores, limit):
    boxes = [(3.0 * i, 0.0, 3.0 * i + 9, 9.0) for i in range(len(scores))]
    kept = keep(detections(scores, boxes), 0.3, Options(max_overlap=limit))
    pairs = [(a, b) for i, a in enumerate(kept) for b in kept[i + 1 :]]
    assert all(overlap(a, b) < limit for a, b in pairs)
