"""Two evaluations that differ in more than what is compared say so; p values know how many methods were compared."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from reflectionflow import __version__
from reflectionflow.cli import app
from reflectionflow.evaluation.comparing import compare
from reflectionflow.evaluation.pages.comparison import comparison_json, write_page
from reflectionflow.evaluation.planning import Method, plan
from reflectionflow.evaluation.statistics import holm
from reflectionflow.roles import Defaults
from reflectionflow.search import strategy
from tests.support.evaluating import Contrast, asked, evaluate
from tests.support.world import Brightness, Painter, stack

WIDE = Method("reflection", strategy("reflection", {"width": 2}))
NARROW = Method("reflection", strategy("reflection", {"width": 1}))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two evaluations with other steps, guidance, size, verifier and width."""
    folder = tmp_path_factory.mktemp("pair")
    usual = {"images": 4, "seeds": 1}
    evaluate(folder / "a", plan(asked(3, strategies=("noise", WIDE), **usual), Contrast()))
    painter = Painter(defaults=Defaults(24, 16, 5, 3.5))
    models = stack(generator=painter, corrector=painter, verifier=Brightness(name="brightness@2"))
    other = asked(3, strategies=("noise", NARROW), stack=models, steps=7, guidance=2.0, **usual)
    evaluate(folder / "b", plan(other, Contrast()))
    return folder / "a", folder / "b"


def test_everything_else_that_differs_is_told(pair, tmp_path):
    noise, reflection = compare(*pair)
    shared = [
        ("size", "16 × 16", "24 × 16"),
        ("steps", "5", "7"),
        ("guidance", "3.5", "2"),
        ("verifier", "brightness@1", "brightness@2"),
    ]
    assert [(item.name, item.first, item.second) for item in noise.settings] == shared
    own = [("reflection's drafts", "4", "2"), ("reflection's width", "2", "1")]
    told = [(item.name, item.first, item.second) for item in reflection.settings]
    assert (told[:4], sorted(told[4:])) == (shared, own)
    data = comparison_json([noise])[0]["settings"]
    assert data[1] == {"name": "steps", "first": "5", "second": "7"}
    write_page([noise, reflection], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("Where the two evaluations differ") == 2
    assert "brightness@2" in page
    said = CliRunner().invoke(app, ["compare", *map(str, pair)]).stdout
    assert "Where the two evaluations differ" in said
    assert "brightness@2" in said


def test_an_option_that_is_not_set_is_as_one_that_is_missing(pair):
    options = next(item for item in compare(*pair)[1].second.results.about.methods if item.name == "reflection").options
    assert None in options.values()
    told = compare(pair[0], pair[0], ("noise", "reflection"))[0].settings
    assert told
    assert not [item for item in told if item.first.lower() == item.second.lower()]


def test_evaluations_of_the_same_settings_have_nothing_to_tell(pair):
    for item in compare(pair[0], pair[0]):
        assert item.settings == ()
        assert all(point.same and point.difference.is_flat for point in item.points)


def test_p_values_are_adjusted_for_the_methods_compared(pair):
    found = compare(*pair)
    for place in range(3):
        points = [item.points[place] for item in found]
        assert [point.p_holm for point in points] == holm([point.p for point in points])
    alone = compare(*pair, ("noise", "noise"))[0]
    assert [point.p_holm for point in alone.points] == [point.p for point in alone.points]
    assert comparison_json(found)[0]["budgets"][-1]["p_holm"] == pytest.approx(found[0].points[-1].p_holm, abs=1e-6)


def test_each_budget_is_set_against_the_firsts_largest(pair):
    found = compare(*pair, ("noise", "reflection"))[0]
    most = found.points[-1].first.value
    assert [point.against.value for point in found.points] == pytest.approx(
        [p.second.value - most for p in found.points]
    )
    assert found.points[-1].against == found.points[-1].difference


def test_another_version_is_told(pair, tmp_path):
    (tmp_path / "old").mkdir()
    text = (pair[0] / "results.json").read_text()
    (tmp_path / "old" / "results.json").write_text(re.sub(r'"version":"[^"]*"', '"version":"0.0.1"', text))
    (told,) = compare(tmp_path / "old", pair[0])[0].settings
    assert (told.name, told.first, told.second) == ("version", "0.0.1", __version__)
