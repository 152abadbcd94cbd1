"""A build goes on where it was killed, leaves finished shards alone, and never replaces another build."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.errors import MisuseError, ModelError
from reflectionflow.genref.build import Source, build, build_from_edits
from reflectionflow.genref.shards import begin, check, read_manifest, samples, shards_of, write_shards
from tests.genref.test_edits_and_vlm_teacher import answer, sample, shown, teacher
from tests.genref.test_shards import TRIPLETS, encoded, picture, shard, triplet
from tests.support.chat_server import Answer, serving

PER_SHARD = 10
SUICIDE = """
import os, signal, sys
from pathlib import Path
from reflectionflow.genref.build import Source, build

def report(done, count):
    if done == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

build([Source.EDITING], 35, 3, Path(sys.argv[1]), None, {}, report, 10)
"""


def editing(folder: Path, triplets: int = 35, seed: int = 3):
    return build([Source.EDITING], triplets, seed, folder, None, {}, per_shard=PER_SHARD)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".lock"}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.iterdir()) if path.suffix != ".lock"}


@pytest.mark.kill
@pytest.mark.parametrize("killed_at", [0, 14, 31])
def test_a_killed_build_goes_on_to_the_same_bytes_and_keeps_its_finished_shards(tmp_path, killed_at):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    editing(whole)
    killed = subprocess.run([sys.executable, "-c", SUICIDE, str(torn), str(killed_at)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(torn.glob("genref_*.tar"))) == killed_at // PER_SHARD
    before = {name: when for name, when in times(torn).items() if name.endswith(".tar")}
    editing(torn)
    assert contents(torn) == contents(whole)
    assert {name: when for name, when in times(torn).items() if name in before} == before
    assert check(torn) == []


def test_a_finished_build_repeated_changes_nothing(tmp_path):
    manifest = editing(tmp_path)
    before = times(tmp_path)
    assert editing(tmp_path) == manifest
    assert times(tmp_path) == before


def test_a_lost_or_damaged_shard_is_written_again_and_the_others_are_not(tmp_path):
    manifest = editing(tmp_path)
    before, whole = times(tmp_path), contents(tmp_path)
    (tmp_path / "genref_1.tar").unlink()
    (tmp_path / "genref_2.tar").write_bytes(b"torn")
    assert editing(tmp_path) == manifest
    assert contents(tmp_path) == whole
    assert all(times(tmp_path)[name] == before[name] for name in ("genref_0.tar", "genref_3.tar"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--triplets", "4", "--seed", "2"), "seed: 1 there, 2 asked for"),
        (("--triplets", "5", "--seed", "1"), "triplets: 4 of editing there, 5 of editing asked for"),
        (("--triplets", "4", "--seed", "1", "--source", "rule"), "triplets: 4 of editing there, 4 of rule asked for"),
    ],
)
def test_another_build_into_the_same_folder_is_refused_with_what_is_there(tmp_path, arguments, said):
    usual = ["genref", "build", "--source", "editing", "--triplets", "4", "--seed", "1", "--out", str(tmp_path)]
    assert CliRunner().invoke(app, usual).exit_code == 0
    before = times(tmp_path)
    refused = CliRunner().invoke(app, [*usual, *arguments])
    assert refused.exit_code == 2
    assert f"{tmp_path} holds another build ({said}); choose another --out" in refused.stderr
    assert times(tmp_path) == before
    assert CliRunner().invoke(app, usual).exit_code == 0
    assert times(tmp_path) == before


@pytest.mark.parametrize(
    "names", [["README.md"], ["manifest.json", "app.js"], ["run.json", "journal.sqlite", "images", "best.png"]]
)
def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text('{"name": "mine"}')
    usual = ["genref", "build", "--source", "editing", "--triplets", "1", "--out", str(tmp_path)]
    refused = CliRunner().invoke(app, usual)
    assert refused.exit_code == 2
    assert f"{tmp_path} is no build and not empty (it has {', '.join(sorted(names)[:3])}" in refused.stderr
    assert "choose a new or an empty folder" in refused.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names, '{"name": "mine"}')


def test_a_file_where_shards_should_go_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    usual = ["genref", "build", "--source", "editing", "--triplets", "1", "--out", str(tmp_path / "file")]
    refused = CliRunner().invoke(app, usual)
    assert refused.exit_code == 2
    assert "file is a file; a build needs a folder" in refused.stderr


def test_what_a_build_killed_at_its_beginning_left_is_no_hindrance(tmp_path):
    for name in ("building.lock", ".manifest.json.writing.7.tmp"):
        (tmp_path / name).touch()
    assert editing(tmp_path, triplets=1)["samples"] == 1


def test_an_unfinished_build_is_not_replaced_by_another_either(tmp_path):
    assert begin(tmp_path, {"seed": 1, "asked": {"rule": 5}}) is None
    with pytest.raises(MisuseError, match="seed: 1 there, 2 asked for"):
        begin(tmp_path, {"seed": 2, "asked": {"rule": 5}})
    assert begin(tmp_path, {"seed": 1, "asked": {"rule": 5}}) is None


def test_a_manifest_of_an_earlier_version_is_compared_by_what_it_says(tmp_path):
    editing(tmp_path)
    manifest = read_manifest(tmp_path)
    manifest["stack"] = "scenes"
    del manifest["sources"], manifest["kind"]
    for item in manifest["shards"]:
        del item["subsets"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    before = times(tmp_path)
    assert editing(tmp_path) == manifest
    assert {name: when for name, when in times(tmp_path).items() if name.endswith(".tar")} == {
        name: when for name, when in before.items() if name.endswith(".tar")
    }
    assert build([Source.EDITING], 35, 3, tmp_path, None, {"steps": 4}, per_shard=PER_SHARD) == manifest
    with pytest.raises(MisuseError, match="seed"):
        editing(tmp_path, seed=4)


def test_a_shorter_set_leaves_no_shard_of_the_longer_one_behind(tmp_path):
    write_shards([triplet(number) for number in range(9)], tmp_path, {}, per_shard=2)
    write_shards(TRIPLETS, tmp_path, {}, per_shard=2)
    assert check(tmp_path) == []


def test_edits_of_real_pictures_go_on_too_and_count_what_was_left_out_once(tmp_path):
    data = tmp_path / "edits"
    data.mkdir()
    members = {}
    for number in range(6):
        members |= {f"{number}.src_img.png": encoded(picture(number)), f"{number}.instruction.txt": b"add a star"}
        members[f"{number}.edited_img.png"] = encoded(picture(number + 9).convert("L"))
        if number != 2:
            members[f"{number}.caption.txt"] = b"a star"
    shard(data / "0.tar", members)
    out = tmp_path / "out"
    manifest = build_from_edits(data, 5, 1, out, None, {})
    assert manifest["samples"] == 5
    whole, before = contents(out), times(out)
    assert build_from_edits(data, 5, 1, out, None, {}) == manifest
    assert times(out) == before
    (out / "manifest.json").rename(out / "manifest.json.writing")
    assert build_from_edits(data, 5, 1, out, None, {}) == manifest
    assert contents(out) == whole
    with pytest.raises(MisuseError, match="data: edits there, others asked for"):
        build_from_edits(data.rename(tmp_path / "others"), 5, 1, out, None, {})


def test_what_the_teacher_did_not_answer_in_passing_is_neither_lost_nor_written_twice(tmp_path):
    data, torn, whole = (tmp_path / name for name in ("data", "torn", "whole"))
    data.mkdir()
    members = [sample(number, b"a red car") for number in range(10)]
    shard(data / "0.tar", {name: value for some in members for name, value in some.items()})

    def built(out, chat):
        return build_from_edits(data, 9, 3, out, teacher(chat, out, concurrency=1), {}, per_shard=2)

    def unsteady(body):
        if (torn / "genref_0.tar").exists():
            return Answer({"message": "no key"}, 401)
        return Answer({}, 503) if (200, 30, 1) in shown(body) else answer(body)

    with serving(unsteady) as chat, pytest.raises(ModelError):
        built(torn, chat)
    assert [path.name for path in torn.glob("genref_*.tar")] == ["genref_0.tar"]
    with serving(answer) as chat:
        manifest = built(torn, chat)
        assert len(chat.requests) == 6, "what was answered is not asked again"
        assert built(whole, chat) == manifest
    rows = [json.loads(data)["row"] for data in provenances(torn)]
    assert rows == [f"0.tar:{number}" for number in range(9)]
    assert check(torn) == []
    mine, theirs = contents(torn), contents(whole)
    assert sorted(mine.pop("teacher.jsonl").splitlines()) == sorted(theirs.pop("teacher.jsonl").splitlines())
    assert mine == theirs


def test_a_continued_build_tells_how_many_of_all_triplets_are_written(tmp_path):
    editing(tmp_path)
    (tmp_path / "genref_2.tar").unlink()
    told = []
    build([Source.EDITING], 35, 3, tmp_path, None, {}, lambda done, count: told.append((done, count)), PER_SHARD)
    assert told == [(done, 35) for done in range(36)]


def test_the_card_counts_each_source_and_its_open_prompts(tmp_path):
    editing(tmp_path)
    card = (tmp_path / "README.md").read_text()
    texts = [json.loads(data) for data in provenances(tmp_path)]
    assert f"| editing | 35 | {sum(text['open'] for text in texts)} | exact edits of rendered scenes |" in card
    assert "painted by the stack" not in card
    assert "half" not in card


def provenances(folder: Path) -> list[bytes]:
    skipped = Counter()
    found = [members["provenance.json"] for path in shards_of(folder) for _, members in samples(path, skipped)]
    assert not skipped
    return found
