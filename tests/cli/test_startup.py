from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL", "jinja2")


def _modules_imported_by(*arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    command = [sys.executable, "-X", "importtime", "-m", "reflectionflow", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done, {line.rsplit("|", 1)[1].strip() for line in lines}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--help",),
        ("generate", "--help"),
        ("runs", "--help"),
        ("runs", "verify", "-h"),
        ("models", "-h"),
        ("judge", "-h"),
        ("reflect", "-h"),
        ("refine", "-h"),
        ("doctor", "-h"),
        ("geneval", "score", "-h"),
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments):
    done, modules = _modules_imported_by(*arguments)
    assert "Usage: " in done.stdout + done.stderr
    assert "typer" in modules
    assert modules.isdisjoint(HEAVY)


def test_the_public_names_are_importable_without_torch():
    code = "import sys, reflectionflow as rf; rf.generate; rf.Result; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_verb_is_wrong_usage():
    done, _ = _modules_imported_by("paint")
    assert done.returncode == 2
    assert "No such command 'paint'" in done.stderr


def test_the_version_is_printed():
    import reflectionflow

    done, modules = _modules_imported_by("--version")
    assert done.stdout.strip() == f"reflectionflow {reflectionflow.__version__}"
    assert modules.isdisjoint(HEAVY)


def test_every_verb_means_the_same_default_stack():
    from reflectionflow.cli.doctor import doctor
    from reflectionflow.cli.generate import generate
    from reflectionflow.cli.judge import judge
    from reflectionflow.cli.refine import refine
    from reflectionflow.cli.reflect import reflect
    from reflectionflow.stack import DEFAULT_STACK

    verbs = [inspect.signature(verb) for verb in (doctor, generate, judge, reflect, refine)]
    assert {verb.parameters["stack"].default for verb in verbs} == {DEFAULT_STACK}
