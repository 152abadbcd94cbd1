"""The verifier that asks part by part: which questions, how the answers become a score, and one look per picture."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reflectionflow.models.qwen_vl import SHIPPED, QwenVL, ScenesVlmOptions
from reflectionflow.models.scenes_parts import SPEC, questions_of
from reflectionflow.models.vision_language import Ask, load
from reflectionflow.roles import Question
from reflectionflow.scenes.prompts import named, parse, read, suite
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.world import Scene, Thing
from reflectionflow.types import Candidate, Recipe

STAR, HEART = Thing("star", "red", 32.0, 40.0, 36.0), Thing("heart", "blue", 92.0, 88.0, 36.0)


def question(scene, prompt):
    return Question(Candidate(Recipe("painter@1", prompt, 1, 128, 128, 1, 0.0), "0" * 64, 128, 128), scene, prompt)


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("a photo of a red star and a blue heart", ("a photo of a red star", "a photo of a blue heart")),
        ("A red star left of a blue heart.", ("a photo of a red star", "a photo of a blue heart")),
        (
            "a photo of a red star left of a blue heart and a green ring below the blue heart",
            ("a photo of a red star", "a photo of a blue heart", "a photo of a green ring"),
        ),
        ("a photo of three stars", ()),
        ("a photo of a red star", ()),
        ("stars in the night", ()),
    ],
)
def test_the_prompt_is_asked_as_it_is_and_then_each_of_several_objects(prompt, asked):
    assert questions_of(prompt) == (prompt, *asked)


def test_every_question_about_a_suite_can_be_read():
    for metadata in suite(Split.VALIDATION, 20):
        whole, *parts = questions_of(metadata.prompt)
        assert whole == metadata.prompt
        assert len(parts) in (0, len(named(read(whole))))
        assert all(parse(part) is not None for part in parts)


@given(st.text(max_size=60))
def test_any_text_is_asked_first_as_it_is(text):
    assert questions_of(text)[0] == text


@pytest.mark.trained
def test_the_score_is_the_geometric_mean_of_what_the_model_says():
    both, star = render(Scene((STAR, HEART))), render(Scene((STAR,)))
    prompt = "a photo of a red star and a blue heart"
    items = [question(both, prompt), question(star, prompt), question(both, "a photo of a red star")]
    parts, model = SPEC.load(SPEC.options(batch_size=2)), QwenVL(SHIPPED, ScenesVlmOptions())
    right, wrong, single = parts.judge(items)
    for verdict, item in zip((right, wrong, single), items, strict=True):
        own = model.judge([question(item.image, text) for text in questions_of(item.prompt)])
        expected = math.prod(one.score for one in own) ** (1 / len(own))
        assert verdict.score == pytest.approx(expected, abs=2e-4)
        assert verdict.tokens == sum(one.tokens for one in own)
        assert verdict.verifier == parts.name == f"parts:{model.name}"
    assert [text for text, _ in wrong.aspects] == list(questions_of(prompt))
    assert dict(wrong.aspects)["a photo of a red star"] > 0.5 > dict(wrong.aspects)["a photo of a blue heart"]
    assert single.aspects == ()
    assert right.score > 0.5 > wrong.score


@pytest.mark.trained
def test_one_answer_that_is_neither_fails_the_picture_and_no_other():
    prompt = "a photo of a red star and a blue heart"
    items = [question(render(Scene((STAR, HEART))), prompt), question(render(Scene((HEART,))), "a photo of a heart")]
    lowest = QwenVL(SHIPPED, ScenesVlmOptions(least_mass=1.0)).judge(
        [question(items[0].image, text) for text in questions_of(prompt)]
    )
    assert any(verdict.failure is not None for verdict in lowest), "no model is that sure of two words"
    verdict, _ = SPEC.load(SPEC.options(least_mass=1.0)).judge(items)
    assert verdict.failure == next(one.failure for one in lowest if one.failure is not None)
    assert verdict.score is None


@pytest.mark.trained
def test_a_shared_picture_is_looked_at_once_and_answered_as_if_alone():
    model = load(SHIPPED, torch.device("cpu"), torch.float32)
    looks = []
    model.model.model.visual.register_forward_hook(lambda module, given, seen: looks.append(len(given[0])))
    pictures = [render(Scene((STAR, HEART))), render(Scene((HEART,)))]
    asks = [Ask(picture, f"a photo of a {noun} ? yes or no") for noun in ("star", "heart") for picture in pictures]
    together, tokens = model.first_token(asks)
    assert looks == [2 * 256], "two pictures of 16 × 16 patches"
    for ask, chances, count in zip(asks, together, tokens, strict=True):
        alone, [own] = model.first_token([ask])
        torch.testing.assert_close(chances, alone[0], atol=1e-5, rtol=0)
        assert count == own
    given = model.inputs(asks)
    with torch.inference_mode():
        plain = model.model(**given, logits_to_keep=1, use_cache=False).logits[:, -1].float().softmax(-1)
    torch.testing.assert_close(together, plain, atol=1e-5, rtol=0)
