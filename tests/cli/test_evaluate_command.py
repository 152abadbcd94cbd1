"""`reflectionflow evaluate` and `compare` as people call them: mistakes, dry runs, and the shipped models."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.cli.evaluation_progress import Tally, _Lines, spoken
from reflectionflow.geneval import Clause, Metadata
from reflectionflow.runtime.events import Drafted, RunStarted, Stopped
from reflectionflow.types import Spend, StopReason


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str):
        return CliRunner().invoke(app, list(arguments), prog_name="reflectionflow", catch_exceptions=False)

    return call


SMALL = ("evaluate", "--out", "out", "--limit", "1", "--images", "2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limit", "0"], "limit must be at least 1"),
        (["--images", "0"], "images must be at least 1, not 0"),
        (["--strategies", "nois"], "no strategy 'nois'"),
        (["--strategies", ","], "no strategy to evaluate"),
        (["--benchmark", "scened"], "There is no benchmark 'scened'"),
        (["--stack", "scened"], "did you mean 'scenes'?"),
        (["--stack", "scenes-oracle"], "labelled training data"),
        (["--steps", "0"], "0 denoiser steps paint nothing"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(run, tmp_path, arguments, said):
    done = run(*SMALL, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.startswith("Error: ")
    assert list(tmp_path.iterdir()) == []


def test_prompts_that_no_judge_knows_are_refused(run, tmp_path):
    (tmp_path / "dragon.jsonl").write_text(Metadata("one", "a photo of a dragon", (Clause("dragon"),)).line())
    done = run(*SMALL, "--benchmark", "dragon.jsonl")
    assert done.exit_code == 2
    assert "No judge knows dragon of dragon.jsonl" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_counts_and_paints_nothing(run, tmp_path):
    done = run(*SMALL, "--seeds", "2", "--dry-run", "--seconds-per-image", "0.5", "--price-per-hour", "3600", "--json")
    data = json.loads(done.stdout)
    assert data["pictures"] == data["calls"]["draft"] == data["calls"]["judge"] == 7 * 2 * 2
    assert (data["seconds"], data["money"]) == (14, 14)
    told = run(*SMALL, "--dry-run").stdout
    assert "7 prompts × 1 seeds × 1 methods at budgets of 1, 2" in told
    assert "pass --seconds-per-image" in told
    assert list(tmp_path.iterdir()) == []


def test_comparing_what_is_no_evaluation_is_refused(run, tmp_path):
    done = run("compare", "here", "there")
    assert done.exit_code == 2
    assert "here holds no finished evaluation" in done.stderr
    assert run("compare", "here", "there", "--methods", "noise").exit_code == 2


def test_a_directory_with_other_things_in_it_is_left_alone(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("Dear …")
    done = run(*SMALL)
    assert done.exit_code == 2
    assert "out is no evaluation and not empty (it has report.html)" in done.stderr
    assert (tmp_path / "out" / "report.html").read_text() == "Dear …"


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_directory_that_cannot_be_made_is_refused(run, tmp_path, out):
    (tmp_path / "file").write_text("not a directory")
    done = run("evaluate", "--limit", "1", "--images", "1", "--out", out)
    assert done.exit_code == 2
    assert f"{out}/run cannot be made (Not a directory)" in done.stderr


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 3}', '{"schema_version": 3, "about": {}}'])
def test_damaged_results_are_told(run, tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    done = run("compare", ".", ".")
    assert done.exit_code == 2
    assert "results.json is damaged (" in done.stderr


@pytest.mark.trained
def test_the_shipped_models_are_evaluated_and_compared(run, tmp_path):
    command = (*SMALL, "--split", "validation", "--images", "2", "--steps", "4", "--json")
    done = run(*command)
    assert done.exit_code == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["budgets"] == [1, 2]
    assert data["computed"] == {"draft": 14, "judge": 14}
    assert data["charged"]["noise"]["images"] == 14
    assert set(data["scores"]["noise"]) == {"GenEval's tags", "all tags"}
    assert "Report: out/report.html" in done.stderr
    assert "prompt average" in done.stderr
    assert "Model seconds for one prompt" in done.stderr
    assert [(line["budget"], line["denoiser_evaluations"]) for line in data["costs"]] == [(1, 4.0), (2, 8.0)]
    assert data["against_largest"]["noise"][1]["value"] == 0
    page = (tmp_path / "out" / "report.html").read_bytes()
    again = run(*command, "--quiet")
    assert again.stdout == done.stdout
    assert again.stderr == ""
    assert (tmp_path / "out" / "report.html").read_bytes() == page
    oracle = run(*command[:2], "oracle", *command[3:], "--stack", "scenes-oracle", "--oracle")
    assert json.loads(oracle.stdout)["oracle"] is True
    found = json.loads(run("compare", "out", "oracle", "--json", "--html", "page.html").stdout)
    assert found["comparisons"][0]["oracle"] is True
    assert found["comparisons"][0]["prompts"] == 7
    assert (tmp_path / "page.html").is_file()
    assert "noise (oracle: corrector, reflector, verifier)" in run("compare", "out", "oracle").stdout


def test_the_time_left_comes_from_the_pictures_painted_now():
    seconds = iter(range(0, 1000, 10))
    tally = Tally(searches=4, planned=40, clock=lambda: next(seconds))
    tally(RunStarted("tiny", searches=2, journaled=9))
    assert (tally.done, tally.left) == (20, None)
    tally(Drafted(0, (0, 0), None, cached=True))
    assert tally.left is None
    for slot in range(1, 5):
        tally(Drafted(0, (0, slot), None, cached=False))
    assert tally.done == 25
    assert tally.left == 10 / 4 * 15
    assert [spoken(value) for value in (50, 100, 6000)] == ["50 s", "2 min", "1.7 h"]


def stopped(search):
    return Stopped(search, "id", StopReason.BUDGET, None, None, Spend(), Spend())


def test_a_later_part_counts_its_own_searches_and_time():
    now = [0.0]
    tally = Tally(searches=4, planned=40, clock=lambda: now[0])
    tally(RunStarted("tiny", searches=4, journaled=0))
    now[0] = 1.0
    for slot in range(40):
        assert tally(Drafted(0, (0, slot), None, cached=False))
        assert not tally(stopped(0))
    tally.begin_part()
    now[0] = 100.0
    tally(RunStarted("tiny", searches=8, journaled=40))
    for number in range(2):
        now[0] += 5.0
        assert not tally(Drafted(number, (0, 0), None, cached=False))
        assert tally(stopped(number))
    assert (tally.done, tally.planned, tally.left) == (2, 8, 30.0)
    assert tally.text == "2 of 8 searches, about 30 s left"


def test_every_part_of_an_evaluation_is_told_of_without_a_terminal(capsys):
    lines = _Lines(Tally(searches=1, planned=20))
    lines(RunStarted("tiny", searches=1, journaled=0))
    for slot in range(20):
        lines(Drafted(0, (0, slot), None, cached=False))
    lines.begin_part("The control paints: 2 searches.")
    lines(RunStarted("tiny", searches=2, journaled=20))
    for number in range(2):
        lines(stopped(number))
    told = capsys.readouterr().err.splitlines()
    assert told[20] == "The control paints: 2 searches."
    assert [line.split(",")[0] for line in told[21:]] == ["1 of 2 searches", "2 of 2 searches"]
