from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reflectionflow.cli import app


@pytest.fixture
def cli(example_stack, tmp_path, monkeypatch):
    """Return a function that runs any verb in an empty folder, and the stack file."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str):
        return CliRunner().invoke(app, list(arguments), prog_name="reflectionflow", catch_exceptions=False)

    return call


@pytest.fixture
def finished(cli, example_stack):
    """Return the folder of a finished run."""
    done = cli("generate", "a disc", "--images", "3", "--stack", str(example_stack), "--json")
    return json.loads(done.stdout)["run"]


def test_list_shows_runs_with_their_best_scores(cli, finished):
    done = cli("runs", "list")
    best = json.loads(Path(finished, "result.json").read_text())["best"]["score"]
    assert done.stdout == f"{finished}  {best:.4f}  3 pictures  a disc\n"
    assert json.loads(cli("runs", "list", "--json").stdout)["runs"][0]["best"] == best


def test_list_names_a_run_it_cannot_read(cli, finished):
    Path(finished, "run.json").write_text("{")
    done = cli("runs", "list")
    assert done.exit_code == 0
    assert "is damaged" in done.stdout


def test_list_of_a_missing_folder_is_one_message(cli):
    done = cli("runs", "list", "nowhere")
    assert done.exit_code == 2
    assert "there is no folder 'nowhere'" in done.stderr


def test_show_tells_what_came_of_a_run(cli, finished, example_stack):
    done = cli("runs", "show", finished)
    assert (
        f"reflectionflow generate 'a disc' --strategy noise --images 3 --seed 0 --stack {example_stack}" in done.stdout
    )
    assert f"best   {finished}/best.png" in done.stdout
    told = json.loads(cli("runs", "show", finished, "--json").stdout)
    assert told["finished"] is True
    assert [picture["number"] for picture in told["pictures"]] == [1, 2, 3]
    assert all(Path(picture["image"]).is_file() for picture in told["pictures"])
    assert max(picture["score"] for picture in told["pictures"]) == told["best"]["score"]


def test_a_prompt_that_looks_like_an_option_can_be_repeated_as_shown(cli, finished, example_stack):
    asked = ["generate", "--images", "1", "--stack", str(example_stack), "--out", "odd", "--", "--disc"]
    assert cli(*asked).exit_code == 0
    shown = cli("runs", "show", "odd").stdout.splitlines()[0].removeprefix("Command: reflectionflow ")
    again = cli(*shlex.split(shown))
    assert again.exit_code == 0
    assert "0 of them now" in again.stderr


def test_verify_is_content_with_a_whole_run(cli, finished):
    done = cli("runs", "verify", finished)
    assert done.exit_code == 0
    assert done.stdout == "6 calls, 3 pictures, 1 results checked: all is in order\n"


def test_verify_finds_a_changed_picture(cli, finished):
    picture = next(Path(finished, "images").rglob("*.png"))
    picture.write_bytes(picture.read_bytes()[:-1])
    done = cli("runs", "verify", finished)
    assert done.exit_code == 1
    assert "the file was changed or damaged" in done.stdout


def test_report_is_drawn_again_from_the_run_alone(cli, finished):
    names = ["best.png", "contact-sheet.png", "report.html", "result.json"]
    before = {name: Path(finished, name).read_bytes() for name in names}
    for name in names:
        Path(finished, name).unlink()
    done = cli("runs", "report", finished)
    assert done.stdout == f"{finished}/report.html\n"
    assert {name: Path(finished, name).read_bytes() for name in names} == before


@pytest.mark.parametrize("verb", ["show", "verify", "report"])
def test_a_folder_that_is_no_run_is_one_message(cli, tmp_path, verb):
    done = cli("runs", verb, str(tmp_path))
    assert done.exit_code == 2
    assert "is not a run" in done.stderr
