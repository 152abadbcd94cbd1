"""An option that a build would make no use of is refused, with all other reasons at once."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from reflectionflow.cli import app

BOTH = "--prompts and --data are two ways to build, and both were given; leave one of them out."
DETECTOR = "--detector a judges drafts of --prompts with --source rule alone; leave it out, or give both."
CLIP = "--clip b judges drafts of --prompts with --source rule alone; leave it out, or give both."
NO_TEACHER = "Reflections on drafts of --prompts are written by a teacher; add --teacher vlm."
NOT_EDITING = "--data holds edits, and --source is rule; add --source editing."
NO_PROMPTS = "--prompts gives drafts to compare, and --source is editing; add --source rule, reward or length."
NOTHING_TO_TEACH = "--teacher vlm writes about real pictures and drafts; give them with --data or --prompts."


@pytest.mark.parametrize(
    ("arguments", "reasons"),
    [
        ("--prompts p.txt --data edits --source reward --teacher vlm", [BOTH]),
        ("--prompts p.txt --data edits --source editing --clip b", [BOTH, CLIP]),
        ("--source rule --detector a", [DETECTOR]),
        ("--source editing --detector a --clip b", [DETECTOR, CLIP]),
        ("--source editing --data edits --clip b", [CLIP]),
        ("--source reward --prompts p.txt --teacher vlm --detector a", [DETECTOR]),
        ("--source editing --prompts p.txt --detector a", [NO_PROMPTS, NO_TEACHER, DETECTOR]),
        (
            "--source rule --data nowhere",
            [NOT_EDITING, "--data nowhere does not exist; give a folder of parquet files or shards."],
        ),
        ("--source editing --teacher vlm --clip b", [NOTHING_TO_TEACH, CLIP]),
    ],
)
def test_options_that_do_not_belong_together_are_refused_with_every_reason(tmp_path, monkeypatch, arguments, reasons):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edits").mkdir()
    (tmp_path / "p.txt").write_text("a lake\n")
    refused = CliRunner().invoke(app, ["genref", "build", "--out", "out", *arguments.split()])
    assert refused.exit_code == 2
    assert " ".join(refused.stderr.split()).endswith(" ".join(reasons))
    assert not (tmp_path / "out").exists()
