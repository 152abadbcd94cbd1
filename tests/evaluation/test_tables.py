"""What the tables of an evaluation say, beyond the numbers that `test_evaluate.py` checks."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from reflectionflow.evaluation.arrays import Arrays, is_correct
from reflectionflow.evaluation.benchmarks import Benchmark
from reflectionflow.evaluation.pages.figures import COLOURS
from reflectionflow.evaluation.pages.grids import grids
from reflectionflow.evaluation.planning import Method, plan
from reflectionflow.evaluation.statistics import Efficiency, Estimate, sample_efficiency
from reflectionflow.evaluation.tables import tables
from reflectionflow.geneval import Decision
from reflectionflow.search import registry, strategy
from reflectionflow.types import Verdict
from tests.support.evaluating import CLIMBING, WIDE, Contrast, asked, evaluate, items
from tests.support.world import Brightness, stack


@pytest.fixture(autouse=True)
def strategies(monkeypatch):
    monkeypatch.setattr(registry, "BUILT_IN", (*registry.BUILT_IN, CLIMBING, WIDE))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "BUILT_IN", (*registry.BUILT_IN, CLIMBING, WIDE))
        return folder, evaluate(folder, plan(asked(), Contrast()))


def test_the_width_table_appears_when_methods_differ_in_width_alone(finished):
    results = finished[1].results
    about = results.about
    methods = [type(m)(m.name, "one", m.options, m.nested, m.exchangeable, m.note) for m in about.methods]
    grid = tables(
        type(results)(type(about)(**{**vars(about), "methods": tuple(methods)}), *list(vars(results).values())[1:])
    )
    assert list(grid.grid) == [1, 2]


def intervals(data, path=()):
    """Yield every interval of tables with the names that lead to it."""
    if isinstance(data, dict) and {"value", "low", "high"} <= data.keys():
        yield path, data
    elif isinstance(data, dict | list):
        for name, item in data.items() if isinstance(data, dict) else enumerate(data):
            yield from intervals(item, (*path, name))


@pytest.mark.parametrize("each", [1, 3])
def test_no_score_has_an_interval_without_width(tmp_path, each):
    done = evaluate(tmp_path, plan(asked(each, seeds=1), Contrast()))
    found = tables(done.results)
    assert [item.same for item in found.differences] == [(True, False, False), (True, True, False)]
    for path, item in intervals(found.json()):
        if path[0] not in ("efficiency", "differences", "against") and item["low"] is not None:
            assert item["low"] < item["high"], path
    for item in found.differences:
        for values in item.groups.values():
            assert [estimate.is_flat for estimate in values] == list(item.same)
    assert [estimate.is_flat for estimate in found.against["noise"]] == [False, False, True]
    assert "[+0.00, +0.00]" not in (tmp_path / "report.md").read_text()


def test_tags_of_few_prompts_are_named_and_their_means_have_bounds(tmp_path):
    done = evaluate(tmp_path, plan(asked(1), Contrast()))
    about, found = done.results.about, tables(done.results)
    notes = next(grid for grid in grids(about, found) if grid.id == "scores").notes
    told = "Fewer than 5 prompts do not tell how their tag varies (single_object, counting, composite)"
    assert [note.startswith(told) for note in notes].count(True) == 1
    for item in found.scores:
        for values in (*item.groups.values(), *item.prompts.values()):
            assert all(estimate.high - estimate.low > 0.3 for estimate in values)


def test_pictures_that_score_alike_are_not_the_same(tmp_path):
    """A verifier of few values, and prompts that every picture passes."""
    verifier = Brightness()
    verifier._judge = lambda question: Verdict(question.candidate.id, verifier.name, 1.0)
    judge = Contrast()
    judge._decide = lambda image, metadata: Decision(True, "", {})
    found = tables(evaluate(tmp_path, plan(asked(1, stack=stack(verifier=verifier)), judge)).results)
    assert [item.same[0] for item in found.differences] == [True, True]
    assert [item.same[-1] for item in found.differences] == [False, False]


def test_the_width_table_takes_drafts_that_follow_from_the_width_as_the_same(tmp_path):
    def widths(*options):
        methods = tuple(Method(f"method {n}", strategy("reflection", given)) for n, given in enumerate(options))
        done = evaluate(tmp_path / repr(options), plan(asked(1, strategies=methods, seeds=1), Contrast()))
        return list(tables(done.results).grid)

    assert widths({"width": 1}, {"width": 2}) == [1, 2]
    assert widths({"width": 1}, {"width": 2, "drafts": 4}) == [1, 2]  # said, but the same
    assert widths({"width": 1, "drafts": 3}, {"width": 2, "drafts": 3}) == [1, 2]
    assert widths({"width": 1}, {"width": 2, "drafts": 3}) == []
    assert widths({"width": 1}, {"width": 2, "parent": "latest"}) == []


def test_every_budget_is_set_against_the_baselines_largest(finished):
    found = tables(finished[1].results)
    most = found.scores[0].groups["GenEval's tags"][-1].value
    for item in found.scores:
        wanted = [estimate.value - most for estimate in item.groups["GenEval's tags"]]
        assert [estimate.value for estimate in found.against[item.method]] == pytest.approx(wanted)
    assert found.against["climbing"][-1] == found.differences[0].groups["GenEval's tags"][-1]
    assert "## Difference to noise with 4 pictures" in (finished[0] / "report.md").read_text()


def test_the_prompt_average_is_over_prompts_whatever_their_tags(tmp_path):
    uneven = Benchmark("uneven", (*items(1), *items(3)[1:3]))  # three prompts of one tag, one of each of the others
    done = evaluate(tmp_path, plan(replace(asked(strategies=("noise",)), benchmark=uneven), Contrast()))
    correct = Arrays(done.results).mean("noise", is_correct)
    found = tables(done.results).scores[0]
    assert [item.value for item in found.prompts["all tags"]] == pytest.approx(correct.mean(axis=0))
    assert all(item.low < item.high for item in found.prompts["all tags"])
    assert "prompt average" in (tmp_path / "report.md").read_text()


def test_the_expected_curve_of_exchangeable_drafts_tells_the_pictures_needed(finished):
    results = finished[1].results
    arrays, budgets = Arrays(results), results.about.budgets
    noise, climbing = results.about.methods[:2]
    baseline = arrays.bootstrap.macro(arrays.expected(noise)[0], arrays.primary)
    method = arrays.bootstrap.macro(arrays.mean(climbing.name, is_correct), arrays.primary)
    expected = sample_efficiency(budgets, baseline, method)
    target = arrays.shares(arrays.expected(noise)[0], arrays.primary)[-1]  # few prompts a tag: Wilson's interval
    assert tables(results).efficiency["climbing"] == replace(expected, target=target)


def test_a_start_above_the_target_is_a_limit(finished):
    def told(pictures, ratio):
        found = tables(finished[1].results)
        one = Efficiency(found.efficiency["climbing"].target, Estimate(*pictures), Estimate(*ratio))
        drawn = grids(finished[1].results.about, replace(found, efficiency={"climbing": one}))
        return [cell.plain for cell in next(grid for grid in drawn if grid.id == "efficiency").rows[0][2:]]

    assert told((1.0, 1.0, 2.0), (4.0, 2.0, 4.0)) == ["≤ 1 [≤ 1, 2.0]", "≥ 4.0 [2.0, ≥ 4.0]"]
    assert told((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)) == ["≤ 1 [≤ 1, ≤ 1]", "1.0 [1.0, 1.0]"]
    assert told((2.0, 1.5, np.inf), (2.0, 0.0, 2.7)) == ["2.0 [1.5, never]", "2.0 [< 1, 2.7]"]


def test_smaller_budgets_of_a_method_that_is_not_nested_are_not_called_independent(finished):
    note = next(method.note for method in finished[1].results.about.methods if method.name == "wide")
    assert "independent" not in note
    assert "share seed and first drafts" in note


def test_eight_curves_have_eight_colours_and_details_are_printed_open(finished):
    style = (finished[0] / "report.html").read_text()
    colours = [re.search(rf"--c{number}: (#\w+)", style).group(1) for number in range(COLOURS)]
    assert len(set(colours)) == COLOURS == 8
    assert re.search(r"@media print \{[^}]*details::details-content \{[^}]*content-visibility: visible", style)
