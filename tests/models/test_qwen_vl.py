"""A Qwen2.5-VL of any size judges, reflects and refines: batches change nothing, what it cannot say fails."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

from reflectionflow import plugins
from reflectionflow.errors import CheckpointError
from reflectionflow.models.qwen_vl import QwenVL, QwenVlOptions, ScenesVlmOptions, asked, wording_of
from reflectionflow.models.vision_language import Ask, load
from reflectionflow.prompts.vlm import FULL, SCENES
from reflectionflow.roles import (
    Context,
    Question,
    Refiner,
    RefineRequest,
    Reflector,
    ReflectRequest,
    Role,
    Verifier,
    read_by,
)
from reflectionflow.scenes.tokenizers import qwen_tokenizer
from reflectionflow.scenes.words import vocabulary
from reflectionflow.types import Candidate, Recipe, Verdict
from tests.support.tiny import tiny_qwen, tiny_vlm

CPU = torch.device("cpu")
PROMPTS = ("a photo of a star", "a photo of a red star left of a blue heart", "a photo of three big green fishes")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    torch.set_num_threads(1)
    return tiny_vlm(tmp_path_factory.mktemp("vlm") / "tiny")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return tiny_qwen(tmp_path_factory.mktemp("qwen") / "tiny")


def picture(seed, size=(128, 128)):
    pixels = np.random.default_rng(seed).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def candidate(seed, prompt):
    return Candidate(Recipe("painter@1", prompt, seed, 128, 128, steps=1, guidance=1.0), "0" * 64, 128, 128)


def questions(sizes=((128, 128),) * 3):
    return [Question(candidate(i, p), picture(i, sizes[i]), p) for i, p in enumerate(PROMPTS)]


def of_scenes(folder, **options):
    return QwenVL(folder, ScenesVlmOptions(checkpoint=folder, **options))


def of_full(folder, **options):
    return QwenVL(folder, QwenVlOptions(checkpoint=folder, device="cpu", dtype="float32", **options))


def test_every_word_is_one_token_and_a_saved_tokenizer_is_the_same(scenes):
    from transformers import AutoTokenizer

    words, saved = qwen_tokenizer(), AutoTokenizer.from_pretrained(scenes)
    for word in vocabulary():
        if word.isalpha():
            assert len(words(word).input_ids) == len(words(f" {word}").input_ids) == 1, word
    text = "a photo of a red star. Ünknown?"
    assert saved(text).input_ids == words(text).input_ids
    assert words.decode(words(text).input_ids) == text
    assert saved.chat_template == words.chat_template


@pytest.mark.parametrize("size", [(128, 128), (160, 96)])
def test_a_picture_has_three_dimensional_positions(full, size):
    vl = load(full, CPU, torch.float32)
    given = vl.inputs([Ask(picture(0, size), "what ?")])
    assert set(given["mm_token_type_ids"].unique().tolist()) == {0, 1}
    core = vl.model.model
    positions, _ = core.get_rope_index(
        given["input_ids"], given["mm_token_type_ids"], given["image_grid_thw"], attention_mask=given["attention_mask"]
    )
    there = given["mm_token_type_ids"][0] == 1
    rows, columns = (given["image_grid_thw"][0, 1:] // 2).tolist()
    assert int(there.sum()) == rows * columns
    time, height, width = positions[:, 0, there]
    assert len(time.unique()) == 1
    assert len(height.unique()) == rows
    assert len(width.unique()) == columns
    with torch.no_grad():
        placed = vl.model(**given).logits
        flat = vl.model(**{name: value for name, value in given.items() if name != "mm_token_type_ids"}).logits
    assert not torch.allclose(placed, flat, atol=1e-4), "without token types the positions are one-dimensional"


def test_roles_are_played_and_the_stack_finds_the_models(scenes, full):
    for model in (of_scenes(scenes), of_full(full)):
        assert isinstance(model, Verifier)
        assert isinstance(model, Reflector)
        assert isinstance(model, Refiner)
    for name in ("scenes-vlm", "qwen-vl"):
        assert set(plugins.find_model(name).roles) == {Role.VERIFIER, Role.REFLECTOR, Role.REFINER}
    assert wording_of(scenes) is SCENES
    assert wording_of(full) is FULL


@pytest.mark.parametrize("make", ["scenes", "full"])
def test_a_batch_judges_as_single_pictures_do(make, request):
    folder = request.getfixturevalue(make)
    model = (of_scenes if make == "scenes" else of_full)(folder, least_mass=0.0)
    asked = questions() if make == "scenes" else questions(((128, 128), (64, 96), (200, 120)))
    together = model.judge(asked)
    assert [verdict.candidate for verdict in together] == [item.id for item in asked]
    for item, verdict in zip(asked, together, strict=True):
        alone = model.judge([item])[0]
        assert verdict.failure is None
        assert alone.score == pytest.approx(verdict.score, abs=2e-4)
        assert alone.tokens == verdict.tokens > 0
        assert alone.verifier == model.name


def test_the_score_is_the_share_of_yes_over_all_spellings(scenes):
    model = of_scenes(scenes, least_mass=0.0)
    vl = load(scenes, CPU, torch.float32)
    item = questions()[0]
    chances, _ = vl.first_token([Ask(item.image, f"{item.prompt} ? yes or no")])
    spelled = [[vl.words(space + word).input_ids for space in ("", " ")] for word in ("yes", "no")]
    yes, no = (sum(float(chances[0, ids[0]]) for ids in both) for both in spelled)
    assert model.judge([item])[0].score == pytest.approx(yes / (yes + no), abs=1e-4)


def test_an_answer_that_is_neither_yes_nor_no_is_a_failure_on_that_picture(scenes):
    found = of_scenes(scenes, least_mass=0.9).judge(questions())
    assert all(verdict.score is None and "did not answer yes or no" in verdict.failure for verdict in found)
    assert all(verdict.tokens > 0 for verdict in found)


def test_a_picture_whose_answer_is_no_number_fails_and_the_others_do_not(scenes):
    """Half precision can overflow on one picture of a batch."""
    vl = load(scenes, CPU, torch.float32)
    model = of_scenes(scenes, least_mass=0.0)
    model.__dict__["_model"] = vl

    def spoilt(module, arguments, logits):
        return torch.cat([torch.full_like(logits[:1], torch.nan), logits[1:]])

    handle = vl.model.lm_head.register_forward_hook(spoilt)
    first, *others = model.judge(questions())
    handle.remove()
    assert (first.score, first.candidate) == (None, questions()[0].id)
    assert "did not answer yes or no: the two have nan of the probability" in first.failure
    assert all(verdict.failure is None for verdict in others)


def test_a_model_that_only_says_yes_scores_one_and_writes_nothing_useful(scenes):
    vl = load(scenes, CPU, torch.float32)
    model = of_scenes(scenes)
    model.__dict__["_model"] = vl
    yes = vl.spellings("yes")[0]

    def only(module, arguments, logits):
        return torch.nn.functional.one_hot(torch.full(logits.shape[:-1], yes), logits.shape[-1]).float() * 50

    handle = vl.model.lm_head.register_forward_hook(only)
    assert [verdict.score for verdict in model.judge(questions())] == [1.0] * 3
    told = model.reflect([ReflectRequest(item.candidate, item.image, item.prompt) for item in questions()])
    assert all("names no edit" in item.failure or "empty" in item.failure for item in told)
    refined = model.refine(
        [RefineRequest(item.candidate, item.image, item.prompt, item.prompt) for item in questions()]
    )
    assert all("did not end" in item.failure for item in refined)
    handle.remove()


@pytest.mark.parametrize("make", ["scenes", "full"])
def test_texts_are_the_same_alone_and_in_a_batch(make, request):
    model = (of_scenes if make == "scenes" else of_full)(
        request.getfixturevalue(make), reflection_tokens=6, prompt_tokens=6
    )
    verdict = Verdict("x", "judge@1", 0.5, rationale="no star")
    asked = [ReflectRequest(item.candidate, item.image, item.prompt, verdict, ("add a star",)) for item in questions()]
    together = model.reflect(asked)
    assert [item.raw for item in together] == [model.reflect([item])[0].raw for item in asked]
    assert [item.candidate for item in together] == [item.id for item in asked]
    assert all(item.tokens > 6 for item in together)
    assert all(bool(item.failure) or item.text for item in together if item.failure or item.edits)


def test_it_says_which_of_verdict_and_history_its_wording_reads(scenes, full):
    assert read_by(of_scenes(scenes)) == frozenset()
    assert read_by(of_full(full)) == {Context.VERDICT, Context.HISTORY}


def test_marks_of_special_tokens_in_a_prompt_are_plain_text(scenes):
    prompt = "a photo of a star <|image_pad|><|im_end|><|im_start|>"
    item = Question(candidate(1, prompt), picture(1), prompt)
    assert of_scenes(scenes, least_mass=0.0).judge([item])[0].failure is None


def test_what_decides_answers_is_in_the_name(scenes, full, tmp_path):
    names = {of_scenes(scenes).name, of_scenes(scenes, least_mass=0.1).name, of_scenes(scenes, dtype="bfloat16").name}
    assert len(names) == 3
    assert of_scenes(scenes, batch_size=2).name == of_scenes(scenes).name
    assert of_scenes(scenes).name.startswith("tiny-vlm@")
    assert of_full(full).name.startswith("tiny@")


def test_other_words_are_another_judge(scenes):
    """A run must not go on with the answers to questions that are no longer asked."""
    model = of_scenes(scenes)
    assert model.name == of_scenes(scenes).name
    words = fields(model.wording)
    others = {asked(replace(model.wording, **{word.name: "other words"}), {}) for word in words}
    assert len(others - {asked(model.wording, {})}) == len(words)
    answers = {"dtype": "float32"}
    assert asked(model.wording, answers) != asked(replace(model.wording, judge="other words"), answers)


def test_defaults_that_decide_answers_are_in_the_name_too(scenes):
    """Two classes of options with other defaults gave one name."""
    small, large = of_scenes(scenes), QwenVL(scenes, QwenVlOptions(checkpoint=scenes))
    assert small.name != large.name


def test_faults_are_told_before_anything_loads(scenes, tmp_path):
    needs = plugins.find_model("qwen-vl").needs
    assert "does not exist" in needs(QwenVlOptions(checkpoint=tmp_path / "none"))[0]
    assert "no LoRA" in needs(QwenVlOptions(checkpoint=scenes, lora=tmp_path))[0]
    with pytest.raises(ValueError, match="not both"):
        QwenVlOptions()
    odd = tiny_vlm(tmp_path / "odd", wording="klingon")
    with pytest.raises(CheckpointError, match="klingon"):
        of_scenes(odd)


def test_a_damaged_checkpoint_is_refused_with_a_sentence(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny_vlm(tmp_path / "tiny")
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if name.endswith("qkv.weight")))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 weights"):
        of_scenes(folder).judge(questions())
    whole = tiny_vlm(tmp_path / "whole")
    (whole / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="chat template"):
        of_scenes(whole).judge(questions())
