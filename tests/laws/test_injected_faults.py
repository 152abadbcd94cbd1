"""Whatever models lose, delay, reorder or corrupt: the result is well formed, matched by id and within the budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from reflectionflow.errors import ContractError
from reflectionflow.ranking import best
from reflectionflow.roles import PaintRequest, Question, Worker
from reflectionflow.runs import RunDirectory, verify
from reflectionflow.runtime import Search
from reflectionflow.search.prompt import PROMPT
from reflectionflow.search.reflection import REFLECTION
from reflectionflow.types import Budget, StopReason
from tests.support.conductor import Conductor
from tests.support.faults import Faulty
from tests.support.running import run_all, search, story, task
from tests.support.world import Brightness, Critic, Painter, Reordered, Rewriter, stack

PROMPT_TEXT = "a red star"
searches = st.one_of(
    st.builds(
        lambda **options: REFLECTION.configured(**options),
        width=st.integers(1, 4),
        drafts=st.integers(1, 5),
        parent=st.sampled_from(["latest", "best"]),
        refine=st.booleans(),
        reflect=st.booleans(),
        sure=st.sampled_from([0.0, 0.5, 1.0]),
        accept=st.none() | st.floats(0.3, 1),
    ),
    st.builds(
        lambda **options: PROMPT.configured(**options),
        width=st.integers(1, 4),
        parent=st.sampled_from(["latest", "best"]),
        reflect=st.booleans(),
    ),
)
budgets = st.builds(
    Budget,
    images=st.integers(1, 14),
    reflector_calls=st.none() | st.integers(1, 8),
    denoiser_evaluations=st.none() | st.integers(5, 60),
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    chosen=searches,
    budget=budgets,
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([0.0, 0.2, 0.6]),
    remote=st.booleans(),
)
def test_a_search_survives_faulty_models(chosen, budget, seed, rate, remote):
    conductor = Conductor(seed)
    worker = Worker.REMOTE if remote else Worker.LOCAL

    def faulty(model):
        return Faulty(model, seed, rate, before=conductor)

    models = stack(
        generator=faulty(Painter()),
        corrector=faulty(Painter()),
        verifier=faulty(Brightness(worker=worker)),
        reflector=faulty(Critic(worker=worker)),
        refiner=faulty(Rewriter()),
    )
    wanted = Search(task(PROMPT_TEXT, images=1), chosen).with_budget(budget)
    with TemporaryDirectory() as folder:
        result = run_all(Path(folder), [wanted], models)[0]
        conductor.end()
        with RunDirectory.read(folder) as run:
            pictures = {
                step.candidate.id: run.images.load(step.candidate.image) for step in result.steps if step.candidate
            }
        report = verify(folder)
    assert report.ok, report.problems
    assert_within(budget, result.charged)
    assert result.best == best(result.steps)
    assert len({step.place for step in result.steps}) == len(result.steps)
    if result.best is None:
        assert result.stop in (StopReason.FAILED, StopReason.BUDGET)
    for step in result.steps:
        assert_is_what_its_models_say(step, pictures)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), role=st.sampled_from(["generator", "corrector", "verifier", "reflector"]))
def test_a_run_whose_model_drops_answers_stops_by_its_name_and_continues_to_the_same_result(seed, role):
    """A model that answers fewer items than it was asked has a fault that scores would hide; nothing done is lost."""
    whole = stack(corrector=Painter(name="corrector@1"))
    dropping = replace(whole, **{role: Faulty(getattr(whole, role), seed, 0.0, dropping=0.3)})
    wanted = [search(PROMPT_TEXT, REFLECTION.configured(width=2), images=8)]
    with TemporaryDirectory() as folder, TemporaryDirectory() as other:
        stops, result = [], None
        while result is None and len(stops) < 100:
            try:
                result = run_all(Path(folder), wanted, dropping)[0]
            except ContractError as error:
                stops.append(str(error))
        assert all(getattr(whole, role).name in stop and "no answer for" in stop for stop in stops)
        assert verify(folder).ok
        assert result is not None
        assert story(result) == story(run_all(Path(other), wanted, whole)[0])


def assert_within(budget, charged) -> None:
    for name in ("images", "reflector_calls", "denoiser_evaluations"):
        limit = getattr(budget, name)
        assert limit is None or getattr(charged, name) <= limit


def assert_is_what_its_models_say(step, pictures: dict[str, Image.Image]) -> None:
    """Ask models without faults again: picture, score, reflection and prompt must belong together."""
    if step.candidate is None:
        assert step.failure is not None
        assert step.verdict is None
        return
    recipe, picture = step.candidate.recipe, pictures[step.candidate.id]
    parent = None if recipe.parent is None else pictures[recipe.parent]
    painted = Painter().generate([PaintRequest(recipe, parent)])[0]
    assert np.array_equal(np.asarray(painted.image), np.asarray(picture))
    if step.verdict is not None and step.verdict.failure is None:
        honest = Brightness().judge([Question(step.candidate, picture, PROMPT_TEXT)])[0]
        assert step.verdict.score == honest.score
    if step.reflection is not None:
        mean = float(np.asarray(parent).mean()) / 255
        assert step.reflection.candidate == recipe.parent
        assert recipe.reflection == step.reflection.text
        assert recipe.reflection.startswith(f"make it brighter than {mean:.4f}")
    if step.refined is not None:
        assert recipe.prompt == step.refined.text
        assert step.refined.candidate in pictures
        assert recipe.parent in (None, step.refined.candidate)


def short(answers):
    return answers[:-1]


def doubled(answers):
    return [*answers, answers[0]]


def swapped(answers):
    """Two answers under each other's id would be a lie no runtime can see; the same id twice is one it can."""
    return [answers[0]] * len(answers)


@pytest.mark.parametrize("change", [short, doubled, swapped])
@pytest.mark.parametrize("role", ["corrector", "reflector", "refiner"])
def test_an_answer_that_is_missing_or_doubled_never_reaches_another_item(tmp_path, role, change):
    models = stack()
    painter = Painter(name="corrector@1")
    inner = painter if role == "corrector" else getattr(models, role)
    with pytest.raises(ContractError, match=inner.name):
        run_all(
            tmp_path,
            [search(strategy=REFLECTION.configured(width=3, refine=True), images=12)],
            stack(**{role: Reordered(inner, change)}),
        )
