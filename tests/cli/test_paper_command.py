"""`reflectionflow paper` as people call it: mistakes, dry runs at both scales, and a whole run of the tiny world."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.support.stacks import PLUGINS, tiny_stack
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.evaluation.paper.methods import MAIN

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str):
        command = ["paper", "--out", "out", "--seeds", "1", *arguments]
        return CliRunner().invoke(app, command, prog_name="reflectionflow", catch_exceptions=False)

    return call


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "0"], "images must be at least 1, not 0"),
        (["--seeds", "0"], "seeds must be from 1 to 10000"),
        (["--stack", "scened"], "did you mean 'scenes'?"),
        (["--stack", "scenes-oracle"], "labelled training data"),
        (["--pick-by", "nobody"], "--pick-by nobody: no model is called 'nobody'"),
        (["--pick-by", "scenes-parts"], "is the verifier of the search"),
        (["--pick-by", "scenes-parts", "--dry-run"], "is the verifier of the search"),
        (["--reflect-by", "scenes-planner", "--dry-run"], "is the reflector of the search"),
        (["--reflect-by", "nobody"], "--reflect-by nobody: no model is called 'nobody'"),
        (["--told-by", "scenes-planner"], "is the reflector of the search"),
        (["--told-by", "nobody", "--dry-run"], "--told-by nobody: no model is called 'nobody'"),
        (["--genref", "nowhere"], "nowhere"),
        (["--genref", "nowhere", "--dry-run"], "nowhere"),
        (["--without", "choises"], "--without choises: choose among figure-2, width-depth, choices."),
        (
            ["--without", "choices", "--told-by", "another-picture"],
            "--told-by is compared with ReflectionFlow ranked by",
        ),
        (["--without", "figure-2", "--reflect-by", "scenes-vlm"], "names reflectors for Figure 2, which --without"),
        (["--control", "scenes-flux", "--dry-run"], "is the generator of the search"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(run, tmp_path, arguments, said):
    done = run("--per-tag", "1", "--composite", "1", "--images", "2", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_makefiles_own_verifiers_beside_the_searchs_are_accepted(run):
    [names] = re.findall(r"^PICK_BY \?= (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    done = run("--per-tag", "1", "--composite", "1", "--images", "2", "--pick-by", names, "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert all(f"Counted in, --pick-by {name}: " in done.stderr for name in names.split(","))


def test_the_full_size_is_counted_where_it_cannot_run(run, tmp_path):
    arguments = ("--stack", "flux-dev", "--images", "4", "--per-tag", "2", "--dry-run", "--price-per-hour", "2")
    done = run(*arguments, "--json")
    data = json.loads(done.stdout)
    methods, prompts = 8, 12
    assert set(data["charged"]) == {
        "noise",
        "noise + prompt",
        "ReflectionFlow",
        "adaptive",
        "latest parent",
        "ranked by score",
        "no reflections",
        "width 1",
    }
    assert sum(spent["images"] for spent in data["charged"].values()) == methods * prompts * 4
    figure_two = 2 * 4 * prompts  # of each first draft one correction, and a new draft
    assert data["pictures"] == data["calls"]["judge"] + figure_two
    assert f"Figure 2 with 1 reflector, as if every first draft failed: at most {figure_two} pictures" in done.stderr
    less = run(*arguments, "--json", "--without", "choices,width-depth,figure-2")
    assert set(json.loads(less.stdout)["charged"]) == set(MAIN)
    assert "Figure 2 with" not in less.stderr
    assert "ranking and reflections is left out, as asked by --without choices." in less.stderr
    assert data["gpu_hours"] == pytest.approx(data["pictures"] * 20.3 / 3600)
    assert data["money"] == pytest.approx(2 * data["gpu_hours"])
    assert "logs of the paper's release" in data["pace"]
    assert "device hours" in run(*arguments).stdout
    assert list(tmp_path.iterdir()) == []


def test_names_are_looked_at_though_the_stack_cannot_be_loaded(run):
    named = ("--pick-by", "nix", "--control", "nope.toml", "--told-by", "another-picture,scenes-clip")
    done = run("--stack", "flux-dev", "--images", "8", "--per-tag", "2", "--dry-run", *named)
    assert done.exit_code == 2
    for said in ("--pick-by nix: no model is called 'nix'", "nope.toml", "--told-by scenes-clip: it has verifier"):
        assert said in done.stderr


def test_all_that_is_named_beside_is_counted_in(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    for name in "abcde":
        tiny_stack(tmp_path / f"{name}.toml")
    arguments = ("--stack", "flux-dev-vlm", "--images", "8", "--per-tag", "2", "--dry-run", "--price-per-hour", "2")
    data = json.loads(run(*arguments, "--json").stdout)
    named = ("--pick-by", "a.toml,b.toml", "--control", "c.toml", "--told-by", "another-picture,d.toml")
    done = run(*arguments, *named, "--reflect-by", "e.toml", "--json")
    more, prompts = json.loads(done.stdout), 12
    control, speaking, critic = 8 * prompts, 2 * (8 - 4) * prompts, 4 * prompts
    assert {kind: more["calls"][kind] - data["calls"][kind] for kind in ("draft", "correct", "judge", "reflect")} == {
        "draft": control,
        "correct": speaking + critic,
        "judge": 2 * 8 * prompts + control + speaking,
        "reflect": speaking + critic,
    }
    assert more["charged"] == data["charged"]
    assert more["gpu_hours"] == pytest.approx(more["pictures"] * 20.3 / 3600)
    assert more["money"] == pytest.approx(2 * more["gpu_hours"])
    told = [line for line in done.stderr.splitlines() if line.startswith("Counted in, ")]
    assert [line.split(":")[0] for line in told] == [
        "Counted in, --pick-by a.toml",
        "Counted in, --pick-by b.toml",
        "Counted in, Figure 2 with 2 reflectors, as if every first draft failed",
        "Counted in, --control c.toml",
        "Counted in, --told-by another-picture",
        "Counted in, --told-by d.toml",
    ]
    assert "paints nothing, so a pace given per picture leaves it out" in told[0]


def test_the_tiny_world_from_the_command_line(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    path = tiny_stack(tmp_path / "tiny.toml", refiner=None)
    path.write_text(path.read_text() + "[defaults]\nwidth = 128\nheight = 128\n")
    arguments = ("--stack", str(path), "--benchmark", "scenes", "--per-tag", "1", "--composite", "1", "--images", "2")
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["left_out"][0] == f"noise + prompt is left out: the stack {path} has no refiner."
    assert "Figure 1 is left out: no data set was named; --genref DIR shows one." in data["left_out"]
    assert "figure-2" in data["exhibits"]
    assert "choices" in data["exhibits"]
    assert "Tables and figures: out/paper.html" in done.stderr
    assert (tmp_path / "out" / "report.html").is_file()
    record = json.loads((tmp_path / "out" / "paper.json").read_text())
    assert record["command"] == (
        f"reflectionflow paper --stack {path} --benchmark scenes --split test --per-tag 1 --composite 1 --images 2 "
        "--seeds 1 --seed 0 --out out"
    )
    again = run(*arguments, "--json", "--quiet")
    assert (again.stdout, again.stderr) == (done.stdout, "")
