"""A LoRA that is not the base's is refused by its names and shapes, before anything loads."""

from __future__ import annotations

import re

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.errors import CheckpointError
from reflectionflow.models.corrector import SPEC, CorrectorOptions, FluxCorrector
from reflectionflow.models.flux import SHIPPED
from reflectionflow.models.lora import misfit, shapes_in
from reflectionflow.roles import PaintRequest
from reflectionflow.types import Recipe
from tests.support.tiny import tiny_generator

FIRST = "transformer.transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("base") / "tiny")


def pair(layer, width, rank=2):
    return {f"{layer}.lora_A.weight": (rank, width), f"{layer}.lora_B.weight": (width, rank)}


WRONG = {
    "deeper": (pair(FIRST, 32) | pair("transformer.transformer_blocks.9.attn.to_q", 32), "no transformer_blocks.9.att"),
    "wider": (pair(FIRST, 48), r"lora_A.weight is 2 × 48, but the layer 32 × 32"),
    "a vector": ({f"{FIRST}.lora_A.weight": (2,)}, "lora_A.weight is 2, but"),
    "of another program": (pair("unet.down_blocks.0.attn.to_q", 32), "no tensor for a FLUX transformer.*there is unet"),
    "partly strange": (pair(FIRST, 32) | {"head.weight": (2, 2)}, "1 tensors that are not .*there is head.weight"),
    "whole weights": ({f"{FIRST}.weight": (32, 32)}, "no tensor for a FLUX transformer"),
    "nothing": ({}, "no tensor for a FLUX transformer"),
}


def write(folder, shapes):
    folder.mkdir()
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, folder / "pytorch_lora_weights.safetensors")
    return folder


@pytest.mark.parametrize(("shapes", "why"), WRONG.values(), ids=WRONG)
def test_a_lora_that_is_not_the_bases_is_refused_and_its_own_is_not(base, tmp_path, shapes, why):
    asked = CorrectorOptions(checkpoint=base, corrector=write(tmp_path / "lora", shapes), device="cpu", dtype="float32")
    (fault,) = SPEC.needs(asked)
    assert re.search(why, fault)
    assert "give the base that it was tuned on" in fault
    assert SPEC.needs(asked.model_copy(update={"corrector": write(tmp_path / "own", pair(FIRST, 32))})) == []


def test_loading_refuses_it_too(base, tmp_path):
    """Names of other programs are translated by diffusers, so that only loading knows them."""
    deep = {"base_model.model.double_blocks.7.img_mlp.0.lora_A.weight": (2, 32)}
    asked = CorrectorOptions(checkpoint=base, corrector=write(tmp_path / "lora", WRONG["deeper"][0]), device="cpu")
    painter = FluxCorrector(asked)
    recipe = Recipe(painter.name, "a photo of a star", 1, 128, 128, 1, 3.5, parent="x", reflection="add a star")
    with pytest.raises(CheckpointError, match=r"no transformer_blocks.9.attn.to_q"):
        painter.generate([PaintRequest(recipe, Image.new("RGB", (128, 128)))])
    named = asked.model_copy(update={"corrector": write(tmp_path / "kohya", deep)})
    assert SPEC.needs(named) == []


def test_what_lies_beside_a_lora_does_no_harm(base):
    beside = {"text_encoder.layers.0.lora_A.weight": (2, 9), f"{FIRST}.alpha": (), f"{FIRST}.lora_B.bias": (32,)}
    assert misfit(pair(FIRST, 32) | beside, shapes_in(base / "transformer")) is None


def test_a_damaged_file_is_told(base, tmp_path):
    folder = tmp_path / "lora"
    folder.mkdir()
    (folder / "pytorch_lora_weights.safetensors").write_bytes(b"<html>not here</html>")
    (fault,) = SPEC.needs(CorrectorOptions(checkpoint=base, corrector=folder))
    assert "is no safetensors file" in fault


def test_a_correction_with_it_ends_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shapes_in(SHIPPED / "transformer")
    Image.new("RGB", (128, 128)).save("flawed.png")
    write(tmp_path / "lora", pair("transformer.transformer_blocks.18.attn.to_q", 32))
    asked = ["flawed.png", "--prompt", "a photo of a star", "--reflection", "add a star", "--out", "x.png"]
    done = CliRunner().invoke(app, ["correct", *asked, "--corrector", "lora"])
    assert done.exit_code == 2, done.output
    assert "is for another base: this one has no transformer_blocks.18.attn.to_q" in " ".join(done.output.split())
