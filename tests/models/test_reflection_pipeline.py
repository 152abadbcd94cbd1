"""`FluxReflectionPipeline` on a tiny random FLUX of the real classes: a normal citizen of diffusers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from diffusers import FluxPipeline
from peft import LoraConfig
from PIL import Image
from safetensors.torch import load_file

from reflectionflow.models.condition.options import RELEASE, Attention, ConditionOptions
from reflectionflow.models.condition.pipeline import FluxReflectionPipeline
from tests.support.tiny import tiny_generator

PROMPT = "a photo of a red star"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("flux") / "tiny")


@pytest.fixture
def pipe(folder):
    pipe = FluxReflectionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def painted(pipe, prompts=PROMPT, seeds=(1,), **more):
    noise = [torch.Generator().manual_seed(seed) for seed in seeds]
    arguments = {"height": 64, "width": 64, "num_inference_steps": 3, "max_sequence_length": 32, "output_type": "np"}
    return pipe(prompts, generator=noise, **arguments, **more).images


def test_without_a_picture_it_paints_what_a_flux_pipeline_paints(folder, pipe):
    plain = FluxPipeline.from_pretrained(folder, dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    assert np.allclose(painted(pipe), painted(plain), atol=1e-6)


@pytest.mark.parametrize("options", [RELEASE, ConditionOptions()], ids=str)
def test_the_picture_to_correct_changes_what_is_painted_and_the_same_one_repeats_it(pipe, options):
    pipe.condition_options = options
    first = painted(pipe, condition_image=picture(1))
    assert not np.allclose(first, painted(pipe), atol=1e-4)
    assert not np.allclose(first, painted(pipe, condition_image=picture(2)), atol=1e-4)
    assert np.array_equal(first, painted(pipe, condition_image=picture(1)))


@pytest.mark.parametrize("attention", Attention)
def test_different_parents_prompts_and_seeds_share_a_batch(pipe, attention):
    pipe.condition_options = ConditionOptions(attention)
    prompts, parents = [PROMPT, "a photo of a blue moon"], [picture(1), picture(2)]
    together = painted(pipe, prompts, (1, 2), condition_image=parents)
    for place in range(2):
        alone = painted(pipe, prompts[place], (place + 1,), condition_image=parents[place])
        assert np.allclose(together[place], alone[0], atol=1e-4)


def test_a_wrong_number_of_pictures_and_sizes_that_do_not_divide_are_refused(pipe):
    with pytest.raises(ValueError, match="3 condition images for 2 prompts"):
        painted(pipe, [PROMPT] * 2, (1, 2), condition_image=[picture(1)] * 3)
    with pytest.raises(ValueError, match="do not divide by 32"):
        pipe(PROMPT, height=48, width=64, condition_image=picture(1))


@pytest.mark.parametrize("attention", Attention)
def test_it_paints_the_same_while_its_transformer_is_away_between_steps(folder, pipe, attention):
    """Offloading brings the weights to the device for `forward` and for nothing else."""
    pipe.condition_options = ConditionOptions(attention)
    expected = painted(pipe, condition_image=picture(1))
    away = FluxReflectionPipeline.from_pretrained(folder, dtype=torch.float32)
    away.set_progress_bar_config(disable=True)
    away.condition_options = ConditionOptions(attention)
    whole = ["ConditionedFluxTransformer"]
    cpu_offload(away.transformer, execution_device=torch.device("cpu"), preload_module_classes=whole)
    assert {part.device.type for part in away.transformer.parameters()} == {"meta"}
    assert np.allclose(painted(away, condition_image=picture(1)), expected, atol=1e-6)


@pytest.mark.parametrize("attention", Attention)
def test_a_callback_sees_every_step_and_may_stop(pipe, attention):
    pipe.condition_options = ConditionOptions(attention)
    seen = []

    def stopping(own, step, time, given):
        seen.append((step, given["latents"].shape[0]))
        own._interrupt = step == 1
        return given

    painted(pipe, condition_image=picture(1), callback_on_step_end=stopping)
    assert seen == [(0, 1), (1, 1)]


def test_several_pictures_go_with_embedded_prompts(pipe):
    prompts, parents = [PROMPT, "a photo of a blue moon"], [picture(1), picture(2)]
    expected = painted(pipe, prompts, (1, 2), condition_image=parents)
    words, pooled, _ = pipe.encode_prompt(prompts, None, max_sequence_length=32)
    known = {"prompt_embeds": words, "pooled_prompt_embeds": pooled}
    assert np.allclose(painted(pipe, None, (1, 2), condition_image=parents, **known), expected, atol=1e-6)
    with pytest.raises(ValueError, match="3 condition images for 2 prompts"):
        painted(pipe, None, (1, 2), condition_image=[picture(1)] * 3, **known)


def test_a_saved_lora_carries_the_names_of_diffusers_and_loads_again(folder, pipe, tmp_path):
    pipe.transformer.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "x_embedder"]))
    for name, parameter in pipe.transformer.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    expected = painted(pipe, condition_image=picture(1))
    from peft.utils import get_peft_model_state_dict

    FluxReflectionPipeline.save_lora_weights(tmp_path, get_peft_model_state_dict(pipe.transformer))
    names = set(load_file(tmp_path / "pytorch_lora_weights.safetensors"))
    assert "transformer.x_embedder.lora_A.weight" in names
    assert "transformer.single_transformer_blocks.0.attn.to_q.lora_B.weight" in names
    again = FluxReflectionPipeline.from_pretrained(folder, dtype=torch.float32)
    again.set_progress_bar_config(disable=True)
    bare = painted(again, condition_image=picture(1))
    again.load_lora_weights(tmp_path)
    assert np.allclose(painted(again, condition_image=picture(1)), expected, atol=1e-5)
    assert not np.allclose(bare, expected, atol=1e-4)


def test_a_saved_pipeline_is_a_plain_flux_pipeline(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    plain = FluxPipeline.from_pretrained(tmp_path, dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    assert type(plain.transformer).__name__ == "FluxTransformer2DModel"
    assert np.allclose(painted(pipe), painted(plain), atol=1e-6)
