"""What a method is said to spend at each budget is what a run with that budget spends."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest

from reflectionflow.errors import TransientError
from reflectionflow.evaluation.planning import Method, plan
from reflectionflow.evaluation.tables import tables
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import drain_searches
from reflectionflow.search import strategy
from reflectionflow.types import Budget
from tests.support.evaluating import Contrast, asked, evaluate
from tests.support.running import QUICK, SPEC
from tests.support.world import Critic, Painter, nothing, stack

METHODS = ("noise", Method("by edits", strategy("reflection", {"refine": True, "width": 2, "drafts": 3})))
CALLS = ("images", "verifier_calls", "reflector_calls", "refiner_calls", "denoiser_evaluations")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spending")
    planned = plan(asked(1, strategies=METHODS, images=8), Contrast())
    return folder, planned, evaluate(folder, planned)


def test_each_budget_is_charged_what_a_run_with_it_spends(finished, tmp_path):
    _, planned, done = finished
    rows = {(row.prompt, row.seed, row.method): row for row in done.results.rows}
    for budget in planned.budgets:
        with RunDirectory.open(tmp_path / str(budget), SPEC) as run:
            searches = [trial.search.with_budget(Budget(images=budget)) for trial in planned.trials]
            drain_searches(searches, planned.models, run, at_once=4, patience=QUICK)
            for trial, search in zip(planned.trials, searches, strict=True):
                row = rows[trial.prompt, trial.seed, trial.method.name]
                told = next(item for item in row.outcomes if item.budget == budget)
                charged = run.result(search.id).result.charged
                assert {name: getattr(told, name) for name in CALLS} == {name: getattr(charged, name) for name in CALLS}


def test_a_reflector_that_ranks_pictures_is_counted_for_all_it_looked_at(finished):
    lines = {(line.method, line.budget): line for line in tables(finished[2].results).spend}
    assert lines["by edits", 2].reflector_calls == 0  # nothing follows the two drafts
    # Three drafts are looked at, and of the only correction nothing is asked.
    assert lines["by edits", 4].reflector_calls >= 3
    assert lines["by edits", 4].denoiser_evaluations == 4 * 5
    assert lines["noise", 8].reflector_calls == 0


def test_counting_again_asks_no_model(finished):
    folder, planned, done = finished
    with RunDirectory.read(folder / "run") as run:
        before = run.journal.count(), len(run.results()), len(list(run.events()))
    again = evaluate(folder, planned)
    assert again.each == done.each
    with RunDirectory.read(folder / "run") as run:
        assert (run.journal.count(), len(run.results())) == before[:2]
    assert before[1] == len(planned.trials)


def test_model_seconds_stand_in_the_costs_alone(finished):
    folder, planned, done = finished
    with RunDirectory.read(folder / "run") as run:
        charged = [run.result(t.search.id).result.charged.seconds for t in planned.trials if t.method.name == "noise"]
    assert done.each["noise"][-1] == pytest.approx(sum(charged) / len(charged))
    for values in done.each.values():
        assert list(values) == sorted(values)
    with (folder / "costs.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["method"], int(line["budget"])) for line in lines] == [
        (method.name, budget) for method in planned.methods for budget in planned.budgets
    ]
    assert [float(line["seconds"]) for line in lines[:4]] == pytest.approx(done.each["noise"], abs=1e-6)
    costs = json.loads((folder / "costs.json").read_text())
    assert [item["seconds"] for item in costs["each"]] == [float(line["seconds"]) for line in lines]
    assert costs["model_hours"] == pytest.approx(sum(done.seconds.values()) / 3600, abs=1e-6)
    assert "gpu_hours" not in costs
    assert "| by edits, 8 |" in (folder / "costs.md").read_text()


def test_what_failed_in_passing_is_counted_as_it_was_searched(tmp_path):
    """A reflector that is down for its first questions: counting begins when it is up again."""
    asked_of = Counter()

    def down(requests):
        asked_of.update(request.id for request in requests)
        if any(asked_of[request.id] <= QUICK.attempts for request in requests):
            raise TransientError("The line is dead.")

    painter = Painter(log=tmp_path / "log")
    models = stack(generator=painter, corrector=painter, reflector=Critic(before=down))
    planned = plan(asked(1, strategies=(METHODS[1],), images=8, stack=models), Contrast())
    done = evaluate(tmp_path / "out", planned)
    with RunDirectory.read(tmp_path / "out" / "run") as run:
        results = [stored.result for stored in run.results()]
    assert all(result.failed_calls for result in results)
    used = {step.candidate.id for result in results for step in result.steps}
    assert set((tmp_path / "log").read_text().split()) == used, "counting painted nothing"
    for row in done.results.rows:
        told = [item.denoiser_evaluations for item in row.outcomes]
        assert told == [5 * item.images for item in row.outcomes]


def test_a_search_that_a_reflector_failed_is_made_again_when_the_evaluation_goes_on(tmp_path):
    def dead(requests):
        raise TransientError("The line is dead.")

    for before, failed in ((dead, True), (nothing, False)):
        models = stack(reflector=Critic(before=before))
        evaluate(tmp_path, plan(asked(1, strategies=(METHODS[1],), images=8, stack=models), Contrast()))
        with RunDirectory.read(tmp_path / "run") as run:
            assert {bool(stored.result.failed_calls) for stored in run.results()} == {failed}
