"""Any CLIP checkpoint judges pictures: scores in [0, 1], the same for every batch size, by a name known beforehand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reflectionflow import plugins
from reflectionflow.errors import CheckpointError
from reflectionflow.models.clip import (
    SCENES,
    SPEC,
    ClipOptions,
    ClipVerifier,
    ScenesClipOptions,
    SigmoidCalibration,
    prepared,
    probability,
)
from reflectionflow.models.manifest import write_manifest
from reflectionflow.roles import Question, Role, Verifier
from reflectionflow.types import Candidate, Recipe, Verdict

CALIBRATION = {"kind": "sigmoid", "scale": 6.0, "bias": -0.5}


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIPModel of 32-pixel pictures and the Scenes tokenizer, in transformers layout."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from reflectionflow.scenes.tokenizers import clip_tokenizer

    words = clip_tokenizer()
    folder = tmp_path_factory.mktemp("weights") / "tiny-clip"
    tower = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**tower, "vocab_size": len(words), "eos_token_id": words.eos_token_id, "max_position_embeddings": 24}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config={**tower, "image_size": 32, "patch_size": 8}, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(weights: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    folder = tmp_path / "tiny-clip"
    folder.mkdir()
    for file in weights.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def calibrated(checkpoint: Path) -> Path:
    write_manifest(checkpoint, name="tiny", image_size=32, calibration=CALIBRATION)
    return checkpoint


def question(seed: int, prompt: str, size: tuple[int, int] = (48, 40)) -> Question:
    pixels = np.random.default_rng(seed).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    recipe = Recipe("painter@1", prompt, seed, *size, steps=1, guidance=1.0)
    return Question(Candidate(recipe, "0" * 64, *size), Image.fromarray(pixels), prompt)


QUESTIONS = [
    question(i, ("a photo of a star", "a photo of two red hearts", "a photo of a fish")[i % 3]) for i in range(5)
]


def judge(folder: Path, questions: list[Question], **options: object) -> list[Verdict]:
    verifier = ClipVerifier(folder, ClipOptions(checkpoint=folder, device="cpu", **options))
    assert isinstance(verifier, Verifier)
    return verifier.judge(questions)


def test_scores_do_not_depend_on_the_batch_they_are_computed_in(calibrated: Path) -> None:
    together = judge(calibrated, QUESTIONS)
    alone = [judge(calibrated, [item])[0] for item in QUESTIONS]
    for first, second in zip(together, alone, strict=True):
        assert first.score == pytest.approx(second.score, abs=1.01e-4)
    assert [verdict.candidate for verdict in together] == [item.id for item in QUESTIONS]
    assert len({verdict.score for verdict in together}) > 1


def test_the_score_is_the_calibrated_cosine_of_the_models_own_features(calibrated: Path) -> None:
    import torch
    from transformers import CLIPModel, CLIPTokenizer

    item = question(9, "a photo of a star", (32, 32))
    model = CLIPModel.from_pretrained(calibrated).eval()
    words = CLIPTokenizer.from_pretrained(calibrated)(item.prompt, return_tensors="pt")
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = torch.tensor((np.asarray(item.image) / 255 - mean) / std).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = model(pixel_values=pixels, **words).logits_per_image
    cosine = float(logits / model.logit_scale.detach().exp())
    expected = 1 / (1 + math.exp(-(6.0 * cosine - 0.5)))
    assert judge(calibrated, [item])[0].score == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("folder", ["checkpoint", "calibrated"])
def test_a_picture_without_a_finite_likeness_is_a_failure_and_no_score(folder: str, request) -> None:
    import torch

    checkpoint = request.getfixturevalue(folder)
    verifier = ClipVerifier(checkpoint, ClipOptions(checkpoint=checkpoint, device="cpu"))

    def spoilt(module, arguments, seen):
        return torch.cat([torch.full_like(seen[:1], torch.nan), seen[1:]])

    verifier._loaded.model.visual_projection.register_forward_hook(spoilt)
    first, *others = verifier.judge(QUESTIONS)
    assert first.score is None
    assert first.failure == f"{verifier.name} found no finite likeness of picture and prompt (nan)."
    assert all(verdict.failure is None for verdict in others)


def test_without_a_calibration_the_score_is_clipscore(checkpoint: Path) -> None:
    assert probability(0.3, None) == pytest.approx(0.75)
    assert probability(-0.3, None) == 0.0
    assert probability(0.9, None) == 1.0
    assert probability(0.1, SigmoidCalibration(kind="sigmoid", scale=10, bias=-1)) == 0.5
    assert all(0 <= (verdict.score or 0) <= 1 for verdict in judge(checkpoint, QUESTIONS))


def test_the_name_comes_from_the_manifest_and_follows_what_decides_scores(calibrated: Path) -> None:
    manifest = json.loads((calibrated / "reflectionflow.json").read_text("utf-8"))

    def name(**options: object) -> str:
        return ClipVerifier(calibrated, ClipOptions(checkpoint=calibrated, **options)).name

    assert name() == name(batch_size=2, device="cpu") == f"tiny@{manifest['revision']}"
    assert len({name(), name(template="{prompt}."), name(dtype="bfloat16")}) == 3


def test_a_checkpoint_without_a_manifest_is_named_by_folder_and_fingerprint(checkpoint: Path) -> None:
    first = ClipVerifier(checkpoint, ClipOptions(checkpoint=checkpoint)).name
    assert first.startswith("tiny-clip@")
    other = checkpoint / "tokenizer.json"
    other.write_text(other.read_text("utf-8") + "\n", "utf-8")
    assert ClipVerifier(checkpoint, ClipOptions(checkpoint=checkpoint)).name != first


def test_a_prompt_too_long_to_be_read_whole_is_judged_and_says_so(calibrated: Path) -> None:
    long, short = judge(calibrated, [question(1, "a photo of " + "a red star and " * 20), QUESTIONS[0]])
    assert "tokens; tiny@" in long.rationale
    assert long.rationale.endswith("read the first 24.")
    assert long.score is not None
    assert short.rationale == ""


def test_pictures_are_resized_by_their_shortest_side_and_cut_in_the_middle() -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 255
    assert (prepared(Image.fromarray(wide), 20) == 255).all()
    assert prepared(Image.new("L", (31, 77), 9), 32).shape == (32, 32, 3)


def test_a_whole_checkpoint_needs_nothing_with_or_without_a_manifest(checkpoint: Path) -> None:
    assert SPEC.needs(ClipOptions(checkpoint=checkpoint)) == []
    write_manifest(checkpoint, name="tiny", image_size=32)
    assert SPEC.needs(ClipOptions(checkpoint=checkpoint)) == []
    assert SCENES.needs(ScenesClipOptions(checkpoint=checkpoint)) == []


def test_everything_missing_is_named_before_anything_loads(checkpoint: Path, tmp_path: Path) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    (checkpoint / "tokenizer.json").unlink()
    truncated, tokenizer = SPEC.needs(ClipOptions(checkpoint=checkpoint))
    assert "bytes instead of" in truncated
    assert "no tokenizer" in tokenizer
    assert "does not exist" in SPEC.needs(ClipOptions(checkpoint=tmp_path / "nowhere"))[0]


def test_a_manifest_that_does_not_say_how_pictures_are_prepared_is_a_need(checkpoint: Path) -> None:
    write_manifest(checkpoint, name="tiny")
    assert "image_size" in SPEC.needs(ClipOptions(checkpoint=checkpoint))[0]


def test_another_kind_of_model_is_refused(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text('{"model_type": "bert"}', "utf-8")
    assert "'bert'; give one of type 'clip'" in SPEC.needs(ClipOptions(checkpoint=checkpoint))[0]


def test_weights_that_are_not_there_are_an_error_and_not_left_random(checkpoint: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = checkpoint / "model.safetensors"
    tensors = load_file(file)
    del tensors["visual_projection.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights.*visual_projection"):
        judge(checkpoint, QUESTIONS[:1])


def test_a_template_without_a_place_for_the_prompt_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="no place for the prompt"):
        ClipOptions(checkpoint=checkpoint, template="a photo")


def test_both_are_registered_as_verifiers() -> None:
    for name, place in (("scenes-clip", "SCENES"), ("clip", "SPEC")):
        assert plugins.find_model(name) is plugins.find_model(f"reflectionflow.models.clip:{place}")
        assert plugins.find_model(name).roles == (Role.VERIFIER,)


def test_naming_it_loads_no_torch_and_loading_it_prints_nothing(calibrated: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from reflectionflow.models.clip import *\n"
        f"options = ClipOptions(checkpoint=Path({str(calibrated)!r}), device='cpu')\n"
        "verifier = SPEC.load(options); assert not SPEC.needs(options) and verifier.name\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "verifier._loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
