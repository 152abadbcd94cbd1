"""`reflectionflow geneval`: prompts with their hashes, a folder judged, killed and continued, scores printed."""

from __future__ import annotations

import hashlib
import inspect
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.geneval import three_pictures, tiny_clip, tiny_mask2former
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.evaluation.geneval import read_records, write_prompts, write_sample
from reflectionflow.evaluation.geneval.journal import journal_of
from reflectionflow.geneval import (
    METADATA_SHA256,
    NAMES_SHA256,
    PROMPTS_SHA256,
    Clause,
    Metadata,
    ResultRecord,
    suite,
    write_records,
)

COLOURED = Metadata("colors", "a photo of a red bench", (Clause("bench", 1, "red"),))


def run(*arguments: object):
    return CliRunner().invoke(app, ["geneval", *map(str, arguments)], prog_name="reflectionflow")


def test_the_prompts_are_written_with_the_published_hashes(tmp_path):
    done = run("prompts", "--out", tmp_path / "new")
    assert done.exit_code == 0
    hashes = dict(reversed(line.split("  ")) for line in done.stdout.splitlines())
    assert hashes == {
        str(tmp_path / "new" / "evaluation_metadata.jsonl"): METADATA_SHA256,
        str(tmp_path / "new" / "generation_prompts.txt"): PROMPTS_SHA256,
        str(tmp_path / "new" / "object_names.txt"): NAMES_SHA256,
    }
    for path, digest in hashes.items():
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(Path(path).name for path in hashes)


def test_files_of_the_same_names_are_replaced_only_by_their_equals(tmp_path):
    assert run("prompts", "--out", tmp_path).exit_code == 0
    assert run("prompts", "--out", tmp_path).exit_code == 0
    (tmp_path / "object_names.txt").unlink()
    (tmp_path / "generation_prompts.txt").write_text("mine")
    refused = run("prompts", "--out", tmp_path)
    assert refused.exit_code == 2
    assert f"{tmp_path} has generation_prompts.txt with another content than GenEval's" in refused.stderr
    assert (tmp_path / "generation_prompts.txt").read_text() == "mine"
    assert not (tmp_path / "object_names.txt").exists()
    (tmp_path / "file").touch()
    assert run("prompts", "--out", tmp_path / "file").exit_code == 2
    assert run("prompts", "--out", tmp_path / "file" / "below").exit_code == 2


def test_folders_for_pictures_are_made_when_asked_for(tmp_path):
    assert run("prompts", "--out", tmp_path, "--folders").exit_code == 0
    homes = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    assert len(homes) == 553
    assert (homes[552] / "samples").is_dir()
    assert json.loads((homes[552] / "metadata.jsonl").read_text()) == suite()[552].to_json()


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "pictures"
    write_prompts(home, [suite()[0], suite()[200], COLOURED])
    for index, picture in enumerate(three_pictures()):
        write_sample(home, index, 0, picture)
    return home


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    weights = tmp_path_factory.mktemp("weights")
    detector, clip = tiny_mask2former(weights / "tiny-mask2former"), tiny_clip(weights / "tiny-clip")
    return ["--detector", str(detector), "--clip", str(clip), "--device", "cpu", "--batch-size", "1"]


def told_of(results):
    """What a result file says, and its detections; those differ in the last digits with the number of threads."""
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    return rows, [json.loads(row.pop("details")) for row in rows]


@pytest.mark.kill
def test_a_scoring_killed_and_begun_again_ends_like_one_that_was_not(folder, networks, tmp_path):
    results, whole = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl"
    command = [sys.executable, "-m", "reflectionflow", "geneval", "score", str(folder), *networks]
    process = subprocess.Popen([*command, "--out", str(results)], stderr=subprocess.PIPE, text=True)
    told = []
    for line in process.stderr:
        told.append(line)
        if line.startswith("1 of 3"):
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL, "".join(told)
    process.stderr.close()
    assert not results.exists()
    done = run("score", folder, *networks, "--out", results, "--json")
    assert done.exit_code == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert 1 <= outcome["reused"] < 3
    assert outcome["judged"] + outcome["reused"] == 3
    assert outcome["summary"]["tags"].keys() == {"single_object", "counting", "colors"}
    assert run("score", folder, *networks, "--out", whole).exit_code == 0
    (rows, found), (wanted, expected) = told_of(results), told_of(whole)
    assert rows == wanted
    for mine, theirs in zip(found, expected, strict=True):
        assert {name: len(items) for name, items in mine.items()} == {k: len(items) for k, items in theirs.items()}
        for name, items in mine.items():
            assert sorted(map(tuple, items)) == [
                pytest.approx(row, abs=1e-4) for row in sorted(map(tuple, theirs[name]))
            ]
    assert "3 pictures had been judged before" in run("score", folder, *networks, "--out", whole).stderr


def test_missing_models_are_told_before_anything_loads(folder, networks):
    done = run("score", folder, "--clip", networks[3])
    assert done.exit_code == 2
    assert "is not downloaded; add --download" in done.stderr
    assert not journal_of(folder / "results.jsonl").exists()


def test_a_hub_that_cannot_be_reached_is_told(folder, networks, tmp_path):
    code = "import sys; from reflectionflow.cli import main; sys.argv = ['reflectionflow', *sys.argv[1:]]; main()"
    command = [sys.executable, "-c", code, "geneval", "score", str(folder), *networks[2:], "--detector", "a/b"]
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub"), "PATH": ""}
    done = subprocess.run([*command, "--download"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "Error: a/b cannot be downloaded (" in done.stderr


def test_broken_pictures_are_told_and_the_command_fails(folder, networks, tmp_path):
    for index in (0, 2):
        (folder / f"0000{index}" / "samples" / "00000.png").write_bytes(b"no picture")
    (folder / "00001" / "samples" / "notes.txt").write_text("x")
    done = run("score", folder, *networks)
    assert done.exit_code == 1
    assert "2 pictures could not be judged and are in no score" in done.stderr
    assert "1 files are no numbered pictures" in done.stderr
    assert "Total images: 1" in done.stdout
    assert len(read_records(folder / "results.jsonl")) == 1


def test_the_verb_for_scenes_uses_judge_b(tmp_path):
    from tests.evaluation.geneval.test_scoring import PROMPTS, painted

    write_prompts(tmp_path, PROMPTS[:2])
    for index in range(2):
        write_sample(tmp_path, index, 0, painted(index))
    done = run("score", tmp_path, "--judge", "scenes", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["summary"]["images"] == 2


def test_the_judge_of_scenes_takes_no_networks(folder):
    done = run("score", folder, "--judge", "scenes", "--detector", "nowhere", "--download")
    assert done.exit_code == 2
    assert "The judge of Scenes has no networks; leave --detector and --download out." in done.stderr
    assert not (folder / "results.jsonl").exists()


def test_the_summary_of_the_reference_is_printed(tmp_path):
    shares = [("single_object", "a", 4), ("single_object", "b", 1), ("counting", "c", 0), ("position", "d", 2)]
    records = [
        ResultRecord(f"{k}.png", tag, prompt, k < right, "", Metadata(tag, prompt, ()).line(), "{}")
        for tag, prompt, right in shares
        for k in range(4)
    ]
    write_records(tmp_path / "results.jsonl", records)
    lines = run("summary", tmp_path / "results.jsonl").stdout.splitlines()
    assert lines[2:6] == [
        "Total images: 16",
        "Total prompts: 4",
        "% correct images: 43.75%",
        "% correct prompts: 75.00%",
    ]
    assert lines[-2:] == ["Overall score (avg. over tasks): 0.37500", "Prompt average (avg. over prompts): 0.43750"]
    data = json.loads(run("summary", tmp_path / "results.jsonl", "--json").stdout)
    assert data["task_average"] == 0.375
    assert data["prompt_average"] == 0.4375
    assert data["tags"]["single_object"] == {"correct": 5, "images": 8, "share": 0.625}


@pytest.mark.parametrize("content", ["", "{", '{"judge": 1}\n', "[]\n"])
def test_what_is_no_result_file_is_refused(tmp_path, content):
    file = tmp_path / "results.jsonl"
    file.write_text(content)
    done = run("summary", file)
    assert done.exit_code == 2
    assert f"{file} is no result file of GenEval" in done.stderr


def test_a_result_file_that_is_not_there_yet_is_told_apart(tmp_path):
    file = tmp_path / "results.jsonl"
    assert "correct its name" in run("summary", file).stderr
    journal_of(file).write_text("{}")
    assert "its scoring is unfinished" in run("summary", file).stderr


def test_the_verb_and_the_library_mean_the_same_models():
    from reflectionflow.cli.geneval import score
    from reflectionflow.evaluation.geneval import CLIP, DETECTOR

    parameters = inspect.signature(score).parameters
    assert (parameters["detector"].default, parameters["clip"].default) == (DETECTOR, CLIP)


def test_a_folder_is_no_result_file(folder, networks, monkeypatch):
    monkeypatch.chdir(folder)
    for arguments in (["summary", "."], ["score", ".", *networks, "--out", "."]):
        done = run(*arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "Error: . is a folder; name " in done.stderr


def test_prompts_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        done = run("prompts", "--out", out)
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"Error: the prompts cannot be written to {out} (" in done.stderr


def test_a_result_file_in_a_place_that_cannot_be_made_is_told(folder, networks, tmp_path):
    (tmp_path / "file").write_text("x")
    done = run("score", folder, *networks, "--out", tmp_path / "file" / "results.jsonl")
    assert done.exit_code == 1
    assert "choose another --out" in done.stderr
    assert "Traceback" not in done.stderr
