"""An evaluation killed by SIGKILL and continued pays nothing twice and ends with the bytes of one that was not."""

from __future__ import annotations

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
FILES = ("results.json", "results.csv", "report.md", "report.html")


def drive(folder: Path, *kill: object) -> int:
    command = [sys.executable, "-m", "tests.support.evaluating", folder / "out", folder / "log", *map(str, kill)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=300).returncode


def journaled(folder: Path) -> set[str]:
    if not (folder / "out" / "run" / "journal.sqlite").exists():
        return set()
    with RunDirectory.read(folder / "out" / "run") as run:
        return {row.id for row in run.calls()}


def painted(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert drive(folder) == 0
    return {name: (folder / "out" / name).read_bytes() for name in FILES}


def kill_and_continue(folder: Path, kills: list[tuple[str, int]], uninterrupted: dict[str, bytes]) -> None:
    """Kill the evaluation at each point in turn, then let it finish."""
    for kill in [*kills, ()]:
        known, before = journaled(folder), len(painted(folder))
        assert drive(folder, *kill) == (-signal.SIGKILL if kill else 0)
        assert not known.intersection(painted(folder)[before:])
    assert {name: (folder / "out" / name).read_bytes() for name in FILES} == uninterrupted
    assert verify(folder / "out" / "run").ok


def test_a_killed_evaluation_continues_and_ends_with_the_same_bytes(tmp_path, uninterrupted):
    kill_and_continue(tmp_path, [("event", 40), ("rename", 9), ("open", 12), ("page", 4)], uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_an_evaluation_killed_at_random_continues(tmp_path, uninterrupted, seed):
    draw = random.Random(seed)
    kills = [(draw.choice(["event", "rename"]), draw.randint(1, 9)) for _ in range(6)]
    kill_and_continue(tmp_path, kills, uninterrupted)
