"""Built-in models are known wherever the package can be imported, installed or not."""

from __future__ import annotations

import json

import pytest
from tests.support.uninstalled import uninstalled

from reflectionflow import stack
from reflectionflow.plugins import BUILT_IN

METADATA = "from importlib.metadata import entry_points, version\nversion('reflectionflow')"


def test_the_models_are_found_from_the_source_folder_alone(tmp_path):
    absent = uninstalled(tmp_path, "-c", METADATA)
    assert "PackageNotFoundError" in absent.stderr, "it is not installed there"
    done = uninstalled(tmp_path, "-m", "reflectionflow", "models", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [item["name"] for item in found["stacks"]] == list(stack.shipped())
    assert set(BUILT_IN) <= {model["name"] for model in found["models"]}
    assert next(item for item in found["stacks"] if item["name"] == "scenes")["ready"] is True


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_model_is_where_the_table_says(name):
    assert stack.find_model(name).summary


def test_a_plug_in_adds_models_and_does_not_replace_one(tmp_path, monkeypatch):
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[reflectionflow.models]\nnew = others:NEW\nclip = others:CLIP\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = stack.registered()
    assert found["new"].value == "others:NEW"
    assert found["clip"].value == "reflectionflow.models.clip:SPEC"
    assert list(found) == sorted(found)
