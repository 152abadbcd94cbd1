"""A build is the same one where everything that decides its triplets is; any other is refused with what differs."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.genref.shards import check, read_manifest
from tests.genref.test_continued_builds import contents, editing, times
from tests.genref.test_edits_and_vlm_teacher import sample
from tests.genref.test_shards import shard
from tests.support.stacks import PLUGINS


def call(*arguments):
    return CliRunner().invoke(app, ["genref", "build", *map(str, arguments)], prog_name="reflectionflow")


def said_by(done):
    return " ".join(done.stderr.split())


def edits(folder, *numbers):
    folder.mkdir()
    members = [sample(number, b"a red car") for number in numbers]
    shard(folder / "0.tar", {name: value for some in members for name, value in some.items()})
    return folder


def unfinished(out):
    (out / "manifest.json").rename(out / "manifest.json.writing")


def untouched(out):
    """Do nothing: the build is finished."""


@pytest.mark.parametrize("left", [untouched, unfinished])
@pytest.mark.parametrize("turn", [1, -1])
def test_rendered_edits_and_edits_of_real_pictures_are_not_taken_for_each_other(tmp_path, left, turn):
    data, out = edits(tmp_path / "omniedit", 1, 2, 3), tmp_path / "out"
    usual = ["--source", "editing", "--triplets", 2, "--out", out]
    kinds = {"pool": usual, "edits": [*usual, "--data", data]}
    (kind, first), (other, second) = list(kinds.items())[::turn]
    assert call(*first).exit_code == 0
    assert read_manifest(out)["kind"] == kind
    left(out)
    before = times(out)
    refused = call(*second)
    assert refused.exit_code == 2
    assert f"{out} holds another build (kind: {kind} there, {other} asked for); choose another --out" in said_by(
        refused
    )
    assert times(out) == before
    assert call(*first).exit_code == 0


def test_other_files_in_a_folder_of_the_same_name_are_other_data_wherever_it_lies(tmp_path):
    out = tmp_path / "out"
    (tmp_path / "other").mkdir()
    one, two = edits(tmp_path / "omniedit", 1, 2), edits(tmp_path / "other" / "omniedit", *range(30))
    usual = ("--source", "editing", "--triplets", 2, "--out", out)
    assert call(*usual, "--data", one).exit_code == 0
    assert str(tmp_path) not in (out / "manifest.json").read_text()
    before = times(out)
    refused = call(*usual, "--data", two)
    assert refused.exit_code == 2
    size, larger = (sum(file.stat().st_size for file in data.iterdir()) for data in (one, two))
    assert f"(files of the data: bytes {size}, digest " in said_by(refused)
    assert f"there, bytes {larger}, digest " in said_by(refused)
    shutil.rmtree(two)
    assert call(*usual, "--data", one.rename(two)).exit_code == 0, "the folder was moved"
    (two / "0.tar").rename(two / "1.tar")
    assert "(files of the data: digest " in said_by(call(*usual, "--data", two))
    assert times(out) == before


@pytest.fixture
def painted(tmp_path, monkeypatch):
    """Build rewards of a stack whose painter fails: the build is begun, and stays unfinished."""
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("a red star\n")

    def build(arguments, defaults="", dtype="float32"):
        (tmp_path / "mine.toml").write_text(
            f'name = "mine"\ndescription = "a test"\n[defaults]\n{defaults}\n'
            f'[generator]\nmodel = "tiny_world:EXHAUSTED"\ndtype = "{dtype}"\n'
            '[verifier]\nmodel = "tiny_world:BRIGHTNESS"\n'
            '[reflector]\nmodel = "openai-vlm"\nbase_url = "http://127.0.0.1:9/v1"\nserved = "tiny/vlm"\n'
        )
        return call("--source", "reward", "--triplets", 1, "--stack", "mine.toml", "--out", "out", *arguments)

    return build


@pytest.mark.parametrize("arguments", [(), ("--prompts", "prompts.txt", "--teacher", "vlm")], ids=["pool", "drafts"])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"defaults": "steps = 6"}, "steps: 5 there, 6 asked for"),
        ({"defaults": "guidance = 1.0"}, "guidance: 3.5 there, 1.0 asked for"),
        ({"defaults": "width = 32\nheight = 24"}, "width: 16 there, 32 asked for; height: 16 there, 24 asked for"),
        ({"dtype": "bfloat16"}, "settings: dtype float32 there, dtype bfloat16 asked for"),
    ],
    ids=["steps", "guidance", "size", "settings"],
)
def test_what_decides_how_a_stack_paints_is_part_of_a_build(painted, tmp_path, arguments, changed, said):
    assert "memory is exhausted" in painted(arguments).stderr
    before = times(tmp_path / "out")
    refused = painted(arguments, **changed)
    assert refused.exit_code == 2
    assert f"out holds another build ({said}); choose another --out, or remove the folder." in said_by(refused)
    assert times(tmp_path / "out") == before
    assert "memory is exhausted" in painted(arguments).stderr, "the same build goes on"


def test_what_a_manifest_does_not_name_is_none(tmp_path):
    editing(tmp_path)
    manifest = read_manifest(tmp_path)
    manifest["asked"]["rule"] = None
    del manifest["seed"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    refused = call("--source", "editing", "--triplets", 35, "--seed", 3, "--out", tmp_path)
    assert "(seed: none there, 3 asked for)" in said_by(refused)


@pytest.mark.parametrize("torn", ["", '{"seed": 3, "sha', "[]", "{}", "\x00", '{"seed": 3, "shards": []}'])
def test_a_build_whose_manifest_is_damaged_is_repeated_and_its_shards_stay(tmp_path, torn):
    manifest = editing(tmp_path)
    whole, before = contents(tmp_path), times(tmp_path)
    (tmp_path / "manifest.json").write_text(torn)
    assert editing(tmp_path) == manifest
    assert contents(tmp_path) == whole
    assert all(when == before[name] for name, when in times(tmp_path).items() if name.endswith(".tar"))
    assert check(tmp_path) == []
