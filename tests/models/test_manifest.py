"""A checkpoint knows its name, its revision and its files, and notices what is missing before anything loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reflectionflow.errors import CheckpointError
from reflectionflow.models import manifest
from reflectionflow.models.manifest import problems, read_manifest, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"weights" * 100)
    (tmp_path / "text" / "config.json").write_text("{}", "utf-8")
    (tmp_path / "README.md").write_text("a card", "utf-8")
    return tmp_path


def test_what_is_written_is_read_back(folder: Path) -> None:
    written = write_manifest(folder, name="tiny", image_size=128, calibration={"kind": "sigmoid", "scale": 2.5})
    assert read_manifest(folder) == written
    assert written.details == {"image_size": 128, "calibration": {"kind": "sigmoid", "scale": 2.5}}
    assert sorted(written.files) == ["model.safetensors", "text/config.json"]
    assert written.files["model.safetensors"].bytes == 700
    assert written.identity == f"tiny@{written.revision}"


def test_the_revision_follows_weights_and_details_and_nothing_else(folder: Path) -> None:
    first = write_manifest(folder, name="tiny", scale=1.0)
    (folder / "README.md").write_text("a better card", "utf-8")
    assert write_manifest(folder, name="tiny", scale=1.0) == first
    assert write_manifest(folder, name="tiny", scale=2.0).revision != first.revision
    (folder / "model.safetensors").write_bytes(b"others!" * 100)
    assert write_manifest(folder, name="tiny", scale=1.0).revision != first.revision


def test_a_complete_checkpoint_has_no_problems(folder: Path) -> None:
    write_manifest(folder, name="tiny")
    assert problems(folder) == []


def test_missing_and_truncated_files_are_all_named_with_a_remedy(folder: Path) -> None:
    write_manifest(folder, name="tiny")
    (folder / "model.safetensors").write_bytes(b"wei")
    (folder / "text" / "config.json").unlink()
    truncated, missing = problems(folder)
    assert "model.safetensors has 3 bytes instead of 700; fetch" in truncated
    assert "config.json is missing; fetch" in missing


def test_a_missing_folder_and_a_missing_manifest_are_problems(tmp_path: Path) -> None:
    assert "does not exist; give the folder" in problems(tmp_path / "nowhere")[0]
    assert "reflectionflow.json does not exist; fetch" in problems(tmp_path)[0]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "cannot be read"),
        ("[]", "no JSON object"),
        ('{"name": "x"}', "revision"),
        ('{"name": "x", "revision": "0123456789ab", "files": {"../y": {"sha256": "", "bytes": 1}}}', "sha256"),
        (
            json.dumps({"name": "x", "revision": "0" * 12, "files": {"../y": {"sha256": "0" * 64, "bytes": 1}}}),
            "leaves",
        ),
        ('{"name": "x", "revision": "0123456789ab", "files": {"y": {"sha256": "0", "bytes": -1}}}', "bytes"),
    ],
)
def test_a_damaged_manifest_is_refused_with_its_fault(tmp_path: Path, content: str, part: str) -> None:
    (tmp_path / manifest.FILE).write_text(content, "utf-8")
    with pytest.raises(CheckpointError, match=part):
        read_manifest(tmp_path)
    assert len(problems(tmp_path)) == 1


def test_computed_keys_cannot_be_given(folder: Path) -> None:
    with pytest.raises(ValueError, match="revision"):
        write_manifest(folder, name="tiny", revision="mine")


def test_the_file_keeps_one_flat_object(folder: Path) -> None:
    write_manifest(folder, name="tiny", image_size=128)
    data = json.loads((folder / manifest.FILE).read_text("utf-8"))
    assert list(data) == ["name", "revision", "image_size", "files"]


def test_reading_a_manifest_loads_no_torch() -> None:
    code = "import sys, reflectionflow.models.manifest; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
