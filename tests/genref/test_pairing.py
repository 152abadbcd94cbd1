"""Who is joined with whom in rule, reward and length, and why pairs are dropped."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image

from reflectionflow.genref.graph import distance, graph_of
from reflectionflow.genref.pairs import ALIKE, nearest
from reflectionflow.genref.pool import SIDE, Picture
from reflectionflow.genref.sources import rule, scored
from reflectionflow.scenes.claims import detections
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.world import Scene, Thing

PROMPT = "a photo of a red star and a blue heart"
STAR, HEART = Thing("star", "red", 36.0, 60.0, 36.0), Thing("heart", "blue", 92.0, 60.0, 36.0)
RING, MOON = Thing("ring", "green", 64.0, 100.0, 24.0), Thing("moon", "yellow", 64.0, 20.0, 24.0)
SCENE = Scene((STAR, HEART), "gray")


@pytest.fixture
def shown(tmp_path):
    """Return what makes a picture of things, as the pool gives it, with what a perfect detector sees."""

    def make(place, *things, score=0.5, prompt=PROMPT):
        found = detections(Scene(things, "gray"))
        path = tmp_path / f"{place}.png"
        Image.new("RGB", (8, 8)).save(path)
        return Picture(prompt, place, f"candidate:{place}", place, score, path, found, graph_of(found, SIDE))

    return make


def of_prompt(pictures, drops=None):
    return rule.of_prompt(parse(PROMPT), pictures, 1, Counter() if drops is None else drops)


def test_a_prompt_that_always_or_never_passes_is_dropped_and_counted(shown):
    drops = Counter()
    assert of_prompt([shown(0, STAR, HEART), shown(1, STAR, HEART, RING)], drops) == []
    assert of_prompt([shown(0, STAR), shown(1, HEART)], drops) == []
    assert drops == {"the prompt always passes": 1, "the prompt never passes": 1}


def test_a_failure_is_joined_with_the_nearest_passing_picture(shown):
    far, near = shown(0, STAR, HEART, RING, MOON), shown(1, STAR, HEART)
    failed = shown(2, STAR)
    (pair,) = of_prompt([far, near, failed])
    assert pair.provenance["enhanced"]["candidate"] == near.candidate
    assert pair.provenance["flawed"]["candidate"] == failed.candidate
    assert pair.edits == ("add a blue heart right of the red star",)
    assert pair.distance == distance(failed.graph, near.graph) < distance(failed.graph, far.graph)


def test_of_equally_near_pictures_the_first_one_is_taken(shown):
    first, second = shown(0, STAR, HEART), shown(1, STAR, HEART)
    assert nearest(shown(2, STAR), [second, first]) is first


def test_pairs_of_one_prompt_are_limited_nearest_first_and_doubles_are_one(shown):
    passing = shown(0, STAR, HEART)
    failures = [
        shown(1, STAR),
        shown(2, replace(STAR, x=STAR.x + 1)),  # as good as the first one
        shown(3, HEART),
        shown(4, replace(STAR, color="black"), HEART),
        shown(5),
    ]
    assert distance(failures[0].graph, failures[1].graph) < ALIKE
    drops = Counter()
    pairs = of_prompt([passing, *failures], drops)
    assert len(pairs) == rule.MOST == 3
    assert [pair.distance for pair in pairs] == sorted(pair.distance for pair in pairs)
    assert {pair.provenance["flawed"]["candidate"] for pair in pairs} == {"candidate:1", "candidate:3", "candidate:4"}
    assert drops == {"nearly a double": 1, "enough pairs of the prompt": 1}


def rewarded(pictures, drops=None):
    return scored.best_and_worst(PROMPT, SCENE, pictures, 1, Counter() if drops is None else drops)


def test_reward_joins_the_worst_picture_with_the_nearer_of_the_two_best(shown):
    best = shown(0, STAR, HEART, score=0.9)
    second = shown(1, STAR, HEART, RING, score=0.8)
    middle, worst = shown(2, HEART, RING, score=0.5), shown(3, RING, score=0.1)
    pair = rewarded([middle, worst, second, best])
    assert pair.subset == "general"
    assert pair.provenance["flawed"]["candidate"] == worst.candidate
    assert distance(worst.graph, second.graph) < distance(worst.graph, best.graph)
    assert pair.provenance["enhanced"]["candidate"] == second.candidate


def test_reward_needs_scorers_that_agree_clearly_and_pictures_with_a_score(shown):
    drops = Counter()
    # The verifier likes what is far from the scene: the mean ranks are all alike.
    assert rewarded([shown(0, STAR, HEART, score=0.1), shown(1, RING, score=0.9)], drops) is None
    assert drops == {"the scorers see no clear difference": 1}
    assert rewarded([shown(0, STAR, HEART), shown(1, RING, score=None)], drops) is None
    assert drops["too few pictures have a score"] == 1
    # Below the margin: of five pictures mean ranks must differ by 2.
    alike = [shown(place, STAR, HEART, score=score) for place, score in enumerate((0.1, 0.1, 0.1, 0.9, 0.1))]
    assert max(scored.ensemble([[0.1, 0.1, 0.1, 0.9, 0.1], [0.0] * 5])) - 2.75 < scored.MARGIN * 5
    assert rewarded(alike, drops) is None
    assert drops["the scorers see no clear difference"] == 2


def test_ranks_are_averaged_and_ties_share_theirs():
    assert scored.ensemble([[0.1, 0.5, 0.5], [3.0, 1.0, 2.0]]).tolist() == [2.0, 1.75, 2.25]


def test_length_joins_place_by_place_where_the_detailed_captions_picture_is_clearly_nearer(shown):
    short = [shown(0, STAR), shown(1, STAR, HEART), shown(2, STAR)]
    detailed = [shown(3, STAR, HEART), shown(4, STAR, HEART), shown(5, STAR, RING)]
    drops = Counter()
    (pair,) = scored.of_captions("a photo of a red star", SCENE, short, detailed, 1, drops)
    assert pair.subset == "length"
    assert pair.prompt == "a photo of a red star"
    assert [pair.provenance[side]["candidate"] for side in ("flawed", "enhanced")] == ["candidate:0", "candidate:3"]
    assert drops == {"the detailed caption's picture is not clearly nearer to the scene": 2}
