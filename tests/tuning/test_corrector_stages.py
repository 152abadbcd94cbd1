"""A corrector that learns what lies where, starts from another transformer, and has its guidance distilled."""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from PIL import Image

from reflectionflow.errors import CheckpointError, ConfigError, MisuseError
from reflectionflow.genref.index import index_of
from reflectionflow.genref.shards import Triplet, read_triplets, shards_of, write_shards
from reflectionflow.models.condition.options import Attention, ConditionOptions, condition_ids
from reflectionflow.models.condition.transformer import CONDITION, WATCH, Condition, ConditionedFluxTransformer, Watch
from reflectionflow.models.detector import OracleOptions, OracleVerifier
from reflectionflow.scenes.words import OBJECTS
from reflectionflow.tuning import corrector
from reflectionflow.tuning.corrector_base import base_pipeline
from reflectionflow.tuning.corrector_modules import begin_with, conditioned
from reflectionflow.tuning.guiding import DistilSection, guided
from reflectionflow.tuning.layout import LayoutSection, detected_layouts, layout_loss
from reflectionflow.tuning.loop import step_rng
from reflectionflow.tuning.reports import Reports
from reflectionflow.tuning.triplets import Pixels, TripletData, TripletSection
from tests.support.tiny import tiny_generator
from tests.support.triplets import WORDS, config, losses, without_encoding

LAYOUT = {"weight": 0.5, "blocks": 2}


@pytest.fixture(scope="module")
def tuned(base, shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    asked = config(folder, base, shards, 4, lora={"rank": 0}, data={"cache": True, "drop_text": 0.0}, layout=LAYOUT)
    corrector.run(asked)
    return folder


def test_a_detector_finds_the_layout_of_the_enhanced_pictures(shards):
    look = detected_layouts(OracleVerifier(OracleOptions()))
    triplets = [t for t in read_triplets(shards_of(shards), Counter()) if t.prompt.startswith("a photo of a")][:6]
    found = look(np.stack([np.asarray(triplet.good) for triplet in triplets]))
    assert found.shape == (len(triplets), 2, 16, 16)
    for triplet, (nouns, _) in zip(triplets, found, strict=True):
        shown = {OBJECTS[number - 1] for number in np.unique(nouns) if number}
        named = {noun for noun in OBJECTS if noun in triplet.prompt.split()}
        assert shown & named, (triplet.prompt, shown)


def test_a_resumed_tuning_with_a_layout_equals_an_uninterrupted_one(tuned, base, shards, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(tuned, cut)
    shutil.rmtree(cut / "state" / "step-4")
    again = config(cut, base, shards, 4, lora={"rank": 0}, data={"cache": True, "drop_text": 0.0}, layout=LAYOUT)
    measured = corrector.run(again)
    assert losses(cut, 4) == losses(tuned, 4)
    assert measured["loss"] == pytest.approx(measured["velocity"] + 0.5 * measured["layout"], rel=1e-5)
    plain, saved = (
        FluxTransformer2DModel.from_pretrained(folder / "transformer").state_dict()
        for folder in (base, tuned / "model")
    )
    assert plain.keys() == saved.keys()


def shaken(base):
    """The base's transformer with random weights: untrained blocks let nothing through."""
    torch.manual_seed(0)
    plain = FluxTransformer2DModel.from_pretrained(base / "transformer")
    for value in plain.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return plain


@pytest.mark.parametrize("attention", list(Attention))
def test_a_watch_sees_the_pictures_tokens_and_changes_nothing(base, attention):
    plain = shaken(base)
    model = ConditionedFluxTransformer.adopt(plain)
    options = ConditionOptions(attention=attention)
    width, words, pooled = (
        plain.config.in_channels,
        plain.config.joint_attention_dim,
        plain.config.pooled_projection_dim,
    )
    given = {
        "hidden_states": torch.randn(2, 16, width), "encoder_hidden_states": torch.randn(2, 5, words),
        "pooled_projections": torch.randn(2, pooled), "timestep": torch.rand(2), "guidance": torch.ones(2),
        "img_ids": condition_ids(ConditionOptions(), 4, 4), "txt_ids": torch.zeros(5, 3), "return_dict": False,
    }  # fmt: skip
    condition = Condition(torch.randn(2, 4, width), condition_ids(options, 2, 2), options, torch.randn(1, pooled))
    count = len(model.transformer_blocks) + len(model.single_transformer_blocks)
    with torch.no_grad():
        without = model(**given, joint_attention_kwargs={CONDITION: condition})[0]
        seen = []
        for blocks in range(1, count + 1):
            kwargs = {CONDITION: condition, WATCH: Watch(blocks, seen)}
            assert torch.equal(model(**given, joint_attention_kwargs=kwargs)[0], without)
    assert [tokens.shape for tokens in seen] == [(2, 16, model.inner_dim)] * count
    assert not any(torch.equal(one, other) for one, other in pairwise(seen))


@pytest.mark.parametrize("attention", list(Attention))
def test_the_layout_teaches_the_blocks_before_it_the_condition_and_no_later_block(base, attention):
    plain = shaken(base)
    width, pooled = plain.config.joint_attention_dim, plain.config.pooled_projection_dim
    options = ConditionOptions(attention=attention, reduction=1)
    flawed = torch.randn(2, 64, plain.config.in_channels, requires_grad=True)
    condition = Condition(flawed, condition_ids(options, 8, 8), options, torch.randn(1, pooled))
    model = conditioned(ConditionedFluxTransformer.adopt(plain), LayoutSection(weight=1, blocks=1))
    _, scores = model(
        torch.randn(2, 64, plain.config.in_channels), torch.rand(2), torch.ones(2), torch.randn(2, pooled),
        torch.randn(2, 5, width), condition_ids(ConditionOptions(), 8, 8), condition,
    )  # fmt: skip
    layout_loss(scores, torch.zeros(2, 2, 16, 16)).backward()
    assert flawed.grad.abs().sum() > 0
    assert plain.transformer_blocks[0].attn.to_q.weight.grad.abs().sum() > 0
    assert all(value.grad is None for value in plain.single_transformer_blocks[-1].parameters())


@pytest.mark.parametrize(
    ("more", "error", "sentence"),
    [
        ({"layout": {"weight": 1.0, "blocks": 9}}, ConfigError, r"blocks = 9, but the transformer has 2 blocks"),
        ({"distil": {"teacher": "nowhere"}}, CheckpointError, r"nowhere holds no transformer of the base's shape"),
    ],
)
def test_what_does_not_fit_is_refused_before_pictures_are_encoded(base, shards, tmp_path, more, error, sentence):
    asked = config(tmp_path, base, shards, 2, lora={"rank": 0}, data={"cache": True}, **more)
    with pytest.raises(error, match=sentence):
        corrector.run(asked, Reports(count=without_encoding))


def test_distillation_starts_from_its_teacher_and_keeps_the_texts_of_the_base(tuned, base, shards, tmp_path):
    asked = config(
        tmp_path, base, shards, 2, lora={"rank": 0}, optimiser={"learning_rate": 1e-9, "warmup": 0},
        distil={"teacher": str(tuned / "model"), "lowest": 1.0, "highest": 1.0 + 1e-9}, run={"precision": "no"},
    )  # fmt: skip
    corrector.run(asked)
    # At guidance 1 the guided teacher is the teacher, told nothing of guidance in these two steps: nothing to learn.
    assert max(losses(tmp_path, 2)) < 1e-9


def test_a_second_stage_reads_the_latents_of_the_first(tuned, base, shards, tmp_path):
    kept = {name: (tuned / "state" / name).stat().st_mtime_ns for name in ("pairs.json", "good.npy", "layout.npy")}
    asked = config(
        tmp_path, base, shards, 2, lora={"rank": 0}, distil={"teacher": str(tuned / "model")},
        data={"cache": True, "latents": str(tuned / "state")},
    )  # fmt: skip
    corrector.run(asked, Reports(count=without_encoding))
    assert kept == {name: (tuned / "state" / name).stat().st_mtime_ns for name in kept}
    assert not (tmp_path / "state" / "pairs.json").exists()


def test_guidance_of_one_is_the_told_velocity_and_more_goes_further_away_from_the_untold():
    told, untold = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    section = DistilSection(teacher="", strength=0.5)
    found = guided(told, untold, torch.tensor([1.0, 3.0, 5.0]), section)
    for item, scale in enumerate((1.0, 2.0, 3.0)):
        assert torch.allclose(found[item], untold[item] + scale * (told[item] - untold[item]), atol=1e-6)


def test_tuning_may_start_from_another_transformer_of_the_bases_shape(base, tuned, tmp_path):
    transformer = FluxTransformer2DModel.from_pretrained(base / "transformer")
    begin_with(transformer, tuned / "model")
    wanted = FluxTransformer2DModel.from_pretrained(tuned / "model" / "transformer").state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in transformer.state_dict().items())
    with pytest.raises(CheckpointError, match=r"holds no transformer of the base's shape"):
        begin_with(transformer, tmp_path)
    other = tiny_generator(tmp_path / "other", heads=3)
    with pytest.raises(CheckpointError, match=r"holds no transformer of the base's shape"):
        begin_with(transformer, other)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"layout": LAYOUT}, r"\[layout\] reads pictures of Scenes: set data.cache = true and data.size = 128"),
        ({"data": {"unchanged": 0.1}, "condition": "none"}, r"data.unchanged needs a condition as large"),
        ({"data": {"unchanged": 0.1}}, r"data.unchanged needs a condition as large as the picture"),
        ({"data": {"verbs": {"add": 2.0}}, "condition": "none"}, r"data.verbs goes by reflections"),
        ({"data": {"verbs": {"add": float("inf")}}}, r"less than or equal to 10"),
        ({"flow": {"changed": 3.0}, "condition": "none"}, r"flow.changed needs a condition as large"),
        ({"flow": {"changed": 3.0}}, r"flow.changed needs a condition as large as the picture"),
        ({"distil": {"teacher": "x"}}, r"\[distil\] is for a corrector with all weights tuned"),
    ],
)
def test_stages_that_do_not_go_together_are_refused_before_anything_is_read(more, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        config(tmp_path, tmp_path, tmp_path, 1, **more)


def test_latents_of_other_triplets_are_refused_and_stay(tuned, base, shards, tmp_path):
    kept = (tuned / "state" / "pairs.json").read_bytes()
    shutil.copytree(shards, tmp_path / "more")
    both = [str(shards), str(tmp_path / "more")]
    asked = config(
        tmp_path, base, shards, 2, lora={"rank": 0}, distil={"teacher": str(tuned / "model")},
        data={"cache": True, "latents": str(tuned / "state"), "shards": both},
    )  # fmt: skip
    with pytest.raises(MisuseError, match=r"state holds latents of other triplets.*data\.shards"):
        corrector.run(asked, Reports(count=without_encoding))
    assert (tuned / "state" / "pairs.json").read_bytes() == kept


def test_what_differs_counts_more_and_every_picture_the_same():
    good = torch.randn(3, 8, 4)
    bad = good.clone()
    bad[0, :2] += 1  # an edit of two tokens; nothing changes in the second picture, everything in the third
    bad[2] += 1
    weights = corrector.change_weights(good, bad + 0.1 * torch.rand_like(bad), 5.0)
    assert weights.mean(1).tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert torch.allclose(weights[0, :2] / weights[0, 2:4], torch.tensor(5.0))
    assert torch.allclose(weights[1:], torch.tensor(1.0))


def test_the_loss_counts_the_errors_by_what_differs(base, shards, tmp_path):
    asked = config(
        tmp_path, base, shards, 1, condition={"reduction": 1}, flow={"pure": 0.999, "changed": 7.0},
        data={"drop_image": 0.0},
    )  # fmt: skip
    data = TripletData(asked.data, index_of(shards_of(shards)), WORDS, 0, Pixels(128, 1))
    program = corrector.CorrectorProgram(asked, base_pipeline(asked), data, torch.device("cpu"))
    batch, seen = data.batch(0, step_rng(1, 0), 2), []

    def nothing(noisy, *_):
        seen.append(noisy)
        return torch.zeros_like(noisy), None

    program.modules = nothing
    loss, _ = program.loss(0, batch)
    with torch.no_grad():
        good, bad = program._latents(batch["good"]), program._latents(batch["bad"])
    weights = corrector.change_weights(good, bad, 7.0)
    assert (weights > 1).any()
    errors = (seen[0] - good).square().mean(-1)
    assert loss.item() == pytest.approx((weights * errors).mean().item(), rel=1e-4)
    loss, _ = program.loss(0, batch | {"blind": torch.tensor([True, True])})
    assert loss.item() == pytest.approx((seen[1] - good).square().mean().item(), rel=1e-4), "black is no flaw"


def test_samples_are_drawn_as_often_as_their_verbs_say(tmp_path):
    picture = Image.new("RGB", (64, 64), "red")
    said = ("add a red star", "move the star left of the fish", "remove the star", "adding nothing")
    triplets = [Triplet(f"e-{n}", picture, picture, text, "stars", "editing", {}) for n, text in enumerate(said)]
    write_shards(triplets, tmp_path, {})
    section = TripletSection(shards="", size=64, verbs={"add": 3.0, "remove": 0.5})
    data = TripletData(section, index_of(shards_of(tmp_path)), WORDS, 0, Pixels(64, 1))
    rng = np.random.default_rng(0)
    drawn = Counter(data._drawn(data._seen["editing"], rng).read().reflection for _ in range(4400))
    assert [drawn[text] / 800 for text in said] == pytest.approx([3.0, 1.0, 0.5, 1.0], abs=0.2)
