from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reflectionflow import stack
from reflectionflow.cli import app

PLUGINS = Path(__file__).parent.parent / "plugins"
VERIFIER = '[verifier]\nmodel = "example-brightness"\n'


def _run(*arguments: str):
    return CliRunner().invoke(app, list(arguments), prog_name="reflectionflow")


def _stack(folder: Path, generator: str) -> str:
    path = folder / "mine.toml"
    path.write_text(f'name = "mine"\ndescription = "a test"\n{generator}{VERIFIER}', encoding="utf-8")
    return str(path)


def test_models_lists_a_ready_stack_and_the_options_of_plug_ins(example_stack):
    done = _run("models", str(example_stack))
    assert done.exit_code == 0
    assert f"{example_stack}: ready" in done.stdout
    assert "generator  example-discs  (discs = 6, batch_size = 4)" in done.stdout
    assert "example-brightness (verifier): Likes bright pictures." in done.stdout
    assert "discs (default 6): Discs in each picture." in done.stdout


def test_models_of_a_named_stack_are_its_own_with_their_true_defaults(example_stack):
    told = _run("models", str(example_stack)).stdout
    assert "  example-discs (generator)" in told
    assert "  flux (" not in told
    assert "  flux (generator" in _run("models").stdout
    assert "PydanticUndefined" not in _run("models").stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_behind_the_output_is_one_message(example_stack):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "reflectionflow", "models", str(example_stack)],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Error: the output cannot be written (No space left on device)" in done.stderr


def test_models_says_what_a_stack_needs(example, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    name = _stack(tmp_path, '[generator]\nmodel = "odd_models:WITH_FILE"\ncheckpoint = "a.bin"\n')
    done = _run("models", name)
    assert f"{name}: not ready here" in done.stdout
    assert "needs: [generator] the file" in done.stdout


def test_models_as_json_is_one_object(example_stack):
    data = json.loads(_run("models", str(example_stack), "--json").stdout)
    assert data["stacks"][0]["ready"] is True
    assert [model["role"] for model in data["stacks"][0]["models"]] == ["generator", "verifier"]
    assert "example-discs" in [model["name"] for model in data["models"]]


def test_every_shipped_stack_is_listed_by_default():
    data = json.loads(_run("models", "--json").stdout)
    assert tuple(described["name"] for described in data["stacks"]) == stack.shipped()


def test_doctor_is_content_with_a_ready_stack(example_stack):
    done = _run("doctor", "--stack", str(example_stack))
    assert done.exit_code == 0
    for name in ("Python", "torch", "diffusers", "device", "memory", "disk", "model cache", "stack", "endpoints"):
        assert name in done.stdout


def test_doctor_fails_with_a_remedy_when_a_file_is_missing(example, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    name = _stack(tmp_path, '[generator]\nmodel = "odd_models:WITH_FILE"\ncheckpoint = "a.bin"\n')
    done = _run("doctor", "--stack", name)
    assert done.exit_code == 1
    assert "→ [generator] the file" in done.stdout
    assert "download it or correct `checkpoint`" in done.stdout


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_doctor_reaches_a_running_endpoint(example, tmp_path, monkeypatch, server):
    monkeypatch.syspath_prepend(str(PLUGINS))
    name = _stack(tmp_path, f'[generator]\nmodel = "odd_models:REMOTE"\nendpoint = "http://127.0.0.1:{server}/v1"\n')
    done = _run("doctor", "--stack", name)
    assert done.exit_code == 0
    assert f"http://127.0.0.1:{server}/v1 accepts connections" in done.stdout


def test_doctor_says_that_an_endpoint_is_down(example, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    name = _stack(tmp_path, f'[generator]\nmodel = "odd_models:REMOTE"\nendpoint = "http://127.0.0.1:{port}/v1"\n')
    done = _run("doctor", "--stack", name, "--json")
    data = json.loads(done.stdout)
    assert done.exit_code == 1
    assert data["ready"] is False
    assert "start its server" in next(check for check in data["checks"] if check["name"] == "endpoint")["remedy"]


def test_doctor_looks_once_at_an_endpoint_of_three_roles_and_names_a_key_that_is_not_set(tmp_path, server, monkeypatch):
    monkeypatch.delenv("REFLECTIONFLOW_TEST_KEY", raising=False)
    vlm = f'model = "openai-vlm"\nbase_url = "http://127.0.0.1:{server}/v1"\nserved = "m"\n'
    vlm += 'api_key_env = "REFLECTIONFLOW_TEST_KEY"\n'
    tables = "".join(f"[{role}]\n{vlm}" for role in ("verifier", "reflector", "refiner"))
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\ndescription = "a test"\n[generator]\nmodel = "scenes-flux"\n{tables}')
    data = json.loads(_run("doctor", "--stack", str(path), "--json").stdout)
    assert [check["status"] for check in data["checks"] if check["name"] == "endpoint"] == ["fine"]
    remedies = [check["remedy"] for check in data["checks"] if check["name"] == "stack"]
    assert len(remedies) == 1
    assert remedies[0].startswith("[verifier, reflector, refiner] ")
    assert "REFLECTIONFLOW_TEST_KEY is not set" in remedies[0]
