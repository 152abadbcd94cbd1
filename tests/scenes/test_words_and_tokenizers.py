"""The words of the world are fixed, and both text encoders read every one of them."""

import hashlib

import numpy as np
import pytest

from reflectionflow.prompts.correction import correction_text
from reflectionflow.scenes.captions import CaptionMix, draw_caption
from reflectionflow.scenes.tokenizers import clip_tokenizer, t5_tokenizer
from reflectionflow.scenes.words import OBJECTS, known_words, plural, vocabulary
from reflectionflow.scenes.world import UNIFORM, Priors, draw_scene

VOCABULARY = "a94496478ca2bcbd"


@pytest.fixture(scope="module")
def tokenizers():
    return clip_tokenizer(), t5_tokenizer()


def test_the_vocabulary_is_the_one_the_shipped_weights_were_trained_with():
    digest = hashlib.sha256("\n".join(vocabulary()).encode()).hexdigest()
    assert digest.startswith(VOCABULARY), "a changed word order needs newly trained text encoders"


def test_every_word_is_one_token_in_both_tokenizers(tokenizers):
    clip, t5 = tokenizers
    assert [word for word in known_words() if len(clip.tokenize(word)) != 1 or len(t5.tokenize(word)) != 1] == []


def test_no_text_of_the_world_contains_an_unknown_or_spelled_word(tokenizers):
    clip, t5 = tokenizers
    rng = np.random.default_rng(3)
    for _ in range(300):
        prompt, text = draw_caption(draw_scene(rng, Priors()), rng, CaptionMix())
        assert t5.unk_token_id not in t5(text).input_ids
        pieces = t5.tokenize(text)
        assert all(len(piece) > 1 or not piece.isalpha() for piece in pieces if piece != "▁a"), text
        assert len(clip(prompt).input_ids) <= 77
        assert len(t5(text).input_ids) <= 64


def test_a_foreign_word_is_spelled_and_not_unknown(tokenizers):
    _, t5 = tokenizers
    assert t5.unk_token_id not in t5("a photo of a Zebra's 3 hats!").input_ids


def test_tokenizers_survive_saving_in_the_layout_a_pipeline_reads(tokenizers, tmp_path):
    from transformers import CLIPTokenizer, T5TokenizerFast

    text = correction_text(
        "a photo of three fishes", "remove one fish. move the red star to the left of the blue heart"
    )
    for tokenizer, kind in zip(tokenizers, (CLIPTokenizer, T5TokenizerFast), strict=True):
        tokenizer.save_pretrained(tmp_path / kind.__name__)
        again = kind.from_pretrained(tmp_path / kind.__name__)
        assert again(text).input_ids == tokenizer(text).input_ids
        assert again.model_max_length == tokenizer.model_max_length


def test_the_correction_text_has_the_training_form_of_the_release():
    assert correction_text("a photo of a cat", "add a hat") == "a photo of a cat [Reflexion] add a hat"
    assert correction_text("a photo of a cat", "") == "a photo of a cat"


def test_plurals_are_english():
    assert {plural(noun) for noun in OBJECTS} >= {"crosses", "fishes", "stars", "houses"}


def test_two_prompts_have_different_pooled_vectors():
    import torch

    from reflectionflow.tuning.generator import TransformerSection, build

    torch.manual_seed(0)
    parts = build(TransformerSection(heads=1, double_blocks=1, single_blocks=1, text_width=32), 4)
    ids = parts["tokenizer"](
        ["a photo of a red star", "a photo of a blue star"], padding="max_length", return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        first, second = parts["text_encoder"](ids).pooler_output
    assert not torch.allclose(first, second, atol=1e-3)


def test_uniform_priors_use_every_word_for_objects():
    rng = np.random.default_rng(0)
    seen = {thing.noun for _ in range(300) for thing in draw_scene(rng, UNIFORM).things}
    assert seen == set(OBJECTS)
