"""Retouched pictures are counted apart from rendered scenes, though both are of the subset editing."""

from __future__ import annotations

from dataclasses import replace

from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.genref.shards import write_shards
from reflectionflow.genref.stats import statistics
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
