"""The oracles of Scenes: a flawed picture, its reflection and its correction, found right by the judge."""

from __future__ import annotations

import numpy as np
import pytest

from reflectionflow.evaluation.scenes_judge import judge
from reflectionflow.geneval import Clause, Metadata
from reflectionflow.genref.retouch import ground_of, repainted, things_of
from reflectionflow.models import scenes_oracle
from reflectionflow.models.detector import OracleOptions, OracleVerifier
from reflectionflow.models.scenes_oracle import CORRECTOR, REFLECTOR
from reflectionflow.roles import Painting, PaintRequest, ReflectRequest
from reflectionflow.scenes.prompts import parse, suite
from reflectionflow.scenes.renderer import background, render
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.world import Priors, Scene, draw_scene
from reflectionflow.types import Candidate, Failure, Recipe

pytestmark = pytest.mark.trained
PRIORS = Priors(kind_weights=(2.0, 2.0, 4.0, 2.0, 1.0))


@pytest.fixture(scope="module")
def reflector():
    return REFLECTOR.load(REFLECTOR.options())


@pytest.fixture(scope="module")
def corrector():
    return CORRECTOR.load(CORRECTOR.options())


def candidate(prompt, number):
    return Candidate(Recipe("painter@1", prompt, number, 128, 128, 1, 0.0), "0" * 64, 128, 128)


def correct(corrector, prompt, picture, reflection):
    recipe = Recipe(corrector.name, prompt, 1, 128, 128, 1, 0.0, parent="x", reflection=reflection)
    return corrector.generate([PaintRequest(recipe, picture)])[0]


def test_what_the_teacher_says_makes_flawed_pictures_right(reflector, corrector):
    prompts = suite(Split.TRAIN, 4)
    scenes = [draw_scene(np.random.default_rng([number, 3]), PRIORS) for number in range(len(prompts))]
    pictures = [render(scene) for scene in scenes]
    asked = [
        ReflectRequest(candidate(item.prompt, number), picture, item.prompt)
        for number, (item, picture) in enumerate(zip(prompts, pictures, strict=True))
    ]
    right = flawed = 0
    for item, picture, said in zip(prompts, pictures, reflector.reflect(asked), strict=True):
        if judge(picture, item).correct or said.nothing_to_correct:
            continue
        better = correct(corrector, item.prompt, picture, said.text)
        assert isinstance(better, Painting), better
        flawed += 1
        right += judge(better.image, item).correct
    assert flawed >= 15
    assert right / flawed >= 0.8


def test_a_free_prompt_and_an_unknown_edit_are_failures_with_a_reason(reflector, corrector):
    picture = render(Scene(()))
    said = reflector.reflect([ReflectRequest(candidate("what a day", 0), picture, "what a day")])[0]
    assert "Scenes suites" in said.failure
    answer = correct(corrector, "a photo of a star", picture, "make it nicer")
    assert isinstance(answer, Failure)
    assert "make it nicer" in answer.reason


def test_nothing_is_said_of_a_picture_that_passes(reflector):
    from reflectionflow.scenes.world import Thing

    picture = render(Scene((Thing("star", "red", 40, 64, 40), Thing("heart", "blue", 92, 64, 40))))
    prompt = "a photo of a red star left of a blue heart"
    assert parse(prompt) is not None
    assert reflector.reflect([ReflectRequest(candidate(prompt, 0), picture, prompt)])[0].nothing_to_correct


@pytest.mark.parametrize("pattern", ["plain", "soft", "hilly"])
def test_a_ground_without_its_objects_is_the_empty_ground(pattern):
    rng = np.random.default_rng(5)
    scene = draw_scene(rng, PRIORS)
    scene = Scene(scene.things, "sand", pattern, 3)
    picture = render(scene)
    found = OracleVerifier(OracleOptions()).detections([picture])[0]
    apart = np.asarray(ground_of(picture, found), float) - np.asarray(background(scene), float)
    assert np.sqrt(np.mean(apart**2)) < 6
    assert np.array_equal(np.asarray(repainted(picture, found, ())), np.asarray(ground_of(picture, found)))


def test_objects_are_drawn_inside_the_picture_whatever_a_detector_says():
    from reflectionflow.genref.graph import Node

    thing = things_of((Node("star", None, 0.99, -0.1, 0.9),))[0]
    assert thing.box[0] >= 0
    assert thing.box[1] >= 0
    assert max(thing.box) <= 128


def test_a_prompt_that_nothing_can_satisfy_is_a_failed_reflection_and_others_are_answered(reflector, monkeypatch):
    """The grammar of today has no such prompt; a wider one is no reason to end a run."""
    twice = Metadata("color_attr", "a red star and a blue star", (Clause("star", 1, "red"), Clause("star", 1, "blue")))
    monkeypatch.setattr(scenes_oracle, "parse", lambda prompt: twice if prompt == twice.prompt else parse(prompt))
    picture = render(draw_scene(np.random.default_rng(1), PRIORS))
    prompts = (twice.prompt, "a photo of a red star")
    impossible, other = reflector.reflect(
        [ReflectRequest(candidate(prompt, number), picture, prompt) for number, prompt in enumerate(prompts)]
    )
    assert "which nothing can satisfy for sure" in impossible.failure
    assert other.failure is None
