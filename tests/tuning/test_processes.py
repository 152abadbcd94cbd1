"""A training goes on with another number of processes, and on another device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from diffusers.training_utils import EMAModel

from reflectionflow.tuning import vae
from reflectionflow.tuning.config import read_config
from reflectionflow.tuning.loop import step_rng
from reflectionflow.tuning.states import save

CONFIG = Path(__file__).parents[2] / "configs" / "tuning" / "smoke" / "scenes-vae.toml"
WEIGHTS = "pytorch_model.bin"


def changes(folder, steps):
    return [f"run.output={folder / 'model'}", f"run.state={folder / 'state'}", f"run.steps={steps}"]


def alone(folder, steps):
    vae.run(read_config(CONFIG, vae.VaeConfig, changes(folder, steps)))


def together(folder, steps):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    asked = (word for change in changes(folder, steps) for word in ("--set", change))
    done = subprocess.run(
        [*launch, "-m", "reflectionflow", "tune", "vae", str(CONFIG), *asked],
        capture_output=True, text=True, check=False, cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def losses(folder, step):
    return json.loads((folder / "state" / f"step-{step}" / "losses.json").read_text())


def loss_of_what_was_saved(folder, steps, count):
    """Return the loss that so many processes have together, at the step after a checkpoint, of the weights in it."""
    config, step, found = read_config(CONFIG, vae.VaeConfig, changes(folder, steps)), steps - 1, []
    program = vae.VaeProgram(config)
    program.modules.load_state_dict(torch.load(folder / "state" / f"step-{step}" / WEIGHTS, weights_only=True))
    for rank in range(count):
        batch = program.data.batch(step, step_rng(config.run.seed, step, rank), config.run.batch // count)
        torch.manual_seed(int(step_rng(config.run.seed, step, rank).integers(2**62)))
        found.append(float(program.loss(step, batch)[0].detach()))
    return sum(found) / count


@pytest.mark.parametrize(("before", "after", "count"), [(together, alone, 1), (alone, together, 2)])
def test_a_training_goes_on_with_another_number_of_processes(tmp_path, before, after, count):
    before(tmp_path, 2)
    first = losses(tmp_path, 2)
    after(tmp_path, 3)
    assert losses(tmp_path, 3)[:2] == first
    assert losses(tmp_path, 3)[2] == pytest.approx(loss_of_what_was_saved(tmp_path, 3, count), rel=1e-4)
    last = tmp_path / "state" / "step-3"
    assert {int(state["step"]) for state in torch.load(last / "optimizer.bin")["state"].values()} == {3}
    assert torch.load(last / "ema.pt")["optimization_step"] == 3


def test_an_average_that_lay_on_the_first_gpu_goes_on_where_a_process_computes(tmp_path):
    alone(tmp_path, 2)
    average = tmp_path / "state" / "step-2" / "ema.pt"
    with ZipFile(average) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with ZipFile(average, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data.replace(b"\x03\x00\x00\x00cpu", b"\x06\x00\x00\x00cuda:0"))
    alone(tmp_path, 3)
    assert len(losses(tmp_path, 3)) == 3


class Neighboured:
    """The accelerator of a process whose neighbour writes its share of a checkpoint when it is waited for."""

    is_main_process = True

    def __init__(self, draft):
        self._draft = draft

    def save_state(self, folder, safe_serialization):
        Path(folder).mkdir()

    def wait_for_everyone(self):
        if self._draft.is_dir():
            (self._draft / "random_states_1.pkl").write_bytes(b"")


def test_a_checkpoint_gets_its_name_when_every_process_has_written_its_share(tmp_path):
    average = EMAModel([torch.nn.Parameter(torch.zeros(1))])
    save(Neighboured(tmp_path / "writing-1"), average, tmp_path, 1, [0.5], {})
    assert (tmp_path / "step-1" / "random_states_1.pkl").is_file()
