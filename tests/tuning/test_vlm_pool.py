"""Labels of generated pictures: what is told of a picture and what is said of its prompt agree."""

from __future__ import annotations

import numpy as np
import pytest

from reflectionflow.geneval import Detection
from reflectionflow.genref.repair import passes
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.world import CANVAS
from reflectionflow.tuning.vlm_pool import Labelled

PROMPT = "a photo of three stars"


def label(scores: list[float], prompt: str = PROMPT):
    boxes = [(10.0 + 40 * place, 10.0, 40.0 + 40 * place, 40.0) for place in range(len(scores))]
    stars = [Detection(box, score, "red") for box, score in zip(boxes, scores, strict=True)]
    return Labelled(np.zeros((1, CANVAS, CANVAS, 3), np.uint8), (prompt,), ({"star": stars},)).known(0)


@pytest.mark.parametrize(
    ("scores", "right"),
    [
        ([0.95, 0.95, 0.95], True),
        ([0.95, 0.6, 0.35], True),
        ([0.95, 0.95, 0.25], False),
        ([0.95, 0.95], False),
        ([0.95, 0.95, 0.95, 0.4], False),
    ],
)
def test_what_a_picture_is_said_to_show_is_what_is_counted(scores, right):
    known = label(scores)
    assert known.passed is right
    assert passes(parse(PROMPT), known.graph) is right


@pytest.mark.parametrize(
    ("scores", "sure"),
    [
        ([0.95, 0.95], True),
        ([0.95, 0.6], False),
        ([0.95, 0.35], False),
        ([0.95, 0.26], False),
        ([0.95, 0.2], True),
        ([], True),
    ],
)
def test_what_may_be_an_object_or_none_leaves_counts_in_doubt(scores, sure):
    assert label(scores).sure is sure


def test_nothing_is_said_of_a_prompt_that_cannot_be_read():
    assert label([0.9], "stars in the night").passed is None
