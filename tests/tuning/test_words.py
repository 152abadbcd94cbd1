"""The T5 of Scenes: it tells what stands where in a text, and a corrector reads with its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import T5EncoderModel

from reflectionflow.errors import CheckpointError
from reflectionflow.models.corrector import CorrectorOptions, FluxCorrector
from reflectionflow.models.flux import SHIPPED, read_details
from reflectionflow.roles import PaintRequest
from reflectionflow.scenes.tokenizers import t5_tokenizer
from reflectionflow.tuning import corrector, generator, words
from reflectionflow.tuning.words import OFFSETS, build_encoder, load_encoder, neighbours, save_encoder
from reflectionflow.types import Recipe
from tests.support.triplets import config, losses
from tests.tuning.test_tuning import generator_config, trained  # noqa: F401


def asked(folder, steps, **more):
    run = {
        "steps": steps, "batch": 4, "output": str(folder / "model"), "state": str(folder / "state"),
        "checkpoint_every": 2, "sample_every": 100, "precision": "no", "threads": 1,
    }  # fmt: skip
    data = {
        "run": run, "optimiser": {"learning_rate": 1e-3, "warmup": 1} | more.pop("optimiser", {}),
        "encoder": {"width": 32} | more.pop("encoder", {}), "data": {"scenes": 8},
    }  # fmt: skip
    return words.WordsConfig.model_validate(data | more)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(7, 20), st.integers(0, 2**32))
def test_neighbours_are_the_tokens_around_and_nothing_beyond_the_ends(count, length, seed):
    tokens = torch.from_numpy(np.random.default_rng(seed).integers(1, 50, (count, length)))
    found = neighbours(tokens)
    for place in range(length):
        for number, offset in enumerate(OFFSETS):
            inside = 0 <= place + offset < length
            wanted = tokens[:, place + offset] if inside else torch.zeros(count, dtype=torch.long)
            assert found[:, place, number].equal(wanted)


def test_a_resumed_training_equals_an_uninterrupted_one_and_says_how_well_it_reads(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    metrics = words.run(asked(whole, 4))
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "state" / "step-4")
    assert words.run(asked(cut, 4)) == metrics
    assert losses(cut, 4) == losses(whole, 4)
    assert set(metrics) == {"neighbours", "places"}
    assert all(0 <= value < 0.5 for value in metrics.values()), "four steps teach nothing"
    saved = T5EncoderModel.from_pretrained(whole / "model" / "text_encoder_2")
    assert saved.config.d_model == 32


def test_it_begins_with_another_ones_outputs_and_stays_near_if_it_is_asked_to(base, tmp_path):
    still = asked(tmp_path, 1, optimiser={"learning_rate": 1e-9}, encoder={"start": str(base)}, loss={"keep": 1.0})
    words.run(still)
    tokens = t5_tokenizer()(["a photo of a red star left of a blue tree"], return_tensors="pt").input_ids
    before, after = (load_encoder(folder)(tokens)[0] for folder in (base, tmp_path / "model"))
    assert torch.allclose(before, after, atol=1e-2)
    program = words.WordsProgram(asked(tmp_path, 1, encoder={"start": str(base), "soften": 0.25}, loss={"keep": 1.0}))
    old = load_encoder(base).encoder.block
    for block, known in zip(program.encoder.encoder.block, old, strict=True):
        first, second = (part.layer[0].SelfAttention for part in (block, known))
        assert torch.allclose(first.q.weight, 0.25 * second.q.weight)
        assert torch.equal(first.k.weight, second.k.weight)
    assert float(program.loss(0, {"tokens": tokens})[1]["moved"]) > 0


def test_what_words_mean_is_kept_for_any_padding_and_padding_is_asked_nothing(base, tmp_path):
    program = words.WordsProgram(asked(tmp_path, 1, encoder={"start": str(base)}, loss={"keep": 1.0}))
    text = ["a photo of a red star left of a blue tree", "a photo of a ring"]
    short, long = (
        t5_tokenizer()(text, padding="max_length", max_length=length, return_tensors="pt").input_ids
        for length in (32, 64)
    )
    assert float(program.loss(0, {"tokens": short})[1]["moved"]) < 1e-9
    with torch.no_grad():
        meant, said = (program.encoder(tokens)[0][:, :32] for tokens in (short, long))
        outputs, around, place = program.modules(long)
    wanted = float((said - meant).square().mean() / meant.square().mean())
    assert wanted > 0
    assert float(program.loss(0, {"tokens": long})[1]["moved"]) == pytest.approx(wanted, rel=1e-4)
    assert (len(outputs), len(around), len(place)) == (2, int((long > 0).sum()), int((long > 0).sum()))


def test_what_it_begins_with_must_be_there_and_fit(base, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no T5 encoder"):
        words.run(asked(tmp_path, 1, encoder={"start": str(tmp_path)}))
    with pytest.raises(CheckpointError, match=r"has another shape than is wanted here"):
        words.run(asked(tmp_path, 1, encoder={"start": str(base), "layers": 3}))


@pytest.fixture
def reader(tmp_path):
    torch.manual_seed(4)
    save_encoder(build_encoder(32, 2)[0], tmp_path / "reader")
    return tmp_path / "reader"


def tuned(folder, base, shards, **given):
    asked_for = config(folder, base, shards, 1, optimiser={"learning_rate": 1e-9, "warmup": 0}, lora={"rank": 0})
    changed = asked_for.model_copy(update={"base": asked_for.base.model_copy(update=given)})
    corrector.run(changed)
    return folder / "model"


def painted(base, folder):
    from PIL import Image

    model = FluxCorrector(CorrectorOptions(checkpoint=base, corrector=folder, device="cpu", dtype="float32"))
    recipe = Recipe(model.name, "a photo of a star", 3, 32, 32, 2, 3.5, parent="x", reflection="add a red star")
    return np.asarray(model.generate([PaintRequest(recipe, Image.new("RGB", (32, 32), "red"))])[0].image)


def test_a_corrector_reads_with_the_words_it_was_tuned_with(base, shards, reader, tmp_path):
    plain, own = tuned(tmp_path / "plain", base, shards), tuned(tmp_path / "own", base, shards, words=str(reader))
    assert not (plain / "text_encoder_2").exists(), "it reads as its base does"
    saved, wanted = (load_encoder(folder).state_dict() for folder in (own, reader))
    assert all(torch.equal(value, saved[name]) for name, value in wanted.items())
    listed = json.loads((own / "reflectionflow.json").read_text())["files"]
    assert "text_encoder_2/model.safetensors" in listed
    assert (painted(base, own) != painted(base, plain)).any()
    shutil.rmtree(own / "text_encoder_2")  # what is left differs by nothing else
    assert np.abs(painted(base, own).astype(int) - painted(base, plain)).max() <= 1


def test_what_tuning_starts_with_brings_its_words_along(base, shards, reader, tmp_path):
    own = tuned(tmp_path / "own", base, shards, words=str(reader))
    further = tuned(tmp_path / "further", base, shards, start=str(own))
    saved, wanted = (load_encoder(folder).state_dict() for folder in (further, reader))
    assert all(torch.equal(value, saved[name]) for name, value in wanted.items())
    assert not (tuned(tmp_path / "same", base, shards, start=str(base)) / "text_encoder_2").exists()


def test_a_generator_reads_with_words_that_are_given_and_leaves_them_as_they_are(trained, tmp_path):  # noqa: F811
    data = generator_config(tmp_path, trained, 2).model_dump()
    width = data["transformer"]["text_width"]
    save_encoder(build_encoder(width, 2)[0], tmp_path / "reader")
    data["transformer"]["words"] = str(tmp_path / "reader")
    data["run"]["steps"] = 6
    data["optimiser"] |= {"learning_rate": 0.05, "warmup": 0}  # what may learn moves far, and bf16 shows it
    generator.run(generator.GeneratorConfig.model_validate(data))
    saved, wanted = (load_encoder(folder).state_dict() for folder in (tmp_path / "model", tmp_path / "reader"))
    assert all(torch.equal(value, saved[name]) for name, value in wanted.items())
    save_encoder(build_encoder(2 * width, 2)[0], tmp_path / "wide")
    data["transformer"]["words"] = str(tmp_path / "wide")
    with pytest.raises(CheckpointError, match=r"has another shape than is wanted here"):
        generator.run(generator.GeneratorConfig.model_validate(data))


def test_words_of_another_width_are_refused_before_anything_is_encoded(base, shards, tmp_path):
    save_encoder(build_encoder(64, 2)[0], tmp_path / "wide")
    with pytest.raises(CheckpointError, match=r"has another shape than is wanted here"):
        tuned(tmp_path / "run", base, shards, words=str(tmp_path / "wide"))


def test_the_shipped_models_words_tell_what_stands_where():
    def apart(folder: Path) -> float:
        """Return how far what is said of "star" goes from one text to the other, relative to its length."""
        tokens = t5_tokenizer()(
            ["add a red star to the left of the blue tree", "add a red tree to the left of the blue star"],
            padding="max_length", max_length=32, return_tensors="pt",
        ).input_ids  # fmt: skip
        outputs = load_encoder(folder)(tokens)[0].detach()
        star = t5_tokenizer().convert_tokens_to_ids("▁star")
        first, second = (outputs[number][tokens[number] == star][0] for number in (0, 1))
        return float((first - second).norm() / first.norm())

    assert apart(SHIPPED) > 0.3
    corrector = SHIPPED.parent / "corrector"
    assert not (corrector / "text_encoder_2").exists(), "the shipped corrector reads with the generator's"
    assert read_details(SHIPPED)[0] == json.loads((corrector / "reflectionflow.json").read_text())["base"]
