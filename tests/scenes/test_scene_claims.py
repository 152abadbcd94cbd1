"""Claims about a scene are judged by GenEval's rules, differ in one thing, and never tell what is held out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from reflectionflow.geneval import decide
from reflectionflow.scenes.claims import Claim, detections, draw_claims, is_clear, is_true, near_miss
from reflectionflow.scenes.prompts import TAGS, Statement, combinations_of, read
from reflectionflow.scenes.splits import Split, held_out_colors
from reflectionflow.scenes.world import UNIFORM, Scene, Thing, draw_scene

SCENE = Scene(
    (
        Thing("star", "red", 30, 30, 30),
        Thing("heart", "blue", 90, 32, 30),
        Thing("ring", "green", 92, 96, 30),
    )
)
THREE = Scene(tuple(Thing("fish", color, 25.0 + 38 * i, 60, 30) for i, color in enumerate(("red", "red", "blue"))))


def statement(prompt: str) -> Statement:
    found = read(prompt)
    assert found is not None, prompt
    return found


@pytest.mark.parametrize(
    ("scene", "prompt", "true"),
    [
        (SCENE, "a red star left of a blue heart", True),
        (SCENE, "a red star left of a blue heart and a green ring below the blue heart", True),
        (SCENE, "a red star right of a blue heart", False),
        (SCENE, "a blue star left of a red heart", False),
        (SCENE, "a star and a fish", False),
        (THREE, "three fishes", True),
        (THREE, "two fishes", False),
        (THREE, "four fishes", False),
        (THREE, "a fish", True),
    ],
)
def test_truth_is_what_the_scene_shows(scene: Scene, prompt: str, true: bool) -> None:
    assert is_true(statement(prompt), scene) is true


def test_a_colour_is_unclear_when_equal_objects_differ_in_it() -> None:
    assert not is_clear(statement("a red fish"), THREE)
    assert is_clear(statement("three fishes"), THREE)
    assert not is_clear(statement("a fish left of a star"), THREE)
    assert is_clear(statement("a red star left of a heart"), SCENE)


def drawn(count: int, split: Split, seed: int = 1) -> list[tuple[Scene, tuple[Claim, ...]]]:
    rng = np.random.default_rng(seed)
    scenes = [draw_scene(rng, UNIFORM, held_out_colors()) for _ in range(count)]
    return [(scene, draw_claims(rng, scene, split)) for scene in scenes]


TRAINING = drawn(80, Split.TRAIN)


def test_claims_carry_the_truth_that_the_rules_give() -> None:
    for scene, claims in TRAINING:
        for claim in claims:
            assert claim.true == decide(claim.metadata, detections(scene)).correct
            assert is_clear(statement(claim.text), scene)


def test_most_pictures_get_two_true_claims_and_four_near_misses_no_text_twice() -> None:
    kinds = Counter((sum(c.true for c in claims), sum(not c.true for c in claims)) for _, claims in TRAINING)
    assert kinds[2, 4] > 0.85 * len(TRAINING)
    assert all(len({claim.text for claim in claims}) == len(claims) for _, claims in TRAINING)


def test_every_tag_occurs_true_and_false() -> None:
    seen = {(claim.metadata.tag, claim.true) for _, claims in TRAINING for claim in claims}
    assert seen == {(tag, true) for tag in TAGS for true in (True, False)}


def test_training_claims_never_state_a_held_out_combination_true_or_not() -> None:
    for _, claims in TRAINING:
        for claim in claims:
            assert set(combinations_of(statement(claim.text))) <= {Split.TRAIN}, claim.text


def test_held_out_claims_hold_one_except_for_single_objects_and_counts() -> None:
    for _, claims in drawn(25, Split.VALIDATION, 2):
        for claim in claims:
            if claim.metadata.tag in ("colors", "position", "color_attr", "composite"):
                assert Split.VALIDATION in combinations_of(statement(claim.text))


def test_the_same_rng_draws_the_same_claims() -> None:
    assert drawn(5, Split.TRAIN, 7) == drawn(5, Split.TRAIN, 7)


def test_a_near_miss_has_as_many_objects_and_relations_as_the_statement() -> None:
    rng = np.random.default_rng(3)
    whole = statement("a red star left of a blue heart and a green ring below the blue heart")
    misses = [miss for _ in range(60) if (miss := near_miss(rng, SCENE, whole)) is not None]
    assert len(set(misses)) > 20
    for miss in misses:
        assert [(part.count, part.relation is None) for part in miss] == [(1, False), (1, False)]
    assert sum(is_true(miss, SCENE) for miss in misses) < 0.1 * len(misses)
