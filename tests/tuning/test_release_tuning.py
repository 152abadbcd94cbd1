"""`configs/tuning/flux-dev.toml` on a tiny random FLUX: the release's condition stream, from tuning to a search."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reflectionflow.genref.build import Source, build
from reflectionflow.tuning import corrector
from reflectionflow.tuning.config import read_config
from tests.support.tiny import tiny_generator

CONFIG = Path(__file__).parents[2] / "configs" / "tuning" / "flux-dev.toml"
FEW = ("run.batch=2", "run.log_every=1", "run.checkpoint_every=2", "run.sample_every=4", "run.workers=0")
TINY = (*FEW, "data.size=128", "data.paddings=[64]", "data.keep_out=2")
LORA = "pytorch_lora_weights.safetensors"


def never(*_):
    raise AssertionError("editing needs no painted pool")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genref")
    build([Source.EDITING], 10, 3, folder, never, {"stack": "scenes"})
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("base") / "tiny")


def changes(folder, base, shards, steps, *more):
    """Return what is not FLUX.1-dev's in a run of its configuration."""
    places = (f"base.checkpoint={base}", f"data.shards={shards}", f"run.output={folder / 'model'}")
    return [*TINY, *places, f"run.state={folder / 'state'}", f"run.steps={steps}", *more]


def tuned(folder, base, shards, steps, *more):
    return corrector.run(read_config(CONFIG, corrector.CorrectorConfig, changes(folder, base, shards, steps, *more)))


def losses(folder, step):
    return json.loads((folder / "state" / f"step-{step}" / "losses.json").read_text())


def test_two_processes_tune_a_lora_on_the_condition_alone(base, shards, tmp_path):
    """The last block's condition is read by nobody, so that a third of its LoRA never gets a gradient."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    asked = changes(tmp_path, base, shards, 3, "run.sample_every=100")
    done = subprocess.run(
        [*launch, "-m", "reflectionflow", "tune", "corrector", str(CONFIG), *(w for c in asked for w in ("--set", c))],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(losses(tmp_path, 3)) == 3
    assert (tmp_path / "state" / "step-3" / "random_states_1.pkl").is_file(), "the second process took part"
    changed = {
        name.split("transformer_blocks.0.")[-1]: bool(tensor.any())
        for name, tensor in load_file(tmp_path / "model" / LORA).items()
        if name.startswith("transformer.single_transformer_blocks.0.") and "lora_B" in name
    }
    untaught = {f"{name}.lora_B.weight" for name in ("attn.to_q", "proj_mlp", "proj_out")}
    assert {name for name, told in changed.items() if not told} == untaught, "saved all the same"


def test_a_lora_on_a_base_in_bf16_resumes_as_if_it_were_never_interrupted(base, shards, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    tuned(whole, base, shards, 4)
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "state" / "step-4")
    shutil.rmtree(cut / "model")
    tuned(cut, base, shards, 4)
    assert losses(cut, 4) == losses(whole, 4)
    assert (cut / "model" / LORA).read_bytes() == (whole / "model" / LORA).read_bytes()
    saved = torch.load(whole / "state" / "step-4" / "pytorch_model.bin", weights_only=True)
    average = torch.load(whole / "state" / "step-4" / "ema.pt", weights_only=True)["shadow_params"]
    assert all("lora_" in name for name in saved), "the base is not saved again"
    assert len(saved) == len(average)
    assert {tensor.dtype for tensor in (*saved.values(), *average)} == {torch.float32}


def test_the_base_of_a_lora_in_bf16_is_in_bf16_and_others_in_full_precision(base, shards, tmp_path):
    def precisions(*more):
        asked = read_config(CONFIG, corrector.CorrectorConfig, changes(tmp_path, base, shards, 1, *more))
        program = corrector.CorrectorProgram(asked, corrector.base_pipeline(asked), None, torch.device("cpu"))
        named = dict(program.modules.named_parameters())
        adapters = {part.dtype for name, part in named.items() if "lora_" in name}
        frozen = {part.dtype for name, part in named.items() if "lora_" not in name}
        return adapters, frozen, program.pipe.text_encoder_2.dtype, program.pipe.text_encoder.dtype

    full, half = torch.float32, torch.bfloat16
    assert precisions() == ({full}, {half}, half, half)
    assert precisions('run.precision="no"') == ({full}, {full}, full, full)
    adamw = ("optimiser.method=adamw", "optimiser.learning_rate=1e-3")
    assert precisions("lora.rank=0", *adamw) == (set(), {full}, full, full)
