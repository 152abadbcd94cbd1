"""GenRef from all four sources with the shipped Scenes models, through the real command."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.genref.shards import read_manifest, read_triplets, shards_of
from reflectionflow.runs import RunDirectory
from reflectionflow.scenes.words import known_words

pytestmark = pytest.mark.trained


def call(*arguments):
    done = CliRunner().invoke(app, ["genref", *arguments])
    assert done.exit_code == 0, done.output
    return done


def journaled(folder):
    counts = {}
    for run in sorted((folder / "runs").iterdir()):
        with RunDirectory.read(run) as found:
            assert {item.result.strategy for item in found.results()} == {"noise"}, "a pool is of first drafts"
            counts[run.name] = found.journal.count()
    return counts


def test_all_sources_build_and_a_repeated_build_paints_nothing_and_gives_the_same_bytes(tmp_path):
    build = ("build", "--source", "all", "--triplets", "8", "--seed", "2", "--out", str(tmp_path))
    call(*build)
    manifest, painted = read_manifest(tmp_path), journaled(tmp_path)
    assert manifest["subsets"]["editing"] >= 2
    assert len(manifest["subsets"]) >= 3
    for shard in shards_of(tmp_path):
        shard.unlink()
    (tmp_path / "manifest.json").unlink()  # as if it had been killed before the shards were written
    call(*build)
    assert read_manifest(tmp_path) == manifest
    assert journaled(tmp_path) == painted
    call("check", str(tmp_path))
    from collections import Counter

    skipped = Counter()
    for triplet in read_triplets(shards_of(tmp_path), skipped):
        words = triplet.reflection.replace(".", " ").split()
        assert set(words) <= known_words(), triplet.reflection
        assert triplet.good.size == triplet.bad.size == (128, 128)
    assert not skipped
    found = json.loads(call("stats", str(tmp_path), "--json").output)
    assert found["samples"] == manifest["samples"]
    call("view", str(tmp_path))
    assert "<figure>" in (tmp_path / "view.html").read_text()
