"""The Scenes verifier trains from its configuration, resumes exactly, and is saved as a plain CLIPModel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reflectionflow.models.clip import ClipVerifier, ScenesClipOptions
from reflectionflow.models.manifest import problems, read_manifest
from reflectionflow.scenes.prompts import TAGS
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.world import Scene, Thing
from reflectionflow.tuning.clip import ClipConfig, build, run
from reflectionflow.tuning.clip_data import (
    FACTS,
    NOTHING,
    PictureSection,
    covers_of,
    examination,
    facts_of,
    pictures_of,
    roughen,
)
from reflectionflow.tuning.config import read_config
from reflectionflow.tuning.metrics import auroc, calibration_error, judged

CONFIG = Path(__file__).parents[2] / "configs" / "tuning" / "scenes-clip.toml"


def tiny(folder: Path, steps: int, name: str = "run") -> ClipConfig:
    shipped = read_config(CONFIG, ClipConfig).model_dump()
    shipped["run"] |= {
        "steps": steps, "batch": 2, "state": str(folder / name), "output": str(folder / name / "model"),
        "checkpoint_every": 1, "sample_every": 2, "threads": 1, "precision": "no",
    }  # fmt: skip
    shipped["clip"] |= {"vision_width": 32, "vision_layers": 1, "text_width": 32, "text_layers": 1, "projection": 16}
    shipped["optimiser"]["warmup"] = 0
    shipped["optimiser"]["final"] = 1.0
    shipped["pictures"]["validation"] = 2
    return ClipConfig.model_validate(shipped)


def test_the_shipped_model_has_fewer_than_half_a_million_weights() -> None:
    model, words = build(read_config(CONFIG, ClipConfig).clip)
    assert sum(weight.numel() for weight in model.parameters()) < 0.5e6
    assert model.config.text_config.eos_token_id == words.eos_token_id


def test_a_killed_training_resumes_to_the_same_weights_and_saves_a_verifier(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    metrics = run(tiny(tmp_path, 2, "straight"))
    assert capfd.readouterr() == ("", ""), "libraries say nothing of their own"
    run(tiny(tmp_path, 1, "broken"))
    run(tiny(tmp_path, 2, "broken"))
    straight, broken = (tmp_path / name / "model" for name in ("straight", "broken"))
    assert (straight / "model.safetensors").read_bytes() == (broken / "model.safetensors").read_bytes()
    assert {f"auroc {tag}" for tag in TAGS} | {"held-out auroc", "calibration error"} <= set(metrics)
    assert problems(straight) == []
    manifest = read_manifest(straight)
    assert manifest.name == "scenes-clip"
    assert manifest.details["calibration"]["kind"] == "sigmoid"
    verifier = ClipVerifier(straight, ScenesClipOptions(checkpoint=straight, device="cpu"))
    assert verifier._loaded.model.dtype.is_floating_point
    assert verifier.name == manifest.identity


def test_facts_name_what_a_scene_holds() -> None:
    scene = Scene(
        (Thing("star", "red", 32, 64, 30), Thing("fish", "blue", 96, 30, 30), Thing("fish", "blue", 96, 90, 30))
    )
    facts, places = facts_of(scene)
    assert facts.shape == (FACTS,)
    assert facts.sum() == 3 + 2  # one star, two fishes, each with one colour
    assert places[3].tolist() == [-0.5, 0.0]
    assert np.isnan(places).all(axis=1).sum() == 13
    covers = covers_of(scene, 16).reshape(2, 8, 8)
    assert covers[:, 4, 2].tolist() == [3, 0]
    assert covers[:, 0, 0].tolist() == [NOTHING, NOTHING]


def test_roughening_keeps_a_picture_close_to_itself_and_in_range() -> None:
    import torch

    clean = pictures_of([Scene((Thing("star", "red", 64, 64, 50),))] * 4)
    torch.manual_seed(0)
    rough = roughen(clean, PictureSection())
    assert rough.shape == clean.shape
    assert 0 < float((rough - clean).abs().mean()) < 0.08
    assert float(rough.abs().max()) <= 1


def test_examinations_are_balanced_for_every_tag() -> None:
    _, words = build(read_config(CONFIG, ClipConfig).clip)
    examined = examination(Split.TRAIN, PictureSection(validation=4), words, 16)
    for tag in TAGS:
        truths = [float(true) for name, true in zip(examined.tags, examined.batch.true, strict=True) if name == tag]
        assert sorted(truths) == [0.0, 0.0, 1.0, 1.0]


def test_auroc_counts_ordered_pairs_and_ties_half() -> None:
    true = np.array([1, 1, 0, 0])
    assert auroc(np.array([4.0, 3.0, 2.0, 1.0]), true) == 1.0
    assert auroc(np.array([1.0, 2.0, 3.0, 4.0]), true) == 0.0
    assert auroc(np.ones(4), true) == 0.5
    assert auroc(np.array([2.0, 1.0, 1.0, 0.0]), true) == pytest.approx(0.875)


def test_calibration_error_is_the_gap_between_promise_and_truth() -> None:
    assert calibration_error(np.array([0.95, 0.95]), np.array([1.0, 0.0])) == pytest.approx(0.45)
    assert calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0.0


def test_a_verifier_is_compared_per_tag_and_by_the_mean_over_tags() -> None:
    scores, true = np.array([0.9, 0.2, 0.4, 0.6]), np.array([1.0, 0.0, 1.0, 0.0])
    numbers = judged(scores, true, ["colors", "colors", "position", "position"])
    assert (numbers["auroc colors"], numbers["auroc position"], numbers["auroc"]) == (1.0, 0.0, 0.5)
    assert numbers["accuracy"] == 0.5
