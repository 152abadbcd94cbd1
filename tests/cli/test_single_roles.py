"""`judge`, `reflect` and `refine`: each role alone on a picture file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tests.support.stacks import PLUGINS, tiny_stack
from typer.testing import CliRunner

from reflectionflow.cli import app

PROMPT = "a red star"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(PLUGINS))
    tiny_stack(tmp_path / "tiny.toml")
    tiny_stack(tmp_path / "bare.toml", reflector=None, refiner=None, corrector=None)
    tiny_stack(tmp_path / "unable.toml", verifier="UNABLE", reflector="UNABLE", refiner="UNABLE")
    tiny_stack(tmp_path / "away.toml", verifier="AWAY", reflector="AWAY", refiner="AWAY")
    Image.new("RGB", (20, 10), (51, 51, 51)).save("grey.png")
    Image.new("RGB", (16, 16), (255, 255, 255)).save("white.png")
    (tmp_path / "text.png").write_text("no picture")

    def call(*arguments: str, stack: str = "tiny.toml"):
        return CliRunner().invoke(
            app, [*arguments, "--stack", stack], prog_name="reflectionflow", catch_exceptions=False
        )

    return call


def test_judge_prints_one_object_and_tells_people_apart_from_it(run):
    done = run("judge", "grey.png", "--prompt", PROMPT, "--json")
    data = json.loads(done.stdout)
    assert done.exit_code == 0
    assert data == {
        "image": "grey.png",
        "prompt": PROMPT,
        "verifier": "brightness@1",
        "score": 0.2,
        "aspects": {"brightness": 0.2},
        "rationale": "as bright as it is",
        "failure": None,
    }
    assert "Score: 0.2000 (brightness@1)" in done.stderr
    assert run("judge", "grey.png", "--prompt", PROMPT).stdout == ""


def test_reflect_says_what_is_wrong(run):
    done = run("reflect", "grey.png", "--prompt", PROMPT, "--json")
    data = json.loads(done.stdout)
    assert data["reflection"] == "make it brighter than 0.2000 (0 before)"
    assert data["edits"] == [data["reflection"]]
    assert data["reflector"] == "critic@1"
    assert data["reflection"] in done.stderr
    satisfied = run("reflect", "white.png", "--prompt", PROMPT, "--json")
    assert json.loads(satisfied.stdout)["reflection"] == ""
    assert "There is nothing to correct." in satisfied.stderr


def test_refine_rewrites_the_prompt(run):
    done = run("refine", PROMPT, "--image", "grey.png", "--json")
    assert json.loads(done.stdout) == {
        "prompt": PROMPT,
        "image": "grey.png",
        "refiner": "rewriter@1",
        "refined": "a red star, bright",
        "failure": None,
    }


def test_refine_without_a_picture_paints_one_first(run):
    done = run("refine", PROMPT, "--json")
    assert json.loads(done.stdout)["refined"] == "a red star, bright"
    assert json.loads(done.stdout)["image"] is None
    assert "Painting a first picture to look at (5 steps)" in done.stderr


def test_a_photograph_is_read_upright(run):
    picture = Image.fromarray(np.zeros((8, 24, 3), np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture.save("photo.jpg", exif=exif)
    from reflectionflow.cli.pictures import read_picture

    assert read_picture("photo.jpg").size == (8, 24)


ROLES = [
    (["judge", "{}", "--prompt", PROMPT], "verifier"),
    (["reflect", "{}", "--prompt", PROMPT], "reflector"),
    (["refine", PROMPT, "--image", "{}"], "refiner"),
]


@pytest.mark.parametrize(("command", "role"), ROLES, ids=["judge", "reflect", "refine"])
@pytest.mark.parametrize(
    ("file", "said"),
    [("nowhere.png", "there is no picture nowhere.png"), ("text.png", "is no picture that can be read"), (".", "read")],
)
def test_a_bad_file_is_a_sentence(run, command, role, file, said):
    done = run(*(part.format(file) for part in command), "--json")
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(("command", "role"), ROLES[1:], ids=["reflect", "refine"])
def test_a_missing_role_is_a_sentence(run, command, role):
    done = run(*(part.format("grey.png") for part in command), stack="bare.toml")
    assert done.exit_code == 2
    assert f"the stack bare.toml has no {role}; choose a stack that has one with --stack" in done.stderr


@pytest.mark.parametrize(("command", "role"), ROLES, ids=["judge", "reflect", "refine"])
def test_a_failure_is_told_with_exit_code_1(run, command, role):
    done = run(*(part.format("grey.png") for part in command), "--json", stack="unable.toml")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["failure"]
    assert done.stderr.startswith("Error: ")


@pytest.mark.parametrize(("command", "role"), ROLES, ids=["judge", "reflect", "refine"])
def test_a_model_that_cannot_be_reached_is_a_sentence(run, command, role):
    done = run(*(part.format("grey.png") for part in command), stack="away.toml")
    assert done.exit_code == 1
    assert done.stderr == "Error: The server did not answer.\n"


@pytest.mark.parametrize("verb", ["judge", "reflect"])
def test_an_empty_prompt_is_refused(run, verb):
    done = run(verb, "grey.png", "--prompt", "  ")
    assert done.exit_code == 2
    assert "the prompt is empty" in done.stderr
