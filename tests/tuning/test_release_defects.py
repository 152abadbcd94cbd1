"""Defects of the release's training code (T1 to T12) that ours must not have; others stand where they belong.

T1 in test_corrector_tuning (mixture), T3 and T5 in test_tuning (every shipped configuration loads, checkpoints by
number), T6 in test_corrector_tuning (resumed equals uninterrupted). T9 is a slip in code that has no counterpart here.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
from PIL import Image

from reflectionflow.errors import ConfigError, MisuseError
from reflectionflow.genref.index import index_of
from reflectionflow.genref.shards import shards_of
from reflectionflow.models.corrector import CorrectorOptions, FluxCorrector
from reflectionflow.prompts.correction import correction_text
from reflectionflow.roles import PaintRequest
from reflectionflow.scenes.tokenizers import clip_tokenizer, t5_tokenizer
from reflectionflow.tuning import corrector
from reflectionflow.tuning.config import RunSection, read_config
from reflectionflow.tuning.loop import batches
from reflectionflow.tuning.triplets import Pixels, TripletData, TripletSection
from reflectionflow.types import Recipe
from tests.support.tiny import tiny_generator

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
CHECKPOINTS = ROOT / "src" / "reflectionflow" / "scenes" / "checkpoints"
SHIPPED = sorted(path for path in CHECKPOINTS.rglob("*.json") if not path.name.startswith("tokenizer"))
OF_MACHINES = {"home", "mnt", "root", "data", "work", "tmp", "Users", "opt", "srv"}
WORDS = (clip_tokenizer(), t5_tokenizer())


def quiet(*_):
    return None


def of_a_machine(value):
    """Return whether a string is a path below a folder where people keep their own files."""
    parts = PurePosixPath(value).parts
    return (len(parts) > 2 and parts[0] == "/" and parts[1] in OF_MACHINES) or PureWindowsPath(value).drive != ""


def strings_of(value):
    """Yield every string in JSON data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings_of(item)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, shards):
    folder = tmp_path_factory.mktemp("tuned")
    base = tiny_generator(folder / "base")
    config = corrector.CorrectorConfig.model_validate(
        {
            "run": {
                "steps": 2, "batch": 2, "output": str(folder / "model"), "state": str(folder / "state"),
                "checkpoint_every": 2, "sample_every": 2, "precision": "no",
            },
            "optimiser": {"method": "prodigy", "learning_rate": 1.0, "warmup": 0, "final": 1.0, "ema": 0.9},
            "base": {"checkpoint": str(base)},
            "lora": {"rank": 2, "alpha": 4.0},
            "data": {"shards": str(shards), "size": 128, "paddings": [32, 64], "keep_out": 1},
        }
    )  # fmt: skip
    corrector.run(config)
    return folder


def data_of(shards):
    section = TripletSection(shards=str(shards), size=128, paddings=(64,))
    return TripletData(section, index_of(shards_of(shards)), WORDS, 0, Pixels(128, 2))


def test_t02_training_and_inference_spell_the_correction_alike(tuned, shards):
    """Three spellings; CLIP and T5 read the same text in the search, but not in training."""
    painter = FluxCorrector(CorrectorOptions(checkpoint=tuned / "base", corrector=tuned / "model", device="cpu"))
    data = data_of(shards)
    entry = data._seen["editing"][0]
    triplet, rng = entry.read(), np.random.default_rng(3)
    shown = [data.item(entry, rng, 64)[0] for _ in range(50)]
    recipe = Recipe(painter.name, triplet.prompt, 1, 128, 128, 2, 3.5, parent="x", reflection=triplet.reflection)
    assert painter._text(recipe, correction_text) in {item.text for item in shown}
    assert {item.prompt for item in shown} == {triplet.prompt}


def test_t04_validation_paints_held_out_samples(tuned):
    """The validation set crashed, so nobody validated."""
    with Image.open(tuned / "state" / "samples" / "corrector-2.png") as rows:
        assert rows.height > 3 * 100
    assert "loss" in (tuned / "state" / "validation.jsonl").read_text()


def test_t07_the_mixture_does_not_depend_on_who_prepares_the_batches(shards):
    """Worker processes kept a copy of the mixture that was never updated."""
    data = data_of(shards)
    run = {"steps": 4, "batch": 3, "output": "", "state": "", "checkpoint_every": 9, "sample_every": 9}
    alone = list(batches(data, RunSection(**run), 0, 0, 3))
    helped = list(batches(data, RunSection(**run, workers=2), 0, 0, 3))
    for first, second in zip(alone, helped, strict=True):
        assert all(bool((first[name] == second[name]).all()) for name in first)


def test_t07_prodigy_keeps_its_weights_in_full_precision_and_averages_them(tuned):
    import torch

    state = torch.load(tuned / "state" / "step-2" / "ema.pt", weights_only=True)
    assert {tensor.dtype for tensor in state["shadow_params"]} == {torch.float32}
    weights = torch.load(tuned / "state" / "step-2" / "pytorch_model.bin", weights_only=True)
    lora = {name: tensor for name, tensor in weights.items() if "lora_" in name}
    assert lora
    assert {tensor.dtype for tensor in lora.values()} == {torch.float32}


def test_t08_guidance_and_the_picture_reach_the_result(tuned):
    """The empty condition was overwritten by the real one: guidance subtracted a thing from itself."""
    options = CorrectorOptions(
        checkpoint=tuned / "base", corrector=tuned / "model", device="cpu", dtype="float32", pad_batches=False
    )
    painter = FluxCorrector(options)

    def paint(guidance, colour):
        recipe = Recipe(
            painter.name, "a photo of a star", 1, 128, 128, 2, guidance, parent="x", reflection="add a star"
        )
        return np.asarray(painter.generate([PaintRequest(recipe, Image.new("RGB", (128, 128), colour))])[0].image)

    assert np.array_equal(paint(3.5, "red"), paint(3.5, "red"))
    assert not np.array_equal(paint(3.5, "red"), paint(1.0, "red"))
    assert not np.array_equal(paint(3.5, "red"), paint(3.5, "blue"))


@pytest.mark.parametrize("change", ["optimiser.method=adam", "condition.attention=joint"])
def test_t10_unknown_names_are_refused_before_anything_loads(change, tmp_path):
    """The default loss was not implemented, which showed after the data had been read."""
    config = ROOT / "configs" / "tuning" / "scenes-smoke.toml"
    with pytest.raises(ConfigError):
        read_config(config, corrector.CorrectorConfig, [change])


def test_t10_a_mixture_of_subsets_that_are_not_there_is_refused(shards, tmp_path):
    config = read_config(
        ROOT / "configs" / "tuning" / "scenes-smoke.toml",
        corrector.CorrectorConfig,
        [f"data.shards={shards}", "data.mixture.rules=[1,1]", f"run.state={tmp_path}"],
    )
    with pytest.raises(MisuseError, match="names rules, but the shards hold editing"):
        corrector.run(config)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_t11_no_breakpoints_no_path_surgery_no_paths_of_a_machine(source):
    """Cluster paths, a live breakpoint, nine `sys.path.append`."""
    text = source.read_text("utf-8")
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
    assert not called & {"breakpoint", "pdb.set_trace", "sys.path.append", "sys.path.insert"}
    literals = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
    assert not [value for value in literals if isinstance(value, str) and of_a_machine(value)]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.relative_to(CHECKPOINTS).as_posix())
def test_t11_no_shipped_checkpoint_says_where_it_was_made(file):
    """`_name_or_path` of a saved part named the folder its base was loaded from."""
    assert not [value for value in strings_of(json.loads(file.read_text("utf-8"))) if of_a_machine(value)]


def test_t12_every_library_that_is_imported_is_declared():
    """Requirements were unpinned and incomplete."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [name for some in project["optional-dependencies"].values() for name in some]
    declared = {re.split(r"[<>=\[ ]", name)[0].lower() for name in project["dependencies"] + extras}
    modules = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn"}
    imported = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.split(".")[0])
    others = imported - set(sys.stdlib_module_names) - {"reflectionflow"}
    assert {modules.get(name, name).lower().replace("_", "-") for name in others} <= declared


def test_t12_no_compiled_files_are_kept():
    """Sixteen .pyc files were committed."""
    kept = subprocess.run(["git", "ls-files", "*.pyc"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert kept.stdout == ""
