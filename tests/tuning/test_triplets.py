"""What a corrector learns from: builds, mixtures, drops, lengths of texts, encoded pictures."""

from __future__ import annotations

import shutil
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reflectionflow.genref.build import Source, build, shares
from reflectionflow.genref.index import index_of
from reflectionflow.genref.shards import Triplet, read_manifest, read_triplets, shards_of, write_shards
from reflectionflow.prompts.correction import fitted
from reflectionflow.tuning.loop import step_rng
from reflectionflow.tuning.pair_latents import KNOWN, Remembered, cached
from reflectionflow.tuning.triplets import (
    PUBLISHED,
    Pixels,
    TripletData,
    TripletSection,
    drawn,
    mixture,
    same_crop,
)
from reflectionflow.tuning.vlm_data import entries_of
from tests.support.triplets import (
    WORDS,
    never,
    several,
    several_at_once,
)


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


def test_batches_of_short_texts_hold_short_texts_only(base, shards):
    section = TripletSection(shards=str(shards), size=128, paddings=(18, 64), short=0.5, drop_text=0.0)
    data = TripletData(section, index_of(shards_of(shards)), WORDS, 0, Pixels(128, 2))
    seen = [data.batch(step, step_rng(1, step), 4) for step in range(40)]
    assert {batch["t5"].shape[1] for batch in seen} == {18, 64}
    assert all(int(batch["cut"]) == 0 for batch in seen)


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
