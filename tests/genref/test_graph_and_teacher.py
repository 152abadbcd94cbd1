"""Scene graphs and the teacher: laws, and edits that are found again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectionflow.geneval import Clause, Detection, Metadata, Position
from reflectionflow.genref.graph import Node, distance, graph_of, match
from reflectionflow.genref.pairs import joined
from reflectionflow.genref.pool import Picture
from reflectionflow.genref.teacher import edits_of, reflect, think
from reflectionflow.genref.teaching import GraphTeacher
from reflectionflow.scenes.claims import detections
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.words import COLORS, OBJECTS, known_words
from reflectionflow.scenes.world import UNIFORM, draw_scene

share = st.floats(0.1, 0.9)
nodes = st.builds(Node, st.sampled_from(OBJECTS), st.sampled_from(COLORS), share, share, st.just(0.3))
graphs = st.lists(nodes, max_size=4).map(tuple)


def graph(*nodes):
    return tuple(Node(noun, color, x, y, 0.3) for noun, color, x, y in nodes)


STAR, HEART, RING = ("star", "red", 0.2, 0.5), ("heart", "blue", 0.8, 0.5), ("ring", "green", 0.5, 0.8)


@settings(deadline=None)
@given(graphs, graphs)
def test_a_distance_is_symmetric_and_zero_only_between_equal_pictures(first, second):
    assert distance(first, second) == pytest.approx(distance(second, first))
    assert distance(first, first) == 0
    if distance(first, second) < 1e-12:
        assert sorted(first, key=repr) == sorted(second, key=repr)


@settings(deadline=None)
@given(graphs, graphs)
def test_every_object_is_matched_or_alone(first, second):
    found = match(first, second)
    assert len(found.kept) + len(found.removed) == len(first)
    assert len(found.kept) + len(found.added) == len(second)


@settings(deadline=None)
@given(graphs, graphs)
def test_the_teacher_uses_known_words_only_and_says_nothing_of_equal_pictures(first, second):
    for edit in edits_of(first, second):
        assert set(edit.split()) <= known_words(), edit
    assert edits_of(first, first) == ()


@pytest.mark.parametrize(
    ("after", "edit"),
    [
        (graph(STAR), "remove the blue heart"),
        (graph(STAR, HEART, RING), "add a green ring below the"),
        (graph(STAR, ("heart", "pink", 0.8, 0.5)), "change the color of the heart from blue to pink"),
        (graph(STAR, ("moon", "blue", 0.8, 0.5)), "replace the blue heart with a blue moon"),
        (graph(STAR, ("heart", "blue", 0.2, 0.9)), "move the blue heart below the red star"),
        (graph(("star", "red", 0.9, 0.1), HEART), "move the red star above the blue heart"),
    ],
)
def test_one_change_is_one_edit(after, edit):
    edits = edits_of(graph(STAR, HEART), after)
    assert len(edits) == 1
    assert edits[0].startswith(edit)


def test_a_reflection_names_what_the_prompt_speaks_of_and_nothing_else():
    asked = parse("a photo of a red star")
    flawed, enhanced = graph(("star", "blue", 0.2, 0.5), RING), graph(STAR, ("tree", "brown", 0.5, 0.2))
    assert reflect(asked, flawed, enhanced) == ("change the color of the star from blue to red",)


def test_moves_matter_where_the_prompt_speaks_of_places():
    flawed, enhanced = graph(("star", "red", 0.9, 0.5), ("heart", "blue", 0.3, 0.5)), graph(STAR, HEART)
    placed = Metadata("position", "", (Clause("heart", 1), Clause("star", 1, None, Position("left of", 0))), ())
    assert any(edit.startswith("move ") for edit in reflect(placed, flawed, enhanced))
    assert reflect(parse("a photo of a star and a heart"), flawed, enhanced) == ()


def test_the_chain_of_thought_is_the_same_whichever_picture_comes_first():
    flawed, enhanced = graph(STAR), graph(STAR, HEART)
    first, second = think(flawed, enhanced, len, edits_of), think(enhanced, flawed, len, edits_of)
    assert (first.better, second.better) == (2, 1)
    assert first.edits == second.edits == ("add a blue heart right of the red star",)
    assert think(flawed, flawed, len, edits_of).better == 0


def test_a_picture_becomes_the_graph_of_its_scene():
    scene = draw_scene(np.random.default_rng(3), UNIFORM)
    found = graph_of(detections(scene), 128)
    assert sorted((n.noun, n.color) for n in found) == sorted((t.noun, t.color) for t in scene.things)
    doubtful = {"star": [Detection((0, 0, 64, 64), 0.2, "red")]}
    assert graph_of(doubtful, 128) == ()


def test_an_object_is_never_placed_by_itself_however_often_two_pictures_are_compared():
    before, after = graph(STAR), graph(STAR, HEART)
    for _ in range(2):
        copies = (
            tuple(Node(*vars(node).values()) for node in before),
            tuple(Node(*vars(node).values()) for node in after),
        )
        assert edits_of(*copies) == ("add a blue heart right of the red star",)


def test_a_sample_tells_of_the_flawed_picture_first_in_whatever_order_the_teacher_compared(tmp_path):
    for seed in range(8):
        flawed, enhanced = (
            Picture("p", place, str(place), place, 0.5, tmp_path, {}, told)
            for place, told in enumerate((graph(STAR), graph(STAR, HEART)))
        )
        teacher = GraphTeacher(lambda picture: len(picture.graph), edits_of)
        pair = joined(flawed, enhanced, "rule", "p", teacher, seed, Counter())
        assert pair.thought.differences == ("Only the second picture shows a blue heart at the right.",)
