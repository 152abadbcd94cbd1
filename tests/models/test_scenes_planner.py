"""The planning reflector: reads the model's list as it was written, and derives the edits from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectionflow.genref.edits import VERSION
from reflectionflow.genref.graph import graph_of
from reflectionflow.genref.listing import LONGEST_LIST, listed, listing
from reflectionflow.genref.repair import repair
from reflectionflow.genref.teacher import place_of
from reflectionflow.models.qwen_vl import SHIPPED, QwenVL, ScenesVlmOptions
from reflectionflow.models.scenes_planner import SPEC
from reflectionflow.roles import ReflectRequest
from reflectionflow.scenes.claims import detections
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.world import CANVAS, Priors, Scene, Thing, draw_scene
from reflectionflow.types import Candidate, Recipe


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_list_is_read_as_it_is_written(seed):
    graph = graph_of(detections(draw_scene(np.random.default_rng(seed), Priors())), CANVAS)[:LONGEST_LIST]
    for said in (listing(graph), f"{listing(graph)}. remove the red star", listing(graph).upper() + "."):
        found = listed(said)
        assert sorted((n.name, place_of(n)) for n in found) == sorted((n.name, place_of(n)) for n in graph)


@given(st.text(max_size=80))
def test_any_text_is_read_or_not_but_never_raises(text):
    assert listed(text) is None or isinstance(listed(text), tuple)


@pytest.mark.parametrize(
    ("said", "nouns"),
    [
        ("nothing. add a red star in the middle", []),
        ("a red star at the top left, a wug at the top, a heart in the middle", ["star", "heart"]),
        ("remove the red star", None),
        ("", None),
    ],
)
def test_what_cannot_be_read_is_left_out_and_no_list_is_none(said, nouns):
    found = listed(said)
    assert (None if found is None else [node.noun for node in found]) == nouns


@pytest.mark.trained
def test_its_edits_lead_from_the_models_list_to_the_prompt():
    planner, model = SPEC.load(SPEC.options()), QwenVL(SHIPPED, ScenesVlmOptions())
    scene = Scene((Thing("star", "red", 32.0, 40.0, 36.0), Thing("heart", "blue", 92.0, 88.0, 36.0)))
    picture = render(scene)
    prompts = ["a photo of a green star", "a photo of a blue heart", "something like a dream of stars"]
    asked = [
        ReflectRequest(Candidate(Recipe("painter@1", prompt, 1, 128, 128, 1, 0.0), "0" * 64, 128, 128), picture, prompt)
        for prompt in prompts
    ]
    own, planned = model.reflect(asked), planner.reflect(asked)
    for prompt, said, plan in zip(prompts[:2], own[:2], planned[:2], strict=True):
        graph = listed(said.raw)
        assert graph is not None, said.raw
        assert plan.edits == repair(parse(prompt), graph).edits
        assert (plan.raw, plan.reflector) == (said.raw, f"planner-{VERSION}:{model.name}")
    wrong = replace(own[0], raw="a red star at the left. remove the red star", edits=("remove the red star",))
    assert planner._planned(asked[0], wrong).edits == ("change the color of the star from red to green",)
    assert planned[2].edits == own[2].edits, "a free prompt gets the model's own edits"
    assert {plan.candidate for plan in planned} == {item.id for item in asked}
