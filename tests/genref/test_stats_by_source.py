"""Retouched pictures are counted apart from rendered scenes, though both are of the subset editing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.genref.shards import write_shards
from reflectionflow.genref.stats import by_source, statistics
from reflectionflow.genref.view import page
from tests.genref.test_shards import triplet


def samples():
    rendered = [
        replace(triplet(number, "editing"), reflection="remove the star", provenance={"distance": 1.0})
        for number in range(2)
    ]
    about = {"distance": 0.25, "retouched": {"seed": 4}}
    return [*rendered, replace(triplet(7, "editing"), reflection="add a ring", provenance=about), triplet(8)]


def test_distances_verbs_and_counts_are_told_of_each_source(tmp_path):
    write_shards(samples(), tmp_path, {})
    found = statistics(tmp_path)
    assert found.subsets == {"editing": 3, "rule": 1}
    assert found.sources == {"editing": 2, "retouch": 1, "rule": 1}
    assert found.verbs == {"editing": {"remove": 2}, "retouch": {"add": 1}, "rule": {"add": 1}}
    assert {name: marks[2] for name, marks in found.apart.items()} == {"editing": 1.0, "retouch": 0.25}
    told = CliRunner().invoke(app, ["genref", "stats", str(tmp_path)]).output
    assert "  retouch       1  1.0 edits each (1 add)" in told
    assert "<h2>retouch</h2>" in page(tmp_path, 3)


def test_a_build_counts_by_the_names_that_its_statistics_have():
    told = {name: {"samples": count, "open": 0} for name, count in {"retouch": 2, "editing": 3, "reward": 1}.items()}
    assert by_source({"subsets": {"editing": 5, "general": 1}, "sources": {**told, "rule": {"samples": 0}}}) == {
        "editing": 3, "general": 1, "retouch": 2,
    }  # fmt: skip
    assert by_source({"subsets": {"editing": 5}}) == {"editing": 5}, "edits of real pictures have one source"


@pytest.mark.parametrize("verb", ["view", "stats", "check"])
def test_a_file_that_is_no_shard_is_refused(tmp_path, verb):
    (tmp_path / "notes.txt").write_text("mine")
    for name, said in (("notes.txt", "is no shard (*.tar); name one"), ("nowhere", "does not exist; name shards")):
        done = CliRunner().invoke(app, ["genref", verb, str(tmp_path / name)])
        assert done.exit_code == 2
        assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
