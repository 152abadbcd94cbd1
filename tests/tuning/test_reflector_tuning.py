"""The vision-language model and the reward head train from their configurations, resume exactly, play their roles."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.errors import CheckpointError, MisuseError
from reflectionflow.genref.shards import Triplet, read_triplets, shards_of, write_shards
from reflectionflow.models.manifest import problems, read_manifest
from reflectionflow.models.qwen_vl import QwenVL, QwenVlOptions, ScenesVlmOptions
from reflectionflow.models.reward import RewardVerifier, ScenesRewardOptions, calibrated, details_of
from reflectionflow.models.vision_language import load
from reflectionflow.prompts.vlm import FULL, NOTHING, SCENES, YES
from reflectionflow.roles import Question, ReflectRequest
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.world import Scene, Thing
from reflectionflow.tuning import reflector, verifier
from reflectionflow.tuning.config import read_config
from reflectionflow.tuning.pairs import EditedScenes, PaintedPairs
from reflectionflow.tuning.preference import FIRST, SECOND, TIE
from reflectionflow.tuning.reports import Reports
from reflectionflow.tuning.vlm_data import Painted, PictureSection, Triplets
from reflectionflow.tuning.vlm_items import QuestionSection, Task, tasks_of
from reflectionflow.tuning.vlm_model import build
from reflectionflow.tuning.vlm_pool import is_held_out, labelled
from reflectionflow.types import Candidate, Recipe
from tests.support.tiny import tiny_qwen, tiny_vlm

ROOT = Path(__file__).parents[2] / "configs" / "tuning"
STAR, HEART = Thing("star", "red", 34, 64, 40), Thing("heart", "blue", 94, 64, 40)


def smoke(folder, name, steps=2, **more):
    shipped = read_config(ROOT / "smoke" / f"scenes-{'vlm' if name is reflector.VlmConfig else 'reward'}.toml", name)
    data = shipped.model_dump()
    data["run"] |= {"steps": steps, "batch": 2, "checkpoint_every": 1, "threads": 1} | {
        "state": str(folder / "state"), "output": str(folder / "model"),
    }  # fmt: skip
    return name.model_validate({**data, **more})


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Six samples: what is asked for is a red star left of a blue heart, and the flawed picture lacks the heart."""
    folder = tmp_path_factory.mktemp("shards")
    good, bad = render(Scene((STAR, HEART))), render(Scene((STAR,)))
    prompts = [f"a photo of a red star and a {color} heart" for color in ("blue", "green", "pink")]
    prompts += ["a photo of a red star left of a blue heart", "a photo of a star", "a photo of two hearts"]
    samples = [
        Triplet(f"rule-{i}", good, bad, "add a blue heart right of the red star", prompt, "rule", {})
        for i, prompt in enumerate(prompts)
    ]
    write_shards(samples, folder, {})
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_vlm(tmp_path_factory.mktemp("base") / "tiny")


def test_a_model_of_scenes_goes_on_from_a_trained_one_of_its_shape(base, tmp_path):
    shape = {"vision_width": 32, "vision_layers": 1, "width": 64, "layers": 2, "key_heads": 1, "start": str(base)}
    still = {"learning_rate": 1e-9, "warmup": 0, "method": "adamw", "weight_decay": 0.0}
    reflector.run(smoke(tmp_path, reflector.VlmConfig, 1, shape=shape, optimiser=still))
    before, after = (safe_open(folder / "model.safetensors", "pt") for folder in (base, tmp_path / "model"))
    assert set(before.keys()) == set(after.keys())
    for name in before.keys():  # noqa: SIM118, a safe_open is no mapping
        assert torch.allclose(before.get_tensor(name), after.get_tensor(name), atol=1e-6), name
    with pytest.raises(CheckpointError, match=r"has another shape than \[shape\] says; change either"):
        reflector.run(smoke(tmp_path / "other", reflector.VlmConfig, 1, shape=shape | {"layers": 3}))
    with pytest.raises(CheckpointError, match=r"holds no complete Qwen2.5-VL"):
        reflector.run(smoke(tmp_path / "none", reflector.VlmConfig, 1, shape=shape | {"start": str(tmp_path)}))
    with pytest.raises(CheckpointError, match=r"nowhere does not exist; .*`reflectionflow tune reflector`"):
        load(tmp_path / "nowhere", torch.device("cpu"), torch.float32)


def question(prompt="a photo of a red star"):
    recipe = Recipe("painter@1", prompt, 1, 128, 128, steps=1, guidance=1.0)
    return Question(Candidate(recipe, "0" * 64, 128, 128), render(Scene((STAR, HEART))), prompt)


def test_the_shipped_configurations_are_valid_and_of_the_promised_size():
    shape = read_config(ROOT / "scenes-vlm.toml", reflector.VlmConfig).shape
    vl = build(shape)
    assert 3e6 < sum(weight.numel() for weight in vl.model.parameters()) < 5e6
    pixels, grid, places = vl.seen([Image.new("RGB", (128, 128))])
    assert (tuple(pixels.shape), grid.tolist(), places) == ((256, 192), [[1, 16, 16]], [64])
    full = read_config(ROOT / "qwen-vl.toml", reflector.VlmConfig)
    assert full.base is not None
    assert full.wording is FULL
    assert read_config(ROOT / "scenes-reward.toml", verifier.VerifierConfig).reward.loss == "btt"


def test_faults_of_a_configuration_are_sentences(tmp_path):
    both = smoke(tmp_path, reflector.VlmConfig).model_dump() | {"base": {"checkpoint": "x"}}
    with pytest.raises(ValueError, match=r"either \[shape\]"):
        reflector.VlmConfig.model_validate(both)
    with pytest.raises(ValueError, match="no preference loss 'hinge'"):
        smoke(tmp_path, verifier.VerifierConfig, reward={"loss": "hinge"})
    empty = smoke(tmp_path, reflector.VlmConfig, data={"rendered": 0.0})
    with pytest.raises(MisuseError, match="nothing to learn from"):
        reflector.run(empty)


def test_initial_weights_do_not_depend_on_what_was_prepared_before(tmp_path):
    asked, weights = smoke(tmp_path, reflector.VlmConfig), []
    for draws in (0, 5):
        vl = reflector.model_of(asked, torch.device("cpu"))
        torch.rand(draws)  # as labelling a pool does, or not where it was labelled before
        program = reflector.VlmProgram(asked, vl, reflector.sources_of(asked, Reports()))
        weights.append(program.modules.state_dict())
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())


def test_training_resumes_exactly_and_the_model_plays_its_roles(tmp_path):
    def losses(folder):
        return json.loads((folder / "state" / "step-3" / "losses.json").read_text())

    whole = smoke(tmp_path / "whole", reflector.VlmConfig, 3)
    metrics = reflector.run(whole)
    parted = smoke(tmp_path / "parted", reflector.VlmConfig, 3, data={"examined": 0})

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 2:
            raise Killed

    with pytest.raises(Killed):
        reflector.run(parted, Reports(kill))
    reflector.run(parted)
    assert losses(tmp_path / "parted") == losses(tmp_path / "whole")
    assert {"list exact", "reflect exact", "refine kept", "auroc", "held-out auroc", "label mass"} <= set(metrics)
    folder = tmp_path / "whole" / "model"
    assert problems(folder) == []
    assert read_manifest(folder).details == {"wording": "scenes"}
    model = QwenVL(folder, ScenesVlmOptions(checkpoint=folder, least_mass=0.0))
    assert 0 <= model.judge([question()])[0].score <= 1


def test_a_lora_on_a_checkpoint_from_the_hub_learns_from_genref(tmp_path, shards):
    base = tiny_qwen(tmp_path / "qwen")
    settings = smoke(
        tmp_path, reflector.VlmConfig, 2, shape=None, base={"checkpoint": str(base), "checkpointing": True},
        lora={"rank": 2, "alpha": 4.0}, loss={"judge": 0.5},
        data={"rendered": 0.0, "shards": str(shards), "keep_out": 1, "examined": 1},
    )  # fmt: skip
    metrics = reflector.run(settings)
    assert "triplets reflect exact" in metrics
    tuned = tmp_path / "model"
    assert sorted(path.name for path in tuned.glob("*.safetensors")) == ["adapter_model.safetensors"]
    options = QwenVlOptions(checkpoint=base, lora=tuned, dtype="float32", device="cpu", reflection_tokens=4)
    model = QwenVL(base, options, None, tuned)
    item = question()
    assert model.reflect([ReflectRequest(item.candidate, item.image, item.prompt)])[0].tokens > 4
    assert model.name != QwenVL(base, options).name
    with pytest.raises(CheckpointError, match="was tuned on"):
        QwenVL(tiny_qwen(tmp_path / "other", seed=1), options, None, tuned)


def test_triplets_ask_for_the_reflection_of_the_flawed_picture_only(shards):
    from reflectionflow.genref.index import index_of
    from reflectionflow.genref.shards import shards_of

    source = Triplets(index_of(shards_of(shards)).subsets["rule"], SCENES)
    seen = [source.draw(np.random.default_rng(seed)) for seed in range(20)]
    answers = {(tasks_of(s.asked, Task.REFLECT)[0].answer, tasks_of(s.asked, Task.JUDGE)[0].answer) for s in seen}
    assert answers == {("add a blue heart right of the red star", "no"), (NOTHING, YES)}


@pytest.mark.trained
def test_painted_pictures_are_labelled_once(tmp_path, shards):
    told: list[tuple[int, int]] = []
    pool = labelled([str(shards)], tmp_path, lambda done, count: told.append((done, count)))
    assert len(pool) == 12
    assert told[-1] == (12, 12)
    again = labelled([str(shards)], tmp_path, lambda done, count: told.append((done, count)))
    assert told[-1] == told[0], "nothing was labelled again"
    assert again.found == pool.found
    redrawn = write_shards(
        (replace(item, good=item.bad) for item in read_triplets(shards_of(shards), Counter())), tmp_path / "redrawn", {}
    )
    assert redrawn["samples"] == 6
    kept = tmp_path / "kept"
    first = labelled([str(tmp_path / "redrawn")], kept, lambda *_: None)
    assert np.array_equal(first.pictures[0], first.pictures[1])
    write_shards(read_triplets(shards_of(shards), Counter()), tmp_path / "redrawn", {})
    second = labelled([str(tmp_path / "redrawn")], kept, lambda *_: None)
    assert second.prompts == first.prompts
    assert not np.array_equal(second.pictures[0], second.pictures[1]), (
        "other pictures of the same prompts are read anew"
    )
    of_prompt = [pool.known(i) for i in range(12) if pool.prompts[i] == "a photo of a red star and a blue heart"]
    bad, good = sorted(of_prompt, key=lambda known: bool(known.passed))
    assert {node.name for node in good.graph} == {"red star", "blue heart"}
    assert {node.name for node in bad.graph} == {"red star"}
    assert sorted(pool.numbers(True) + pool.numbers(False)) == list(range(12))
    assert all(is_held_out(pool.prompts[number]) for number in pool.numbers(True))
    shown = Painted(pool, tuple(range(12)), QuestionSection(), SCENES).draw(np.random.default_rng(0))
    assert shown.image.size == (128, 128)
    pairs = PaintedPairs.of(pool, range(12))
    drawn = [pairs.draw(np.random.default_rng(seed)) for seed in range(30)]
    for pair in drawn:
        if pair.preferred in (FIRST, SECOND) and any(pair.good):
            assert pair.good == ((True, False) if pair.preferred == FIRST else (False, True))
        assert (pair.preferred == TIE) == all(pair.good)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(MisuseError, match="no shards"):
        labelled([str(tmp_path)], tmp_path, lambda *_: None)


def test_an_edit_that_matters_makes_the_edited_scene_worse():
    source = EditedScenes(PictureSection())
    drawn = [source.draw(np.random.default_rng(seed)) for seed in range(12)]
    assert {pair.preferred for pair in drawn} >= {FIRST, SECOND}
    for pair in drawn:
        assert pair.good == {FIRST: (True, False), SECOND: (False, True), TIE: (True, True)}[pair.preferred]


def test_a_reward_head_is_tuned_calibrated_and_judges(tmp_path, base, shards):
    settings = smoke(
        tmp_path, verifier.VerifierConfig, 3, base={"checkpoint": str(base)},
        data={"rendered": 0.5, "shards": str(shards), "keep_out": 2, "examined": 8},
    )  # fmt: skip
    metrics = verifier.run(settings)
    assert {"rendered pairs", "triplets pairs"} <= set(metrics)
    head = tmp_path / "model"
    assert problems(head) == []
    adapter = (head / "adapter_config.json").read_text("utf-8")
    assert str(tmp_path) not in adapter
    assert str(base) not in adapter, "the folder of whoever trained it is nobody's business"
    assert json.loads(adapter)["base_model_name_or_path"] == read_manifest(head).details["base"]
    with safe_open(head / "adapter_model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"BF16"}  # noqa: SIM118
    model = RewardVerifier(base, head, ScenesRewardOptions(checkpoint=base, reward=head))
    asked = [question(), question("a photo of two hearts"), question("a photo of a blue heart below a red star")]
    together = model.judge(asked)
    for item, verdict in zip(asked, together, strict=True):
        assert model.judge([item])[0].score == pytest.approx(verdict.score, abs=2e-4)
        assert verdict.candidate == item.id
        assert verdict.tokens > 64
    with pytest.raises(CheckpointError, match="was tuned on"):
        RewardVerifier(tiny_vlm(tmp_path / "other", seed=5), head, ScenesRewardOptions())
    with pytest.raises(CheckpointError, match="no reward head"):
        details_of(base)


@pytest.mark.parametrize("program", [reflector, verifier])
def test_a_missing_base_is_refused_before_pictures_are_read(tmp_path, program):
    name = verifier.VerifierConfig if program is verifier else reflector.VlmConfig
    more = {"base": {"checkpoint": str(tmp_path / "nowhere")}, "data": {"pool": (str(tmp_path / "no pool"),)}}
    settings = smoke(tmp_path, name, 1, **more | ({} if program is verifier else {"shape": None}))
    with pytest.raises(CheckpointError, match="nowhere"):  # and not of the pool, which is no better
        program.run(settings)


def test_a_calibrated_reward_is_a_probability():
    from reflectionflow.models.clip import SigmoidCalibration

    calibration = SigmoidCalibration(kind="sigmoid", scale=2.0, bias=-1.0)
    values = [calibrated(reward, calibration) for reward in (-1e9, -1.0, 0.5, 2.0, 1e9)]
    assert values == sorted(values)
    assert values[2] == 0.5
    assert 0.0 <= values[0] < 1e-9


def test_the_commands_train_and_tell_what_came_out(tmp_path, base):
    where = ["--set", f"run.output={tmp_path / 'model'}", "--set", f"run.state={tmp_path / 'state'}"]
    few = ["--set", "run.steps=1", "--set", "run.batch=2", "--set", "data.examined=4"]
    config = str(ROOT / "smoke" / "scenes-reward.toml")
    done = CliRunner().invoke(app, ["tune", "verifier", config, *where, *few, "--set", f"base.checkpoint={base}"])
    assert done.exit_code == 0, done.output
    assert "Saved to" in done.output
    assert "rendered pairs" in done.output
