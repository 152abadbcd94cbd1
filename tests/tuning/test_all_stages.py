"""`make models` with the smoke configurations: every stage through the real command, one of them killed and resumed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.genref.shards import read_manifest
from reflectionflow.tuning.words import load_encoder, save_encoder
from tests.support.uninstalled import uninstalled

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


def stages_after(config: str) -> list[tuple[str, ...]]:
    """Return the commands of `make models` with the smoke configurations that follow a stage's."""
    counts = ["TRIPLETS=6", "EDITS=12", "RETOUCHES=3"]
    dry = ["make", "-n", "models", "CONFIGS=configs/tuning/smoke", *counts]
    told = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout.replace("\\\n", " ")
    lines = [shlex.split(line)[1:] for line in told.splitlines() if line.startswith(".venv/bin/reflectionflow ")]
    place = next(number for number, line in enumerate(lines) if line[-1].endswith(config))
    return [tuple(line) for line in lines[place + 1 :]]


def without_what_is_trained_later(folder: Path) -> Path:
    """Return a source folder whose package has no vision-language model, no corrector and no reward verifier."""
    absent = shutil.ignore_patterns("vlm", "corrector", "reward", "__pycache__")

    def ignored(path: str, names: list[str]) -> set[str]:
        return absent(path, names) if path.endswith("checkpoints") else {"__pycache__"} & set(names)

    package = folder / "source" / "reflectionflow"
    shutil.copytree(ROOT / "src" / "reflectionflow", package, copy_function=os.symlink, ignore=ignored)
    assert sorted(path.name for path in (package / "scenes" / "checkpoints").iterdir()) == [
        "clip",
        "detector",
        "generator",
    ]
    return folder / "source"


@pytest.mark.kill
def test_every_stage_trains_and_a_killed_one_goes_on_to_the_same_losses(tmp_path, monkeypatch):
    configs = tmp_path / "configs" / "tuning" / "smoke"
    shutil.copytree(ROOT / "configs" / "tuning" / "smoke", configs)
    monkeypatch.chdir(tmp_path)
    flow, smoke = str(configs / "scenes-generator.toml"), tmp_path / "training" / "smoke"
    tune("vae", str(configs / "scenes-vae.toml"))
    tune("vae", str(configs / "scenes-vae-decoder.toml"))
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
    source = without_what_is_trained_later(tmp_path)
    commands = stages_after("scenes-clip.toml")
    assert [command[:2] for command in commands] == [("genref", "build")] * 3 + [
        ("tune", stage) for stage in ("corrector", "corrector", "reflector", "verifier")
    ]
    for command in commands:
        done = uninstalled(tmp_path, "-m", "reflectionflow", *command, source=source)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert read_manifest(smoke / "genref")["samples"] == 6
    assert sorted(path.name for path in (tmp_path / "training").iterdir()) == ["smoke"], "a real build is left alone"
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
        "vae-decoder",
        "vlm",
        "words",
    ]


def test_the_makefile_trains_the_stages_in_the_order_in_which_they_need_each_other():
    stages = [
        "-vae",
        "-vae-decoder",
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
