"""Detector A: its maps are read as they were written, and its scores follow GenEval's rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reflectionflow.errors import CheckpointError
from reflectionflow.geneval import decide
from reflectionflow.models.detector import SCENES, OracleOptions, OracleVerifier, SceneDetector, graded, save_detector
from reflectionflow.roles import Question
from reflectionflow.scenes.claims import detections, draw_claims
from reflectionflow.scenes.prompts import TAGS, parse
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.words import COLORS, OBJECTS
from reflectionflow.scenes.world import UNIFORM, Scene, Thing, draw_scene
from reflectionflow.tuning.detector import targets
from reflectionflow.types import Candidate, Recipe


def maps_of(scene):
    """Return the maps a perfect network would give for a scene, [1, 28, 16, 16]."""
    import torch

    heat, rows = targets([scene])
    maps = np.full((1, len(OBJECTS) + len(COLORS) + 4, 16, 16), -9.0, dtype=np.float32)
    maps[0, : len(OBJECTS)] = np.where(heat[0] == 1, 6.0, -9.0)
    for _, row, column, *shape, color in rows:
        cell = maps[0, len(OBJECTS) :, int(row), int(column)]
        cell[int(color)] = 9.0
        cell[len(COLORS) :] = shape
    return torch.from_numpy(maps)


class Perfect:
    """A network that has the answer: what it detects must be the scene."""

    def __init__(self, scene):
        import torch

        self.maps = maps_of(scene)
        self.weight = torch.zeros(1)

    def parameters(self):
        return iter([self.weight])

    def __call__(self, pictures):
        return self.maps


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_targets_are_read_back_as_the_scene(seed):
    import torch

    scene = draw_scene(np.random.default_rng(seed), UNIFORM)
    (found,) = SceneDetector(Perfect(scene)).detect_tensor(torch.zeros(1, 3, 128, 128))
    seen = sorted((noun, item.colour, *np.round(item.box, 2)) for noun, items in found.items() for item in items)
    told = sorted((thing.noun, thing.color, *np.round(thing.box, 2)) for thing in scene.things)
    assert [row[:2] for row in seen] == [row[:2] for row in told]
    assert np.allclose([row[2:] for row in seen], [row[2:] for row in told], atol=0.05)


@pytest.mark.parametrize(("own", "reported"), [(0.45, 0.3), (0.48, 0.9), (0.465, 0.6), (0.3, 0.2), (1.0, 1.0)])
def test_the_networks_confidences_are_reported_on_genevals_scale(own, reported):
    import torch

    network = Perfect(Scene((Thing("star", "red", 60, 60, 40),)))
    network.maps[0, OBJECTS.index("star"), 7, 7] = float(torch.logit(torch.tensor(own), 1e-7))
    (found,) = SceneDetector(network).detect_tensor(torch.zeros(1, 3, 128, 128))
    assert [round(item.score, 4) for item in found["star"]] == [pytest.approx(reported, abs=1e-3)]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_graded_score_passes_one_half_exactly_when_the_rules_do(seed):
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, UNIFORM)
    found = detections(scene)
    for claim in draw_claims(rng, scene, Split.TRAIN, tags=TAGS):
        score = graded(claim.metadata, found)
        assert 0.0 <= score <= 1.0
        assert (score > 0.5) == decide(claim.metadata, found).correct


def test_more_met_requirements_never_score_less():
    scene = draw_scene(np.random.default_rng(4), UNIFORM)
    empty = graded(parse("a photo of a red star left of a blue heart"), {})
    one = graded(parse("a photo of a red star left of a blue heart"), detections(scene) | {})
    assert empty <= one


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import torch

    from reflectionflow.models.detector_network import DetectorNetwork

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("detector")
    save_detector(DetectorNetwork(8, 1), {"width": 8, "depth": 1}, folder)
    return folder


def question(prompt, seed=0):
    recipe = Recipe("g@1", prompt, seed, 128, 128, 1, 1.0)
    pixels = np.random.default_rng(seed).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    return Question(Candidate(recipe, "0" * 64, 128, 128), Image.fromarray(pixels), prompt)


def test_a_saved_detector_judges_and_says_that_it_is_an_oracle(checkpoint):
    assert SCENES.needs(OracleOptions(checkpoint=checkpoint)) == []
    verifier = OracleVerifier(OracleOptions(checkpoint=checkpoint))
    assert verifier.name.startswith("oracle:scenes-detector@")
    asked = [question("a photo of a star", seed) for seed in range(3)]
    together = verifier.judge(asked)
    assert [verdict.candidate for verdict in together] == [item.id for item in asked]
    assert [verifier.judge([item])[0].score for item in asked] == pytest.approx([v.score for v in together], abs=2e-4)


def test_a_free_prompt_is_a_failure_with_a_reason_and_not_a_low_score(checkpoint):
    (verdict,) = OracleVerifier(OracleOptions(checkpoint=checkpoint)).judge([question("the best picture of all")])
    assert verdict.score is None
    assert "choose another verifier" in verdict.failure


def test_a_damaged_detector_is_refused(checkpoint, tmp_path):
    (tmp_path / "reflectionflow.json").write_bytes((checkpoint / "reflectionflow.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    assert "bytes instead of" in SCENES.needs(OracleOptions(checkpoint=tmp_path))[0]
    with pytest.raises(CheckpointError):
        OracleVerifier(OracleOptions(checkpoint=tmp_path)).judge([question("a photo of a star")])
