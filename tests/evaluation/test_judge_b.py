"""Judge B sees what is in a Scenes picture: on renderings, on degraded ones, and not in wrecks.

Bounds are loose enough for the few scenes a test can afford; `benchmarks/judge_b.py` measures the rates themselves.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reflectionflow.evaluation import degrade
from reflectionflow.evaluation.scenes_judge import detect, judge
from reflectionflow.geneval import COLORS, Clause, Metadata, Position
from reflectionflow.scenes.renderer import PALETTE, background, render
from reflectionflow.scenes.words import OBJECTS
from reflectionflow.scenes.world import UNIFORM, Scene, Thing, draw_scene

FIRST_SEED = 2_000_000


def described(found, threshold=0.3):
    return sorted((name, item.colour) for name, items in found.items() for item in items if item.score > threshold)


def truth(scene):
    return sorted((thing.noun, thing.color) for thing in scene.things)


def scene_number(number):
    return draw_scene(np.random.default_rng(FIRST_SEED + number), UNIFORM)


def degraded(scene, name, number):
    return Image.fromarray(degrade.DEGRADATIONS[name](np.asarray(render(scene)), np.random.default_rng(number)))


def one(noun, color="blue", size=44.0, x=64.0, y=64.0):
    return Thing(noun, color, x, y, size)


# The benchmark's rate of pictures with any mistake is below 1.5 % for every degradation. With 60 pictures and a rate
# of 1.5 %, more than 5 mistakes happen once in 5000 tries; the seeds are fixed, so a pass stays a pass.
@pytest.mark.parametrize("name", degrade.DEGRADATIONS)
def test_nearly_every_picture_is_read_without_a_mistake(name):
    scenes = [scene_number(number) for number in range(60)]
    wrong = [n for n, scene in enumerate(scenes) if described(detect(degraded(scene, name, n))) != truth(scene)]
    assert len(wrong) <= 5, f"scenes {wrong} were misread"


@pytest.mark.parametrize("noun", OBJECTS)
def test_a_clear_object_counts_even_for_counting_prompts(noun):
    for size in (28.0, 40.0, 54.0):
        found = detect(render(Scene((one(noun, "blue", size),))))
        assert described(found, threshold=0.9) == [(noun, "blue")]


@pytest.mark.parametrize("color", COLORS)
def test_every_colour_is_named_on_every_kind_of_object(color):
    seen = {noun: described(detect(render(Scene((one(noun, color),), "mint")))) for noun in OBJECTS}
    assert seen == {noun: [(noun, color)] for noun in OBJECTS}


def test_boxes_are_tight_to_two_pixels():
    scene = Scene((one("square", "red", 40.0, 30.0, 40.0), one("circle", "green", 50.0, 90.0, 80.0)))
    found = detect(render(scene))
    for thing in scene.things:
        margin = 0.06 * thing.size if thing.noun == "square" else 0.03 * thing.size
        tight = [thing.box[0] + margin, thing.box[1] + margin, thing.box[2] - margin, thing.box[3] - margin]
        assert found[thing.noun][0].box == pytest.approx(tight, abs=2.0)


def test_a_mirrored_arrow_is_still_an_arrow():
    picture = render(Scene((one("arrow"),))).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert described(detect(picture), threshold=0.9) == [("arrow", "blue")]


@pytest.mark.parametrize("pattern", ["plain", "soft", "dotted", "hilly"])
@pytest.mark.parametrize("ground", ["sky", "sand", "mint", "rose", "gray", "lilac"])
def test_an_empty_background_shows_nothing(ground, pattern):
    assert detect(background(Scene((), ground, pattern, seed=3))) == {}


@pytest.mark.parametrize("name", degrade.DEGRADATIONS)
def test_a_degraded_empty_background_shows_nothing_that_counts(name):
    for seed, ground in enumerate(("sky", "rose", "gray")):
        assert described(detect(degraded(Scene((), ground, "dotted", seed), name, seed))) == []


def test_touching_objects_of_different_colours_are_told_apart():
    scene = Scene((one("square", "red", 40.0, 40.0), one("circle", "blue", 40.0, 78.0)))
    assert described(detect(render(scene))) == [("circle", "blue"), ("square", "red")]


def test_touching_objects_of_one_colour_are_told_apart_at_their_neck():
    scene = Scene((one("circle", "red", 40.0, 44.0), one("circle", "red", 40.0, 82.0)))
    assert described(detect(render(scene))) == [("circle", "red"), ("circle", "red")]


def spoilt_pictures(kind, number=60):
    for index in range(number):
        rng = np.random.default_rng([FIRST_SEED, index])
        noun, other = rng.choice(OBJECTS, size=2, replace=False)
        thing = one(str(noun), size=float(rng.uniform(32, 54)))
        empty, pixels = np.asarray(background(Scene(()))), np.asarray(render(Scene((thing,))))
        if kind == "half erased":
            yield thing, degrade.half_erased(pixels, empty, thing.box, rng)
        elif kind == "smeared":
            yield thing, degrade.smeared(pixels, thing.box, rng)
        elif kind == "blob":
            yield thing, degrade.blob(empty, PALETTE["blue"], thing.box, rng)
        else:
            second = np.asarray(render(Scene((one(str(other), size=thing.size),))))
            yield thing, degrade.melted(pixels, second, empty, PALETTE["blue"])


@pytest.mark.parametrize(("kind", "most"), [("half erased", 6), ("blob", 3), ("smeared", 30), ("melted", 25)])
def test_spoilt_objects_rarely_count_as_what_they_were(kind, most):
    pairs = [(thing, detect(Image.fromarray(pixels))) for thing, pixels in spoilt_pictures(kind)]
    still = [thing.noun for thing, found in pairs if any(item.score > 0.9 for item in found.get(thing.noun, ()))]
    assert len(still) <= most, f"{still} still count"


def test_the_judge_applies_genevals_rules_to_what_it_sees():
    picture = render(Scene((one("heart", "blue", 40.0, 30.0, 40.0), one("star", "red", 40.0, 95.0, 40.0))))
    clauses = (Clause("heart", 1, "blue"), Clause("star", 1, "red", Position("right of", 0)))
    assert judge(picture, Metadata("position", "", clauses)).correct
    wrong = (Clause("heart", 1, "green"), Clause("star", 1, None, Position("left of", 0)))
    decision = judge(picture, Metadata("position", "", wrong))
    assert decision.reason == "expected green heart>=1, found 0 green; and 1 blue\nno target for star to be left of"


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_counting_prompts_pass_for_the_right_number_only(number):
    places = [(30.0, 30.0), (95.0, 32.0), (33.0, 94.0), (96.0, 95.0)][:number]
    picture = render(Scene(tuple(one("star", "green", 38.0, x, y) for x, y in places)))
    passing = [
        asked
        for asked in (1, 2, 3, 4)
        if judge(picture, Metadata("counting", "", (Clause("star", asked),), (Clause("star", asked + 1),))).correct
    ]
    assert passing == [number]


def test_a_picture_of_another_size_is_refused_with_its_size():
    with pytest.raises(ValueError, match="256 × 128"):
        detect(Image.new("RGB", (256, 128)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 8, 32, 128]))
def test_any_picture_at_all_gets_an_answer_in_range(seed, cell):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, size=(128 // cell, 128 // cell, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((128, 128), Image.Resampling.NEAREST)
    for name, items in detect(picture).items():
        assert name in OBJECTS
        for item in items:
            assert 0 <= item.score <= 1
            assert item.colour in COLORS
            assert 0 <= item.box[0] < item.box[2] <= 128
            assert 0 <= item.box[1] < item.box[3] <= 128


def test_the_same_picture_gets_the_same_answer():
    picture = render(scene_number(7))
    assert detect(picture) == detect(picture)
