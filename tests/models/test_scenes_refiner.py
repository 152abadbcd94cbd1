"""The checked refiner: nothing that the user asked for is lost, and what cannot be checked stays as it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectionflow import stack
from reflectionflow.genref.refine import keeps
from reflectionflow.models.qwen_vl import SHIPPED, QwenVL, ScenesVlmOptions
from reflectionflow.models.scenes_refiner import SPEC, checked
from reflectionflow.roles import RefineRequest, Role
from reflectionflow.scenes.prompts import parse, suite
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.world import Scene, Thing
from reflectionflow.types import Candidate, Recipe, RefinedPrompt

PROMPT = "a photo of a red star and a blue heart"


@pytest.mark.parametrize(
    ("prompt", "written", "used"),
    [
        (PROMPT, PROMPT, PROMPT),
        (PROMPT, "a photo of a blue star and a red heart", PROMPT),
        (PROMPT, "a photo of a red star", PROMPT),
        (PROMPT, "wug", PROMPT),
        ("a photo of a star", "a photo of a red star", "a photo of a red star"),
        ("a dream of stars", "a photo of a star", "a photo of a star"),
    ],
)
def test_a_prompt_that_lost_something_gives_way_to_the_users(prompt, written, used):
    assert checked(prompt, RefinedPrompt("id", "model", written, tokens=7)) == RefinedPrompt(
        "id", "model", used, tokens=7
    )


def test_a_failure_stays_a_failure():
    failed = RefinedPrompt("id", "model", failure="The refiner's prompt did not end.", tokens=3)
    assert checked(PROMPT, failed) == failed


@given(st.text(max_size=60))
def test_whatever_is_written_the_requirements_are_kept(text):
    assert keeps(parse(PROMPT), checked(PROMPT, RefinedPrompt("id", "model", text)).text)


def test_the_stack_scenes_refines_with_it():
    assert [part.model for part in stack.read("scenes").parts if part.role is Role.REFINER] == ["scenes-refiner"]


@pytest.mark.trained
def test_the_shipped_model_rewrites_and_what_it_loses_is_given_back():
    refiner, model = SPEC.load(SPEC.options()), QwenVL(SHIPPED, ScenesVlmOptions())
    picture = render(Scene((Thing("star", "red", 32.0, 40.0, 36.0), Thing("heart", "blue", 92.0, 88.0, 36.0))))
    prompts = [item.prompt for item in suite(Split.VALIDATION, 2)]
    asked = [
        RefineRequest(
            Candidate(Recipe("painter@1", prompt, 1, 128, 128, 1, 0.0), "0" * 64, 128, 128), picture, prompt, prompt
        )
        for prompt in prompts
    ]
    own, given_back = model.refine(asked), refiner.refine(asked)
    assert any(one.text != prompt for prompt, one in zip(prompts, given_back, strict=True)), "some are rewritten"
    for prompt, said, used in zip(prompts, own, given_back, strict=True):
        assert keeps(parse(prompt), used.text)
        assert used.text in (said.text, prompt)
        assert (used.refiner, used.tokens) == (f"checked:{model.name}", said.tokens)
