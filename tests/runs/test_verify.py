"""`verify` derives everything again, and so notices whatever was changed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from reflectionflow.roles import Question, RefineRequest, ReflectRequest, question_id
from reflectionflow.runs import RunDirectory, verify
from reflectionflow.runs.images import encode
from reflectionflow.runtime.calls import UNLOADED, judge_call, refine_call, reflect_call, request_json
from reflectionflow.types import Candidate, Recipe, Verdict, content_id
from tests.support.running import run_all, search
from tests.support.strategies import CHAINS_STRATEGY
from tests.support.world import Brightness, Critic, Rewriter, stack


@pytest.fixture
def run(tmp_path):
    run_all(tmp_path, [search(strategy=CHAINS_STRATEGY, images=7)], stack())
    return tmp_path


def change(run, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(run / "journal.sqlite")) as connection, connection:
        connection.execute(statement, values)


def test_a_whole_run_has_no_problems(run):
    report = verify(run)
    assert report.ok
    assert (report.problems, report.notes) == ((), ())
    assert report.images == 7
    assert report.results == 1
    assert report.calls > 20


def test_a_changed_request_is_noticed(run):
    change(run, "UPDATE calls SET request = replace(request, '\"seed\":', '\"seed\":1') WHERE role = 'draft'")
    assert any("the recipe's hash is" in problem for problem in verify(run).problems)


def test_a_changed_question_is_noticed(run):
    change(run, "UPDATE calls SET request = replace(request, 'star', 'moon') WHERE role = 'judge'")
    assert any("the question's hash is" in problem for problem in verify(run).problems)


def test_a_changed_picture_is_noticed(run):
    path = next((run / "images").glob("*/*.png"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert [f"picture {path.stem} has the hash" in problem for problem in verify(run).problems] == [True]


def test_a_missing_picture_is_noticed(run):
    path = next((run / "images").glob("*/*.png"))
    path.unlink()
    assert verify(run).problems == (f"picture {path.stem} is in the journal but not in images.",)


def test_a_missing_parent_is_noticed(run):
    change(run, "DELETE FROM calls WHERE role = 'draft'")
    problems = verify(run).problems
    assert any("its parent" in problem and "never painted" in problem for problem in problems)
    assert any("is not in the journal" in problem for problem in problems)


def test_a_result_that_chose_another_picture_is_noticed(run):
    with RunDirectory.read(run) as reader:
        result = reader.journal.results()[0].result
    worst = min(result["steps"], key=lambda step: step["verdict"]["score"] if step["verdict"] else 2)
    change(run, "UPDATE results SET result = ?", json.dumps({**result, "best": worst}))
    assert any("is not the best of its steps" in problem for problem in verify(run).problems)


def test_a_picture_without_a_row_is_harmless(run):
    change(run, "DELETE FROM calls WHERE role = 'correct'")
    change(run, "DELETE FROM results")
    assert any("pictures have no journal row" in note for note in verify(run).notes)


def test_a_call_can_be_derived_from_what_the_journal_keeps():
    candidate = Candidate(Recipe("g@1", "a star", 1, 16, 16, 5, 3.5), "ab" * 32, 16, 16)
    verdict = Verdict(candidate.id, "v@1", 0.5)
    calls = [
        (judge_call(Brightness(), candidate, "a star"), Question(candidate, UNLOADED, "a star")),
        (
            reflect_call(Critic(), candidate, "a star", verdict, ["one", "two"]),
            ReflectRequest(candidate, UNLOADED, "a star", verdict, ("one", "two")),
        ),
        (
            refine_call(Rewriter(), candidate, "a star", "a bright star", verdict, "dark"),
            RefineRequest(candidate, UNLOADED, "a star", "a bright star", verdict, "dark"),
        ),
    ]
    for call, request in calls:
        kind, name = call.kind.value, call.model.name
        assert call.id == question_id(kind, name, request)
        assert call.id == content_id(f"call/{kind}", {"model": name, **request_json(call)})


def test_a_stored_picture_depends_on_pixels_only():
    from PIL import Image

    plain = Image.new("RGB", (8, 8), (1, 2, 3))
    dressed = plain.copy()
    dressed.info.update(dpi=(300, 300), icc_profile=b"profile")
    assert encode(plain) == encode(dressed)
