"""A generator of one's own beside the shipped rest: whoever takes no part is not loaded, and may not fit it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.genref.shards import check, read_manifest
from reflectionflow.models.flux import SHIPPED
from reflectionflow.models.manifest import read_manifest as of_checkpoint
from reflectionflow.models.manifest import write_manifest
from tests.support.tiny import tiny_generator

pytestmark = pytest.mark.trained


def call(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def stack_of(generator: Path, file: Path) -> str:
    """Write the stack `scenes` with another generator; its corrector was tuned on the shipped one."""
    file.write_text(
        f'name = "mine"\ndescription = "a new generator, the shipped rest"\n'
        f'[generator]\nmodel = "scenes-flux"\ncheckpoint = "{generator}"\n[verifier]\nmodel = "scenes-clip"\n'
        f'[corrector]\nmodel = "scenes-corrector"\ncheckpoint = "{generator}"\n[reflector]\nmodel = "scenes-vlm"\n'
    )
    return str(file)


def test_drafts_need_no_corrector_that_fits_and_corrections_do(tmp_path):
    stack = stack_of(tiny_generator(tmp_path / "tiny"), tmp_path / "mine.toml")
    asked = ["generate", "a photo of a red star", "--images", "2", "--steps", "1", "--stack", stack]
    drafts = call(*asked, "--strategy", "noise", "--out", str(tmp_path / "run"))
    assert drafts.exit_code == 0, drafts.output
    corrections = call(*asked, "--strategy", "reflection", "--out", str(tmp_path / "other"))
    assert corrections.exit_code != 0
    assert "was tuned on scenes-flux@" in corrections.stderr


def test_a_new_generator_is_followed_by_a_new_data_set_and_never_mixed_with_the_old_one(tmp_path):
    generator = shutil.copytree(SHIPPED, tmp_path / "generator")
    weights = next((generator / "transformer").glob("*.safetensors"))
    tensors = load_file(weights)
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 2)
    save_file({**tensors, name: tensors[name] * 1.02}, weights)
    write_manifest(generator, name="scenes-flux", **of_checkpoint(generator).details)
    stack = stack_of(generator, tmp_path / "mine.toml")
    out = tmp_path / "genref"
    build = ["genref", "build", "--source", "retouch", "--triplets", "3", "--seed", "2", "--out", str(out)]
    done = call(*build, "--stack", stack)
    assert done.exit_code == 0, done.output
    assert read_manifest(out)["generator"] == of_checkpoint(generator).identity != of_checkpoint(SHIPPED).identity
    assert read_manifest(out)["samples"] == 3
    assert check(out) == []
    refused = call(*build)
    assert refused.exit_code == 2
    assert f"generator: {of_checkpoint(generator).identity} there" in refused.stderr


def test_rendered_scenes_need_no_model_at_all(tmp_path):
    stack = stack_of(tmp_path / "nowhere", tmp_path / "mine.toml")
    build = ["genref", "build", "--source", "editing", "--triplets", "3", "--out", str(tmp_path / "genref")]
    done = call(*build, "--stack", stack)
    assert done.exit_code == 0, done.output
