from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from tests.support.evaluating import Contrast, asked
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.evaluation.planning import plan
from reflectionflow.evaluation.running import carry_out


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


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Return the run of a small evaluation of two methods."""
    monkeypatch.chdir(tmp_path)
    planned = plan(asked(1, strategies=("noise", "prompt"), images=2, seeds=1), Contrast())
    carry_out(planned, Path("out"), {"command": "evaluate", "images": 2, "seeds": 1}, [].append)
    return "out/run"


def test_the_searches_of_an_evaluation_are_told_apart_and_its_own_command_is_named(cli, evaluated):
    shown = cli("runs", "show", evaluated).stdout
    assert shown.startswith("Command: reflectionflow evaluate --images 2 --seeds 1 --out out\n")
    assert {line.split()[-1] for line in shown.splitlines() if "  method" in line} == {"noise", "prompt"}
    best = [line.split()[1] for line in shown.splitlines() if line.startswith("  best ")]
    assert best
    assert all(Path(path).is_file() for path in best)
    told = json.loads(cli("runs", "show", evaluated, "--json").stdout)["results"]
    assert {one["method"] for one in told} == {"noise", "prompt"}
    assert len(told) == len(best)
    assert all(Path(one["best"]["path"]).is_file() for one in told)


def test_the_report_of_an_evaluations_run_is_the_evaluations_own(cli, evaluated):
    done = cli("runs", "report", evaluated)
    assert done.exit_code == 2
    assert "is the run of an evaluation, and all its searches are in out/report.html" in done.stderr
    assert "`reflectionflow evaluate`" in done.stderr
    assert not {path.name for path in Path(evaluated).iterdir()} & {"best.png", "report.html", "result.json"}


@pytest.mark.parametrize("verb", ["show", "verify", "report"])
def test_a_folder_that_is_no_run_is_one_message(cli, tmp_path, verb):
    done = cli("runs", verb, str(tmp_path))
    assert done.exit_code == 2
    assert "is not a run" in done.stderr
