"""Faults: what passes is tried again, what is too large is halved, what is for good ends the run unchanged."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from reflectionflow.errors import ModelError, TransientError
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Event
from reflectionflow.runtime.events import BatchStarted, Failed, Retrying
from reflectionflow.runtime.faults import Patience, is_out_of_memory
from reflectionflow.search.reflection import REFLECTION
from reflectionflow.types import Failure, StopReason, Verdict
from tests.support.running import SPEC, run_all, search, story
from tests.support.strategies import CHAINS_STRATEGY
from tests.support.world import Brightness, Critic, Painter, Reordered, stack


class Flaky:
    """Raises an error the first `times` times it is called."""

    def __init__(self, error: BaseException, times: int) -> None:
        self.error, self.times, self.sizes = error, times, []

    def __call__(self, requests) -> None:
        self.sizes.append(len(requests))
        if len(self.sizes) <= self.times:
            raise self.error


def test_a_transient_error_is_tried_again_and_leaves_no_trace_in_the_result(tmp_path):
    events: list[Event] = []
    flaky = Flaky(TransientError("The line was busy."), 2)
    result = run_all(tmp_path / "a", [search(images=4)], stack(verifier=Brightness(before=flaky)), events)[0]
    assert story(result) == story(run_all(tmp_path / "b", [search(images=4)], stack())[0])
    retrying = [event for event in events if isinstance(event, Retrying)]
    assert [event.attempt for event in retrying] == [1, 2]
    assert retrying[0].reason == "The line was busy."


def test_after_three_attempts_a_transient_error_is_a_failure_on_the_items(tmp_path):
    flaky = Flaky(TransientError("The line was busy."), 3)
    events: list[Event] = []
    result = run_all(tmp_path, [search(images=4)], stack(verifier=Brightness(before=flaky)), events)[0]
    assert result.stop is StopReason.FAILED
    assert {step.verdict.failure for step in result.steps} == {"The line was busy. (tried 3 times)"}
    assert len([event for event in events if isinstance(event, Failed)]) == 4


def test_a_transient_failure_counts_and_is_tried_again_by_the_next_run(tmp_path):
    flaky = Flaky(TransientError("The line was busy."), 3)
    first = run_all(tmp_path / "a", [search(images=4)], stack(verifier=Brightness(before=flaky)))[0]
    assert first.charged.verifier_calls == 4
    again = run_all(tmp_path / "a", [search(images=4)], stack())[0]
    assert story(again) == story(run_all(tmp_path / "b", [search(images=4)], stack())[0])
    assert (again.paid.images, again.paid.verifier_calls) == (0, 4)
    with RunDirectory.read(tmp_path / "a") as run:
        rows = [row for row in run.calls() if row.role == "judge"]
    assert [row.transient for row in rows] == [True] * 4 + [False] * 4


def test_a_permanent_failure_is_replayed(tmp_path):
    def fails(recipe):
        return Failure(recipe.id, "The paint ran out.")

    first = run_all(tmp_path, [search(images=3)], stack(generator=Painter(fails=fails)))[0]
    again = run_all(tmp_path, [search(images=3)], stack())[0]
    assert story(again) == story(first)
    assert again.paid.images == 0


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float32("nan")], ids=repr)
@pytest.mark.parametrize("where", ["score", "aspect"])
def test_a_verdict_that_is_no_finite_number_is_a_failure_on_that_picture(tmp_path, number, where):
    whole = run_all(tmp_path / "whole", [search(images=4)], stack())[0]
    third = whole.steps[2].candidate.id

    class Overflowing(Brightness):
        def _judge(self, question):
            said = super()._judge(question)
            if question.candidate.id != third:
                return said
            return Verdict(third, self.name, **({"score": number} if where == "score" else spoilt), tokens=3)

    spoilt = {"score": 0.5, "aspects": (("colours", number),)}
    result = run_all(tmp_path / "one", [search(images=4)], stack(verifier=Overflowing()))[0]
    about = "score" if where == "score" else "aspect 'colours'"
    assert (
        result.steps[2].verdict.failure == f"brightness@1 gave the {about} {float(number)}, which is no finite number."
    )
    assert result.steps[2].verdict.tokens == 3
    assert [step.verdict for n, step in enumerate(result.steps) if n != 2] == [
        step.verdict for n, step in enumerate(whole.steps) if n != 2
    ]
    again = run_all(tmp_path / "one", [search(images=4)], stack(verifier=Overflowing()))[0]
    assert story(again) == story(result)
    assert again.paid.verifier_calls == 0


@pytest.mark.parametrize("score", [1.01, -0.5])
def test_a_score_out_of_range_is_a_fault_of_the_adapter(score):
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        Verdict("x", "judge@1", score)


def test_failed_reflections_stand_in_the_result_each_question_once(tmp_path):
    def lost(answers):
        passing = [Failure(said.candidate, "time-out", transient=True) for said in answers if hash_of(said) % 2]
        return [*passing, *(replace(said, text="", failure="No words.") for said in answers if not hash_of(said) % 2)]

    def hash_of(said):
        return int(said.candidate[-1], 16)

    chosen = REFLECTION.configured(width=2)
    models = stack(reflector=Reordered(Critic(), lost))
    result = run_all(tmp_path, [search(strategy=chosen, images=9)], models)[0]
    assert len(result.failed_calls) == result.charged.reflector_calls > 4
    assert {(said.call, said.reason) for said in result.failed_calls} == {
        ("reflect", "No words."),
        ("reflect", "time-out (tried 3 times)"),
    }
    places = {step.candidate.id: step.place for step in result.steps}
    assert [places[said.candidate] for said in result.failed_calls] == sorted(
        places[said.candidate] for said in result.failed_calls
    )
    with RunDirectory.read(tmp_path) as run:
        assert run.results()[0].result == result


def test_only_the_affected_items_of_a_batch_are_tried_again(tmp_path):
    attempts: list[int] = []

    def fails(recipe):
        attempts.append(recipe.seed)
        if recipe.seed % 2 and attempts.count(recipe.seed) < 3:
            return Failure(recipe.id, "The brush slipped.", transient=True)
        return None

    result = run_all(tmp_path, [search(images=8)], stack(generator=Painter(fails=fails)))[0]
    assert all(step.candidate for step in result.steps)
    assert {attempts.count(seed) for seed in attempts if seed % 2} == {3}
    assert {attempts.count(seed) for seed in attempts if not seed % 2} == {1}


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's error, which is recognised by it."""


@pytest.mark.parametrize(
    "error", [MemoryError(), OutOfMemoryError("CUDA"), RuntimeError("MPS backend out of memory")], ids=repr
)
def test_running_out_of_memory_halves_the_batch(tmp_path, error):
    sizes = []

    def before(requests):
        sizes.append(len(requests))
        if len(requests) > 2:
            raise error

    result = run_all(tmp_path, [search(images=8)], stack(generator=Painter(before=before, batch_size=8)))[0]
    assert all(step.candidate for step in result.steps)
    assert sizes == [8, 4, 2, 2, 2, 2]


def test_an_item_too_large_for_memory_is_a_failure(tmp_path):
    painter = Painter(before=Flaky(MemoryError(), 99))
    result = run_all(tmp_path, [search(images=2)], stack(generator=painter))[0]
    assert result.stop is StopReason.FAILED
    assert all("not enough memory" in step.failure.reason for step in result.steps)
    assert result.charged.images == 2


@pytest.mark.parametrize("error", [ModelError("The endpoint is gone; start it again."), ZeroDivisionError("mine")])
@pytest.mark.parametrize("role", ["generator", "verifier"])
def test_other_errors_end_the_run_unchanged_and_keep_what_was_journaled(tmp_path, error, role):
    model = {"generator": Painter, "verifier": Brightness}[role]
    calls = []

    def before(requests):
        calls.append(len(requests))
        if len(calls) == 2:
            raise error

    with pytest.raises(type(error)) as caught:
        run_all(tmp_path, [search(images=12)], stack(**{role: model(before=before)}))
    assert caught.value is error
    with RunDirectory.read(tmp_path) as run:
        assert len(list(run.calls())) >= 4


def test_an_error_of_an_event_consumer_ends_the_run_unchanged(tmp_path):
    from reflectionflow.runtime import run_searches

    def consume(event):
        if event.kind == "judged":
            raise KeyError("mine")

    with RunDirectory.open(tmp_path, SPEC) as run:
        with pytest.raises(KeyError, match="mine"):
            run_searches([search(images=4)], stack(), run, consume)
    with RunDirectory.open(tmp_path, SPEC):
        pass  # the lock was released


def test_an_error_of_a_consumer_at_the_start_of_a_batch_ends_the_run(tmp_path):
    from reflectionflow.runtime import run_searches

    def consume(event):
        if isinstance(event, BatchStarted):
            raise KeyError("mine")

    with RunDirectory.open(tmp_path, SPEC) as run:
        with pytest.raises(KeyError, match="mine"):
            run_searches([search(images=4)], stack(), run, consume)


def test_an_error_in_one_chain_cancels_the_others(tmp_path):
    with pytest.raises(ValueError, match="reflection with text"):
        run_all(tmp_path, [search(strategy=_careless(), images=8)], stack(reflector=_content_critic()))


def _content_critic():
    from tests.support.world import Critic

    return Critic(enough=0.0)


def _careless():
    from dataclasses import replace

    from reflectionflow.search.seeds import derive
    from reflectionflow.types import StopReason

    async def careless(task, tools):
        async def chain(slot):
            candidate = await tools.draft(task.prompt, derive(task.seed, task.prompt, (0, slot)), (0, slot))
            reflection = await tools.reflect(candidate)
            await tools.correct(candidate, reflection, task.prompt, 1, (1, slot))

        await tools.gather(*(chain(slot) for slot in range(3)))
        return StopReason.COMPLETE

    return replace(CHAINS_STRATEGY, name="careless", run=careless)


def test_the_delay_between_attempts_grows():
    patience = Patience(attempts=4, delay=0.5, growth=4.0)
    assert [patience.delay_after(attempt) for attempt in (1, 2, 3)] == [0.5, 2.0, 8.0]


def test_torchs_own_error_is_recognised_as_out_of_memory():
    assert is_out_of_memory(OutOfMemoryError("any text"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))
