"""Generator and corrector of one base hold its weights once, and paint what they paint apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from reflectionflow import stack as stacks
from reflectionflow.roles import PaintRequest
from reflectionflow.types import Recipe
from tests.support.tiny import tiny_generator

LAYER = "transformer.transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def written(base, tmp_path):
    """Write a stack whose corrector is a LoRA on the base, with this line in its table; return its file."""
    lora, drawn = tmp_path / "lora", torch.Generator().manual_seed(0)
    lora.mkdir()
    weights = {"A": torch.randn(2, 32, generator=drawn), "B": torch.randn(32, 2, generator=drawn)}
    named = {f"{LAYER}.lora_{side}.weight": value for side, value in weights.items()}
    save_file(named, lora / "pytorch_lora_weights.safetensors")

    def write(line):
        file = tmp_path / f"{len(line)}.toml"
        file.write_text(
            f"""name = "shared"
description = "One base"

[generator]
model = "flux"
checkpoint = "{base}"
device = "cpu"
dtype = "float32"

[corrector]
model = "flux-corrector"
checkpoint = "{base}"
corrector = "{lora}"
device = "cpu"
{line}

[verifier]
model = "scenes-clip"
"""
        )
        return stacks.load(file)

    return write


def painted(model, seed, **more):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8))
    recipe = Recipe(model.name, "a photo of a star", seed, 128, 128, 2, 3.5, **more)
    (found,) = model.generate([PaintRequest(recipe, picture if more else None)])
    return found.image.tobytes()


def test_a_corrector_of_the_generators_base_uses_its_weights_and_changes_no_draft(written):
    one, apart = written('dtype = "float32"'), written('dtype = "bfloat16"')
    said = {"parent": "x", "reflection": "add a star"}
    alone = painted(apart.generator, 1)
    drafts = [painted(one.generator, 1)]
    corrected = painted(one.corrector, 2, **said)
    drafts.append(painted(one.generator, 1))
    assert drafts == [alone, alone]
    assert corrected == painted(one.corrector, 2, **said)
    assert corrected != painted(apart.corrector, 2, **said), "another precision"
    for name in ("transformer", "text_encoder", "text_encoder_2", "vae"):
        assert one.corrector.parts[name] is one.generator.parts[name]
        assert apart.corrector.parts[name] is not apart.generator.parts[name]
    assert one.corrector.parts["scheduler"] is not one.generator.parts["scheduler"]


def test_a_shared_corrector_paints_what_it_paints_by_itself(written, base, tmp_path):
    from reflectionflow.models.corrector import CorrectorOptions, FluxCorrector

    options = CorrectorOptions(checkpoint=base, corrector=tmp_path / "lora", device="cpu", dtype="float32")
    said = {"parent": "x", "reflection": "add a star"}
    assert painted(written('dtype = "float32"').corrector, 2, **said) == painted(FluxCorrector(options), 2, **said)


@pytest.mark.trained
def test_the_models_of_scenes_share_what_is_not_the_correctors_own():
    models = stacks.load("scenes")
    assert models.corrector.parts["vae"] is models.generator.parts["vae"]
    assert models.corrector.parts["transformer"] is not models.generator.parts["transformer"]
