"""Fixtures every test may use: the example third-party package, really installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "plugins" / "reflectionflow_example"
SOURCE = Path(__file__).parent.parent / "src"


def pytest_configure() -> None:
    """Let child processes hear Ctrl-C; started in the background, they would inherit that it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def example_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example package into a folder of its own, without network, and return the folder."""
    folder = tmp_path_factory.mktemp("example")
    copy, target = folder / "source", folder / "site"
    shutil.copytree(EXAMPLE, copy)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*command, "--target", str(target), str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def example(example_package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the example package importable, here and in child processes."""
    monkeypatch.syspath_prepend(str(example_package))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(example_package), str(SOURCE)]))
    return example_package


@pytest.fixture
def example_stack(example: Path, tmp_path: Path) -> Path:
    """Return a stack file of the example package's models."""
    path = tmp_path / "discs.toml"
    path.write_text(STACK, encoding="utf-8")
    return path


STACK = """
name = "discs"
description = "Discs, the bright ones first"

[defaults]
width = 64
height = 64

[generator]
model = "example-discs"

[verifier]
model = "example-brightness"
"""
