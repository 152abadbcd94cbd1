"""Whatever a user gets wrong is one message with a remedy, exit code 2, nothing painted and nothing written."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from reflectionflow.cli import app

PLUGINS = Path(__file__).parent.parent / "plugins"
PROMPT = "a red star"


def _odd_stack(folder: Path, spec: str, options: str = "") -> Path:
    path = folder / "odd.toml"
    path.write_text(
        f'name = "odd"\ndescription = "a test"\n[generator]\nmodel = "odd_models:{spec}"\n{options}\n'
        '[verifier]\nmodel = "example-brightness"\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def run(example_stack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(PLUGINS))

    def call(*arguments: str):
        command = ["generate", "--stack", str(example_stack), *arguments]
        return CliRunner().invoke(app, command, prog_name="reflectionflow")

    return call


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is no prompt"),
        ([""], "Prompt 1 is empty"),
        (["  \n"], "Prompt 1 is empty"),
        (["a", "red", "star"], 'put it in quotes: "a red star"'),
        (["word " * 41], "40 words"),
        ([PROMPT, "--images", "0"], "images must be at least 1, not 0"),
        ([PROMPT, "--images", "-3"], "images must be at least 1, not -3"),
        ([PROMPT, "--seed", "-1"], "seed"),
        ([PROMPT, "--seed", str(2**63)], "2**63"),
        ([PROMPT, "--size", "100"], "16"),
        ([PROMPT, "--size", "0"], "0"),
        ([PROMPT, "--size", "64x1024"], "512"),
        ([PROMPT, "--size", "big"], "write pixels as in --size 512 or --size 512x768"),
        ([PROMPT, "--size", "64x64x64"], "the size '64x64x64' is not understood"),
        ([PROMPT, "--size", "64x"], "the size '64x' is not understood"),
        ([PROMPT, "--width", "2"], "takes no options, and got 'width'; the width of a search is its number of chains"),
        ([PROMPT, "--width", "512"], "the size of the pictures is --size"),
        ([PROMPT, "--strategy", "reflection", "--width", "512"], "the size of the pictures is --size"),
        ([PROMPT, "--strategy", "reflection", "--width", "0"], "width = 0 is refused"),
        ([PROMPT, "--strategy", "reflection", "--drafts", "0"], "drafts = 0 is refused"),
        ([PROMPT, "--strategy", "reflection", "--parent", "oldest"], "input should be 'latest' or 'best'"),
        ([PROMPT, "--strategy", "reflection", "--accept", "nan"], "accept = nan is refused"),
        ([PROMPT, "--strategy", "prompt", "--drafts", "4"], "unknown option 'drafts'; known are accept, see_verdict"),
        ([PROMPT, "--strategy", "prompt", "--drafts", "4"], "drafts belongs to reflection and adaptive; name one with"),
        ([PROMPT, "--strategy", "reflection"], "The strategy reflection needs a reflector"),
        ([PROMPT, "--strategy", "prompt"], "The strategy prompt needs a refiner"),
        ([PROMPT, "--strategy", "nowhere.toml"], "There is no strategy file 'nowhere.toml'"),
        ([PROMPT, "--accept", "0.5"], "The strategy noise takes no options, and got 'accept'"),
        ([PROMPT, "--ask"], "The strategy noise, as it is asked for, reflects on nothing; leave --ask out"),
        ([PROMPT, "--steps", "0"], "steps"),
        ([PROMPT, "--guidance", "nan"], "guidance"),
        ([PROMPT, "--guidance", "-1"], "guidance"),
        ([PROMPT, "--stack", "scened"], "did you mean 'scenes'?"),
        ([PROMPT, "--stack", "nowhere.toml"], "there is no stack file 'nowhere.toml'"),
        ([PROMPT, "--strategy", "nois"], "There is no strategy 'nois' (did you mean 'noise'?)"),
        ([PROMPT, "--strategy", "dreaming"], "noise"),
        (["--prompts", "nowhere.txt"], "nowhere.txt cannot be read: No such file"),
        ([PROMPT, "--prompts", "nowhere.txt"], "use one of the two"),
        ([PROMPT, "--out", "/proc/nothing/here"], "/proc/nothing"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message_and_nothing_is_written(run, tmp_path, arguments, said):
    done = run(*arguments)
    assert said in done.stderr
    assert done.exit_code in (1, 2) if "/proc" in said else done.exit_code == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("option", [["--images", "many"], ["--no-such-option"], ["--width", "1.5"], ["--height", "64"]])
def test_wrong_usage_shows_the_usage(run, option):
    done = run(PROMPT, *option)
    assert done.exit_code == 2
    assert "Usage: " in done.stderr


def test_an_output_directory_below_a_file_cannot_be_made(run, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    done = run(PROMPT, "--images", "1", "--out", "file/sub")
    assert done.exit_code in (1, 2)
    assert "file/sub" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_directory_that_is_a_file_is_refused(run, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    done = run(PROMPT, "--images", "1", "--out", "file")
    assert done.exit_code == 2
    assert "file is a file" in done.stderr


def test_a_directory_with_other_things_in_it_is_left_alone(run, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "letter.txt").write_text("Dear …")
    done = run(PROMPT, "--images", "1", "--out", "precious")
    assert done.exit_code == 2
    assert "not empty" in done.stderr
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["letter.txt"]


def test_a_run_of_another_request_is_left_alone(run, tmp_path):
    assert run(PROMPT, "--images", "1", "--out", "out").exit_code == 0
    before = (tmp_path / "out" / "result.json").read_bytes()
    done = run("a blue heart", "--images", "1", "--out", "out")
    assert done.exit_code == 2
    assert "another" in done.stderr
    assert "a blue heart" in done.stderr
    assert (tmp_path / "out" / "result.json").read_bytes() == before


def test_a_run_of_another_version_is_left_alone(run, tmp_path):
    assert run(PROMPT, "--images", "1", "--out", "out").exit_code == 0
    path = tmp_path / "out" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    done = run(PROMPT, "--images", "1", "--out", "out")
    assert done.exit_code == 2
    assert "99" in done.stderr


def test_an_unknown_word_is_named_before_anything_is_painted(run, tmp_path):
    done = run("a red dragon", "--stack", str(_odd_stack(tmp_path, "PICKY")))
    assert done.exit_code == 2
    assert "dragon" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_file_without_prompts_is_refused(run, tmp_path):
    (tmp_path / "prompts.txt").write_text("# nothing yet\n\n")
    done = run("--prompts", "prompts.txt")
    assert done.exit_code == 2
    assert "holds no prompt" in done.stderr


@pytest.fixture
def waiting_run(example, tmp_path, monkeypatch):
    """Start a real `generate` that has painted one picture and waits in the second.

    Yields its process, its command, and a function that lets it, and later ones, go on.
    """
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PLUGINS), os.environ["PYTHONPATH"]]))
    with ExitStack() as open_things, socket.create_server(("127.0.0.1", 0)) as listening:
        stack = _odd_stack(tmp_path, "SLOW", f"port = {listening.getsockname()[1]}")
        command = [sys.executable, "-m", "reflectionflow", "generate", PROMPT, "--images", "3", "--stack", str(stack)]
        command += ["--out", str(tmp_path / "out"), "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        open_things.callback(process.communicate)
        open_things.callback(process.kill)
        listening.settimeout(120)  # only a broken program is waited for so long
        line = open_things.enter_context(listening.accept()[0])

        def let_go() -> None:
            listening.close()
            line.close()

        yield process, command, let_go


def test_a_second_process_on_a_run_is_turned_away(waiting_run):
    process, command, let_go = waiting_run
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert f"is being written by process {process.pid}" in second.stderr
    let_go()
    assert json.loads(process.communicate()[0])["spend"]["images"] == 3


def test_ctrl_c_ends_with_130_and_the_same_command_continues(waiting_run):
    process, command, let_go = waiting_run
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert out == ""
    assert "the same command continues there" in err
    assert "Traceback" not in err
    shown = CliRunner().invoke(app, ["runs", "show", command[command.index("--out") + 1]])
    assert "Not finished; calls already done: 1." in shown.stdout
    let_go()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    data = json.loads(again.stdout)
    assert data["spend"]["images"] == 3
    assert data["paid"]["images"] == 2


INTERRUPTED = """
from reflectionflow.roles import Worker
from reflectionflow.stack import ModelOptions, ModelSpec, Role


class Verifier:
    name, worker, batch_size = "interrupted@1", Worker.LOCAL, 1

    def __init__(self, options):
        pass

    def judge(self, questions):
        raise KeyboardInterrupt


SPEC = ModelSpec(roles=(Role.VERIFIER,), options=ModelOptions, load=Verifier)
"""


def test_ctrl_c_promises_nothing_where_nothing_is_kept(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("picture.png")
    Path("interrupted_verifier.py").write_text(INTERRUPTED)
    Path("mine.toml").write_text(
        'name = "mine"\ndescription = "a test"\n[generator]\nmodel = "example-discs"\n'
        '[verifier]\nmodel = "interrupted_verifier:SPEC"\n'
    )
    done = CliRunner().invoke(app, ["judge", "picture.png", "--prompt", PROMPT, "--stack", "mine.toml"])
    assert done.exit_code == 130
    assert done.stderr == "\nInterrupted.\n"
    done = CliRunner().invoke(app, ["generate", PROMPT, "--images", "1", "--stack", "mine.toml", "--quiet"])
    assert done.exit_code == 130
    assert done.stderr == "\nInterrupted. Whatever was finished is kept; the same command continues there.\n"
