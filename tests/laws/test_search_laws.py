"""Laws of every search, tested on models that truly play the roles."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from reflectionflow.errors import ContractError
from reflectionflow.roles import Worker
from reflectionflow.runtime import Event, Search
from reflectionflow.runtime.events import BatchStarted
from reflectionflow.search.noise import NOISE
from reflectionflow.search.prompt import PROMPT
from reflectionflow.search.reflection import REFLECTION
from reflectionflow.types import Failure, Spend, StopReason, to_json
from tests.support.conductor import Conductor
from tests.support.running import run_all, search, story
from tests.support.strategies import CHAINS_STRATEGY
from tests.support.world import Brightness, Critic, Painter, Reordered, Rewriter, shuffled, stack

BY_SCORE = dataclasses.replace(REFLECTION.configured(rank="score"), name="by score")
STRATEGIES = [NOISE, PROMPT.configured(), REFLECTION.configured(), BY_SCORE, CHAINS_STRATEGY]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_the_same_seed_gives_the_same_result_to_the_byte(tmp_path, strategy):
    first, second = (run_all(tmp_path / name, [search(strategy=strategy, images=9)], stack())[0] for name in "ab")
    assert story(first) == story(second)
    assert len(first.steps) == 9


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_the_order_of_answers_does_not_matter(tmp_path, strategy):
    plain = stack()
    mixed = stack(
        **{
            role: Reordered(getattr(plain, role), shuffled(1))
            for role in ("generator", "verifier", "reflector", "refiner", "corrector")
        }
    )
    one = run_all(tmp_path / "a", [search(strategy=strategy, images=9)], plain)[0]
    other = run_all(tmp_path / "b", [search(strategy=strategy, images=9)], mixed)[0]
    assert story(one) == story(other)


@pytest.mark.parametrize("strategy", STRATEGIES[2:], ids=lambda s: s.name)
def test_the_batch_size_does_not_matter(tmp_path, strategy):
    results = []
    for size in (1, 2, 5):
        painter = Painter(batch_size=size)
        models = stack(generator=painter, corrector=painter, verifier=Brightness(batch_size=size))
        results.append(run_all(tmp_path / str(size), [search(strategy=strategy, images=10)], models)[0])
    assert story(results[0]) == story(results[1]) == story(results[2])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "limits",
    [{"images": 10}, {"images": 14, "verifier_calls": 7, "refiner_calls": 5}, {"images": 20, "tokens": 60}],
    ids=str,
)
@pytest.mark.parametrize("strategy", STRATEGIES[2:], ids=lambda s: s.name)
def test_which_model_answers_first_does_not_matter_even_where_the_budget_ends(tmp_path, seed, limits, strategy):
    plain = run_all(tmp_path / "plain", [search(strategy=strategy, **limits)], stack())[0]
    conductor = Conductor(seed)
    slow: dict[str, Any] = {"before": conductor, "batch_size": 1}
    models = stack(
        generator=Painter(**slow),
        corrector=Painter(name="painter@1", worker=Worker.REMOTE, **slow),
        verifier=Brightness(worker=Worker.REMOTE, **slow),
        reflector=Critic(worker=Worker.REMOTE, **slow),
        refiner=Rewriter(worker=Worker.REMOTE, **slow),
    )
    jumbled = run_all(tmp_path / "jumbled", [search(strategy=strategy, **limits)], models)[0]
    conductor.end()
    assert story(jumbled) == story(plain)


def test_more_budget_is_never_worse_and_contains_the_smaller_search(tmp_path):
    results = [run_all(tmp_path / str(n), [search(images=n)], stack())[0] for n in (1, 3, 8, 13)]
    for smaller, larger in itertools.pairwise(results):
        assert larger.steps[: len(smaller.steps)] == smaller.steps
        assert larger.best.verdict.score >= smaller.best.verdict.score
    assert all(result.stop is StopReason.BUDGET for result in results)


@pytest.mark.parametrize(
    "limits",
    [
        {"images": 7},
        {"images": 12, "verifier_calls": 5},
        {"denoiser_evaluations": 38},
        {"images": 20, "reflector_calls": 4},
        {"images": 20, "refiner_calls": 3},
        {"images": 20, "denoiser_evaluations": 31, "verifier_calls": 6},
    ],
    ids=str,
)
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_the_budget_is_never_exceeded(tmp_path, strategy, limits):
    result = run_all(tmp_path, [search(strategy=strategy, **limits)], stack())[0]
    for name, limit in limits.items():
        assert getattr(result.charged, name) <= limit
    assert result.stop is StopReason.BUDGET
    assert result.best is not None


def test_tokens_stop_a_search_once_they_are_reached(tmp_path):
    result = run_all(tmp_path, [search(strategy=CHAINS_STRATEGY, images=30, tokens=40)], stack())[0]
    assert result.stop is StopReason.BUDGET
    assert 40 <= result.charged.tokens < 40 + 3 * 7  # at most one call of each chain was under way
    assert result.charged.images < 30


def test_failed_pictures_count_and_are_no_score(tmp_path):
    def fails(recipe):
        return Failure(recipe.id, "The paint ran out.") if recipe.seed % 2 else None

    result = run_all(tmp_path, [search(images=10)], stack(generator=Painter(fails=fails)))[0]
    failed = [step for step in result.steps if step.failure]
    assert 0 < len(failed) < 10
    assert result.charged.images == 10
    assert result.charged.denoiser_evaluations == 50
    assert result.charged.verifier_calls == 10 - len(failed)
    assert all(step.verdict is None for step in failed)
    assert result.best.failure is None


def test_an_unjudged_picture_is_never_selected(tmp_path):
    brightest = run_all(tmp_path / "a", [search(images=8)], stack())[0].best

    def fails(question):
        return "The eye was closed." if question.candidate.id == brightest.candidate.id else None

    result = run_all(tmp_path / "b", [search(images=8)], stack(verifier=Brightness(fails=fails)))[0]
    assert result.best is not None
    assert result.best.place != brightest.place
    unjudged = next(step for step in result.steps if step.place == brightest.place)
    assert unjudged.verdict.failure == "The eye was closed."
    assert unjudged.verdict.score is None


def test_a_search_without_any_judged_picture_says_that_it_failed(tmp_path):
    result = run_all(tmp_path, [search(images=4)], stack(verifier=Brightness(fails=lambda q: "The eye was closed.")))[0]
    assert result.best is None
    assert result.stop is StopReason.FAILED


def test_ties_go_to_the_smaller_place(tmp_path):
    class Blind(Brightness):
        def _judge(self, question):
            return dataclasses.replace(super()._judge(question), score=0.5)

    result = run_all(tmp_path, [search(images=6)], stack(verifier=Reordered(Blind(), shuffled(3))))[0]
    assert result.best.place == (0, 0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda answers: answers[:-1], "answered 3"),
        (lambda answers: answers[:-1] + answers[:1], "twice"),
        (lambda answers: [*answers, dataclasses.replace(answers[0], **_renamed(answers[0]))], "not asked"),
        (lambda answers: [*answers[:-1], "a picture"], "str"),
    ],
    ids=["short", "duplicated", "foreign", "of another type"],
)
@pytest.mark.parametrize("role", ["generator", "verifier"])
def test_a_model_that_breaks_the_contract_is_named(tmp_path, role, change, sentence):
    inner = getattr(stack(), role)
    with pytest.raises(ContractError, match=sentence) as caught:
        run_all(tmp_path, [search(images=4)], stack(**{role: Reordered(inner, change)}))
    assert inner.name in str(caught.value)


def _renamed(answer):
    return {"id" if hasattr(answer, "id") else "candidate": "rf1:stranger"}


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_a_fully_journaled_run_charges_the_same_and_pays_nothing(tmp_path, strategy):
    searches = [search(prompt, strategy, images=8) for prompt in ("a red star", "a blue moon")]
    fresh = run_all(tmp_path, searches, stack())
    events: list[Event] = []
    again = run_all(tmp_path, searches, stack(), events)
    assert [to_json(r.charged) for r in again] == [to_json(r.charged) for r in fresh]
    assert [r.paid for r in again] == [Spend(), Spend()]
    assert [r.paid for r in fresh] == [r.charged for r in fresh]
    assert [story(r) for r in again] == [story(r) for r in fresh]
    assert not [event for event in events if isinstance(event, BatchStarted)]
    assert all(event.cached for event in events if hasattr(event, "cached"))


def test_a_larger_budget_continues_a_smaller_one(tmp_path):
    run_all(tmp_path / "a", [search(images=5)], stack())
    grown = run_all(tmp_path / "a", [search(images=9)], stack())[0]
    whole = run_all(tmp_path / "b", [search(images=9)], stack())[0]
    assert story(grown) == story(whole)
    assert grown.paid.images == 4


def test_searches_share_identical_calls_and_only_one_of_them_pays(tmp_path):
    searches = [Search(search(images=6).task, NOISE, label) for label in ("one", "two")]
    first, second = run_all(tmp_path, searches, stack())
    assert story(first) == story(second)
    assert first.charged.images == second.charged.images == 6
    assert (first.paid.images, second.paid.images) == (6, 0)


def test_every_event_of_a_search_is_told_once(tmp_path):
    events: list[Event] = []
    run_all(tmp_path, [search(strategy=CHAINS_STRATEGY, images=6)], stack(), events)
    kinds = [event.kind for event in events]
    assert kinds[0] == "run_started"
    assert kinds[1] == "search_started"
    assert kinds[-1] == "stopped"
    assert kinds.count("drafted") == 3
    assert kinds.count("corrected") == 3
    assert kinds.count("judged") == 6
    assert kinds.count("selected") >= 1
    assert kinds.count("batch_started") == kinds.count("batch_ended")


def test_the_users_own_prompt_is_judged_and_never_a_rewritten_one(tmp_path):
    prompts: set[str] = set()
    verifier = Brightness(before=lambda questions: prompts.update(question.prompt for question in questions))
    run_all(tmp_path, [search(strategy=CHAINS_STRATEGY, images=8)], stack(verifier=verifier))
    assert prompts == {"a red star"}
