"""Scenes are what they claim: placed apart, drawn in their colours, distributed by their priors, captioned truly."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectionflow.geneval import Detection, Options, relations
from reflectionflow.scenes.captions import CaptionMix, clear_relations, draw_caption, short_caption
from reflectionflow.scenes.renderer import PALETTE, background, outlines, render
from reflectionflow.scenes.splits import Split, held_out_colors, held_out_relations, split_of
from reflectionflow.scenes.words import COLORS, NUMBERS, OBJECTS, RELATIONS, plural
from reflectionflow.scenes.world import CANVAS, UNIFORM, Priors, Scene, Thing, draw_scene
from reflectionflow.tuning.latents import training_scene


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_objects_lie_inside_the_canvas_and_apart(seed):
    scene = draw_scene(np.random.default_rng(seed), Priors())
    for index, thing in enumerate(scene.things):
        x1, y1, x2, y2 = thing.box
        assert min(x1, y1) >= 0
        assert max(x2, y2) <= CANVAS
        for other in scene.things[:index]:
            gap_x = abs(thing.x - other.x) - (thing.size + other.size) / 2
            gap_y = abs(thing.y - other.y) - (thing.size + other.size) / 2
            assert max(gap_x, gap_y) >= 2.9


def test_scene_numbers_are_fixed_and_never_hold_a_held_out_pair():
    scenes = [training_scene(1, index, Priors()) for index in range(400)]
    assert scenes == [training_scene(1, index, Priors()) for index in range(400)]
    pairs = {(thing.noun, thing.color) for scene in scenes for thing in scene.things}
    assert not pairs & held_out_colors()
    assert 0.1 < len(held_out_colors()) / (len(OBJECTS) * len(COLORS)) < 0.3


def test_priors_make_the_first_words_frequent_and_twos_commoner_than_fours():
    rng = np.random.default_rng(1)
    scenes = [draw_scene(rng, Priors()) for _ in range(3000)]
    nouns = Counter(thing.noun for scene in scenes for thing in scene.things)
    assert nouns[OBJECTS[0]] > 2 * nouns[OBJECTS[-1]]
    counts = Counter(len(s.things) for s in scenes if len(s.things) > 1 and len({t.noun for t in s.things}) == 1)
    assert counts[2] > counts[3] > counts[4] > 0
    lone = Counter((thing.noun, thing.color) for scene in scenes for thing in scene.things)
    share = sorted((lone[("circle", color)] for color in COLORS), reverse=True)
    assert sum(share[:3]) > 0.5 * sum(share)


def test_splits_are_a_function_of_the_words_alone():
    assert split_of("color", "star", "red") is split_of("color", "star", "red")
    draws = Counter(split_of("relation", a, r, b) for a in OBJECTS for b in OBJECTS for r in RELATIONS)
    total = sum(draws.values())
    assert 0.06 < draws[Split.TEST] / total < 0.14
    assert 0.06 < draws[Split.VALIDATION] / total < 0.14


@pytest.mark.parametrize("noun", OBJECTS)
def test_every_object_is_drawn_in_its_colour_where_the_scene_says(noun):
    for color in COLORS:
        thing = Thing(noun, color, 50.0, 70.0, 48.0)
        scene = Scene((thing,), "gray", "plain")
        picture, empty = np.asarray(render(scene)).astype(int), np.asarray(background(scene)).astype(int)
        assert picture.shape == (CANVAS, CANVAS, 3)
        changed = np.abs(picture - empty).sum(axis=2) > 24
        ys, xs = np.nonzero(changed)
        x1, y1, x2, y2 = thing.box
        assert x1 - 2 <= xs.min() <= x1 + 12
        assert x2 - 12 <= xs.max() <= x2 + 2
        assert y1 - 2 <= ys.min() <= y1 + 12
        assert y2 - 12 <= ys.max() <= y2 + 2
        pixels = picture[changed]
        near = np.abs(pixels - np.array(PALETTE[color])).sum(axis=1) < 12
        assert near.mean() > 0.25, f"{color} {noun}"


def test_outlines_stay_in_the_unit_square():
    for noun, points in outlines().items():
        values = np.asarray(points)
        assert values.min() >= -0.01, noun
        assert values.max() <= 1.01, noun


def test_rendering_is_deterministic():
    scene = draw_scene(np.random.default_rng(5), UNIFORM)
    assert render(scene).tobytes() == render(scene).tobytes()


def test_more_objects_of_a_class_than_there_are_words_for_are_listed():
    crowd = Scene(tuple(Thing("tree", "red", 20.0 + 20 * n, 64.0, 22.0) for n in range(len(NUMBERS))))
    caption = short_caption(crowd, np.random.default_rng(0), CaptionMix(colored=1.0, related=0.0))
    assert caption.count("a red tree") == len(NUMBERS)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_short_captions_name_every_object_and_only_true_relations(seed):
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, Priors())
    caption = short_caption(scene, rng, CaptionMix(colored=1.0, related=1.0, held_out_relations=held_out_relations()))
    nouns = [thing.noun for thing in scene.things]
    if len(set(nouns)) == 1 and len(nouns) > 1:
        assert f" {NUMBERS[len(nouns)]} " in caption
        assert caption.endswith(plural(nouns[0]))
        return
    for thing in scene.things:
        assert f"{thing.color} {thing.noun}" in caption
    for first in scene.things:
        for second in scene.things:
            for relation in RELATIONS:
                for article in ("a", "an", "the"):
                    if f"{first.color} {first.noun} {relation} {article} {second.color} {second.noun}" in caption:
                        boxes = Detection(first.box, 1.0), Detection(second.box, 1.0)
                        assert relation in relations(*boxes, Options())
                        assert (first.noun, relation, second.noun) not in held_out_relations()


def test_a_fifth_of_the_texts_carries_the_correction_spelling():
    rng = np.random.default_rng(2)
    texts = [draw_caption(draw_scene(rng, Priors()), rng, CaptionMix())[1] for _ in range(1500)]
    share = sum("[Reflexion]" in text for text in texts) / len(texts)
    assert 0.17 < share < 0.23


def test_clear_relations_are_those_of_geneval():
    left, right = Thing("star", "red", 30, 60, 30), Thing("heart", "blue", 95, 60, 30)
    assert clear_relations(left, right) == ("left of",)
    assert clear_relations(left, Thing("heart", "blue", 33, 60, 30)) == ()
