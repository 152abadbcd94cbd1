"""Who may not take part in an evaluation: every role that knows what the judge knows, and nobody else."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import pytest

from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.comparing import compare
from reflectionflow.evaluation.judges import LABELS, ScenesJudge, related_roles
from reflectionflow.evaluation.pages.comparison import comparison_json, write_page
from reflectionflow.evaluation.planning import plan
from reflectionflow.models.person import Person
from reflectionflow.models.scenes_oracle import OracleCorrector, OracleReflector
from reflectionflow.plugins import ModelSpec
from reflectionflow.roles import Role
from reflectionflow.stack import find_model, read
from tests.support.evaluating import Contrast, asked, evaluate
from tests.support.world import Brightness, Critic, Painter, Rewriter, stack

MAKERS = {"generator": Painter, "verifier": Brightness, "corrector": Painter, "reflector": Critic, "refiner": Rewriter}


def knowing(role):
    model = MAKERS[role]()
    model.name, model.relatives = f"knowing-{role}@1", frozenset({"red"})
    return stack(**{role: model})


@pytest.mark.parametrize("role", list(MAKERS))
def test_every_role_that_is_related_to_the_judge_is_refused(role):
    said = rf"The {role} knowing-{role}@1 is related to red, as the judge is\..*another {role}, or pass --oracle"
    with pytest.raises(MisuseError, match=said):
        plan(asked(1, strategies=("noise",), stack=knowing(role)), Contrast())
    allowed = plan(asked(1, strategies=("noise",), stack=knowing(role), oracle=True), Contrast())
    assert list(allowed.related) == [role]


def test_all_related_roles_are_told_at_once():
    models = replace(knowing("reflector"), corrector=knowing("corrector").corrector)
    with pytest.raises(MisuseError, match=r"(?s)2 things are wrong.*The corrector .*The reflector "):
        plan(asked(1, strategies=("noise",), stack=models), Contrast())


def test_every_table_names_the_roles_that_make_it_an_oracles(tmp_path):
    models = replace(knowing("reflector"), corrector=knowing("corrector").corrector)
    usual = {"strategies": ("noise", "reflection"), "images": 6, "seeds": 1, "oracle": True}
    evaluate(tmp_path / "out", plan(asked(1, **{**usual, "stack": models}), Contrast()))
    text, page = ((tmp_path / "out" / name).read_text() for name in ("report.md", "report.html"))
    titles = re.findall(r"^## (.*)$", text + (tmp_path / "out" / "costs.md").read_text(), re.MULTILINE)
    assert len(titles) > 7
    assert all(title.endswith("(oracle: corrector, reflector)") for title in titles)
    said = "Oracle: the corrector and the reflector are related to the judge, and nothing here is evidence."
    assert page.count("<table>") == page.count(f'<li class="warn">{said}') > 7
    about = json.loads((tmp_path / "out" / "results.json").read_text())["about"]
    assert list(about["related"]) == ["corrector", "reflector"]
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        assert {line["oracle"] for line in csv.DictReader(file)} == {"corrector reflector"}

    evaluate(tmp_path / "honest", plan(asked(1, **{**usual, "stack": stack()}), Contrast()))
    found = compare(tmp_path / "honest", tmp_path / "out")
    assert [item["related"] for item in comparison_json(found)] == [["corrector", "reflector"]] * 2
    write_page(found, tmp_path / "page.html")
    assert said in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("name", ["scenes-oracle", "scenes-teacher", "scenes-renderer"])
def test_what_knows_the_truth_of_scenes_says_so(name):
    made = {"scenes-teacher": OracleReflector, "scenes-renderer": OracleCorrector}
    spec = find_model(name)
    assert isinstance(spec, ModelSpec)
    model = made.get(name, spec.load)
    assert LABELS in model.relatives & ScenesJudge.relatives


def test_the_stack_of_scenes_is_nobodys_oracle():
    parts = read("scenes").parts
    assert {part.role for part in parts} == set(Role)
    for part in parts:
        kind = find_model(part.model).load
        assert not getattr(kind, "relatives", frozenset()) & ScenesJudge.relatives, part.model


def test_a_person_who_is_shown_an_oracles_reflections_is_related_as_it_is():
    adviser = Critic()
    adviser.relatives = frozenset({"red"})
    models = stack(reflector=Person(None, adviser))
    assert list(related_roles(Contrast(), models)) == ["reflector"]
    assert related_roles(Contrast(), stack(reflector=Person(None, Critic()))) == {}
