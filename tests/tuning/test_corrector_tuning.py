"""Reflection tuning on tiny random models of the real classes: losses, resuming, saving, correcting."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.errors import CheckpointError, MisuseError
from reflectionflow.genref.index import index_of, readable
from reflectionflow.genref.shards import Triplet, read_triplets, shards_of, write_shards
from reflectionflow.models.corrector import SPEC, CorrectorOptions, FluxCorrector
from reflectionflow.models.flux import FluxGenerator, FluxOptions, read_details
from reflectionflow.roles import PaintRequest
from reflectionflow.tuning import corrector
from reflectionflow.tuning.corrector_base import base_pipeline
from reflectionflow.tuning.loop import step_rng
from reflectionflow.tuning.reports import ENCODED, READ, Reports
from reflectionflow.tuning.triplets import (
    readable_triplets,
)
from reflectionflow.types import Recipe
from tests.support.tiny import tiny_generator
from tests.support.triplets import (
    config,
    corpus,
    losses,
    several,
    several_at_once,
    without_encoding,
)


def test_a_mixture_that_draws_nothing_that_is_there_is_refused(base, shards, tmp_path):
    """It was drawn from all subsets alike, without a word."""
    with pytest.raises(MisuseError, match=r"draws nothing that is there at step 0: it gives no weight to editing"):
        corrector.run(config(tmp_path, base, shards, 2, data={"mixture": {"rule": [1, 1]}}))
    with pytest.raises(MisuseError, match=r"at step 9: it gives no weight to editing"):
        corrector.run(config(tmp_path, base, shards, 10, data={"warmup": 5}))
    with pytest.raises(MisuseError, match=r"any subset of more than data.keep_out samples"):
        corrector.run(config(tmp_path, base, shards, 2, data={"keep_out": 15}))


def test_a_broken_sample_is_drawn_again_and_counted(base, shards, tmp_path):
    folder = tmp_path / "shards"
    shutil.copytree(shards, folder)
    entries = index_of(shards_of(folder)).subsets["editing"]
    data = bytearray(entries[0].shard.read_bytes())
    for entry in (*entries[:6], entries[-2]):
        offset = next(offset for name, offset, _ in entry.members if name == "bad_image.jpg")
        data[offset : offset + 200] = bytes(200)
    entries[0].shard.write_bytes(bytes(data))
    said = []
    corrector.run(config(tmp_path, base, folder, 4, data={"keep_out": 3}), Reports(say=said.append))
    assert len(losses(tmp_path, 4)) == 4
    drawn_first, told = said
    assert drawn_first.startswith("Drawn: editing 100 %")
    assert "draws met samples that cannot be read; `reflectionflow genref check` names them." in told
    for entry in entries:
        offset = next(offset for name, offset, _ in entry.members if name == "bad_image.jpg")
        data[offset : offset + 200] = bytes(200)
    entries[0].shard.write_bytes(bytes(data))
    with pytest.raises(MisuseError, match=r"No sample of editing \(.*: bad_image cannot be decoded\) can be read"):
        corrector.run(config(tmp_path / "all", base, folder, 4))


def test_edits_that_are_cut_off_are_counted_in_the_end(base, tmp_path):
    shards, said = several_at_once(tmp_path / "shards"), []
    corrector.run(config(tmp_path, base, shards, 2, data={"paddings": [24]}), Reports(say=said.append))
    assert re.fullmatch(
        r"[1-9]\d* edits were cut off since this start, because they did not fit in 24 tokens\.", said[-1]
    )
    said.clear()
    corrector.run(config(tmp_path / "long", base, shards, 2, data={"paddings": [128]}), Reports(say=said.append))
    assert not any("cut off" in sentence for sentence in said)


def test_levels_are_pure_noise_as_often_as_asked_and_else_inside():
    torch.manual_seed(0)
    levels = corrector.FlowSection(mean=0.5, shift=2.0, pure=0.25).levels(4000, torch.device("cpu"))
    assert (levels == 1).float().mean().item() == pytest.approx(0.25, abs=0.03)
    inside = levels[levels < 1]
    middle = 1 / (1 + np.exp(-0.5))
    assert inside.median().item() == pytest.approx(2 * middle / (1 + middle), abs=0.02)
    assert (corrector.FlowSection().levels(4000, torch.device("cpu")) < 1).all()


def test_training_sees_the_levels_that_are_drawn(base, shards, tmp_path):
    asked = config(tmp_path, base, shards, 1, flow={"pure": 0.999})
    program = corrector.CorrectorProgram(asked, base_pipeline(asked), corpus(shards, asked), torch.device("cpu"))
    seen, trained = [], program.modules

    def recording(noisy, level, *rest):
        seen.append(level)
        return trained(noisy, level, *rest)

    program.modules = recording
    torch.manual_seed(0)
    program.loss(0, program.data.batch(0, step_rng(1, 0), 2))
    assert (seen[0] == 1).all()


def test_a_resumed_tuning_equals_an_uninterrupted_one_and_saves_what_the_adapter_loads(base, shards, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    corrector.run(config(whole, base, shards, 4))
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "state" / "step-4")
    shutil.rmtree(cut / "model")
    corrector.run(config(cut, base, shards, 4))
    assert losses(cut, 4) == losses(whole, 4)
    name = "pytorch_lora_weights.safetensors"
    assert (cut / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()
    options = CorrectorOptions(checkpoint=base, corrector=whole / "model", device="cpu", dtype="float32")
    assert SPEC.needs(options) == []
    painter = FluxCorrector(options)
    assert painter.capabilities.corrects
    flawed = Image.new("RGB", (128, 128), "blue")

    def paint(reflection, parent):
        recipe = Recipe(painter.name, "a photo of a star", 1, 128, 128, 2, 3.5, parent="x", reflection=reflection)
        return np.asarray(painter.generate([PaintRequest(recipe, parent)])[0].image)

    first = paint("add a red star", flawed)
    assert np.array_equal(first, paint("add a red star", flawed))
    assert not np.array_equal(first, paint("remove the blue heart and add a moon", flawed))
    assert not np.array_equal(first, paint("add a red star", Image.new("RGB", (128, 128), "white")))


def test_parts_of_a_batch_and_checkpointing_train_as_well(base, shards, tmp_path):
    corrector.run(config(tmp_path, base, shards, 2, run={"accumulate": 2}, checkpointing=True))
    assert len(losses(tmp_path, 2)) == 2


def test_all_weights_can_be_tuned_instead(base, shards, tmp_path):
    corrector.run(config(tmp_path, base, shards, 2, lora={"rank": 0}))
    options = CorrectorOptions(checkpoint=base, corrector=tmp_path / "model", device="cpu", dtype="float32")
    painter = FluxCorrector(options)
    recipe = Recipe(painter.name, "a photo of a star", 1, 128, 128, 2, 3.5, parent="x", reflection="add a star")
    assert painter.generate([PaintRequest(recipe, Image.new("RGB", (128, 128)))])[0].image.size == (128, 128)
    saved = json.loads((tmp_path / "model" / "transformer" / "config.json").read_text())
    assert saved["_class_name"] == "FluxTransformer2DModel", "diffusers loads it without this package"
    assert str(base) not in json.dumps(saved), "where the base lay is nobody's business"


@pytest.mark.parametrize("rank", [0, 2])
def test_the_control_is_a_generator_tuned_on_the_good_pictures_and_their_prompts_alone(base, shards, tmp_path, rank):
    settings = config(tmp_path, base, shards, 2, condition="none", lora={"rank": rank, "alpha": 4.0})
    metrics = corrector.run(settings)
    assert np.isfinite(metrics["loss"])
    assert not (tmp_path / "model" / "pytorch_lora_weights.safetensors").exists()
    known = [read_details(folder)[1] for folder in (base, tmp_path / "model")]
    assert known[0] == known[1]

    def paint(folder):
        painter = FluxGenerator(FluxOptions(checkpoint=folder, device="cpu", dtype="float32"))
        recipe = Recipe(painter.name, "a photo of a star", 1, 128, 128, 2, 3.5)
        return painter.name, np.asarray(painter.generate([PaintRequest(recipe)])[0].image)

    (own, before), (tuned, after) = paint(base), paint(tmp_path / "model")
    assert (own.split("@")[0], tuned.split("@")[0]) == ("scenes-flux", "scenes-flux-control")
    assert not np.array_equal(before, after)


def test_the_control_sees_neither_flawed_pictures_nor_reflections(base, shards, tmp_path):
    """It learns the same from data whose flawed pictures and reflections are others."""
    triplets = list(read_triplets(shards_of(shards), Counter()))
    red, text = Image.new("RGB", triplets[0].bad.size, "red"), "move the moon below the fish"
    write_shards(triplets, tmp_path / "own", {})
    write_shards([replace(triplet, bad=red, reflection=text) for triplet in triplets], tmp_path / "others", {})
    seen = []
    for name in ("own", "others"):
        corrector.run(config(tmp_path / "runs" / name, base, tmp_path / name, 2, condition="none"))
        seen.append(losses(tmp_path / "runs" / name, 2))
    assert seen[0] == seen[1]


def test_latents_encoded_before_give_the_same_losses_and_are_made_once(base, shards, tmp_path):
    pixels, latents = tmp_path / "pixels", tmp_path / "latents"
    corrector.run(config(pixels, base, shards, 2))
    told = []
    once = config(latents, base, shards, 2, data={"cache": True})
    corrector.run(once, Reports(count=lambda *asked: told.append(asked)))
    assert (told[0], told[-1]) == ((READ, 1, 1), (ENCODED, 15, 15))
    assert losses(latents, 2) == pytest.approx(losses(pixels, 2), rel=2e-3)  # kept in half precision
    shutil.rmtree(latents / "state" / "step-2")
    corrector.run(once, Reports(count=without_encoding))
    halved = config(latents, base, shards, 2, data={"cache": True}, run={"precision": "bf16"})
    with pytest.raises(AssertionError, match="encoded again"):  # by an encoder in another precision
        corrector.run(halved, Reports(count=without_encoding))


def test_pictures_that_would_be_cropped_are_not_encoded_before(base, tmp_path):
    picture = Image.new("RGB", (160, 128), "red")
    write_shards([Triplet("0", picture, picture, "add a red star", "a star", "rule", {})] * 3, tmp_path / "wide", {})
    with pytest.raises(MisuseError, match="cache = false"):
        corrector.run(config(tmp_path, base, tmp_path / "wide", 2, data={"cache": True, "keep_out": 0}))


def test_prodigy_trains(base, shards, tmp_path):
    settings = {"optimiser": {"method": "prodigy", "learning_rate": 1.0, "warmup": 0, "final": 1.0, "ema": 0.0}}
    corrector.run(config(tmp_path, base, shards, 3, **settings))
    assert all(np.isfinite(losses(tmp_path, 3)))


def test_a_corrector_of_another_base_and_one_that_is_absent_are_refused(base, shards, tmp_path):
    corrector.run(config(tmp_path, base, shards, 2))
    other = tiny_generator(tmp_path / "other", seed=5)
    with pytest.raises(CheckpointError, match="was tuned on"):
        FluxCorrector(CorrectorOptions(checkpoint=other, corrector=tmp_path / "model"))
    missing = CorrectorOptions(checkpoint=base, corrector=tmp_path / "nothing")
    assert "holds no LoRA" in " ".join(SPEC.needs(missing))


def test_broken_samples_are_told_and_left_out(base, tmp_path):
    index = several(tmp_path, names=("rule",), each=3)
    entry = index.subsets["rule"][1]
    offset = next(offset for name, offset, _ in entry.members if name == "good_image.jpg")
    data = bytearray(entry.shard.read_bytes())
    data[offset : offset + 200] = bytes(200)
    entry.shard.write_bytes(bytes(data))
    broken, told, kept = Counter(), [], tmp_path / "state" / "unreadable.json"
    first = readable(shards_of(tmp_path), broken, kept, lambda done, count: told.append((done, count)))
    assert (len(first), told) == (2, [(1, 1)])
    assert broken == {"good_image cannot be decoded": 1}
    sentences = []
    assert readable_triplets([str(tmp_path)], kept.parent, Reports(say=sentences.append)) == first
    assert sentences == ["Left out: 1 samples, good_image cannot be decoded."]
    known = json.loads(kept.read_text())
    kept.write_text(
        json.dumps({state: found | {first.subsets["rule"][0].key: "as remembered"} for state, found in known.items()})
    )
    again = Counter()
    assert len(readable(shards_of(tmp_path), again, kept)) == 1, "what is remembered is not read again"
    assert again == broken | {"as remembered": 1}
    state = json.loads(kept.read_text())
    kept.write_text(json.dumps({key: {} for key in state}))  # what is remembered of another state of the shard ...
    os.utime(entry.shard, ns=(0, 0))
    assert readable(shards_of(tmp_path), Counter(), kept) == first, "... is not believed"
    assert len(json.loads(kept.read_text())) == 1, "nor kept"
    kept.write_text("{")
    assert readable(shards_of(tmp_path), Counter(), kept) == first
    tarfile.open(tmp_path / "genref_9.tar", "w").close()
    assert readable(shards_of(tmp_path), Counter(), kept) == first, "a shard of nothing is no fault"
    with pytest.raises(MisuseError, match="genref build"):
        shards_of(tmp_path / "empty")


@pytest.mark.trained
def test_from_an_empty_folder_to_a_corrected_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == 0, done.output
        return done

    smoke = Path(__file__).parents[2] / "configs" / "tuning" / "scenes-smoke.toml"
    shipped = Path(corrector.__file__).parents[1] / "scenes" / "checkpoints" / "generator"
    call("genref", "build", "--source", "editing", "--triplets", "20", "--out", "genref")
    call("genref", "check", "genref")
    call(
        "tune", "corrector", str(smoke), "--out", "corrector", "--set", "data.shards=genref", "--set", "run.steps=2",
        "--set", f"base.checkpoint={shipped}",
    )  # fmt: skip
    Image.new("RGB", (128, 128), "lightblue").save("flawed.png")
    told = call(
        "correct", "flawed.png", "--prompt", "a photo of a red star", "--reflection", "add a red star in the middle",
        "--corrector", "corrector", "--out", "better.png", "--steps", "2", "--json",
    )  # fmt: skip
    with Image.open("better.png") as better:
        assert better.size == (128, 128)
    assert '"reflection": "add a red star in the middle"' in told.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["flawed.png", "--prompt", "a zebra", "--reflection", "add a star"], "zebra"),
        (["none.png", "--prompt", "a star", "--reflection", "add a star"], "no picture"),
        (["flawed.png", "--prompt", "a star", "--reflection", " "], "the reflection is empty"),
    ],
)
def test_mistakes_of_a_correction_are_told_without_a_traceback(base, shards, tmp_path, monkeypatch, arguments, said):
    corrector.run(config(tmp_path, base, shards, 2))
    monkeypatch.setattr("reflectionflow.models.flux.SHIPPED", base)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (128, 128)).save("flawed.png")
    done = CliRunner().invoke(app, ["correct", *arguments, "--corrector", str(tmp_path / "model"), "--out", "x.png"])
    assert done.exit_code == 2, done.output
    assert said in done.output


def test_a_correction_tells_which_edits_its_texts_do_not_hold(base, shards, tmp_path, monkeypatch):
    corrector.run(config(tmp_path, base, shards, 2))
    monkeypatch.setattr("reflectionflow.models.flux.SHIPPED", base)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (128, 128)).save("flawed.png")

    def told(*edits):
        asked = ["flawed.png", "--prompt", "a photo of a star", "--reflection", ". ".join(edits), "--steps", "1"]
        done = CliRunner().invoke(app, ["correct", *asked, "--corrector", str(tmp_path / "model"), "--out", "x.png"])
        assert done.exit_code == 0, done.output
        return done.output

    assert "left out" not in told("add a red star")
    nouns, colors = ("star", "heart", "moon", "tree", "ring"), ("red", "blue")
    many = [f"change the color of the {noun} from green to {color}" for color in colors for noun in nouns]
    output = " ".join(told(*many).split())
    assert any(f"left out: {'. '.join(many[-lost:])}. Correct" in output for lost in range(1, len(many)))
