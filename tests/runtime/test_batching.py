"""Batches: full when they can be, never of mixed layout, in an order that does not depend on arrival."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from threading import Event as Flag

from reflectionflow.roles import Worker
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Event, Search, Strategy, run_searches
from reflectionflow.runtime.events import BatchStarted
from reflectionflow.runtime.idle import IdleWatcher
from reflectionflow.search.noise import NOISE
from reflectionflow.search.seeds import derive
from reflectionflow.types import StopReason
from tests.support.running import QUICK, SPEC, run_all, search, task
from tests.support.strategies import CHAINS_STRATEGY
from tests.support.world import Brightness, Critic, Painter, stack


def batches(events: list[Event], call: str) -> list[int]:
    return [len(event.ids) for event in events if isinstance(event, BatchStarted) and event.call == call]


def test_calls_of_all_prompts_in_flight_share_full_batches(tmp_path):
    events: list[Event] = []
    searches = [search(f"prompt {number}", images=2) for number in range(8)]
    run_all(tmp_path, searches, stack(), events)
    assert batches(events, "draft") == [4, 4, 4, 4]
    assert batches(events, "judge") == [4, 4, 4, 4]


def test_chains_that_wait_for_each_other_at_nothing_still_share_batches(tmp_path):
    events: list[Event] = []
    run_all(tmp_path, [search(strategy=CHAINS_STRATEGY, images=9)], stack(), events)
    assert batches(events, "draft") == [3]
    assert batches(events, "correct") == [3, 3]
    assert batches(events, "judge") == [3, 3, 3]


def test_a_batch_follows_the_order_of_prompts_and_places_and_not_of_arrival(tmp_path):
    painted: list[tuple[str, int]] = []

    def before(requests):
        painted.extend((request.recipe.prompt, request.recipe.seed) for request in requests)

    async def backwards(task, tools):
        async def attempt(slot):
            for _ in range(10 - slot):  # the last slot asks first
                await asyncio.sleep(0)
            await tools.draft(task.prompt, derive(task.seed, task.prompt, (0, slot)), (0, slot))

        await tools.gather(*(attempt(slot) for slot in reversed(range(6))))
        return StopReason.COMPLETE

    strategy = Strategy("backwards", backwards, nested=False)
    searches = [Search(task(prompt, images=6), strategy) for prompt in ("one", "two")]
    run_all(tmp_path, searches, stack(generator=Painter(before=before, batch_size=5)))
    assert painted == [(prompt, derive(7, prompt, (0, slot))) for prompt in ("one", "two") for slot in range(6)]


def test_items_of_different_layout_never_share_a_batch(tmp_path):
    layouts: list[set[tuple[int, int]]] = []

    def before(requests):
        layouts.append({(request.recipe.width, request.recipe.height) for request in requests})

    searches = [Search(replace(task(f"p {size}", images=2), width=size), NOISE) for size in (16, 24, 16, 24)]
    run_all(tmp_path, searches, stack(generator=Painter(before=before)))
    assert sorted(map(sorted, layouts)) == [[(16, 16)], [(24, 16)]]


def test_two_questions_about_one_picture_never_share_a_batch(tmp_path):
    sizes: list[int] = []

    async def curious(task, tools):
        candidate = await tools.draft(task.prompt, 1, (0, 0))
        answers = await tools.gather(*(tools.reflect(candidate, None, ["before"] * n) for n in range(3)))
        assert [answer.text[-9] for answer in answers] == ["0", "1", "2"]
        return StopReason.COMPLETE

    strategy = Strategy("curious", curious, nested=False)
    critic = Critic(before=lambda items: sizes.append(len(items)))
    run_all(tmp_path, [Search(task(images=1), strategy)], stack(reflector=critic))
    assert sizes == [1, 1, 1]


def test_a_remote_model_works_while_the_local_one_does(tmp_path):
    judging = Flag()

    def slow_painter(requests):
        if any(request.recipe.prompt == "second" for request in requests):
            assert judging.wait(30), "the verifier was not called while the painter was busy"

    def remote_judge(questions):
        judging.set()

    models = stack(
        generator=Painter(before=slow_painter, batch_size=2),
        verifier=Brightness(before=remote_judge, worker=Worker.REMOTE),
    )
    results = run_all(tmp_path, [search("first", images=2), search("second", images=2)], models)
    assert all(result.best for result in results)


def test_a_person_who_takes_time_does_not_hold_up_other_searches(tmp_path):
    others_done = Flag()

    def person(items):
        assert others_done.wait(30), "the other search had to wait for the person"

    seen: list[Event] = []

    def consume(event):
        seen.append(event)
        if event.kind == "stopped" and event.search == 1:
            others_done.set()

    models = stack(reflector=Critic(before=person, worker=Worker.REMOTE))
    with RunDirectory.open(tmp_path, SPEC) as run:
        searches = [search("asks a person", CHAINS_STRATEGY, images=4), search("asks nobody", images=12)]
        results = run_searches(searches, models, run, consume, patience=QUICK)
    assert [len(result.steps) for result in results] == [4, 12]


def test_a_coroutine_that_spins_cannot_hold_up_the_others(tmp_path):
    async def spinning(task, tools):
        done = False

        async def spin():
            while not done:
                await asyncio.sleep(0)

        async def work():
            nonlocal done
            await tools.judge(await tools.draft(task.prompt, 1, (0, 0)))
            done = True

        await tools.gather(spin(), work())
        return StopReason.COMPLETE

    result = run_all(tmp_path, [Search(task(images=1), Strategy("spinning", spinning, nested=False))], stack())[0]
    assert result.stop is StopReason.COMPLETE


async def test_the_idle_moment_comes_after_everything_that_can_run():
    loop = asyncio.get_running_loop()
    order: list[str] = []
    done = asyncio.Event()

    def idle() -> None:
        order.append("idle")
        done.set()

    async def relay(depth: int) -> None:
        if depth:
            await asyncio.create_task(relay(depth - 1))
        order.append(f"relay {depth}")

    watcher = IdleWatcher(loop, idle)
    watcher.wake()
    task = asyncio.create_task(relay(5))
    watcher.wake()
    await done.wait()
    await task
    assert order == [*(f"relay {depth}" for depth in range(6)), "idle"]


async def test_a_loop_whose_ready_queue_is_hidden_is_idle_after_some_passes():
    class Hidden:
        """A loop that shows nothing but `call_soon`, as uvloop does."""

        def __init__(self, loop):
            self.call_soon = loop.call_soon

    order: list[str] = []
    done = asyncio.Event()

    async def relay(depth: int) -> None:
        if depth:
            await asyncio.create_task(relay(depth - 1))
        order.append("relay")

    watcher = IdleWatcher(Hidden(asyncio.get_running_loop()), lambda: (order.append("idle"), done.set()))
    task = asyncio.create_task(relay(4))
    watcher.wake()
    await done.wait()
    await task
    assert order == ["relay"] * 5 + ["idle"]
