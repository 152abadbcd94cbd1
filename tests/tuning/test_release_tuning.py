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
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.errors import MisuseError
from reflectionflow.tuning import corrector
from reflectionflow.tuning.config import read_config
from tests.support.tiny import tiny_generator
from tests.support.triplets import several_at_once

CONFIG = Path(__file__).parents[2] / "configs" / "tuning" / "flux-dev.toml"
FEW = ("run.batch=2", "run.log_every=1", "run.checkpoint_every=2", "run.sample_every=4", "run.workers=0")
TINY = (*FEW, "data.size=128", "data.paddings=[64]", "data.keep_out=2")
LORA = "pytorch_lora_weights.safetensors"


def changes(folder, base, shards, steps, *more):
    """Return what is not FLUX.1-dev's in a run of its configuration."""
    places = (f"base.checkpoint={base}", f"data.shards={shards}", f"run.output={folder / 'model'}")
    return [*TINY, *places, f"run.state={folder / 'state'}", f"run.steps={steps}", *more]


def tuned(folder, base, shards, steps, *more):
    return corrector.run(read_config(CONFIG, corrector.CorrectorConfig, changes(folder, base, shards, steps, *more)))


def losses(folder, step):
    return json.loads((folder / "state" / f"step-{step}" / "losses.json").read_text())


def test_two_processes_tune_a_lora_on_the_condition_alone(base, tmp_path):
    """The last block's condition is read by nobody, so that a third of its LoRA never gets a gradient."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    shards = several_at_once(tmp_path / "shards")
    asked = changes(tmp_path, base, shards, 3, "run.sample_every=100", "data.paddings=[24]")
    done = subprocess.run(
        [*launch, "-m", "reflectionflow", "tune", "corrector", str(CONFIG), *(w for c in asked for w in ("--set", c))],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(losses(tmp_path, 3)) == 3
    assert (tmp_path / "state" / "step-3" / "random_states_1.pkl").is_file(), "the second process took part"
    assert done.stderr.count("edits were cut off since this start") == 1, "of both processes together"
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


def test_a_checkpoint_with_the_base_and_without_a_record_goes_on(base, shards, tmp_path):
    """As earlier versions left them."""
    tuned(tmp_path, base, shards, 2)
    expected = tuned(shutil.copytree(tmp_path, tmp_path / "new"), base, shards, 3)
    asked = read_config(CONFIG, corrector.CorrectorConfig, changes(tmp_path, base, shards, 3))
    program = corrector.CorrectorProgram(asked, corrector.base_pipeline(asked), None, torch.device("cpu"))
    step = tmp_path / "state" / "step-2"
    trained = torch.load(step / "pytorch_model.bin", weights_only=True)
    torch.save(program.modules.state_dict() | trained, step / "pytorch_model.bin")
    (step / "config.json").unlink()
    assert tuned(tmp_path, base, shards, 3) == expected
    assert losses(tmp_path, 3) == losses(tmp_path / "new", 3)


def test_a_checkpoint_of_another_base_or_lora_is_refused(base, shards, tmp_path):
    tuned(tmp_path, base, shards, 2)
    other = tiny_generator(tmp_path / "other", seed=5)
    with pytest.raises(MisuseError, match=r'base.checkpoint = "scenes-flux@\w+" \(now .*, lora.alpha = .*\(now 8'):
        tuned(tmp_path, other, shards, 4, "lora.alpha=8.0")
    elsewhere = shutil.copytree(base, tmp_path / "elsewhere")
    tuned(tmp_path, elsewhere, shards, 3)
    assert len(losses(tmp_path, 3)) == 3, "the same base in another folder"


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


STACK = """
name = "tiny-flux-vlm"
description = "What flux-dev-vlm is, tiny and judged by an oracle."
[generator]
model = "flux"
checkpoint = "{base}"
device = "cpu"
[corrector]
model = "flux-corrector"
checkpoint = "{base}"
corrector = "{lora}"
device = "cpu"
[verifier]
model = "scenes-oracle"
[reflector]
model = "scenes-teacher"
"""


def test_the_configuration_of_flux_dev_tunes_a_lora_that_a_stack_searches_with(base, shards, tmp_path, monkeypatch):
    """The LoRA is read as the published one is: without a manifest, by the release's settings."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    asked = changes(tmp_path, base, shards, 2)
    told = call("tune", "corrector", CONFIG, *(word for change in asked for word in ("--set", change)))
    assert "Drawn: editing 100 %. Not drawn: general (no samples)" in told
    saved = load_file(tmp_path / "model" / LORA)
    assert {tensor.shape[0] for name, tensor in saved.items() if "lora_A" in name} == {32}
    (tmp_path / "published").mkdir()
    shutil.copy(tmp_path / "model" / LORA, tmp_path / "published")
    (tmp_path / "tiny.toml").write_text(STACK.format(base=base, lora=tmp_path / "published"))
    Image.new("RGB", (128, 128), "lightblue").save("flawed.png")
    prompt = "a photo of a red star"
    call(
        "correct", "flawed.png", "--prompt", prompt, "--reflection", "add a red star in the middle", "--out",
        "better.png", "--steps", 1, "--stack", "tiny.toml",
    )  # fmt: skip
    with Image.open("better.png") as better:
        assert better.size == (128, 128)
    asked = ["--strategy", "reflection", "--images", 3, "--drafts", 1, "--steps", 1]
    call("generate", prompt, "--stack", "tiny.toml", *asked, "--out", "run")
    journal = "".join(path.read_text() for path in (tmp_path / "run").glob("*.jsonl"))
    assert "published@" in journal, "corrections by the LoRA"
