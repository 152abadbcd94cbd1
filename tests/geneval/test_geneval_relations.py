"""Where one object lies relative to another: golden vectors of the official function, and its symmetries."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reflectionflow.geneval import Detection, Options, relations

OPTIONS = Options()
GOLDEN = [
    ((0, 0, 100, 100), (200, 0, 300, 100), ("left of",)),
    ((200, 0, 300, 100), (0, 0, 100, 100), ("right of",)),
    ((0, 0, 100, 100), (0, 200, 100, 300), ("above",)),
    ((0, 200, 100, 300), (0, 0, 100, 100), ("below",)),
    ((0, 0, 100, 100), (0, 0, 100, 100), ()),
    ((0, 0, 100, 100), (20, 0, 120, 100), ()),
    ((0, 0, 100, 100), (21, 0, 121, 100), ()),
    ((0, 0, 100, 100), (40, 0, 140, 100), ()),
    ((0, 0, 100, 100), (41, 0, 141, 100), ("left of",)),
    ((0, 0, 100, 100), (68, 68, 168, 168), ()),
    ((0, 0, 100, 100), (69, 69, 169, 169), ("left of", "above")),
    ((0, 0, 100, 100), (200, 200, 300, 300), ("left of", "above")),
    ((0, 0, 10, 10), (100, 50, 110, 60), ("left of",)),
    ((0, 0, 10, 10), (100, 200, 110, 210), ("above",)),
]
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
MIRRORED = {"left of": "right of", "right of": "left of", "above": "above", "below": "below"}
TURNED = {"left of": "above", "right of": "below", "above": "left of", "below": "right of"}


def at(box):
    return Detection(tuple(map(float, box)), 1.0)


def named(first, second, options=OPTIONS):
    return relations(at(first), at(second), options)


@st.composite
def boxes(draw):
    # Whole pixels below 2**10 are exact in single precision, so that symmetries hold to the bit.
    x, y = draw(st.integers(0, 500)), draw(st.integers(0, 500))
    return (x, y, x + draw(st.integers(1, 300)), y + draw(st.integers(1, 300)))


@pytest.mark.parametrize(("first", "second", "expected"), GOLDEN)
def test_relations_equal_the_official_ones(first, second, expected):
    assert named(first, second) == expected


@given(boxes(), boxes())
def test_exchanging_the_objects_gives_the_opposite_relations(first, second):
    assert {OPPOSITE[name] for name in named(first, second)} == set(named(second, first))


@given(boxes(), boxes())
def test_mirroring_the_picture_exchanges_left_and_right_only(first, second):
    def mirror(box):
        return (1000 - box[2], box[1], 1000 - box[0], box[3])

    assert {MIRRORED[name] for name in named(first, second)} == set(named(mirror(first), mirror(second)))


@given(boxes(), boxes())
def test_transposing_the_picture_exchanges_the_axes(first, second):
    def transpose(box):
        return (box[1], box[0], box[3], box[2])

    assert {TURNED[name] for name in named(first, second)} == set(named(transpose(first), transpose(second)))


@given(boxes(), boxes(), st.integers(0, 100), st.integers(0, 100))
def test_moving_both_objects_together_changes_nothing(first, second, dx, dy):
    def moved(box):
        return (box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy)

    assert named(first, second) == named(moved(first), moved(second))


@given(boxes(), boxes())
def test_at_most_two_relations_hold_and_never_two_opposite_ones(first, second):
    names = named(first, second)
    assert len(names) <= 2
    assert not any(OPPOSITE[name] in names for name in names)


@given(boxes(), st.integers(1, 200))
def test_a_sideways_neighbour_counts_beyond_a_fifth_of_the_summed_widths(box, offset):
    width = box[2] - box[0]
    # An offset just above 0.4 widths leaves a share of the offset that is too small: |r|/|o| > 1/2 needs o > 0.4 w.
    assume(abs(offset - 0.4 * width) > 1e-3)
    other = (box[0] + offset, box[1], box[2] + offset, box[3])
    assert named(box, other) == (("left of",) if offset > 0.4 * width else ())


@given(boxes(), boxes())
def test_without_a_margin_every_offset_has_a_relation(first, second):
    centres = [(box[0] + box[2], box[1] + box[3]) for box in (first, second)]
    names = named(first, second, Options(position_threshold=0.0))
    assert bool(names) == (centres[0] != centres[1])
