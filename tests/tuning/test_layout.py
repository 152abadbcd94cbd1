"""What lies where: the maps of scenes, the head that reads them, and a generator trained with it."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectionflow.errors import CheckpointError
from reflectionflow.scenes.renderer import background, render
from reflectionflow.scenes.words import COLORS, OBJECTS
from reflectionflow.scenes.world import UNIFORM, Scene, Thing, draw_scene
from reflectionflow.tuning import generator
from reflectionflow.tuning.layout import LayoutSection, layout, layout_head, layout_loss
from tests.tuning.test_tuning import generator_config, losses, nothing, trained  # noqa: F401


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_map_names_what_the_picture_shows_there(seed):
    scene = draw_scene(np.random.default_rng(seed), UNIFORM)
    nouns, colors = layout(scene)
    assert {OBJECTS[noun - 1] for noun in np.unique(nouns) if noun} == {thing.noun for thing in scene.things}
    assert {COLORS[color - 1] for color in np.unique(colors) if color} == {thing.color for thing in scene.things}
    assert ((nouns > 0) == (colors > 0)).all()
    drawn = np.abs(np.asarray(render(scene), dtype=int) - np.asarray(background(scene), dtype=int)).max(axis=2) > 0
    share = drawn.reshape(16, 8, 16, 8).mean(axis=(1, 3))
    solid = (nouns > 0) & (nouns != OBJECTS.index("ring") + 1)  # a ring's hole belongs to the ring
    assert (share[solid] > 0.2).all()
    assert (share[nouns == 0] < 0.75).all()


def test_a_later_object_lies_over_an_earlier_one():
    under, over = Thing("square", "red", 64, 64, 48), Thing("square", "blue", 64, 64, 32)
    _, colors = layout(Scene((under, over)))
    assert colors[8, 8] == COLORS.index("blue") + 1
    assert colors[5, 5] == COLORS.index("red") + 1
    assert (layout(Scene((over, under)))[1][colors > 0] == COLORS.index("red") + 1).all()


def test_each_token_answers_for_its_own_four_cells():
    head = layout_head(LayoutSection(weight=1, blocks=1), width=8)
    hidden = torch.randn(1, 64, 8)
    before = head(hidden)
    hidden[0, 8 * 2 + 5] += 1.0  # third row, sixth column of tokens
    changed = (head(hidden) != before).any(-1)[0]
    assert changed.nonzero().tolist() == [[4, 10], [4, 11], [5, 10], [5, 11]]


def test_the_loss_of_sure_answers_is_nothing_and_of_no_answer_the_entropy():
    seen = torch.from_numpy(layout(draw_scene(np.random.default_rng(3), UNIFORM)))[None]
    nouns, colors = len(OBJECTS) + 1, len(COLORS) + 1
    assert layout_loss(torch.zeros(1, 16, 16, nouns + colors), seen).item() == pytest.approx(
        math.log(nouns) + math.log(colors)
    )
    sure = [torch.nn.functional.one_hot(part.long(), size) for part, size in zip(seen[0], (nouns, colors), strict=True)]
    assert layout_loss(40.0 * torch.cat(sure, -1)[None], seen).item() == pytest.approx(0, abs=1e-6)


def with_layout(folder, trained, steps, **changes):  # noqa: F811
    config = generator_config(folder, trained, steps).model_dump()
    config["layout"] = {"weight": 0.5, "blocks": 2} | changes.pop("layout", {})
    config["transformer"] |= changes.pop("transformer", {})
    return generator.GeneratorConfig.model_validate(config)


def test_a_resumed_training_with_a_layout_equals_an_uninterrupted_one(trained, tmp_path):  # noqa: F811
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    generator.run(with_layout(whole, trained, 4))
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "state" / "step-4")
    generator.run(with_layout(cut, trained, 4))
    assert losses(cut, 4) == losses(whole, 4)
    measured = json.loads((whole / "state" / "validation.jsonl").read_text().splitlines()[-1])
    assert measured["loss"] == pytest.approx(measured["velocity"] + 0.5 * measured["layout"], rel=1e-5)


def test_the_layout_teaches_the_blocks_before_it_and_no_later_one(trained, tmp_path):  # noqa: F811
    asked = with_layout(tmp_path, trained, 2, layout={"blocks": 1})
    parts = generator.build(asked.transformer, 4)
    for value in parts["transformer"].parameters():
        torch.nn.init.normal_(value, std=0.2)  # untrained blocks let nothing through
    vae = AutoencoderKL.from_pretrained(asked.data.vae)
    program = generator.GeneratorProgram(asked, parts, vae, np.zeros((1, 4, 16, 16), np.float16))
    drawn = program.data.batch(0, np.random.default_rng(0), 2)
    level, guidance = torch.tensor([0.3, 0.8]), drawn["guidance"]
    _, scores = program.modules(torch.randn(2, 4, 16, 16), level, guidance, drawn["clip"], drawn["t5"])
    layout_loss(scores, drawn["layout"]).backward()
    first, later = parts["transformer"].transformer_blocks[0], parts["transformer"].single_transformer_blocks[0]
    assert first.attn.to_q.weight.grad.abs().sum() > 0
    assert parts["text_encoder_2"].shared.weight.grad.abs().sum() > 0
    assert all(value.grad is None for value in later.parameters())


def test_the_head_is_thrown_away(trained, tmp_path):  # noqa: F811
    generator.run(with_layout(tmp_path, trained, 1))
    saved = generator.load_parts(tmp_path / "model")["transformer"].state_dict()
    untrained = generator.build(with_layout(tmp_path, trained, 1).transformer, 4)["transformer"]
    assert {name: value.shape for name, value in saved.items()} == {
        name: value.shape for name, value in untrained.state_dict().items()
    }


def test_a_layout_read_behind_the_last_block_is_refused_with_the_configuration(trained, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match=r"\[layout\] blocks = 3, but the transformer has 2 blocks"):
        with_layout(tmp_path, trained, 2, layout={"blocks": 3})


@pytest.mark.parametrize("part", ["teacher", "start"])
def test_a_missing_model_is_named_before_scenes_are_encoded(trained, tmp_path, part):  # noqa: F811
    asked = with_layout(tmp_path, trained, 2).model_dump()
    if part == "teacher":
        asked["distil"] = {"teacher": str(tmp_path / "none")}
    else:
        asked["transformer"]["start"] = str(tmp_path / "none")
    with pytest.raises(CheckpointError, match="holds no complete FluxPipeline"):
        generator.run(generator.GeneratorConfig.model_validate(asked))
    assert not list(tmp_path.rglob("latents*"))


def test_training_goes_on_from_a_saved_generator_of_the_same_shape_only(trained, tmp_path):  # noqa: F811
    generator.run(generator_config(tmp_path / "first", trained, 2))
    start = str(tmp_path / "first" / "model")
    second = with_layout(tmp_path / "second", trained, 2, transformer={"start": start})
    assert generator.run(second)["velocity"] > 0
    other = with_layout(tmp_path / "third", trained, 2, transformer={"start": start, "heads": 2})
    with pytest.raises(CheckpointError, match=r"transformer in .* has another shape"):
        generator.run(other)


def test_frozen_text_encoders_stay_as_they_are(trained, tmp_path):  # noqa: F811
    generator.run(generator_config(tmp_path / "first", trained, 2))
    start = {"start": str(tmp_path / "first" / "model"), "texts": "frozen"}
    generator.run(with_layout(tmp_path / "second", trained, 2, transformer=start))
    first, second = (generator.load_parts(tmp_path / name / "model") for name in ("first", "second"))
    for name in ("text_encoder", "text_encoder_2"):
        one, other = first[name].state_dict(), second[name].state_dict()
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    moved = second["transformer"].state_dict()
    assert any(not torch.equal(value, moved[key]) for key, value in first["transformer"].state_dict().items())
    with pytest.raises(ValueError, match=r'transformer.texts = "frozen" needs text encoders that know something'):
        with_layout(tmp_path, trained, 2, transformer={"texts": "frozen"})


def test_a_distillation_may_go_on_from_a_student(trained, tmp_path):  # noqa: F811
    teacher, student, after = tmp_path / "teacher", tmp_path / "student", tmp_path / "after"
    generator.run(generator_config(teacher, trained, 2))
    generator.run(generator_config(student, trained, 2, str(teacher / "model")))
    asked = generator_config(after, trained, 2, str(teacher / "model")).model_dump()
    asked["transformer"] |= {"start": str(student / "model")}
    asked["optimiser"] |= {"learning_rate": 1e-12, "weight_decay": 0.0}
    generator.run(generator.GeneratorConfig.model_validate(asked))
    weights = "model/transformer/diffusion_pytorch_model.safetensors"
    assert (after / weights).read_bytes() == (student / weights).read_bytes()
    assert (after / weights).read_bytes() != (teacher / weights).read_bytes()
