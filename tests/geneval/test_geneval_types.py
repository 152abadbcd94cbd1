"""The official metadata lines survive the round trip byte for byte; faulty ones are refused with a sentence."""

import json

import pytest

from reflectionflow.geneval import Clause, Metadata, Position

LINES = [
    '{"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}',
    '{"tag": "counting", "include": [{"class": "backpack", "count": 2}], '
    '"exclude": [{"class": "backpack", "count": 3}], "prompt": "a photo of two backpacks"}',
    '{"tag": "colors", "include": [{"class": "car", "count": 1, "color": "pink"}], "prompt": "a photo of a pink car"}',
    '{"tag": "position", "include": [{"class": "teddy bear", "count": 1}, '
    '{"class": "dog", "count": 1, "position": ["right of", 0]}], "prompt": "a photo of a dog right of a teddy bear"}',
    '{"tag": "color_attr", "include": [{"class": "wine glass", "count": 1, "color": "purple"}, '
    '{"class": "apple", "count": 1, "color": "black"}], '
    '"prompt": "a photo of a purple wine glass and a black apple"}',
]


@pytest.mark.parametrize("line", LINES)
def test_an_official_line_survives_the_round_trip_byte_for_byte(line):
    assert Metadata.from_json(json.loads(line)).line() == line


def test_a_clause_with_everything_keeps_the_order_of_keys():
    clause = Clause("dog", 2, "red", Position("above", 0))
    assert list(clause.to_json()) == ["class", "count", "color", "position"]
    assert Clause.from_json(clause.to_json()) == clause


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"class": "dog", "count": 0}, "asks for 0 of 'dog'"),
        ({"class": "dog", "count": 1, "color": "grey"}, "colour 'grey'"),
        ({"class": "dog", "count": 1, "position": ["near", 0]}, "'near'"),
        ({"class": "dog", "count": 1, "position": ["above", -1]}, "number -1"),
        ({"class": "dog", "count": 1, "position": ["above", 0]}, "list the target before"),
    ],
)
def test_a_faulty_clause_is_refused_with_its_value(data, message):
    with pytest.raises(ValueError, match=message):
        Metadata.from_json({"tag": "position", "prompt": "a photo", "include": [data]})


def test_metadata_can_be_a_key():
    first, second = (Metadata.from_json(json.loads(LINES[3])) for _ in range(2))
    assert {first: 1}[second] == 1
