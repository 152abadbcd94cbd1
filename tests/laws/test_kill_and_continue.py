"""A run killed by SIGKILL and continued repeats no journaled call and ends as the uninterrupted run does."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import reflectionflow
from reflectionflow.runs import RunDirectory, verify

pytestmark = pytest.mark.kill

ROOT = Path(__file__).parents[2]
SOURCE = Path(reflectionflow.__file__).parents[1]


def drive(folder: Path, *kill: str) -> int:
    command = [sys.executable, "-m", "tests.support.driver", folder / "run", folder / "log", folder / "result", *kill]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=120).returncode


def journaled(folder: Path) -> set[str]:
    if not (folder / "run" / "journal.sqlite").exists():
        return set()
    with RunDirectory.read(folder / "run") as run:
        return {row.id for row in run.calls() if not row.transient}


def painted(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []


def batched(folder: Path) -> list[str]:
    if not (folder / "run" / "run.json").exists() or not (folder / "run" / "journal.sqlite").exists():
        return []
    with RunDirectory.read(folder / "run") as run:
        return [id for event in run.events() if event["kind"] == "batch_started" for id in event["ids"]]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert drive(folder) == 0
    return json.loads((folder / "result").read_text())


def kill_and_continue(folder: Path, kills: list[tuple[str, int]], uninterrupted) -> int:
    """Kill the run at each point in turn, then let it finish; return how many of the kills struck."""
    struck = 0
    for kill in [*kills, None]:
        done, paintings, calls = journaled(folder), len(painted(folder)), len(batched(folder))
        code = drive(folder, *(map(str, kill) if kill else ()))
        assert code in (0, -signal.SIGKILL)
        struck += code != 0
        assert not done.intersection(painted(folder)[paintings:])
        assert not done.intersection(batched(folder)[calls:])
    assert json.loads((folder / "result").read_text()) == uninterrupted
    report = verify(folder / "run")
    assert report.ok, report.problems
    return struck


@pytest.mark.parametrize("what", ["event", "rename", "open"])
def test_a_killed_run_continues_where_its_journal_ends(tmp_path, uninterrupted, what):
    points = {"event": [4, 15, 40, 80], "rename": [2, 5], "open": [1, 3, 6]}[what]
    assert kill_and_continue(tmp_path, [(what, at) for at in points], uninterrupted) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_run_killed_again_and_again_at_random_continues(tmp_path, uninterrupted, seed):
    draw = random.Random(seed)
    kills = [(draw.choice(["event", "event", "rename", "open"]), draw.randint(1, 14)) for _ in range(8)]
    assert kill_and_continue(tmp_path, kills, uninterrupted) >= 4
