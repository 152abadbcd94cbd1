"""`generate` with prompt-level and reflection-level search, from the command line and from Python."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.support.stacks import PLUGINS, tiny_stack
from typer.testing import CliRunner

import reflectionflow as rf
from reflectionflow import stack
from reflectionflow.cli import app
from reflectionflow.errors import MisuseError
from reflectionflow.runs import RunDirectory, verify
from reflectionflow.search.reflection import REFLECTION

PROMPT = "a red star"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(PLUGINS))
    return tiny_stack(tmp_path / "tiny.toml")


@pytest.fixture
def run(tiny):
    def call(*arguments: str):
        command = ["generate", PROMPT, "--stack", str(tiny), *arguments]
        return CliRunner().invoke(app, command, prog_name="reflectionflow", catch_exceptions=False)

    return call


def steps(folder):
    with RunDirectory.read(folder) as directory:
        return directory.results()[0].result.steps


def test_reflection_from_the_command_line(run):
    chains = ("--images", "9", "--width", "3", "--drafts", "3", "--refine")
    done = run("--strategy", "reflection", *chains, "--json", "--out", "out")
    data = json.loads(done.stdout)
    assert done.exit_code == 0
    assert data["spend"]["images"] == 9
    assert data["spend"]["refiner_calls"] == 6
    assert 6 <= data["spend"]["reflector_calls"] <= 9, "every picture that may be corrected is looked at, none twice"
    assert data["stop"] == "budget"
    assert "9 of 9 pictures painted, 9 judged" in done.stderr
    assert [step.place for step in steps("out")][3:6] == [(1, 0), (1, 1), (1, 2)]


def test_a_search_without_a_picture_to_correct_with_says_so(run):
    told = "All 4 pictures will be first drafts, of which reflection wants 4, and none is corrected; ask for more with"
    assert f"{told} --images 5" in run("--strategy", "reflection", "--images", "4", "--out", "few").stderr
    assert "first drafts" not in run("--strategy", "reflection", "--images", "5", "--out", "more").stderr
    assert "first drafts" not in run("--strategy", "noise", "--images", "1", "--out", "noise").stderr


def test_the_flags_reach_the_search(run):
    run(
        "--strategy", "reflection", "--no-refine", "--no-reflect", "--parent", "latest", "--images", "8", "--out", "out"
    )
    found = steps("out")
    assert all(step.refined is None and step.reflection is None for step in found)
    by_id = {step.candidate.id: step.place for step in found}
    corrected = [step for step in found if step.place[0] > 1]
    assert all(by_id[step.candidate.recipe.parent] == (step.place[0] - 1, step.place[1]) for step in corrected)


def test_reflections_that_all_fail_are_told_everywhere(tmp_path, tiny):
    path = tiny_stack(tmp_path / "mute.toml", reflector="UNABLE", refiner="UNABLE")
    asked = ["--stack", str(path), "--strategy", "reflection", "--refine", "--images", "6", "--json", "--out", "out"]
    done = CliRunner().invoke(app, ["generate", PROMPT, *asked], prog_name="reflectionflow", catch_exceptions=False)
    assert done.exit_code == 0, "a picture was found"
    reason = "No words came."
    data = json.loads(done.stdout)
    count = data["spend"]["reflector_calls"]
    assert count > 2
    assert data["failed"] == {"reflections": {"failed": count, "asked": count, "reason": reason}}
    assert json.loads(Path("out/result.json").read_text())["failed"] == data["failed"]
    sentence = f"{count} of {count} reflections failed: {reason}"
    assert sentence in done.stderr.split("The budget was used up.")[1]
    assert f"best score {data['best']['score']:.4f}, {count} reflections failed" in done.stderr
    shown = CliRunner().invoke(app, ["runs", "show", "out"], prog_name="reflectionflow").stdout
    assert f"failed {sentence}" in shown
    assert sentence in Path("out/report.html").read_text()
    assert rf.generate(PROMPT, strategy="reflection", refine=True, images=6, stack=path, out="out").failures == (
        sentence,
    )


def test_refinements_that_all_fail_are_told_and_a_search_without_failures_says_nothing(run, tmp_path, tiny):
    done = run("--strategy", "reflection", "--images", "6", "--json")
    assert json.loads(done.stdout)["failed"] == {}
    assert "failed" not in done.stderr
    path = tiny_stack(tmp_path / "mute.toml", refiner="UNABLE")
    asked = ["--stack", str(path), "--strategy", "prompt", "--images", "5", "--json"]
    done = CliRunner().invoke(app, ["generate", PROMPT, *asked], prog_name="reflectionflow", catch_exceptions=False)
    failed = json.loads(done.stdout)["failed"]
    assert failed["refinements"]["failed"] == failed["refinements"]["asked"] > 0
    assert "refinements failed: No words came." in done.stderr


@pytest.mark.parametrize("reflector", ["WORDY", "RAMBLING"])
def test_edits_that_the_corrector_left_out_are_marked_wherever_the_story_is_told(tmp_path, tiny, reflector):
    path = tiny_stack(tmp_path / "short.toml", corrector="TERSE", reflector=reflector)
    asked = ["--stack", str(path), "--strategy", "reflection", "--images", "6", "--out", "out"]
    done = CliRunner().invoke(app, ["generate", PROMPT, *asked], prog_name="reflectionflow", catch_exceptions=False)
    assert done.exit_code == 0
    corrected = [step.candidate for step in steps("out") if step.candidate.recipe.parent]
    assert {candidate.left_out for candidate in corrected} == {("add a blue heart", "remove the moon")}
    shown = CliRunner().invoke(app, ["runs", "show", "out"], prog_name="reflectionflow").stdout
    assert re.search(r"criticised +make it brighter +\n +add a blue heart \(left out\) +\n", shown)
    assert "Left out: more than the corrector reads at once." in shown
    page = Path("out/report.html").read_text()
    assert '<li>add a blue heart <span class="warn">(left out)</span></li>' in page
    assert "<li>make it brighter</li>" in page
    told = json.loads(CliRunner().invoke(app, ["runs", "show", "out", "--json"], prog_name="reflectionflow").stdout)
    pictures = [picture for picture in told["pictures"] if picture["origin"]]
    assert len(pictures) == len(corrected)
    assert {tuple(picture["left_out"]) for picture in pictures} == {("add a blue heart", "remove the moon")}
    assert pictures[0]["criticised"] == ["make it brighter", "add a blue heart", "remove the moon"]
    again = CliRunner().invoke(app, ["generate", PROMPT, *asked], prog_name="reflectionflow", catch_exceptions=False)
    assert "0 of them now" in again.stderr
    assert [step.candidate for step in steps("out") if step.candidate.recipe.parent] == corrected
    assert verify("out").ok


def test_accept_ends_a_search_early(run):
    data = json.loads(run("--strategy", "reflection", "--images", "16", "--accept", "0.1", "--json").stdout)
    assert data["stop"] == "accepted"
    assert data["spend"]["images"] == 4


def test_a_shipped_strategy_file_brings_its_number_of_images(run):
    data = json.loads(run("--strategy", "release", "--drafts", "4", "--images", "6", "--json").stdout)
    assert data["spend"]["images"] == 6
    whole = json.loads(run("--strategy", "release", "--drafts", "60", "--json").stdout)
    assert whole["spend"]["images"] == 64


def test_a_larger_budget_continues_a_search_in_chains(run):
    first = json.loads(run("--strategy", "prompt", "--width", "2", "--images", "4", "--json").stdout)
    second = json.loads(run("--strategy", "prompt", "--width", "2", "--images", "8", "--json").stdout)
    assert second["run"] == first["run"]
    assert second["paid"]["images"] == 4
    assert second["best"]["score"] >= first["best"]["score"]


def test_the_report_names_the_command_that_repeats_the_search(run):
    arguments = ["--strategy", "reflection", "--images", "6", "--size", "24x16", "--width", "1", "--no-refine"]
    assert run(*arguments, "--out", "out").exit_code == 0
    with RunDirectory.read("out") as directory:
        from reflectionflow.report.files import command_line

        command = shlex.split(command_line(directory.spec.passed))
    assert command[:3] == ["reflectionflow", "generate", PROMPT]
    with Image.open("out/best.png") as picture:
        assert picture.size == (24, 16)
    again = CliRunner().invoke(app, [*command[1:], "--json"], prog_name="reflectionflow")
    assert json.loads(again.stdout)["paid"]["images"] == 0


def test_a_missing_role_is_refused_before_anything_loads(tiny, tmp_path, monkeypatch):
    import tiny_world

    def load(options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(tiny_world, "PAINTER", replace(tiny_world.PAINTER, load=load))
    path = tiny_stack(tmp_path / "bare.toml", corrector=None, reflector=None)
    command = ["generate", PROMPT, "--stack", str(path), "--strategy", "reflection"]
    done = CliRunner().invoke(app, command, prog_name="reflectionflow", catch_exceptions=False)
    assert done.exit_code == 2
    assert "The strategy reflection needs a corrector" in done.stderr
    assert "The strategy reflection needs a reflector" in done.stderr
    assert not Path("runs").exists()


def test_without_a_refiner_refinement_is_off_unless_it_is_asked_for(tmp_path, tiny):
    path = tiny_stack(tmp_path / "plain.toml", refiner=None)
    command = ["generate", PROMPT, "--stack", str(path), "--strategy", "reflection", "--images", "6", "--json"]
    done = CliRunner().invoke(app, command, prog_name="reflectionflow", catch_exceptions=False)
    assert json.loads(done.stdout)["spend"]["refiner_calls"] == 0
    done = CliRunner().invoke(app, [*command, "--refine"], prog_name="reflectionflow")
    assert done.exit_code == 2
    assert "needs a refiner" in done.stderr


def searched(folder) -> tuple[str, str]:
    """Return the strategy as the command that repeats a run names it, and the one that was searched by."""
    with RunDirectory.read(Path(folder)) as directory:
        return directory.spec.passed["strategy"], directory.results()[0].result.strategy


def test_a_stack_says_what_is_done_when_nobody_names_a_strategy(tmp_path, tiny):
    usual, wrong = tmp_path / "usual.toml", tmp_path / "wrong.toml"
    usual.write_text(tiny.read_text() + '\n[defaults]\nstrategy = "prompt"\n')
    wrong.write_text(tiny.read_text() + '\n[defaults]\nstrategy = "promt"\n')

    def call(path, *arguments):
        command = ["generate", PROMPT, "--stack", str(path), "--images", "3", *arguments]
        return CliRunner().invoke(app, command, prog_name="reflectionflow", catch_exceptions=False)

    assert call(tiny, "--out", "silent").exit_code == 0
    assert searched("silent") == ("noise", "noise")
    assert call(usual, "--out", "said").exit_code == 0
    assert searched("said") == ("prompt", "prompt")
    assert call(usual, "--strategy", "noise", "--out", "asked").exit_code == 0
    assert searched("asked") == ("noise", "noise")
    for number, given in enumerate((usual, stack.load(usual))):
        assert searched(rf.generate(PROMPT, images=3, stack=given, out=str(number)).run) == ("prompt", "prompt")
    refused = call(wrong)
    assert refused.exit_code == 2
    assert "'promt'" in refused.stderr
    misspelled = call("scnes", "--drafts", "2")
    assert misspelled.exit_code == 2
    assert "there is no stack 'scnes'" in misspelled.stderr, "not that noise takes no drafts"
    assert stack.read("scenes").defaults.strategy == "adaptive"


def test_python_takes_the_same(tiny):
    result = rf.generate(
        PROMPT, strategy="reflection", images=8, chains=1, drafts=2, parent="latest", refine=False, size=24, stack=tiny
    )
    assert result.spend.images == 8
    assert {step.place[1] for step in result.steps[2:]} == {0}
    assert (result.best.candidate.width, result.best.candidate.height) == (24, 24)
    same = REFLECTION.configured(width=1, drafts=2, parent="latest", refine=False)
    again = rf.generate(PROMPT, strategy=same, images=8, size=(24, 24), stack=tiny)
    assert again.run == result.run
    assert again.paid.images == 0


def test_python_refuses_what_the_command_line_refuses(tiny):
    with pytest.raises(MisuseError, match=r"in Python: size=\(width, height\)"):
        rf.generate(PROMPT, strategy="reflection", chains=512, stack=tiny)
    with pytest.raises(MisuseError, match="comes with its options"):
        rf.generate(PROMPT, strategy=REFLECTION.configured(), drafts=2, stack=tiny)
    with pytest.raises(MisuseError, match=r"2 things are wrong:\n.*images must be at least 1.*\n.*takes no options"):
        rf.generate(PROMPT, images=0, drafts=2, stack=tiny)
