"""Prompts of Scenes are GenEval's, split by their combinations, and read back as they were written."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectionflow.geneval import Metadata
from reflectionflow.scenes.prompts import (
    COMPOSITES,
    TAGS,
    Named,
    Part,
    Statement,
    combinations_of,
    named,
    parse,
    read,
    split_of_statement,
    suite,
    tag_of,
    text_of,
    write,
)
from reflectionflow.scenes.splits import Split, pair_split
from reflectionflow.scenes.words import COLORS, OBJECTS, RELATIONS, known_words

SUITES = {split: suite(split, 40) for split in Split}


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    nouns = draw(st.permutations(OBJECTS))
    colors = draw(st.lists(st.none() | st.sampled_from(COLORS), min_size=4, max_size=4))
    things = [Named(noun, color) for noun, color in zip(nouns[:4], colors, strict=True)]
    if draw(st.booleans()):
        return (Part(things[0], draw(st.integers(1, 4))),)
    size, build = draw(st.sampled_from([*COMPOSITES, (2, lambda t, r: (Part(t[0]), Part(t[1])))]))
    return build(things[:size], [draw(st.sampled_from(RELATIONS)) for _ in range(2)])


@given(statements())
@settings(max_examples=150, deadline=None)
def test_every_prompt_that_can_be_written_is_read_back(statement: Statement) -> None:
    metadata = write(statement)
    assert read(metadata.prompt) == statement
    assert parse(metadata.prompt) == metadata
    assert Metadata.from_json(metadata.to_json()) == metadata


@given(st.text(max_size=60) | st.lists(st.sampled_from(sorted(known_words() | {"and", "a"})), max_size=9).map(" ".join))
@settings(max_examples=100, deadline=None)
def test_any_text_is_either_refused_or_read_as_what_it_says(text: str) -> None:
    statement = read(text)
    if statement is not None:
        assert read(text_of(statement)) == statement


@pytest.mark.parametrize(
    ("prompt", "line"),
    [
        ("a photo of a star", '{"tag": "single_object", "include": [{"class": "star", "count": 1}]'),
        (
            "a photo of three hearts",
            '{"tag": "counting", "include": [{"class": "heart", "count": 3}], '
            '"exclude": [{"class": "heart", "count": 4}]',
        ),
        (
            "a photo of an arrow above a fish",
            '{"tag": "position", "include": [{"class": "fish", "count": 1}, '
            '{"class": "arrow", "count": 1, "position": ["above", 0]}]',
        ),
        (
            "a photo of a red star left of a blue heart and a green ring below the blue heart",
            '{"tag": "composite", "include": [{"class": "heart", "count": 1, "color": "blue"}, '
            '{"class": "star", "count": 1, "color": "red", "position": ["left of", 0]}, '
            '{"class": "ring", "count": 1, "color": "green", "position": ["below", 0]}]',
        ),
    ],
)  # fmt: skip
def test_metadata_is_in_the_official_schema_with_the_target_first(prompt: str, line: str) -> None:
    metadata = parse(prompt)
    assert metadata is not None
    assert metadata.line() == f'{line}, "prompt": "{prompt}"}}'


def test_a_user_may_word_it_loosely_and_keeps_his_words() -> None:
    metadata = parse("  A red star  and a blue heart. ")
    assert metadata is not None
    assert metadata.tag == "color_attr"
    assert metadata.prompt == "  A red star  and a blue heart. "
    assert write(read("a red star and a heart") or ()).tag == "composite"


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "a photo of",
        "a photo of a dog",
        "a photo of star",
        "a photo of a red star and a blue star",
        "a photo of a star left of the heart",
        "a photo of a red star left of a heart and a ring above the blue heart",
        "a photo of a star and a heart and a ring",
        "a photo of two star",
        "a photo of a small star",
    ],
)
def test_what_the_grammar_cannot_say_is_refused(prompt: str) -> None:
    assert parse(prompt) is None


def test_suites_are_what_the_documentation_says() -> None:
    whole = suite(Split.TEST)
    counts = Counter(item.tag for item in whole)
    assert [counts[tag] for tag in TAGS] == [14, 22, 42, 13, 62, 100, 100]
    assert list(dict.fromkeys(item.tag for item in whole)) == list(TAGS)


@pytest.mark.parametrize("split", Split)
def test_prompts_of_a_suite_are_unique_known_and_always_the_same(split: Split) -> None:
    prompts = [item.prompt for item in SUITES[split]]
    assert len(set(prompts)) == len(prompts)
    words = {word for prompt in prompts for word in prompt.replace(",", "").split()}
    assert words <= known_words()
    assert suite(split, 40) == SUITES[split]


def test_a_smaller_suite_holds_the_first_prompts_of_each_tag() -> None:
    small, large = suite(Split.VALIDATION, 5), SUITES[Split.VALIDATION]
    for tag in TAGS:
        first = [item for item in large if item.tag == tag][:5]
        assert [item for item in small if item.tag == tag] == first


def test_only_single_objects_and_counts_are_shared_by_the_splits() -> None:
    for tag in TAGS:
        seen = [{item.prompt for item in SUITES[split] if item.tag == tag} for split in Split]
        if tag in ("single_object", "counting"):
            assert len(set.union(*seen)) <= 42
        else:
            assert not seen[0] & seen[1] | seen[1] & seen[2] | seen[0] & seen[2], tag


def test_nothing_contains_a_combination_held_back_further_than_its_split() -> None:
    order = list(Split)
    for split in Split:
        for item in SUITES[split]:
            statement = read(item.prompt)
            assert statement is not None
            assert all(order.index(part) <= order.index(split) for part in combinations_of(statement)), item.prompt


@pytest.mark.parametrize("split", [Split.VALIDATION, Split.TEST])
def test_held_out_prompts_hold_a_combination_of_their_own_split(split: Split) -> None:
    for item in SUITES[split]:
        statement = read(item.prompt)
        assert statement is not None
        if item.tag in ("colors", "position", "color_attr", "composite"):
            assert split in combinations_of(statement), item.prompt
        if item.tag == "color_attr":
            first, second = ((thing.noun, thing.color or "") for thing in named(statement))
            assert pair_split(first, second) is split


def test_the_words_of_a_composite_decide_its_split_in_any_order() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        nouns, colors = rng.permutation(OBJECTS)[:3], rng.permutation(COLORS)[:3]
        things = [Named(str(noun), str(color)) for noun, color in zip(nouns, colors, strict=True)]
        one = (Part(things[0], 1, "left of", things[1]), Part(things[2]))
        other = (Part(things[2]), Part(things[0], 1, "left of", things[1]))
        assert split_of_statement(one) is split_of_statement(other)
        assert tag_of(one) == "composite"
