"""Retouch: a picture and the same ground with what should be there, and a pool that the rule source paints for both."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from reflectionflow.genref.build import SHARE, Source, build
from reflectionflow.genref.edits import carried_out, parse_edit
from reflectionflow.genref.graph import graph_of
from reflectionflow.genref.pool import SIDE, Picture
from reflectionflow.genref.repair import passes, repair
from reflectionflow.genref.retouch import change, graph_of_things, retouched, things_of
from reflectionflow.genref.shards import read_triplets, shards_of
from reflectionflow.genref.sources import retouch, rule
from reflectionflow.models.detector import OracleOptions, OracleVerifier
from reflectionflow.roles import Painting
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Search, run_searches
from reflectionflow.scenes.claims import detections
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.splits import held_out_colors
from reflectionflow.scenes.world import Scene, Thing
from reflectionflow.search.noise import NOISE
from tests.support.running import task
from tests.support.world import Painter, stack

STAR, HEART, RING = (
    Thing("star", "red", 32.0, 40.0, 36.0),
    Thing("heart", "yellow", 92.0, 40.0, 36.0),
    Thing("ring", "green", 64.0, 96.0, 36.0),
)


def pictured(folder, prompt, *things, place=0, background="gray"):
    """A rendered scene as the pool gives it, with what a perfect detector sees."""
    scene = Scene(things, background)
    path = folder / f"{place}.png"
    render(scene).save(path)
    found = detections(scene)
    return Picture(prompt, place, f"candidate:{place}", 7, 0.5, path, found, graph_of(found, SIDE))


def pairs_of(picture, seed=0, number=0, drops=None):
    return list(retouch.of_picture(parse(picture.prompt), picture, seed, number, Counter() if drops is None else drops))


def test_a_picture_that_fails_its_prompt_gives_its_repair_and_an_edit_that_says_what_changed(tmp_path):
    picture = pictured(tmp_path, "a photo of a blue star", STAR, HEART)
    fixed, edited, *more = pairs_of(picture)
    assert len({pair.edits for pair in (edited, *more)}) == 1 + len(more) <= retouch.EDITS
    assert fixed.edits == repair(parse(picture.prompt), picture.graph).edits
    assert (fixed.prompt, fixed.subset, fixed.thought) == (picture.prompt, "editing", None)
    assert passes(parse(picture.prompt), fixed.enhanced_graph)
    assert not passes(parse(picture.prompt), fixed.flawed_graph)
    assert fixed.provenance["verb"] == "repair"
    assert fixed.provenance["retouched"]["candidate"] == picture.candidate
    shown = graph_of_things(things_of(picture.graph))
    for pair in (edited, *more):
        if pair.provenance["verb"] != "repair":
            assert (pair.provenance["verb"] == retouch.SEVERAL) == (len(pair.edits) > 1)
        if len(pair.edits) == 1:
            assert carried_out(parse_edit(pair.edits[0]), shown, pair.enhanced_graph)


def test_pictures_are_also_edited_in_several_ways_at_once(tmp_path):
    picture = pictured(tmp_path, "a photo of a red star", STAR, HEART, RING)
    numbers = Counter(len(pair.edits) for seed in range(30) for pair in pairs_of(picture, seed=seed))
    assert set(numbers) >= {1, 2, 3, 4}
    assert numbers[1] > numbers[3] > numbers[5]
    assert sum(numbers.values()) < 2 * sum(count for number, count in numbers.items() if number > 1)


def test_a_picture_that_passes_gives_edits_and_repairs_for_other_prompts(tmp_path):
    picture = pictured(tmp_path, "a photo of a red star", STAR, HEART)
    found = [pair for seed in range(5) for pair in pairs_of(picture, seed=seed)]
    repairs = [pair for pair in found if pair.provenance["verb"] == "repair"]
    assert 0 < len(repairs) < len(found)
    for pair in repairs:
        assert pair.prompt != picture.prompt
        assert passes(parse(pair.prompt), pair.enhanced_graph)
        assert not passes(parse(pair.prompt), pair.flawed_graph)
    assert all(pair.provenance["verb"] in {*retouch.VERBS, retouch.SEVERAL} for pair in found if pair not in repairs)


def test_the_target_shows_what_is_wanted_on_the_same_ground(tmp_path):
    (pair, *_) = pairs_of(pictured(tmp_path, "a photo of a blue star", STAR, background="sand"))
    flawed, enhanced = (np.asarray(part(), dtype=float) for part in (pair.flawed, pair.enhanced))
    away = np.ones(flawed.shape[:2], dtype=bool)
    away[12:68, 4:60] = False
    assert np.abs(flawed - enhanced)[away].mean() < 1
    assert np.abs(flawed - enhanced)[~away].mean() > 10


def smeared(folder, *things, at=(96, 96)):
    """A picture with something on it that no detector names."""
    picture = pictured(folder, "a photo of a red star", *things)
    pixels = np.asarray(picture.image()).copy()
    pixels[at[1] - 8 : at[1] + 8, at[0] - 8 : at[0] + 8] = (90, 60, 140)
    Image.fromarray(pixels).save(picture.path)
    return picture


def changed_to(picture, *things, found=None):
    """The picture with these things; none where it cannot be changed so."""
    found = found or picture.found
    plan = change(picture.image(), found, graph_of_things(things))
    return None if plan is None else retouched(picture.image(), found, plan)


def test_all_but_the_change_stays_to_the_last_bit_even_what_no_detector_names(tmp_path):
    picture = smeared(tmp_path, STAR, HEART)
    changed = changed_to(picture, replace(STAR, color="blue"), HEART)
    before, after = np.asarray(picture.image()), np.asarray(changed)
    away = np.ones(before.shape[:2], dtype=bool)
    away[14:66, 6:58] = False
    assert np.array_equal(before[away], after[away])
    assert graph_of(OracleVerifier(OracleOptions()).detections([changed])[0], SIDE)[0].color == "blue"
    assert np.array_equal(before, np.asarray(changed_to(picture, STAR, HEART)))


def test_what_is_removed_goes_with_what_sticks_out_of_its_box(tmp_path):
    picture = pictured(tmp_path, "a photo of a red star", STAR, HEART)
    found = {"star": [replace(picture.found["star"][0], box=(14.0, 30.0, 50.0, 50.0))], "heart": picture.found["heart"]}
    removed = np.asarray(changed_to(picture, HEART, found=found), dtype=float)
    assert np.abs(removed - np.asarray(render(Scene((HEART,), "gray")), dtype=float)).max() < 12


def test_a_change_that_would_harm_what_stays_is_refused(tmp_path):
    over = pictured(tmp_path, "a photo of a red star", STAR, replace(HEART, x=44.0), place=1)
    assert changed_to(over, replace(HEART, x=44.0)) is None
    full = smeared(tmp_path, STAR)
    assert changed_to(full, STAR, replace(RING, x=96.0)) is None
    assert changed_to(full, STAR, replace(RING, x=32.0)) is not None


@dataclass
class Prepared:
    """A pool whose pictures are there."""

    shown: list

    def pictures(self, name, prompts, images, seed):
        return {prompt: self.shown for prompt in prompts}


def test_a_small_build_is_made_of_many_pictures_and_a_larger_one_of_several_edits_of_each(tmp_path):
    scenes = [(STAR, HEART), (HEART, RING), (STAR, RING), (STAR, HEART, RING)]
    prepared = [pictured(tmp_path, "a photo of a cat", *things, place=n) for n, things in enumerate(scenes)]
    drops = Counter()
    few = retouch.pairs(Prepared(prepared), len(prepared), 1, 0, drops)
    assert len({pair.provenance["retouched"]["candidate"] for pair in few}) == len(few) == len(prepared)
    many = retouch.pairs(Prepared(prepared), 12, 1, 0, drops)
    assert [pair.edits for pair in many[: len(few)]] == [pair.edits for pair in few]
    assert len(many) == 12


def test_edits_depend_on_seed_place_and_number_alone(tmp_path):
    picture = pictured(tmp_path, "a photo of a red star", STAR, HEART)

    def told(place=0, **more):
        return tuple(pair.edits for pair in pairs_of(replace(picture, place=place), **more))

    assert told() == told()
    for name in ("seed", "number", "place"):
        assert len({told(**{name: value}) for value in range(8)}) > 1


def test_what_gives_no_pair_is_counted_with_its_reason(tmp_path):
    drops = Counter()
    crowd = [replace(STAR, x=20.0 + 17 * number) for number in range(retouch.MOST_OBJECTS + 1)]
    assert pairs_of(pictured(tmp_path, "a photo of a red star", *crowd), drops=drops) == []
    assert drops == {"too many objects are seen": 1}
    noun, color = sorted(held_out_colors())[0]
    picture = pictured(tmp_path, f"a photo of a {color} {noun}", STAR)
    assert all(pair.prompt != picture.prompt for pair in pairs_of(picture, drops=drops))
    assert drops["the repair is empty, cannot be said, or shows what training must not see"] == 1
    drops.clear()
    empty = pictured(tmp_path, "a photo of a red star")
    assert [pair.provenance["verb"] for pair in pairs_of(empty, drops=drops)] == ["repair"]
    assert drops["the picture does not allow the edit"] == retouch.EDITS


def test_counts_of_objects_that_are_seen_less_surely_need_no_repair(tmp_path):
    # GenEval counts from 0.9 on, which generated pictures seldom reach: "list two stars, add a star" taught nonsense.
    picture = pictured(tmp_path, "a photo of two stars", STAR, replace(STAR, x=96.0, y=96.0))
    unsure = {noun: [replace(item, score=0.5) for item in items] for noun, items in picture.found.items()}
    picture, drops = replace(picture, found=unsure, graph=graph_of(unsure, SIDE)), Counter()
    found = [(pair.provenance["verb"], pair.prompt) for pair in pairs_of(picture, drops=drops)]
    assert ("repair", picture.prompt) not in found
    assert not [reason for reason in drops if reason.startswith(("the repair", retouch.CROWDED))]


@dataclass
class Draughtsman(Painter):
    """Draws what a prompt asks for, and with every other seed leaves its colours or an object out."""

    def _paint(self, request):
        graph = repair(parse(request.recipe.prompt), ()).graph
        things = things_of(graph)
        if request.recipe.seed % 2:
            things = things[1:] or (replace(things[0], color="black"),)
        return Painting(request.id, render(Scene(things)), request.recipe.steps)


@pytest.mark.trained
def test_rule_and_retouch_share_a_pool_whatever_is_asked_of_each(tmp_path, monkeypatch):
    monkeypatch.setattr(rule, "IMAGES", 2)
    models = stack(generator=Draughtsman())

    def paint(prompts, images, seed, folder):
        asked = [Search(replace(task(prompt, seed, images=images), width=128, height=128), NOISE) for prompt in prompts]
        with RunDirectory.open(folder, {"prompts": list(prompts)}) as run:
            run_searches(asked, models, run)

    assert SHARE["rule"] != SHARE["retouch"]
    manifest = build([Source.RULE, Source.RETOUCH], 10, 3, tmp_path, paint, {})
    assert manifest["asked"] == {"rule": 4, "retouch": 6}
    assert manifest["subsets"].keys() == {"rule", "editing"}
    with RunDirectory.read(tmp_path / "runs" / "rule-0") as run:
        assert {len(stored.result.steps) for stored in run.results()} == {rule.IMAGES}
    skipped = Counter()
    repaired = [
        found for found in read_triplets(shards_of(tmp_path), skipped) if found.provenance.get("verb") == "repair"
    ]
    assert repaired
    detector = OracleVerifier(OracleOptions())
    seen = [graph_of(found, SIDE) for found in detector.detections([found.good for found in repaired])]
    assert np.mean([passes(parse(item.prompt), graph) for item, graph in zip(repaired, seen, strict=True)]) > 0.6
