"""Ctrl-C and cancellation: what is journaled stays, the lock is released, and the exception reaches the caller."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import pytest

import reflectionflow
from reflectionflow.roles import Worker
from reflectionflow.runs import RunDirectory, verify
from reflectionflow.runtime import Event, Patience, run_searches, run_searches_async
from reflectionflow.runtime.events import BatchStarted, Stopped
from reflectionflow.types import StopReason
from tests.support.running import QUICK, SPEC, run_all, search, story
from tests.support.world import Brightness, Painter, stack

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(reflectionflow.__file__).parents[1])}

PROGRAM = """
import asyncio, sys
from threading import Event
from reflectionflow.roles import Worker
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import run_searches
from tests.support.running import QUICK, SPEC, search
from tests.support.world import Brightness, Painter, stack

calls = []
def before(requests):
    calls.append(1)
    if len(calls) == 2:
        print("painting", flush=True)
        Event().wait()

def work():
    try:
        with RunDirectory.open(sys.argv[1], SPEC) as run:
            run_searches([search(images=9)], stack(generator=Painter(before=before)), run, patience=QUICK)
    except KeyboardInterrupt:
        RunDirectory.open(sys.argv[1], SPEC).close()
        print("interrupted, and the lock is free", flush=True)

async def notebook():
    work()

if sys.argv[2] == "plain":
    work()
else:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(notebook())
    loop.close()
"""


@pytest.mark.parametrize("where", ["plain", "notebook"])
def test_control_c_works_while_a_model_is_in_a_call(tmp_path, where):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), where]
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "painting\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted, and the lock is free\n"
        assert process.wait(timeout=60) == 0
    report = verify(tmp_path)
    assert report.ok
    assert report.calls >= 4  # the first batch
    whole = run_all(tmp_path / "whole", [search(images=9)], stack())[0]
    assert story(run_all(tmp_path, [search(images=9)], stack())[0]) == story(whole)


async def test_cancelling_a_run_keeps_the_batch_that_ends_within_the_grace(tmp_path):
    started, released = asyncio.Event(), Flag()
    loop = asyncio.get_running_loop()
    events: list[Event] = []

    def before(requests):
        loop.call_soon_threadsafe(started.set)
        assert released.wait(60)

    with RunDirectory.open(tmp_path, SPEC) as run:
        work = asyncio.create_task(
            run_searches_async(
                [search(images=4), search("another", images=4)],
                stack(generator=Painter(before=before)),
                run,
                events.append,
                patience=Patience(grace=60),
            )
        )
        await started.wait()
        work.cancel()
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert run.journal.count() == 4
    assert [event.reason for event in events if isinstance(event, Stopped)] == [StopReason.CANCELLED] * 2
    assert verify(tmp_path).ok


async def test_cancelling_does_not_wait_for_a_remote_model(tmp_path):
    asked, answered = asyncio.Event(), Flag()
    loop = asyncio.get_running_loop()

    def before(questions):
        loop.call_soon_threadsafe(asked.set)
        answered.wait()

    models = stack(verifier=Brightness(before=before, worker=Worker.REMOTE))
    with RunDirectory.open(tmp_path, SPEC) as run:
        work = asyncio.create_task(run_searches_async([search(images=4)], models, run, patience=Patience(grace=60)))
        await asked.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert run.journal.count() == 4
    answered.set()


async def test_a_search_runs_inside_a_running_loop(tmp_path):
    threads = set()

    def consume(event):
        from threading import current_thread

        threads.add(current_thread().name)

    with RunDirectory.open(tmp_path / "a", SPEC) as run:
        result = run_searches([search(images=3)], stack(), run, consume, patience=QUICK)[0]
    with RunDirectory.open(tmp_path / "b", SPEC) as run:
        awaited = (await run_searches_async([search(images=3)], stack(), run))[0]
    assert story(result) == story(awaited)
    assert threads == {"reflectionflow-searches"}


async def test_errors_come_out_of_the_thread_unchanged(tmp_path):
    error = ZeroDivisionError("mine")

    def before(requests):
        raise error

    with RunDirectory.open(tmp_path, SPEC) as run:
        with pytest.raises(ZeroDivisionError) as caught:
            run_searches([search(images=3)], stack(generator=Painter(before=before)), run, patience=QUICK)
    assert caught.value is error


def test_threads_end_with_the_run(tmp_path):
    import threading

    before = set(threading.enumerate())
    run_all(tmp_path, [search(images=3)], stack(verifier=Brightness(worker=Worker.REMOTE)))
    left = [thread for thread in set(threading.enumerate()) - before if isinstance(thread, Thread)]
    for thread in left:
        thread.join(timeout=60)
    assert not [thread for thread in left if thread.is_alive()]


def test_a_run_cancelled_by_its_consumer_can_be_continued(tmp_path):
    def consume(event):
        if isinstance(event, BatchStarted) and event.call == "judge":
            raise KeyboardInterrupt

    with RunDirectory.open(tmp_path / "a", SPEC) as run:
        with pytest.raises(KeyboardInterrupt):
            run_searches([search(images=6)], stack(), run, consume, patience=QUICK)
    continued = run_all(tmp_path / "a", [search(images=6)], stack())[0]
    assert story(continued) == story(run_all(tmp_path / "b", [search(images=6)], stack())[0])
