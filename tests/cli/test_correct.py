"""`correct` keeps the shape of the picture it is given."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.support.stacks import PLUGINS, tiny_stack
from typer.testing import CliRunner

from reflectionflow.cli import app


@pytest.fixture
def correct(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(PLUGINS))
    tiny_stack(tmp_path / "tiny.toml", corrector="SMALL")  # paints sides of 16 to 64 pixels, in steps of 8

    def call(size, *more, mode="RGB"):
        Image.new(mode, size, 100).save("flawed.png")
        asked = ["flawed.png", "--prompt", "a star", "--reflection", "brighter", "--out", "out.png"]
        return CliRunner().invoke(app, ["correct", *asked, "--stack", "tiny.toml", *more])

    return call


@pytest.mark.parametrize(
    ("given", "painted"),
    [
        ((32, 24), (32, 24)),  # its own size
        ((33, 25), (32, 24)),  # rounded to what the corrector paints
        ((640, 480), (32, 24)),  # in its own shape, with about as many pixels as are usually painted
        ((10, 10), (16, 16)),
        ((2000, 2100), (16, 16)),
        ((64, 32), (64, 32)),
    ],
)
def test_a_picture_is_corrected_in_its_own_shape(correct, given, painted):
    done = correct(given)
    assert done.exit_code == 0, done.output
    with Image.open("out.png") as picture:
        assert picture.size == painted
    told = f"The picture is {given[0]} × {given[1]}; the corrector is shown it at {painted[0]} × {painted[1]}."
    assert (told in " ".join(done.stderr.split())) is (given != painted)


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("flawed.png/below.png", "flawed.png, which is a file"),
        ("flawed.png/far/below.png", "flawed.png, which is a file"),
        ("folder", "--out folder is a folder; name the file in it, such as folder/corrected.png"),
        ("c.jpg", "--out c.jpg does not end in .png, and the picture is a PNG; write --out c.png"),
        ("new/corrected", "write --out new/corrected.png"),
        ("/proc/nothing/here.png", "--out /proc/nothing/here.png cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_painted(correct, tmp_path, out, said):
    (tmp_path / "folder").mkdir()
    done = correct((16, 16), "--out", out)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Correcting" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "flawed.png", "tiny.toml"}


def test_a_place_is_refused_before_the_stack_is_looked_at(correct):
    done = correct((16, 16), "--out", "c.jpg", "--stack", "nowhere.toml")
    assert "does not end in .png" in done.stderr


def test_a_text_that_is_missing_is_named(correct):
    assert "Error: the prompt is empty: say what the picture should show with --prompt\n" in (
        correct((16, 16), "--prompt", " ").stderr
    )
    assert "Error: the reflection is empty: say what to change with --reflection\n" in (
        correct((16, 16), "--reflection", "").stderr
    )


def test_a_shape_that_cannot_be_painted_is_refused_with_what_to_do(correct):
    done = correct((640, 60))
    assert done.exit_code == 2
    assert "the picture is 640 × 60, and painter@1 paints sides of 16 to 64 pixels" in done.stderr
    assert "let it be stretched with --size 16x16" in done.stderr


def test_it_is_stretched_where_that_is_asked_for_in_a_size_that_can_be_painted(correct):
    assert correct((640, 480), "--size", "64x16").exit_code == 0
    with Image.open("out.png") as picture:
        assert picture.size == (64, 16)
    refused = correct((640, 480), "--size", "20x16")
    assert refused.exit_code == 2
    assert "needs a width that is a multiple of 8, not 20" in refused.stderr
    assert "is not understood" in correct((640, 480), "--size", "large").stderr


def test_what_is_transparent_is_shown_white_to_the_corrector(correct):
    assert correct((16, 16), mode="LA").exit_code == 0
    with Image.open("out.png") as picture:
        assert np.asarray(picture).min() > 240
