"""The two spellings of a correction in the release, and a corrector given by its name on the hub."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from reflectionflow.errors import CheckpointError
from reflectionflow.models.condition.options import RELEASE
from reflectionflow.models.corrector import SPEC, CorrectorOptions, FluxCorrector, ScenesCorrectorOptions
from reflectionflow.models.loading import quiet
from reflectionflow.prompts.correction import Spelling, clip_text, correction_text, fitted
from reflectionflow.roles import PaintRequest
from reflectionflow.scenes.tokenizers import t5_tokenizer
from reflectionflow.scenes.words import COLORS, known_words
from reflectionflow.types import Recipe
from tests.support.tiny import tiny_generator

PROMPT, REFLECTION = "a photo of a cat", "add a hat"


@pytest.mark.parametrize(
    ("spelling", "clip", "t5"),
    [
        (Spelling.TRAINING, "a photo of a cat", "a photo of a cat [Reflexion] add a hat"),
        (
            Spelling.INFERENCE,
            "a photo of a cat [Reflexion]: add a hat",
            "a photo of a cat [Reflexion]: add a hat",
        ),
    ],
)
def test_each_spelling_gives_the_encoders_what_the_release_gives_them(spelling, clip, t5):
    assert clip_text(PROMPT, REFLECTION, spelling) == clip
    assert correction_text(PROMPT, REFLECTION, spelling) == t5
    assert clip_text(PROMPT, "", spelling) == correction_text(PROMPT, "", spelling) == PROMPT


def test_tuning_and_data_have_the_training_form_without_asking_for_it():
    assert correction_text(PROMPT, REFLECTION) == "a photo of a cat [Reflexion] add a hat"
    assert clip_text(PROMPT, REFLECTION) == PROMPT


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def cached(base, tmp_path, monkeypatch):
    """A hub cache that holds a LoRA and nothing else of its repository, as `hf download` leaves it."""
    import torch
    from diffusers import FluxTransformer2DModel
    from safetensors.torch import save_file

    layer = FluxTransformer2DModel.from_pretrained(base / "transformer").x_embedder
    weights = {
        "transformer.x_embedder.lora_A.weight": torch.ones(2, layer.in_features),
        "transformer.x_embedder.lora_B.weight": torch.ones(layer.out_features, 2),
    }
    repository = tmp_path / "models--diffusion-cot--FLUX-Corrector"
    snapshot = repository / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    save_file(weights, snapshot / "pytorch_lora_weights.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    return "diffusion-cot/FLUX-Corrector"


def options(base, **more):
    return CorrectorOptions(checkpoint=base, device="cpu", dtype="float32", **more)


def test_a_corrector_from_the_hub_paints_what_the_pipeline_paints_from_the_literal_texts(base, cached):
    import torch

    asked = options(base, corrector_hub=cached, spelling="inference")
    assert SPEC.needs(asked) == []
    painter = FluxCorrector(asked)
    assert painter.name == "FLUX-Corrector@0123456789ab"
    assert painter.settings["spelling"] == "inference"
    flawed = Image.new("RGB", (128, 128), "blue")
    recipe = Recipe(painter.name, "a photo of a star", 4, 128, 128, 1, 3.5, parent="x", reflection="add a red star")
    mine = painter.generate([PaintRequest(recipe, flawed)])[0].image
    text = "a photo of a star [Reflexion]: add a red star"
    assert painter._pipe.condition_options == RELEASE
    with quiet("transformers", "diffusers"):
        theirs = painter._pipe(
            text, prompt_2=text, condition_image=[flawed], width=128, height=128, num_inference_steps=1,
            guidance_scale=3.5, generator=[torch.Generator("cpu").manual_seed(4)], max_sequence_length=512,
        ).images[0]  # fmt: skip
    assert np.array_equal(np.asarray(mine), np.asarray(theirs))


def test_the_usual_spelling_leaves_recipes_as_they_were(base, cached):
    assert "spelling" not in FluxCorrector(options(base, corrector_hub=cached)).settings


def test_a_corrector_that_was_not_downloaded_says_how(base, cached):
    asked = options(base, corrector_hub="nobody/nothing")
    assert "hf download nobody/nothing" in SPEC.needs(asked)[0]
    with pytest.raises(CheckpointError, match="hf download nobody/nothing"):
        FluxCorrector(asked)


def test_a_corrector_is_named_once(base, tmp_path):
    for wrong in ({}, {"corrector": tmp_path, "corrector_hub": "a/b"}):
        with pytest.raises(ValueError, match="either a corrector"):
            options(base, **wrong)


def test_the_shipped_corrector_knows_every_word_of_the_edits_of_scenes():
    assert known_words() <= FluxCorrector(ScenesCorrectorOptions()).capabilities.words


def test_of_a_reflection_that_is_too_long_whole_edits_are_left_out_as_in_tuning():
    # It was cut amid a sentence once: "replace the green cross with a", which says to put something there.
    corrector = FluxCorrector(ScenesCorrectorOptions())
    edits = [f"replace the {color} cross with a {color} star" for color in COLORS]
    prompt, parent = "a photo of a red star", Image.new("RGB", (128, 128), "gray")
    length = corrector.layout(Recipe(corrector.name, prompt, 1, 128, 128, 2, 3.5, "0", ". ".join(edits)))[-1]
    kept, lost = fitted(t5_tokenizer(), prompt, ". ".join(edits), length)
    assert 0 < lost < len(edits)
    told = [". ".join(edits), ". ".join(edits[: len(edits) - lost])]
    assert kept == correction_text(prompt, told[1])
    pictures = [
        corrector.generate([PaintRequest(Recipe(corrector.name, prompt, 1, 128, 128, 2, 3.5, "0", said), parent)])[0]
        for said in told
    ]
    assert np.array_equal(*(np.asarray(picture.image) for picture in pictures))
    assert [picture.left_out for picture in pictures] == [tuple(edits[-lost:]), ()]
