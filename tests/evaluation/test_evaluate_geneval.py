"""`reflectionflow evaluate` judged by GenEval's own classes of networks: tiny random ones, pictures really painted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

import reflectionflow
from reflectionflow.cli import app
from reflectionflow.evaluation.benchmarks import Benchmark, benchmark
from reflectionflow.evaluation.geneval import CLIP, official_judge
from reflectionflow.evaluation.judges import Kind, kind_for
from reflectionflow.evaluation.results import read_results
from reflectionflow.evaluation.revision import rules_revision
from reflectionflow.geneval import Clause, Metadata
from reflectionflow.models.fingerprint import identity, kinship
from reflectionflow.runs import RunDirectory, verify
from tests.support.geneval import tiny_clip, tiny_mask2former
from tests.support.judged_by_geneval import PROMPTS, own_prompts, painting_stack
from tests.support.stacks import PLUGINS, ROOT

SOURCE = Path(reflectionflow.__file__).parents[1]
FILES = ("results.json", "results.csv", "report.md", "report.html")
ASKED = ("--strategies", "noise,reflection", "--images", "3")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return tiny_mask2former(folder / "tiny-mask2former"), tiny_clip(folder / "tiny-clip")


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Work in an empty directory, with the tiny world's models known, and no cache of a hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no-hub"))
    return tmp_path


def networks(weights):
    return ("--detector", str(weights[0]), "--clip", str(weights[1]), "--judge-device", "cpu")


def call(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)], prog_name="reflectionflow", catch_exceptions=False)


def evaluated(folder, weights):
    """Return the arguments of the evaluation that the tests of this file carry out in a folder."""
    stack, prompts = painting_stack(folder / "tiny.toml", folder / "log"), own_prompts(folder / "mine.jsonl")
    return (
        *("evaluate", "--stack", str(stack), "--benchmark", str(prompts), *ASKED, *networks(weights)),
        *("--out", str(folder / "out")),
    )


@pytest.fixture(scope="module")
def finished(weights, tmp_path_factory):
    """Evaluate once without interruption; return the directory, and what the command said."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGINS))
        done = call(*evaluated(folder, weights), "--json")
    assert done.exit_code == 0, done.stderr
    return folder, done


def decisions_of(folder):
    """Return every decision that is kept: judge, question and picture, and what was decided."""
    path = folder / "out" / "decisions.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT judge, question, image, correct, reason FROM decisions ORDER BY 1, 2, 3").fetchall()


def test_the_whole_way_from_prompts_to_report(finished, weights):
    folder, done = finished
    told, results = json.loads(done.stdout), read_results(folder / "out")
    judge = official_judge(*map(str, weights), "cpu")
    named = f"{judge.name} + rules@{rules_revision()}"
    assert told["judge"] == results.about.judge == named
    assert judge.name == f"{identity(weights[0])} + {identity(weights[1])}"
    assert named in (folder / "out" / "report.html").read_text()
    assert results.about.benchmark == "mine.jsonl"
    assert results.prompts == PROMPTS
    kept = {(reason, correct) for _, _, _, correct, reason in decisions_of(folder)}
    assert {correct for _, correct in kept} == {0, 1}
    assert all(bool(reason) != bool(correct) for reason, correct in kept)
    assert {name for name, *_ in decisions_of(folder)} == {named}
    with RunDirectory.read(folder / "out" / "run") as run:
        for row in results.rows:
            for item in row.outcomes:
                decision = judge.judge([run.images.load(item.picture)], [PROMPTS[row.prompt]])[0]
                assert (item.correct, item.reason) == (decision.correct, decision.reason)


def test_the_same_command_again_asks_nobody(finished, weights, world):
    folder, done = finished
    before = {name: (folder / "out" / name).read_bytes() for name in FILES}
    painted, decided = (folder / "log").read_text(), decisions_of(folder)
    again = call(*evaluated(folder, weights), "--json", "--quiet")
    assert (again.exit_code, again.stdout, again.stderr) == (0, done.stdout, "")
    assert {name: (folder / "out" / name).read_bytes() for name in FILES} == before
    assert ((folder / "log").read_text(), decisions_of(folder)) == (painted, decided)
    assert "differ on 0 of 3 searches" in call("compare", folder / "out", folder / "out").stdout


@pytest.mark.kill
def test_killed_and_continued_it_ends_like_one_that_was_not(finished, weights, world):
    command = [sys.executable, "-m", "tests.support.judged_by_geneval", "asked"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, PLUGINS, SOURCE)))}
    decided = []
    for what, at in (("rename", 4), ("decide", 3), ("never", 0)):
        arguments = [*command, what, str(at), *evaluated(world, weights), "--quiet"]
        done = subprocess.run(arguments, env=environment, check=False, capture_output=True, text=True, timeout=600)
        assert done.returncode == (0 if what == "never" else -signal.SIGKILL), done.stderr
        decided.append(len(decisions_of(world)))
    asked = (world / "asked").read_text().splitlines()
    assert decided[0] <= 3  # no more pictures were there
    assert decided[0] + 2 == decided[1] < decided[2] == len(set(asked))
    assert len(asked) - len(set(asked)) <= 1  # only the picture that was being looked at when the painter died
    assert decisions_of(world) == decisions_of(finished[0])
    for name in FILES:
        # The stacks of the two lie in different folders, and are named by their files.
        mine, theirs = ((home / "out" / name).read_text().replace(str(home), "") for home in (world, finished[0]))
        assert mine == theirs
    assert verify(world / "out" / "run").ok


def test_another_judge_decides_again_and_paints_nothing(finished, weights, world):
    folder = finished[0]
    shutil.copytree(folder / "out", world / "out")
    other = tiny_clip(world / "other-clip", seed=7)
    arguments = [str(other) if argument == str(weights[1]) else argument for argument in evaluated(folder, weights)]
    painted = (folder / "log").read_text()
    done = call(*arguments[:-1], world / "out", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert (folder / "log").read_text() == painted
    assert len({name for name, *_ in decisions_of(world)}) == 2
    refused = call("compare", folder / "out", world / "out")
    assert refused.exit_code == 2
    assert "so that one judge decides about both" in refused.stderr


def test_a_verifier_with_the_judges_weights_is_an_oracle(weights, world):
    twin = shutil.copytree(weights[1], world / "under-another-name")
    stack = painting_stack(world / "clip.toml", world / "log", f'model = "clip"\ncheckpoint = "{twin}"')
    command = ("evaluate", "--stack", stack, "--benchmark", own_prompts(world / "mine.jsonl"), "--out", "out")
    done = call(*command, *networks(weights))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "has the same weights as a network of the judge" in done.stderr
    assert not (world / "out").exists()
    assert call(*command, *networks(weights), "--oracle", "--dry-run").exit_code == 0
    other = tiny_clip(world / "other", seed=7)
    assert call(*command, *networks((weights[0], other)), "--dry-run").exit_code == 0


def test_weights_are_known_by_their_content_and_by_their_name_on_the_hub(weights, tmp_path):
    twin = shutil.copytree(weights[1], tmp_path / "twin")
    (twin / "README.json").write_text("{}")
    assert identity(twin) != identity(weights[1])
    assert kinship(twin) == kinship(weights[1])
    assert not kinship(twin) & kinship(weights[0])
    assert kinship(twin, CLIP) == kinship(twin) | {f"weights:{CLIP}"}
    assert kinship(tmp_path, CLIP) == {f"weights:{CLIP}"}


def test_the_shipped_stack_with_clip_is_refused_before_anything_is_there(world):
    done = call("evaluate", "--stack", "flux-dev-clip", "--benchmark", "geneval", "--out", "out", "--dry-run")
    assert done.exit_code == 2
    assert "clip has the same weights as a network of the judge" in done.stderr


def test_the_full_size_is_counted_where_it_cannot_run(world):
    command = ("evaluate", "--stack", "flux-dev", "--benchmark", "geneval", "--out", "out")
    done = call(*command, "--strategies", "noise,reflection", "--images", "32", "--dry-run", "--json")
    data = json.loads(done.stdout)
    assert data["charged"]["noise"]["images"] == data["charged"]["reflection"]["images"] == 553 * 32
    assert data["searches"] == 2 * 553
    assert data["gpu_hours"] == pytest.approx(data["pictures"] * 20.3 / 3600)
    assert "The judge cannot judge here; counting does not need it." in done.stderr
    assert not (world / "out").exists()


def test_all_that_is_missing_is_told_before_anything_is_painted(world):
    done = call("evaluate", "--stack", "flux-dev-vlm", "--benchmark", "geneval", "--out", "out")
    assert (done.exit_code, done.stdout) == (2, "")
    for name in ("mask2former-swin-small-coco-instance", "clip-vit-large-patch14", "FLUX.1-dev", "FLUX-Corrector"):
        assert f"{name} is not downloaded" in done.stderr
    assert list(world.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--benchmark", "geneval", "--detector", "nowhere"], "there is no folder nowhere"),
        (["--benchmark", "geneval", "--judge-device", "gpu"], "there is no device 'gpu'"),
        (["--benchmark", "geneval", "--split", "validation"], "Only scenes has a part 'validation'"),
        (["--benchmark", "scenes", "--clip", "x", "--download"], "leave --clip and --download out"),
        (["--benchmark", "GenEval"], "There is no benchmark 'GenEval' (No such file or directory)"),
        (["--benchmark", "."], "There is no benchmark '.' (Is a directory)"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(world, arguments, said):
    done = call("evaluate", "--out", "out", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert list(world.iterdir()) == []


def test_a_device_that_is_not_there_is_refused_before_anything_is_painted(weights, world):
    arguments = [item if item != "cpu" else "cuda:64" for item in evaluated(world, weights)]
    done = call(*arguments)
    assert done.exit_code == 2
    assert "the device 'cuda:64' is not there" in done.stderr
    assert not (world / "out").exists()


def asking_for(*names):
    return Benchmark("mine.jsonl", tuple(Metadata("x", f"a photo of {name}", (Clause(name),)) for name in names))


def test_the_objects_decide_who_judges():
    assert kind_for(benchmark("geneval")) is Kind.GENEVAL
    assert kind_for(benchmark("scenes", limit=1)) is Kind.SCENES
    assert kind_for(asking_for("tv remote")) is Kind.GENEVAL
    assert kind_for(asking_for("fish")) is Kind.SCENES


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("dragon", "bench"), "No judge knows dragon of mine.jsonl"),
        (("a", "b", "c", "d", "e", "f"), "No judge knows a, b, c, d, e and 1 more of"),
        (("fish", "bench"), "that of Scenes does not know bench, that of GenEval does not know fish; make two files"),
    ],
)
def test_objects_that_no_judge_knows_are_refused(names, said):
    with pytest.raises(reflectionflow.errors.MisuseError, match=said):
        kind_for(asking_for(*names))


def test_the_prompts_of_the_docs_are_a_benchmark(tmp_path):
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in page.splitlines() if line.startswith('    {"tag"')]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    found = benchmark(str(tmp_path / "mine.jsonl"))
    assert len(found.items) == len(lines) > 1
    assert kind_for(found) is Kind.GENEVAL
