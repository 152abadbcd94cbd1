from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.types import Recipe

PROMPT = "a photo of three discs"
SPEND = ["images", "denoiser_evaluations", "verifier_calls", "reflector_calls", "refiner_calls", "tokens", "seconds"]


@pytest.fixture
def run(example_stack, tmp_path, monkeypatch):
    """Return a function that runs `generate` with the example stack, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str):
        command = ["generate", "--stack", str(example_stack), *arguments]
        return CliRunner().invoke(app, command, prog_name="reflectionflow", catch_exceptions=False)

    return call


def test_the_best_of_several_pictures_is_kept_with_its_report(run):
    done = run(PROMPT, "--images", "6", "--out", "out", "--json")
    assert done.exit_code == 0
    data = json.loads(done.stdout)
    assert list(data) == ["best", "spend", "paid", "stop", "failed", "run"]
    assert list(data["spend"]) == list(data["paid"]) == SPEND
    assert data["spend"]["images"] == data["paid"]["images"] == data["spend"]["verifier_calls"] == 6
    assert data["spend"]["denoiser_evaluations"] == 24
    assert data["best"]["path"] == "out/best.png"
    assert data["run"] == "out"
    for name in ("best.png", "contact-sheet.png", "report.html", "result.json", "run.json"):
        assert (Path("out") / name).is_file()
    assert json.loads(Path("out/result.json").read_text()) == data


def test_the_best_picture_carries_the_recipe_that_repeats_it(run):
    data = json.loads(run(PROMPT, "--images", "3", "--out", "out", "--json").stdout)
    with Image.open("out/best.png") as picture:
        info = picture.info
        assert picture.size == (64, 64)  # the stack's default
    assert info["prompt"] == PROMPT
    assert Recipe.from_json(json.loads(info["recipe"])).id == info["candidate"] == data["best"]["candidate"]
    assert float(info["score"]) == data["best"]["score"]


def test_the_same_command_pays_nothing_and_gives_the_same_picture(run):
    first = json.loads(run(PROMPT, "--images", "5", "--json").stdout)
    picture = Path(first["best"]["path"]).read_bytes()
    second = json.loads(run(PROMPT, "--images", "5", "--json").stdout)
    assert second["best"] == first["best"]
    assert {**second["spend"], "seconds": 0} == {**first["spend"], "seconds": 0}
    assert set(second["paid"].values()) == {0}
    assert Path(first["best"]["path"]).read_bytes() == picture


def test_the_default_directory_is_named_by_what_is_asked_and_not_by_the_budget(run):
    folder = json.loads(run(PROMPT, "--images", "2", "--json").stdout)["run"]
    assert re.fullmatch(r"runs/a-photo-of-three-discs-[0-9a-f]{8}", folder)
    more = json.loads(run(PROMPT, "--images", "4", "--json").stdout)
    assert more["run"] == folder
    assert more["paid"]["images"] == 2
    assert more["spend"]["images"] == 4
    assert json.loads(run(PROMPT, "--images", "2", "--seed", "1", "--json").stdout)["run"] != folder


def test_a_larger_budget_is_never_worse(run):
    scores = [json.loads(run(PROMPT, "--images", str(n), "--json").stdout)["best"]["score"] for n in (1, 3, 8)]
    assert scores == sorted(scores)


def test_size_steps_and_guidance_reach_the_recipe(run):
    run(PROMPT, "--images", "1", "--size", "96x48", "--steps", "7", "--guidance", "2.5", "--out", "out")
    with Image.open("out/best.png") as picture:
        recipe = json.loads(picture.info["recipe"])
    assert [recipe[name] for name in ("width", "height", "steps", "guidance")] == [96, 48, 7, 2.5]


def test_several_prompts_get_a_folder_and_a_result_each(run, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a red disc\n\n# a remark\na blue disc\na red disc\n", encoding="utf-8")
    done = run("--prompts", str(file), "--images", "2", "--out", "out", "--json")
    assert done.exit_code == 0
    results = json.loads(done.stdout)["results"]
    assert [item["prompt"] for item in results] == ["a red disc", "a blue disc", "a red disc"]
    assert [item["run"] for item in results] == ["out/001-a-red-disc", "out/002-a-blue-disc", "out/001-a-red-disc"]
    assert all(Path(item["best"]["path"]).is_file() for item in results)
    assert json.loads(Path("out/result.json").read_text()) == {"results": results}


def test_prompts_as_arguments_are_searched_together(run):
    results = json.loads(run("a red disc", "a blue disc", "--images", "2", "--json").stdout)["results"]
    assert [item["prompt"] for item in results] == ["a red disc", "a blue disc"]


def test_a_file_with_one_prompt_still_gives_a_list(run, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a red disc\n", encoding="utf-8")
    assert len(json.loads(run("--prompts", str(file), "--images", "1", "--json").stdout)["results"]) == 1


def test_people_read_on_stderr_and_programs_on_stdout(run):
    done = run(PROMPT, "--images", "4", "--json")
    assert len(done.stdout.splitlines()) == 1
    assert "4 of 4 pictures painted, 4 judged, best score 0." in done.stderr
    assert "The strategy finished" in done.stderr or "The budget was used up." in done.stderr
    assert "Best picture: runs/" in done.stderr
    assert "\x1b" not in done.stderr  # nothing animated without a terminal


def test_quiet_says_nothing(run):
    done = run(PROMPT, "--images", "2", "--quiet")
    assert done.exit_code == 0
    assert done.stdout == done.stderr == ""


def test_a_search_in_which_nothing_can_be_painted_exits_with_1_and_the_reasons(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "plugins"))
    path = tmp_path / "broken.toml"
    path.write_text(
        'name = "broken"\ndescription = "fails"\n[generator]\nmodel = "odd_models:REFUSING"\n'
        '[verifier]\nmodel = "example-brightness"\n'
    )
    done = run(PROMPT, "--images", "3", "--stack", str(path), "--json", "--out", "out")
    data = json.loads(done.stdout)
    assert done.exit_code == 1
    assert data["best"] is None
    assert data["stop"] == "failed"
    assert data["spend"]["images"] == 3
    assert done.stderr.count("The paint has dried out.") == 1
    assert not Path("out/best.png").exists()
    assert "The paint has dried out." in Path("out/report.html").read_text()


def test_a_programming_error_keeps_its_traceback_and_says_that_the_run_is_kept(example, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "plugins"))
    path = tmp_path / "broken.toml"
    path.write_text(
        'name = "broken"\ndescription = "fails"\n[generator]\nmodel = "odd_models:BUGGY"\n'
        '[verifier]\nmodel = "example-brightness"\n'
    )
    command = ["generate", PROMPT, "--images", "1", "--stack", str(path), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, command, prog_name="reflectionflow")
    assert isinstance(done.exception, ZeroDivisionError)
    assert "the same command continues there" in done.stderr


def test_the_module_runs_as_a_program(example_stack, tmp_path):
    command = [sys.executable, "-m", "reflectionflow", "generate", PROMPT, "--images", "2", "--json"]
    command += ["--stack", str(example_stack), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout)["spend"]["images"] == 2


def test_a_complete_run_is_told_without_progress(run):
    run(PROMPT, "--images", "4")
    done = run(PROMPT, "--images", "4")
    assert "(continued; calls already done: 8)" in done.stderr
    assert "judged, best score" not in done.stderr
    assert "4 pictures, 0 of them now" in done.stderr


def test_on_a_terminal_a_bar_shows_pictures_score_and_time_left(example_stack, tmp_path):
    command = [sys.executable, "-m", "reflectionflow", "generate", PROMPT, "--images", "6", "--json"]
    command += ["--stack", str(example_stack), "--out", str(tmp_path / "out")]
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        wide = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=wide)
        os.close(theirs)
        shown = b"".join(_until_closed(screen)).decode()
        out, _ = process.communicate()
    assert json.loads(out)["spend"]["images"] == 6
    assert "6 of 6 pictures painted, 6 judged, best score 0." in shown
    assert re.search(r"\d:\d\d:\d\d\S* left", shown)
    assert "\x1b[2K" in shown  # the bar is redrawn in its place


def _until_closed(screen) -> Iterator[bytes]:
    """Yield what a terminal shows until its last writer is gone (which Linux reports as an error)."""
    with suppress(OSError):
        while part := screen.read(4096):
            yield part
