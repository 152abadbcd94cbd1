"""Triplets and configurations for tuning a tiny corrector."""

from __future__ import annotations

import json

from PIL import Image

from reflectionflow.genref.build import Source, build
from reflectionflow.genref.index import index_of
from reflectionflow.genref.shards import Triplet, shards_of, write_shards
from reflectionflow.scenes.tokenizers import clip_tokenizer, t5_tokenizer
from reflectionflow.tuning import corrector
from reflectionflow.tuning.reports import ENCODED
from reflectionflow.tuning.triplets import Pixels, TripletData

WORDS = (clip_tokenizer(), t5_tokenizer())


def never(*_):
    raise AssertionError("editing needs no painted pool")


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


def edited(folder):
    """Build fifteen edited pairs of rendered scenes, three of each verb, and return their folder."""
    build([Source.EDITING], 15, 3, folder, never, {"stack": "scenes"})
    return folder


def several(tmp_path, names=("general", "length", "rule", "editing"), each=4):
    picture = Image.new("RGB", (64, 64), "red")
    triplets = [
        Triplet(f"{name}-{number}", picture, picture, "add a red star", "a photo of a star", name, {})
        for name in names
        for number in range(each)
    ]
    write_shards(triplets, tmp_path, {}, per_shard=5)
    return index_of(shards_of(tmp_path))


def corpus(shards, asked):
    return TripletData(asked.data, index_of(shards_of(shards)), WORDS, 0, Pixels(128, 2))
