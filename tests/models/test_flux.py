"""The FLUX adapter paints what the recipe says, whoever shares its batch."""

import json
import shutil
import subprocess
import sys

import pytest

from reflectionflow.errors import CheckpointError
from reflectionflow.models.flux import SCENES, SPEC, FluxGenerator, FluxOptions, ScenesFluxOptions, text_length
from reflectionflow.models.manifest import FILE
from reflectionflow.roles import PaintRequest
from reflectionflow.types import Recipe, settings
from tests.support.tiny import tiny_generator


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("tiny") / "generator")


def recipe(generator, prompt="a photo of a star", seed=1, steps=2, **changes):
    values = {
        "generator": generator.name,
        "prompt": prompt,
        "seed": seed,
        "width": 128,
        "height": 128,
        "steps": steps,
        "guidance": 3.5,
        "settings": settings(generator.settings),
    }
    return Recipe(**(values | changes))


def paint(generator, *recipes):
    return {done.id: done.image.tobytes() for done in generator.generate([PaintRequest(item) for item in recipes])}


@pytest.fixture(scope="module")
def generator(checkpoint):
    return FluxGenerator(ScenesFluxOptions(checkpoint=checkpoint, batch_size=3))


def test_what_a_checkpoint_understands_is_known_before_its_weights_load(checkpoint):
    fresh = FluxGenerator(ScenesFluxOptions(checkpoint=checkpoint))
    assert fresh.name.startswith("scenes-flux@")
    assert (fresh.defaults.width, fresh.defaults.steps, fresh.defaults.guidance) == (128, 20, 3.5)
    assert "mushroom" in fresh.capabilities.words
    assert "_pipe" not in vars(fresh)


def test_padded_batches_make_a_picture_equal_to_the_bit_alone_and_in_company(generator):
    first, second, third = (recipe(generator, seed=seed) for seed in (1, 2, 3))
    together = paint(generator, first, second, third)
    assert paint(generator, second)[second.id] == together[second.id]
    assert paint(generator, third, second, first) == together
    assert len(set(together.values())) == 3


def test_the_prompt_the_seed_and_the_steps_decide_the_pixels(generator):
    base = recipe(generator)
    pictures = [
        paint(generator, item)[item.id]
        for item in (
            base,
            recipe(generator, prompt="a photo of a blue heart"),
            recipe(generator, seed=2),
            recipe(generator, steps=3),
            recipe(generator, guidance=1.0),
        )
    ]
    assert len(set(pictures)) == len(pictures)
    assert paint(generator, base)[base.id] == pictures[0]


def test_capitals_and_spaces_do_not_matter_where_the_words_are_declared(generator):
    plain, shouted = recipe(generator, "a photo of a star"), recipe(generator, "  A photo of a  STAR ")
    assert paint(generator, plain)[plain.id] == paint(generator, shouted)[shouted.id]


def test_only_recipes_of_one_layout_share_a_call(generator):
    short, long = recipe(generator, "a star"), recipe(generator, "a star and a heart, " * 8 + "a ring")
    assert generator.layout(short) != generator.layout(long)
    assert generator.layout(short) == generator.layout(recipe(generator, "a heart", seed=9))
    assert generator.layout(short) != generator.layout(recipe(generator, "a star", steps=3))


def test_text_lengths_hold_the_end_token():
    assert text_length("a " * 31, (32, 64)) == 32
    assert text_length("a " * 32, (32, 64)) == 64
    assert text_length("a, b", (4, 8)) == 4
    assert text_length("a, b!", (4, 8)) == 8
    assert text_length("a " * 900, (32, 64)) == 64


def test_a_truncated_checkpoint_is_noticed_by_its_size_before_anything_loads(checkpoint, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    weights = broken / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (problem,) = SCENES.needs(ScenesFluxOptions(checkpoint=broken))
    assert "bytes instead of" in problem


def test_a_damaged_checkpoint_without_manifest_fails_with_a_sentence(checkpoint, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    (broken / FILE).unlink()
    assert SPEC.needs(FluxOptions(checkpoint=broken)) == []
    painter = FluxGenerator(FluxOptions(checkpoint=broken, device="cpu"))
    assert painter.defaults.width == 1024
    weights = broken / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        painter.generate([PaintRequest(recipe(painter))])


def test_a_checkpoint_without_manifest_changes_its_name_with_its_weights(checkpoint, tmp_path):
    names = set()
    for seed in (0, 1):
        folder = tiny_generator(tmp_path / str(seed), seed) if seed else tmp_path / "0"
        if not seed:
            shutil.copytree(checkpoint, folder)
        (folder / FILE).unlink()
        names.add(FluxGenerator(FluxOptions(checkpoint=folder)).name.split("@")[1])
    assert len(names) == 2


def test_a_manifest_of_something_else_is_refused(checkpoint, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other)
    data = json.loads((other / FILE).read_text()) | {"steps": 0, "colour": "blue"}
    (other / FILE).write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="colour"):
        FluxGenerator(FluxOptions(checkpoint=other))


def test_the_saved_folder_is_a_plain_flux_pipeline_without_our_package(checkpoint):
    program = (
        "import sys; from diffusers import FluxPipeline\n"
        f"pipe = FluxPipeline.from_pretrained({str(checkpoint)!r})\n"
        "picture = pipe('a photo of a red star', height=128, width=128, num_inference_steps=1).images[0]\n"
        "assert picture.size == (128, 128)\n"
        "assert not any(name.startswith('reflectionflow') for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_painting_says_nothing_on_stderr(checkpoint):
    program = (
        "from reflectionflow.models.flux import *; from reflectionflow.types import Recipe\n"
        f"g = FluxGenerator(ScenesFluxOptions(checkpoint={str(checkpoint)!r}, batch_size=1))\n"
        "r = Recipe(g.name, 'a photo of a star', 1, 128, 128, 1, 3.5)\n"
        "assert len(g.generate([PaintRequest(r)])) == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
