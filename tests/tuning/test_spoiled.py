"""What a generator paints when it fails halfway, in renderings: it is in the picture and not in the scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.world import CANVAS, UNIFORM, Scene, Thing, draw_scene
from reflectionflow.tuning.clip_data import PictureSection, pictures_of
from reflectionflow.tuning.config import read_config
from reflectionflow.tuning.detector import DetectorConfig, DetectorData, DetectorProgram, FlawSection, targets
from reflectionflow.tuning.repaint import scene_of
from reflectionflow.tuning.spoiled import bent, moved_together, with_spoiled

SMOKE = Path(__file__).parents[2] / "configs" / "tuning" / "smoke" / "scenes-detector.toml"
SCENE = Scene((Thing("square", "black", 40, 40, 40), Thing("fish", "red", 95, 90, 36)))


def test_without_flaws_the_rendering_is_the_scenes_own() -> None:
    picture, scene = with_spoiled(np.random.default_rng(0), SCENE, 0)
    assert scene == SCENE
    assert np.array_equal(np.asarray(picture), np.asarray(render(SCENE)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_spoiled_is_in_the_picture_is_not_the_object_and_is_not_in_the_scene(seed: int) -> None:
    picture, scene = with_spoiled(np.random.default_rng(seed), SCENE, 1)
    assert scene.things == ()
    shown, whole = np.asarray(picture, dtype=int), np.asarray(render(SCENE), dtype=int)
    empty = np.asarray(render(scene), dtype=int)
    for thing in SCENE.things:
        x1, y1, x2, y2 = (round(value) for value in thing.box)
        there = np.abs(shown - empty)[y1:y2, x1:x2].max(2) > 12
        other = np.abs(shown - whole)[y1:y2, x1:x2].max(2) > 12
        assert there.mean() > 0.05, "something is left"
        assert other.mean() > 0.02, "and it is not the object"


def test_some_are_spoiled_and_the_others_stay_as_they_are() -> None:
    kept = [with_spoiled(np.random.default_rng(seed), SCENE, 0.5)[1].things for seed in range(200)]
    share = np.mean([len(things) for things in kept]) / 2
    assert 0.4 < share < 0.6
    assert all(set(things) <= set(SCENE.things) for things in kept)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_things_moved_together_touch_stay_inside_and_lie_on_no_third(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, UNIFORM)
    moved = moved_together(rng, scene)
    if moved == scene:
        return
    (first, second, *others), before = moved.things, scene.things
    assert (first, others) == (before[0], list(before[2:]))
    gap = max(abs(first.x - second.x), abs(first.y - second.y)) - (first.size + second.size) / 2
    assert -4 <= gap <= 1
    assert all(0 <= value <= CANVAS for value in second.box)
    for other in others:
        assert max(abs(second.x - other.x), abs(second.y - other.y)) >= (second.size + other.size) / 2


def test_bending_moves_edges_by_a_few_pixels_and_nothing_where_it_is_off() -> None:
    pictures = pictures_of([SCENE] * 4)
    torch.manual_seed(0)
    assert torch.allclose(bent(pictures, 0), pictures, atol=1e-5)
    moved = bent(pictures, 2.0)
    changed = (moved - pictures).abs().amax(1) > 0.2
    assert changed.any()
    inner = changed[:, 34:46, 34:46]
    assert not inner.any(), "the middle of a large object stays what it is"


def test_the_detectors_batches_are_what_their_targets_say_with_flaws_too() -> None:
    flaws = FlawSection(spoiled=1.0, scenes=1.0)
    batch = DetectorData(PictureSection(), flaws).batch(0, np.random.default_rng(1), 4)
    assert batch["rows"].shape == (0, 8)
    assert float(batch["heat"].max()) == 0
    plain = DetectorData(PictureSection(), FlawSection()).batch(0, np.random.default_rng(1), 4)
    assert float(plain["heat"].max()) == 1


def touching(scenes: list[Scene]) -> int:
    pairs = [scene.things[:2] for scene in scenes if len(scene.things) > 1]
    gaps = [max(abs(a.x - b.x), abs(a.y - b.y)) - (a.size + b.size) / 2 for a, b in pairs]
    return sum(gap <= 1 for gap in gaps)


def test_the_shares_of_the_detectors_flaws_are_followed() -> None:
    def drawn(**shares: float) -> list[Scene]:
        data = DetectorData(PictureSection(), FlawSection(**shares))
        return data.rendered(np.random.default_rng(3), 120)[1]

    plain = drawn()
    assert all(scene.things for scene in plain)
    emptied = sum(not scene.things for scene in drawn(spoiled=1.0, scenes=0.5))
    assert 40 < emptied < 80
    assert not any(scene.things for scene in drawn(spoiled=1.0, scenes=1.0))
    assert touching(plain) < touching(drawn(together=0.5)) < touching(drawn(together=1.0))


def test_the_detector_learns_from_bent_pictures() -> None:
    def loss(bending: float) -> float:
        config = read_config(SMOKE, DetectorConfig, [f"flaws.bent={bending}"])
        program = DetectorProgram(config)
        batch = program.data.batch(0, np.random.default_rng(5), 4)
        torch.manual_seed(1)
        return program.loss(0, batch)[0].item()

    assert loss(2.0) != pytest.approx(loss(0.0), rel=1e-4)


@pytest.mark.parametrize(("share", "crowded"), [(0.0, 0), (0.5, 50), (1.0, 100)])
def test_crowded_scenes_are_repainted_as_often_as_asked(share: float, crowded: int) -> None:
    scenes = [scene_of(1, number, share) for number in range(100)]
    full = [scene_of(1, number, 1.0) for number in range(100)]
    assert abs(sum(scene == other for scene, other in zip(scenes, full, strict=True)) - crowded) <= 12


@pytest.mark.parametrize("count", [0, 3])
def test_targets_of_empty_scenes_have_no_rows(count: int) -> None:
    heat, rows = targets([Scene(())] * count)
    assert (heat.shape[0], rows.shape) == (count, (0, 8))
