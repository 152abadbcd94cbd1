"""Edits read back from the teacher's words: every edit parses, is carried out, and is found carried out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reflectionflow.genref.edits import Edit, Name, Verb, carried_out, carry_out, overlap, parse_edit, preserved
from reflectionflow.genref.graph import Node, apart, graph_of, inside
from reflectionflow.genref.repair import passes
from reflectionflow.genref.sources import editing
from reflectionflow.genref.sources.editing import (
    LAST,
    MOST,
    PRIORS,
    SEVERAL,
    SMALL,
    TOGETHER,
    VERBS,
    edit,
    pairs,
    settled,
)
from reflectionflow.genref.teacher import edits_of, relation_of
from reflectionflow.scenes.claims import detections
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.world import Priors, draw_scene


def pair(seed, verb):
    rng = np.random.default_rng(seed)
    before = draw_scene(rng, PRIORS)
    after = edit(verb, before, rng)
    return (graph_of(detections(before), 128.0), graph_of(detections(after), 128.0)) if after else None


def test_a_place_is_found_between_objects_where_one_draw_seldom_finds_one():
    rng = np.random.default_rng(8)
    crowded = [scene for scene in (draw_scene(rng, editing.CROWDED) for _ in range(60)) if len(scene.things) in (2, 3)]
    once = sum(editing._placed_anew(scene, rng, None) is not None for scene in crowded)
    found = sum(edit("add", scene, rng) is not None for scene in crowded)
    assert found > 1.5 * once


@settings(deadline=None, max_examples=200)
@example(479, "move")  # one of two white diamonds, and no free place at the bottom
@given(st.integers(0, 100_000), st.sampled_from(VERBS))
def test_what_the_teacher_says_of_an_edit_is_read_back_and_found_carried_out(seed, verb):
    graphs = pair(seed, verb)
    if graphs is None or len(said := edits_of(*graphs)) != 1:
        return
    parsed = parse_edit(said[0])
    assert parsed is not None, said
    assert carried_out(parsed, *graphs), said
    assert not carried_out(parsed, graphs[0], graphs[0])
    kept, others = preserved([parsed], *graphs)
    assert kept == others
    assert carried_out(parsed, graphs[0], carry_out([parsed], graphs[0])), said


@pytest.mark.parametrize("text", ["", "make it nicer", "remove", "add a star", "nothing to correct", "remove the"])
def test_other_words_are_no_edit(text):
    assert parse_edit(text) is None


def test_an_edit_of_what_is_not_there_changes_nothing():
    graph = (Node("star", "red", 0.3, 0.3, 0.3),)
    assert carry_out([Edit(Verb.REMOVE, Name("heart", "blue"))], graph) == graph


def test_objects_that_moved_or_changed_colour_are_not_preserved():
    star, heart = Node("star", "red", 0.2, 0.5, 0.3), Node("heart", "blue", 0.8, 0.5, 0.3)
    gone = [Edit(Verb.REMOVE, Name("heart", "blue"))]
    assert preserved(gone, (star, heart), (star,)) == (1, 1)
    assert preserved(gone, (star, heart), (Node("star", "pink", 0.2, 0.5, 0.3),)) == (0, 1)
    assert preserved(gone, (star, heart), (Node("star", "red", 0.4, 0.5, 0.3),)) == (0, 1)
    assert overlap(star, star) == pytest.approx(1)
    assert overlap(star, heart) == 0


def scenes_of(found):
    return Counter(pair.provenance["number"] for pair in found)


@pytest.mark.parametrize("wanted", [1, SMALL - 1, 3 * SMALL])
def test_as_many_pairs_as_asked_for_and_the_same_again(wanted):
    found = pairs(wanted, 7, Counter())
    again = pairs(wanted, 7, Counter())
    assert len(found) == wanted
    assert [(pair.prompt, pair.edits, pair.flawed_graph) for pair in found] == [
        (pair.prompt, pair.edits, pair.flawed_graph) for pair in again
    ]
    assert [(pair.prompt, pair.edits) for pair in pairs(wanted, 8, Counter())] != [
        (pair.prompt, pair.edits) for pair in found
    ]


def test_a_small_build_shows_each_scene_once_with_every_verb():
    found = pairs(100, 3, Counter())
    assert set(scenes_of(found).values()) == {1}
    counts = Counter(pair.provenance["verb"] for pair in found)
    assert counts == dict.fromkeys(VERBS, 20)


def test_a_large_build_edits_a_scene_many_ways_and_undoes_every_edit():
    found = pairs(MOST * SMALL, 3, Counter())
    assert MOST < max(scenes_of(found).values()) <= MOST + TOGETHER
    found = [pair for pair in found if pair.provenance["verb"] != SEVERAL]
    assert max(scenes_of(found).values()) <= MOST
    assert len({(pair.provenance["number"], pair.flawed_graph, pair.edits) for pair in found}) == len(found)
    ways = {(pair.flawed_graph, pair.enhanced_graph) for pair in found}
    # What is moved back, or put back where it was removed, goes to the one place that its words name instead.
    exact = {(p.flawed_graph, p.enhanced_graph) for p in found if p.provenance["verb"] in ("recolour", "replace")}
    assert sum((after, before) in exact for before, after in exact) > 0.8 * len(exact)
    pictures = {graph for way in ways for graph in way}
    assert len(pictures) < 1.2 * len(found), "pictures belong to several pairs"


def test_a_large_build_has_pairs_of_several_edits_that_lead_from_one_picture_to_the_other():
    asked = 4 * SMALL
    found = [pair for pair in pairs(asked, 4, Counter()) if pair.provenance["verb"] == SEVERAL]
    assert len(found) > asked // 2
    numbers = Counter(len(pair.edits) for pair in found)
    assert {2, 3, 4} <= set(numbers) <= {2, 3, 4, 5}, "a repair in place seldom takes more"
    assert sum(count for number, count in numbers.items() if number > 2) > 0.4 * len(found), "as failed prompts need"
    for pair in found:
        edits = [parse_edit(said) for said in pair.edits]
        became = carry_out(edits, pair.flawed_graph)
        assert Counter(node.name for node in became) == Counter(node.name for node in pair.enhanced_graph), pair.edits
        metadata = parse(pair.prompt)
        assert pair.provenance["open"] or metadata is None or passes(metadata, pair.enhanced_graph)


def test_two_changes_that_are_said_once_are_not_said():
    star = Node("star", "red", 0.2, 0.2, 0.2)
    ring = Node("ring", "blue", 0.8, 0.8, 0.2)
    both = (star, replace(star, y=0.6), ring)
    assert edits_of(both, (ring,)) == ("remove the red star",)
    assert not editing._said((both, (ring,)), edits_of(both, (ring,)))
    assert editing._said(((star, ring), (ring,)), edits_of((star, ring), (ring,)))


def test_the_last_pairs_of_a_large_build_show_scenes_that_no_other_pair_shows():
    found = pairs(3 * SMALL, 5, Counter())
    numbers = [pair.provenance["number"] for pair in found]
    assert len(set(numbers[-LAST:])) == LAST
    assert not set(numbers[:-LAST]) & set(numbers[-LAST:])


def test_each_other_pair_says_one_edit_that_leads_from_one_picture_to_the_other():
    for pair in pairs(3 * SMALL, 5, Counter()):
        if pair.provenance["verb"] == SEVERAL:
            continue
        (said,) = pair.edits
        parsed = parse_edit(said)
        assert parsed is not None
        assert carried_out(parsed, pair.flawed_graph, pair.enhanced_graph), (said, pair.provenance)


def test_nothing_that_is_held_out_is_drawn_or_comes_about_by_an_edit():
    from reflectionflow.scenes.splits import held_out_colors

    for pair in pairs(1000, 9, Counter()):
        shown = {(node.noun, node.color) for graph in (pair.flawed_graph, pair.enhanced_graph) for node in graph}
        assert not shown & held_out_colors()


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 100_000), st.sampled_from(VERBS))
def test_words_lead_to_a_picture_in_which_the_rest_stays_as_it_was(seed, verb):
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, PRIORS)
    drawn = edit(verb, scene, rng)
    if drawn is None:
        return
    said = edits_of(graph_of(detections(scene), 128.0), graph_of(detections(drawn), 128.0))
    after = settled(scene, said)
    if len({(thing.noun, thing.color) for thing in scene.things}) == len(scene.things):  # else any of a name may go
        assert {thing for thing in scene.things if thing in drawn.things} <= set(after.things), "what stays is the same"
    assert all(inside(node) for node in graph_of(detections(after), 128.0))


def test_what_is_added_stands_close_beside_its_anchor_or_amid_its_part_of_the_picture():
    star = Node("star", "red", 0.25, 0.75, 0.25)
    for words, x, y in (
        ("right of the red star", 0.625, 0.75),
        ("above the red star", 0.25, 0.375),
        ("at the top right", 0.875, 0.125),
    ):
        ring = next(node for node in carry_out([parse_edit(f"add a blue ring {words}")], (star,)) if node != star)
        assert (ring.x, ring.y) == (x, y), words
    crowded = (star, Node("fish", "green", 0.5625, 0.75, 0.25))
    ring = next(
        n for n in carry_out([parse_edit("add a blue ring right of the red star")], crowded) if n.noun == "ring"
    )
    assert relation_of(ring, star) == "right of"
    assert apart(ring, crowded, 0.0)


def test_what_is_put_somewhere_stands_where_the_worlds_own_objects_do_and_elsewhere_only_when_those_spots_are_taken():
    own, star = Priors().grid, Node("star", "red", 0.3, 0.71, 0.25)
    after = carry_out([parse_edit("add a blue ring right of the red star")], (star,))
    ring = next(node for node in after if node != star)
    assert (ring.x * 128 % own, ring.y * 128 % own, ring.size * 128) == (0, 0, Priors().sizes[0])
    wall = tuple(Node("fish", "green", x, y, 0.2) for x in (0.4375, 0.9375) for y in (0.125, 0.375, 0.625, 0.875))
    after = carry_out([parse_edit("add a blue ring right of the red star")], (star, *wall))
    squeezed = next(node for node in after if node.noun == "ring")
    assert apart(squeezed, (star, *wall), 0.0)
    assert squeezed.x * 128 % own or squeezed.y * 128 % own


def test_pairs_about_the_same_picture_in_the_same_words_have_the_same_target():
    targets = {}
    for found in pairs(MOST * SMALL, 3, Counter()):
        about = (found.provenance["number"], found.flawed_graph, found.edits)
        assert targets.setdefault(about, found.enhanced_graph) == found.enhanced_graph
    assert any(edit.startswith("add ") for _, _, edits in targets for edit in edits)


def test_what_is_put_beside_something_that_is_not_there_stands_free():
    star = Node("star", "green", 0.5, 0.5, 0.25)
    after = carry_out([parse_edit("add a blue ring left of the red star")], (star,))
    ring = next(node for node in after if node != star)
    assert apart(ring, (star,), 0.0)
    assert inside(ring)


def test_the_last_pairs_of_a_large_build_have_all_verbs_in_turn():
    last = Counter(pair.provenance["verb"] for pair in pairs(3 * SMALL, 5, Counter())[-LAST:])
    assert set(last) == set(VERBS)
    assert max(last.values()) <= LAST / len(VERBS) + 2


def test_a_move_that_another_object_of_the_name_had_made_is_not_carried_out():
    ring, low, high = (
        Node("ring", "black", 0.25, 0.25, 0.3),
        Node("ring", "blue", 0.56, 0.63, 0.3),
        Node("ring", "blue", 0.81, 0.19, 0.2),
    )
    move = parse_edit("move the blue ring to the right of the black ring")
    assert not carried_out(move, (ring, low, high), (ring, low, high))
    assert carried_out(move, (ring, low), (ring, replace(low, x=0.8, y=0.3)))
