"""`make models` with the smoke configurations: every stage through the real command, one of them killed and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.tuning.words import load_encoder, save_encoder

ROOT = Path(__file__).parents[2]
SUICIDE = """
import os, signal, sys
from reflectionflow.tuning import generator
from reflectionflow.tuning.config import read_config
from reflectionflow.tuning.reports import Reports

def report(progress):
    if progress.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

generator.run(read_config(sys.argv[1], generator.GeneratorConfig), Reports(report))
"""


def tune(*arguments: str) -> None:
    done = CliRunner().invoke(app, ["tune", *arguments])
    assert done.exit_code == 0, done.output


@pytest.mark.kill
def test_every_stage_trains_and_a_killed_one_goes_on_to_the_same_losses(tmp_path, monkeypatch):
    configs = tmp_path / "configs" / "tuning" / "smoke"
    shutil.copytree(ROOT / "configs" / "tuning" / "smoke", configs)
    monkeypatch.chdir(tmp_path)
    flow, smoke = str(configs / "scenes-generator.toml"), tmp_path / "training" / "smoke"
    tune("vae", str(configs / "scenes-vae.toml"))
    tune("words", str(configs / "scenes-words.toml"))
    killed = subprocess.run([sys.executable, "-c", SUICIDE, flow], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.name for path in (smoke / "generator").glob("step-*")) == ["step-2", "step-4"]
    tune("generator", flow)
    tune("generator", flow, "--set", "run.state=whole", "--set", "run.output=whole/model")
    resumed, whole = (
        json.loads((folder / "step-6" / "losses.json").read_text()) for folder in (smoke / "generator", Path("whole"))
    )
    assert resumed == whole
    tune("generator", str(configs / "scenes-distil.toml"))
    tune("detector", str(configs / "scenes-detector.toml"))
    tune("clip", str(configs / "scenes-clip.toml"))
    done = CliRunner().invoke(app, ["genref", "build", "--source", "editing", "--triplets", "12", "--out", "genref"])
    assert done.exit_code == 0, done.output
    tune("corrector", str(configs / "scenes.toml"), "--set", "data.shards=genref")
    tune("corrector", str(configs / "scenes-corrector-distil.toml"), "--set", "data.shards=genref")
    tune("reflector", str(configs / "scenes-vlm.toml"))
    tune("verifier", str(configs / "scenes-reward.toml"))
    models = sorted(path.parent.name for path in smoke.glob("*/model"))
    assert models == [
        "clip",
        "corrector",
        "corrector-distil",
        "detector",
        "distil",
        "generator",
        "reward",
        "vae",
        "vlm",
        "words",
    ]


def test_the_makefile_trains_the_stages_in_the_order_in_which_they_need_each_other():
    stages = [
        "-vae",
        "-words",
        "-generator",
        "-distil",
        "-detector",
        "-clip",
        "",
        "-corrector-distil",
        "-vlm",
        "-reward",
    ]
    recipe = (ROOT / "Makefile").read_text().split("models: $(READY)")[1]
    names = [f"scenes{stage}.toml" for stage in stages]
    places = [recipe.index(f"$(CONFIGS)/{name}") for name in names]
    assert places == sorted(places)
    assert recipe.index("genref build") < recipe.index("$(CONFIGS)/scenes.toml")
    assert set(names) == {path.name for path in (ROOT / "configs" / "tuning" / "smoke").glob("*.toml")}


SHIPPED = ROOT / "src" / "reflectionflow" / "scenes" / "checkpoints" / "generator"


@pytest.mark.parametrize(("stage", "config"), [("vae", "scenes-vae"), ("corrector", "scenes")])
def test_two_processes_share_a_batch_and_save_one_model(tmp_path, stage, config):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    changes = {"run.state": tmp_path / "state", "run.output": tmp_path / "model", "run.steps": 4}
    if stage == "corrector":
        build = ["genref", "build", "--source", "editing", "--triplets", "12", "--out", str(tmp_path / "genref")]
        assert CliRunner().invoke(app, build).exit_code == 0
        changes |= {"base.checkpoint": SHIPPED, "base.start": SHIPPED, "data.shards": tmp_path / "genref"}
        words = load_encoder(SHIPPED)
        with torch.no_grad():
            words.shared.weight.mul_(1.1)
        save_encoder(words, tmp_path / "words")
        changes["base.words"] = tmp_path / "words"
    alone = {name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"}
    done = subprocess.run(
        [
            *[*launch, "-m", "reflectionflow", "tune", stage, str(ROOT / "configs/tuning/smoke" / f"{config}.toml")],
            *[word for name, value in changes.items() for word in ("--set", f"{name}={value}")],
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=alone,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "state" / "step-4" / "losses.json").read_text())) == 4
    assert (tmp_path / "state" / "step-4" / "random_states_1.pkl").is_file(), "the second process took part"
    assert list((tmp_path / "model").rglob("diffusion_pytorch_model.safetensors"))
    if stage == "corrector":
        assert (tmp_path / "model" / "text_encoder_2" / "model.safetensors").is_file(), "it has a T5 of its own"
    assert done.stderr.count("Training the") == done.stderr.count("Saved to") == 1
    assert done.stderr.count("shards read") == (stage == "corrector")
    assert done.stderr.count("4 of 4 steps") == 1
    assert not [line for line in done.stderr.splitlines() if "transformers" in line or "experimental" in line]
