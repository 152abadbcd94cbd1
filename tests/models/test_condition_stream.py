"""The condition stream: laws on tiny random FLUX models of the real class."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import FluxTransformer2DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from reflectionflow.models.condition.options import (
    RELEASE,
    Attention,
    ConditionOptions,
    LoraTokens,
    Positions,
    condition_ids,
)
from reflectionflow.models.condition.transformer import Condition, ConditionedFluxTransformer
from reflectionflow.tuning.corrector import TARGETS


def plain(seed=0):
    torch.manual_seed(seed)
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=8, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=12, pooled_projection_dim=10, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    return model.eval().requires_grad_(False)


def with_lora(model, scale=0.3):
    model.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=TARGETS))
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=scale)
    return model


def inputs(batch=2, seed=1, side=4, text=5):
    g = torch.Generator().manual_seed(seed)
    ids = torch.zeros(side, side, 3)
    ids[..., 1], ids[..., 2] = torch.arange(side)[:, None], torch.arange(side)[None]
    return {
        "hidden_states": torch.randn(batch, side * side, 8, generator=g),
        "encoder_hidden_states": torch.randn(batch, text, 12, generator=g),
        "pooled_projections": torch.randn(batch, 10, generator=g),
        "timestep": torch.rand(batch, generator=g),
        "img_ids": ids.view(-1, 3),
        "txt_ids": torch.zeros(text, 3),
        "guidance": torch.full((batch,), 3.5),
        "return_dict": False,
    }


def condition(options, batch=2, seed=3, side=2):
    g = torch.Generator().manual_seed(seed)
    pooled = torch.randn(1, 10, generator=g) if options.attention is Attention.INDEPENDENT else None
    tokens = torch.randn(batch, side * side, 8, generator=g)
    return Condition(tokens, condition_ids(options, side, side), options, pooled)


def call(model, given, told=None):
    kwargs = None if told is None else {"condition": told}
    with torch.no_grad():
        return model(**given, joint_attention_kwargs=kwargs)[0]


EVERY = [
    ConditionOptions(attention, lora, positions)
    for attention in Attention
    for lora in LoraTokens
    for positions in Positions
]


def test_without_a_condition_it_is_plain_flux_to_the_last_bit_whether_a_lora_is_loaded_or_not():
    given = inputs()
    expected = call(plain(), given)
    assert torch.equal(call(ConditionedFluxTransformer.adopt(plain()), given), expected)
    adopted = ConditionedFluxTransformer.adopt(with_lora(plain()))
    assert torch.equal(call(adopted, given), expected)
    assert not torch.equal(call(with_lora(plain()), given), expected)


@pytest.mark.parametrize("options", EVERY, ids=str)
def test_a_condition_and_its_lora_change_the_picture(options):
    given, model = inputs(), ConditionedFluxTransformer.adopt(with_lora(plain()))
    painted = call(model, given, condition(options))
    assert not torch.allclose(painted, call(model, given), atol=1e-3)
    assert not torch.allclose(painted, call(model, given, condition(options, seed=4)), atol=1e-4)
    bare = call(ConditionedFluxTransformer.adopt(plain()), given, condition(options))
    assert not torch.allclose(painted, bare, atol=1e-4)


@pytest.mark.parametrize("options", EVERY, ids=str)
def test_a_batch_equals_its_items_one_by_one(options):
    given, told = inputs(3), condition(options, 3)
    model = ConditionedFluxTransformer.adopt(with_lora(plain()))
    together = call(model, given, told)
    for place in range(3):
        one = {
            k: v[place : place + 1] if k not in ("img_ids", "txt_ids", "return_dict") else v for k, v in given.items()
        }
        alone = call(model, one, Condition(told.tokens[place : place + 1], told.ids, options, told.pooled))
        assert torch.allclose(together[place : place + 1], alone, atol=2e-5)


@pytest.mark.parametrize("lora", LoraTokens)
def test_remembered_keys_and_values_serve_every_step_and_every_prompt_on_one_parent(lora):
    options = ConditionOptions(Attention.INDEPENDENT, lora)
    model = ConditionedFluxTransformer.adopt(with_lora(plain()))
    told = condition(options, 1)
    known = model.remember(told)
    assert len(known.memory) == 4
    for seed in (1, 2):  # another prompt, time and noise each
        given = inputs(2, seed)
        assert torch.equal(call(model, given, known), call(model, given, told))


def test_union_attention_cannot_be_remembered():
    model = ConditionedFluxTransformer.adopt(plain())
    with pytest.raises(ValueError, match="independent"):
        model.remember(condition(RELEASE))


def test_condition_tokens_see_the_picture_in_union_attention_only():
    """In independent attention keys and values are the same whatever is painted; in union the LoRA reads the noise."""
    model = ConditionedFluxTransformer.adopt(with_lora(plain()))
    only_values = ConditionOptions(Attention.UNION, LoraTokens.CONDITION, Positions.ALIGNED)
    first = call(model, inputs(2, 1), condition(only_values))
    independent = condition(ConditionOptions(Attention.INDEPENDENT, LoraTokens.CONDITION, Positions.ALIGNED))
    assert not torch.allclose(first, call(model, inputs(2, 1), independent), atol=1e-4)


def test_in_independent_attention_with_lora_on_all_tokens_the_gradient_reaches_the_words():
    given, model = inputs(), ConditionedFluxTransformer.adopt(with_lora(plain()))
    told = condition(ConditionOptions(Attention.INDEPENDENT, LoraTokens.ALL))

    def influence(lora):
        """How much the words change what the LoRA weights of the last block learn."""
        options = ConditionOptions(Attention.INDEPENDENT, lora)
        gradients = []
        for words in (given["encoder_hidden_states"], given["encoder_hidden_states"] * 0):
            model.zero_grad()
            for name, parameter in model.named_parameters():
                parameter.requires_grad_("lora_" in name)
            arguments = given | {"encoder_hidden_states": words}
            painted = model(
                **arguments,
                joint_attention_kwargs={"condition": Condition(told.tokens, told.ids, options, told.pooled)},
            )
            painted[0].square().sum().backward()
            gradients.append(model.transformer_blocks[0].attn.to_q.lora_A["default"].weight.grad.clone())
        return (gradients[0] - gradients[1]).abs().max().item()

    assert influence(LoraTokens.ALL) > 1e-4

    words = given["encoder_hidden_states"].clone().requires_grad_()
    painted = model(**(given | {"encoder_hidden_states": words}), joint_attention_kwargs={"condition": told})[0]
    painted.square().sum().backward()
    assert words.grad.abs().max() > 0


def test_gradient_checkpointing_changes_no_gradient():
    given = inputs()
    found = []
    for checkpointed in (False, True):
        for options in (RELEASE, ConditionOptions()):
            model = ConditionedFluxTransformer.adopt(with_lora(plain())).train()
            if checkpointed:
                model.enable_gradient_checkpointing()
            for name, parameter in model.named_parameters():
                parameter.requires_grad_("lora_" in name)
            told = condition(options)
            model(**given, joint_attention_kwargs={"condition": told})[0].square().mean().backward()
            found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    for first, second in zip(found[:2], found[2:], strict=True):
        assert first.keys() == second.keys()
        assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def test_positions_of_the_release_stand_left_of_the_picture_and_aligned_ones_on_it():
    shifted = condition_ids(RELEASE, 32, 32)
    assert shifted[0].tolist() == [0, 0, -32]
    assert shifted[-1].tolist() == [0, 31, -1]
    aligned = condition_ids(ConditionOptions(), 32, 32)
    assert aligned[0].tolist() == [1, 0.5, 0.5]
    assert aligned[-1].tolist() == [1, 62.5, 62.5]


WIDTH = 3072
DOUBLE = {
    "norm1.linear": (WIDTH, 6 * WIDTH), "attn.to_q": (WIDTH, WIDTH), "attn.to_k": (WIDTH, WIDTH),
    "attn.to_v": (WIDTH, WIDTH), "attn.to_out.0": (WIDTH, WIDTH), "ff.net.2": (4 * WIDTH, WIDTH),
}  # fmt: skip
SINGLE = {
    "norm.linear": (WIDTH, 3 * WIDTH), "proj_mlp": (WIDTH, 4 * WIDTH), "proj_out": (5 * WIDTH, WIDTH),
    "attn.to_q": (WIDTH, WIDTH), "attn.to_k": (WIDTH, WIDTH), "attn.to_v": (WIDTH, WIDTH),
}  # fmt: skip


def published(rank=32):
    """Return the 686 tensors of the published FLUX-Corrector: 343 layers, from their inputs to their outputs."""
    layers = {"x_embedder": (64, WIDTH)}
    layers |= {f"transformer_blocks.{n}.{name}": shape for n in range(19) for name, shape in DOUBLE.items()}
    layers |= {f"single_transformer_blocks.{n}.{name}": shape for n in range(38) for name, shape in SINGLE.items()}
    assert len(layers) == 343
    sides = {f"transformer.{name}.lora_A.weight": (rank, given) for name, (given, _) in layers.items()}
    return sides | {f"transformer.{name}.lora_B.weight": (found, rank) for name, (_, found) in layers.items()}


def test_the_lora_of_flux_dev_has_the_modules_and_shapes_of_the_published_corrector():
    with torch.device("meta"):
        model = FluxTransformer2DModel(guidance_embeds=True)
        model.add_adapter(LoraConfig(r=32, lora_alpha=32, target_modules=TARGETS))
    saved = get_peft_model_state_dict(model)
    assert {f"transformer.{name}": tuple(tensor.shape) for name, tensor in saved.items()} == published()
    assert sum(tensor.numel() for tensor in saved.values()) == 115_902_464


def test_nothing_but_a_flux_transformer_is_adopted():
    with pytest.raises(TypeError, match="Linear"):
        ConditionedFluxTransformer.adopt(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("options", [RELEASE, ConditionOptions()], ids=str)
def test_the_whole_forward_is_one_graph(options):
    model = ConditionedFluxTransformer.adopt(with_lora(plain()))
    given, told = inputs(), condition(options)
    expected = call(model, given, told)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(call(compiled, given, told), expected, atol=1e-6)


def test_the_forward_with_remembered_keys_and_values_is_one_graph_and_so_is_the_one_that_remembers():
    model = ConditionedFluxTransformer.adopt(with_lora(plain()))
    given, told = inputs(), condition(ConditionOptions(), 1)
    expected = call(model, given, told)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        known = model.remember(told)
    assert torch.allclose(call(compiled, given, known), expected, atol=1e-6)
    filled = replace(told, memory=[])
    for _ in range(3):
        assert torch.allclose(call(compiled, given, filled), expected, atol=1e-6)
        assert len(filled.memory) == 4
