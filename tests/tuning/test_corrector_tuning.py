"""Reflection tuning on tiny random models of the real classes: data, mixture, drops, resuming, saving, correcting."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import tomllib
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
from reflectionflow.genref.build import Source, build, shares
from reflectionflow.genref.index import index_of, readable
from reflectionflow.genref.shards import Triplet, read_manifest, read_triplets, shards_of, write_shards
from reflectionflow.models.corrector import SPEC, CorrectorOptions, FluxCorrector
from reflectionflow.models.flux import FluxGenerator, FluxOptions, read_details
from reflectionflow.prompts.correction import fitted
from reflectionflow.roles import PaintRequest
from reflectionflow.scenes.tokenizers import clip_tokenizer, t5_tokenizer
from reflectionflow.tuning import corrector
from reflectionflow.tuning.corrector_base import base_pipeline
from reflectionflow.tuning.loop import step_rng
from reflectionflow.tuning.pair_latents import KNOWN, Remembered, cached
from reflectionflow.tuning.reports import ENCODED, READ, Reports
from reflectionflow.tuning.triplets import (
    PUBLISHED,
    Pixels,
    TripletData,
    TripletSection,
    drawn,
    mixture,
    readable_triplets,
    same_crop,
)
from reflectionflow.tuning.vlm_data import entries_of
from reflectionflow.types import Recipe
from tests.support.tiny import tiny_generator

WORDS = (clip_tokenizer(), t5_tokenizer())


def never(*_):
    raise AssertionError("editing needs no painted pool")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genref")
    build([Source.EDITING], 15, 3, folder, never, {"stack": "scenes"})
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("base") / "tiny")


def config(folder, base, shards, steps, **more):
    run = {
        "steps": steps, "batch": 2, "output": str(folder / "model"), "state": str(folder / "state"),
        "checkpoint_every": 2, "sample_every": 100, "precision": "no",
    }  # fmt: skip
    data = {
        "run": run | more.pop("run", {}),
        "optimiser": {"learning_rate": 1e-2, "warmup": 1},
        "base": {"checkpoint": str(base), "checkpointing": more.pop("checkpointing", False)},
        "lora": {"rank": 2, "alpha": 4.0},
        "data": {"shards": str(shards), "size": 128, "paddings": [32, 64], "keep_out": 1} | more.pop("data", {}),
    }
    return corrector.CorrectorConfig.model_validate(data | more)


def without_encoding(what, done, count):
    assert what != ENCODED, "encoded again"


def losses(folder, step):
    return json.loads((folder / "state" / f"step-{step}" / "losses.json").read_text())


def test_the_same_build_gives_the_same_bytes_and_all_verbs(shards, tmp_path):
    again = build([Source.EDITING], 15, 3, tmp_path, never, {"stack": "scenes"})
    assert again == read_manifest(shards)
    found = list(read_triplets(shards_of(shards), Counter()))
    assert Counter(t.reflection.split()[0] for t in found) == dict.fromkeys(
        ("add", "remove", "change", "replace", "move"), 3
    )
    assert 0 < sum(t.provenance["open"] for t in found) < 15
    assert "| editing | 15 |" in (tmp_path / "README.md").read_text()


def test_shares_of_the_sources_add_up():
    assert sum(shares(list(Source), 1001).values()) == 1001
    assert shares([Source.RULE], 7) == {Source.RULE: 7}


def test_the_index_reads_what_the_stream_reads(shards):
    index = index_of(shards_of(shards))
    read = [entry.read() for entry in index.subsets["editing"]]
    streamed = list(read_triplets(shards_of(shards), Counter()))
    assert [(t.key, t.reflection, t.prompt) for t in read] == [(t.key, t.reflection, t.prompt) for t in streamed]
    assert all(np.array_equal(np.asarray(a.good), np.asarray(b.good)) for a, b in zip(read, streamed, strict=True))


def several(tmp_path, names=("general", "length", "rule", "editing"), each=4):
    picture = Image.new("RGB", (64, 64), "red")
    triplets = [
        Triplet(f"{name}-{number}", picture, picture, "add a red star", "a photo of a star", name, {})
        for name in names
        for number in range(each)
    ]
    write_shards(triplets, tmp_path, {}, per_shard=5)
    return index_of(shards_of(tmp_path))


@pytest.mark.parametrize("step", [0, 2500, 5000, 90_000])
def test_each_subset_is_drawn_as_often_as_the_mixture_says(tmp_path, step):
    """Release defect T1: all four streams gave the last subset."""
    section = TripletSection(shards="", size=64, warmup=5000)
    data = TripletData(section, several(tmp_path), WORDS, 0, Pixels(64, 2))
    counts = Counter(data.subset(step, step_rng(1, step * 2000 + draw)) for draw in range(1000))
    for name, weight in mixture(section, step).items():
        assert counts[name] / 1000 == pytest.approx(weight, abs=0.05)


def test_the_mixture_goes_from_the_published_first_to_the_published_last_weights():
    section = TripletSection(shards="", size=64, warmup=5000)
    assert mixture(section, 0) == pytest.approx({name: first for name, (first, _) in PUBLISHED.items()})
    assert mixture(section, 7000) == pytest.approx({name: last for name, (_, last) in PUBLISHED.items()})


def test_it_is_told_which_subsets_are_drawn_how_often_and_which_are_not(tmp_path):
    index = several(tmp_path, names=("rule", "editing", "cot"))
    write_shards(
        [Triplet("g", *[Image.new("RGB", (64, 64))] * 2, "x y z", "a star", "general", {})], tmp_path / "g", {}
    )
    index = index_of([*shards_of(tmp_path), *shards_of(tmp_path / "g")])
    section = TripletSection(shards="", size=64, warmup=100, keep_out=1)
    assert drawn(section, index, 101) == (
        "Drawn: rule 13 % at first and 100 % in the end, editing 88 % at first and 0 % in the end. Not drawn: "
        "length (no samples), general (no more than the 1 that validation sees), cot (no weight in data.mixture)."
    )
    assert drawn(section.model_copy(update={"mixture": {"cot": (1, 1)}}), index, 9).startswith("Drawn: cot 100 %. Not")


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
    with pytest.raises(MisuseError, match="one after the other cannot be read"):
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


def test_drops_are_the_published_ones(tmp_path):
    section = TripletSection(shards="", size=64)
    index = several(tmp_path)
    data = TripletData(section, index, WORDS, 0, Pixels(64, 2))
    rng = np.random.default_rng(0)

    def shown(name):
        entry = index.subsets[name][0]
        return [data.item(entry, rng, 64)[0] for _ in range(2000)]

    rule, editing = shown("rule"), shown("editing")
    black = np.mean([not item.bad.any() for item in rule])
    assert black == pytest.approx(0.1, abs=0.03)
    assert not any(not item.bad.any() for item in editing), "an edit without its picture teaches nothing"
    assert all("[Reflexion]" not in item.text for item in rule if not item.bad.any())
    assert np.mean([item.text == "" for item in rule]) == pytest.approx(0.1, abs=0.03)
    told = [item for item in editing if item.text]
    assert np.mean(["[Reflexion]" in item.text for item in told]) == pytest.approx(0.9, abs=0.03)
    assert all(item.prompt == "a photo of a star" for item in rule), "CLIP always reads the bare prompt"


def test_an_unchanged_item_is_its_own_flawed_picture_beside_any_prompt(tmp_path):
    pictures = {name: Image.new("RGB", (64, 64), name) for name in ("red", "blue")}
    triplets = [
        Triplet(f"e-{n}", pictures["red"], pictures["blue"], "add a red star", f"a photo of a {noun}", "editing", {})
        for n, noun in enumerate(("star", "tree", "fish"))
    ]
    write_shards(triplets, tmp_path, {})
    index = index_of(shards_of(tmp_path))
    section = TripletSection(shards="", size=64, unchanged=0.4, drop_text=0.0, drop_reflection=0.0)
    data = TripletData(section, index, WORDS, 0, Pixels(64, 1))
    rng = np.random.default_rng(0)
    items = [data.item(index.subsets["editing"][0], rng, 64)[0] for _ in range(1000)]
    same = [item for item in items if np.array_equal(item.good, item.bad)]
    assert len(same) / 1000 == pytest.approx(0.4, abs=0.05)
    assert {item.prompt for item in same} == {"a photo of a star", "a photo of a tree", "a photo of a fish"}
    assert all(item.text == item.prompt for item in same)
    assert {item.prompt for item in items if not np.array_equal(item.good, item.bad)} == {"a photo of a star"}


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


def corpus(shards, asked):
    return TripletData(asked.data, index_of(shards_of(shards)), WORDS, 0, Pixels(128, 2))


def test_a_long_reflection_keeps_its_first_edits_and_says_how_many_it_lost():
    edits = [f"add a {color} star at the top" for color in ("red", "blue", "green")]
    text, lost = fitted(WORDS[1], "a photo of a star", ". ".join(edits), 24)
    assert lost == 1
    assert text.endswith(edits[1])
    text, lost = fitted(WORDS[1], "a photo of a star " * 20, ". ".join(edits), 16)
    assert edits[0] in text
    assert lost == 2
    alone = "a photo of a star " * 20
    assert fitted(WORDS[1], alone, "", 16) == (alone, 0), "a prompt is cut by the tokenizer, never left out"


def test_latents_are_encoded_anew_for_other_pictures_and_after_a_crash(shards, tmp_path):
    folder = tmp_path / "shards"
    shutil.copytree(shards, folder)
    index = index_of(shards_of(folder))

    def latents(factor, report=lambda *_: None):
        def encode(pictures):
            return torch.from_numpy(pictures[:, ::16, ::16].astype(np.float32)) * factor

        return cached(encode, Pixels(128, 2), index, tmp_path / "kept", f"model@{factor}", report).good

    first = np.array(latents(1))
    assert np.array_equal(latents(1, never), first)

    def crash(done, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        latents(2, crash)
    np.save(tmp_path / "kept" / "good.npy", first * 2)  # what it had written when it was killed
    assert np.array_equal(latents(1), first)
    (shard,) = shards_of(folder)
    write_shards([replace(item, good=item.bad) for item in read_triplets([shard], Counter())], folder, {})
    shard.write_bytes(shard.read_bytes().ljust(shards_of(shards)[0].stat().st_size, b"\0"))
    index = index_of([shard])
    assert not np.array_equal(latents(1), first)


def test_a_picture_that_several_samples_share_is_encoded_once_and_found_again():
    asked = []

    def mean(pictures):
        asked.extend(picture[0, 0, 0] for picture in pictures)
        return pictures.astype(np.float16).mean((1, 2, 3))

    def picture(value, side=4):
        return np.full((side, side, 3), value, dtype=np.uint8)

    encoded = Remembered(mean)
    assert encoded([picture(3), picture(5), picture(3)]).tolist() == [3, 5, 3]
    assert encoded([picture(5), picture(7)]).tolist() == [5, 7]
    assert asked == [3, 5, 7]
    assert encoded([picture(3, side=2)]).tolist() == [3]
    assert asked == [3, 5, 7, 3], "a smaller picture of the same colour is another one"


def test_only_the_last_pictures_are_remembered_and_one_that_is_seen_again_stays():
    asked = []

    def first(pictures):
        asked.extend(int(picture[0, 0, 0]) * 256 + int(picture[0, 0, 1]) for picture in pictures)
        return pictures[:, 0, 0].astype(np.int64) @ np.array([256, 1, 0])

    def shown(number):
        return np.array([[[number // 256, number % 256, 0]]], dtype=np.uint8)

    remembered = Remembered(first)
    for number in range(2 * KNOWN):
        assert remembered([shown(0), shown(number)]).tolist() == [0, number]
    assert asked == list(range(2 * KNOWN)), "the one that comes again and again is asked for once"
    remembered([shown(1)])
    assert asked[-1] == 1, "one that was long ago is asked for again"


@pytest.mark.parametrize("keep_out", [0, 2, 15, 20])
def test_the_last_samples_of_a_subset_are_kept_out_and_no_others(shards, keep_out):
    index = index_of(shards_of(shards))
    (entries,) = index.subsets.values()
    seen, kept = (entries_of(index, keep_out, held_out) for held_out in (False, True))
    assert seen == entries[: max(0, 15 - keep_out)]
    assert kept == entries[max(0, 15 - keep_out) :]
    section = TripletSection(shards=("x",), size=128, keep_out=keep_out)
    assert TripletData(section, index, WORDS, 0, Pixels(128, 2)).held_out.get("editing", ()) == kept


def test_target_and_condition_are_cropped_alike():
    ramp = np.broadcast_to(np.arange(96, dtype=np.uint8)[None, :, None] * 2, (64, 96, 3)).copy()
    picture = Image.fromarray(ramp)
    triplet = Triplet("0", picture, picture, "x", "y", "rule", {})
    for seed in range(5):
        good, bad = same_crop(triplet, 64, 2, np.random.default_rng(seed))
        assert good.shape == (64, 64, 3)
        assert bad.shape == (32, 32, 3)
        assert abs(int(good[0, 0, 0]) - int(bad[0, 0, 0])) <= 4


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


def test_batches_of_short_texts_hold_short_texts_only(base, shards):
    section = TripletSection(shards=str(shards), size=128, paddings=(24, 64), short=0.5, drop_text=0.0)
    data = TripletData(section, index_of(shards_of(shards)), WORDS, 0, Pixels(128, 2))
    seen = [data.batch(step, step_rng(1, step), 4) for step in range(40)]
    assert {batch["t5"].shape[1] for batch in seen} == {24, 64}
    assert all(int(batch["cut"]) == 0 for batch in seen)


def several_at_once(folder):
    """Write triplets with one to four edits."""
    edits = (
        "add a red star left of the blue heart",
        "move the blue heart above the red star",
        "change the color of the moon from black to green",
        "replace the pink ring with a yellow tree",
    )
    picture = Image.new("RGB", (128, 128), "red")
    triplets = [
        Triplet(f"{n}", picture, picture, ". ".join(edits[: n % 4 + 1]), "a photo of a red star", "editing", {})
        for n in range(16)
    ]
    write_shards(triplets, folder, {})
    return folder


def test_processes_draw_texts_of_the_same_length_at_a_step(base, tmp_path):
    shards = several_at_once(tmp_path / "shards")
    section = TripletSection(shards=str(shards), size=128, paddings=(32, 64), short=0.5, drop_text=0.0)
    data = TripletData(section, index_of(shards_of(shards)), WORDS, 0, Pixels(128, 1))
    lengths = [{data.batch(n, step_rng(1, n, rank), 24)["t5"].shape[1] for rank in range(4)} for n in range(20)]
    assert all(len(length) == 1 for length in lengths)
    assert set.union(*lengths) == {32, 64}


def test_the_corrector_of_scenes_sees_as_many_edits_at_once_as_failed_prompts_need(base, tmp_path):
    # Nineteen in twenty of its batches once held only what fits 32 tokens: hardly ever more than two edits.
    shards = several_at_once(tmp_path / "shards")
    asked = tomllib.loads(Path("configs/tuning/scenes.toml").read_text("utf-8"))["data"]
    given = {name: asked[name] for name in ("paddings", "short") if name in asked}
    section = TripletSection(shards=str(shards), size=128, drop_text=0.0, drop_reflection=0.0, **given)
    data = TripletData(section, index_of(shards_of(shards)), WORDS, 0, Pixels(128, 1))
    batches = [data.batch(step, step_rng(1, step), 4) for step in range(60)]
    assert {batch["t5"].shape[1] for batch in batches} == set(section.paddings)
    assert sum(int(batch["cut"]) for batch in batches) == 0
    told = [WORDS[1].decode(row).count(". ") + 1 for batch in batches for row in batch["t5"]]
    assert sum(count >= 3 for count in told) > 0.25 * len(told)


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
        (["flawed.png", "--prompt", "a star", "--reflection", " "], "both need a text"),
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
