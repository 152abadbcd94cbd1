"""The shipped reward head: it belongs to the shipped backbone and prefers pictures that show their prompt."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from reflectionflow.models.manifest import problems, read_manifest
from reflectionflow.models.reward import RewardVerifier, ScenesRewardOptions
from reflectionflow.roles import Question
from reflectionflow.tuning.clip_data import PictureSection
from reflectionflow.tuning.pairs import EditedScenes
from reflectionflow.tuning.preference import FIRST, TIE
from reflectionflow.types import Candidate, Recipe

PAIRS = 60


def question(number, prompt, picture):
    recipe = Recipe("painter@1", prompt, number, 128, 128, steps=1, guidance=1.0)
    return Question(Candidate(recipe, f"{number:064}", 128, 128), picture, prompt)


def test_it_belongs_to_the_shipped_backbone_and_is_whole():
    options = ScenesRewardOptions()
    assert problems(options.reward) == []
    assert read_manifest(options.reward).details["base"] == read_manifest(options.checkpoint).identity


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_a_reward_that_is_no_finite_number_is_a_failure_on_that_picture_alone(reward):
    options = ScenesRewardOptions()
    model = RewardVerifier(options.checkpoint, options.reward, options)

    def spoilt(module, arguments, rewards):
        return torch.cat([torch.full_like(rewards[:1], reward), rewards[1:]])

    model._loaded[1].register_forward_hook(spoilt)
    picture = Image.new("RGB", (128, 128), "grey")
    first, second = model.judge([question(number, "a photo of a red star", picture) for number in (0, 1)])
    assert first.score is None
    assert first.failure == f"{model.name} gave the reward {reward}."
    assert second.failure is None


def test_it_prefers_the_rendering_that_shows_the_prompt():
    options = ScenesRewardOptions()
    model = RewardVerifier(options.checkpoint, options.reward, options)
    source = EditedScenes(PictureSection())
    drawn = [source.draw(np.random.default_rng([5, number])) for number in range(PAIRS)]
    pairs = [pair for pair in drawn if pair.preferred != TIE]
    asked = [
        question(2 * number + place, pair.prompt, picture)
        for number, pair in enumerate(pairs)
        for place, picture in enumerate((pair.first, pair.second))
    ]
    scores = np.array([verdict.score for verdict in model.judge(asked)]).reshape(-1, 2)
    assert ((scores >= 0) & (scores <= 1)).all()
    right = [(first > second) == (pair.preferred == FIRST) for (first, second), pair in zip(scores, pairs, strict=True)]
    assert np.mean(right) > 0.9
