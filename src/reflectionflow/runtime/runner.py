"""Run searches: all prompts in flight at once over one set of models and one journal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any

from reflectionflow.errors import MisuseError
from reflectionflow.ranking import best
from reflectionflow.roles import Stack
from reflectionflow.runs.directory import RunDirectory
from reflectionflow.runs.journal import ResultRow
from reflectionflow.runtime.checks import check_task
from reflectionflow.runtime.dispatcher import Dispatcher
from reflectionflow.runtime.events import Event, RunStarted, SearchStarted, Stopped, event_json, ignore
from reflectionflow.runtime.faults import Patience
from reflectionflow.runtime.ledger import BudgetExhausted
from reflectionflow.runtime.task import Search
from reflectionflow.runtime.tools import Tools
from reflectionflow.types import SearchResult, StopReason, to_json

Consumer = Callable[[Event], None]
_USUAL = Patience()


def run_searches(
    searches: Sequence[Search],
    stack: Stack,
    run: RunDirectory,
    on_event: Consumer = ignore,
    *,
    patience: Patience = _USUAL,
) -> list[SearchResult]:
    """Run searches to their ends and return their results in the order given.

    Works inside a running event loop too (a notebook): the searches then run on a loop of their own in another thread,
    and so does `on_event`. Ctrl-C waits `patience.grace` seconds for the local model's current batch, journals what is
    finished and raises `KeyboardInterrupt`; a second Ctrl-C does not wait.

    Args:
        searches: What to search, and how.
        stack: The models.
        run: The open run directory; calls it holds already are not made again.
        on_event: Called with every event.
        patience: How often to try again, and how long to wait.

    Raises:
        MisuseError: if a search cannot be run, before anything is called; all reasons at once.
        ModelError: if a model fails for good or breaks its contract.
        StorageError: if the run cannot be written.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run_on_own_loop(searches, stack, run, on_event, patience)
    return _run_in_thread(searches, stack, run, on_event, patience)


async def run_searches_async(
    searches: Sequence[Search],
    stack: Stack,
    run: RunDirectory,
    on_event: Consumer = ignore,
    *,
    patience: Patience = _USUAL,
) -> list[SearchResult]:
    """Run searches on the running event loop; otherwise as `run_searches`. Cancelling it is a clean end."""
    results: dict[int, SearchResult] = {}
    await _run_all(searches, stack, run, on_event, patience, len(searches), results.__setitem__)
    return [results[index] for index in range(len(searches))]


def drain_searches(
    searches: Sequence[Search],
    stack: Stack,
    run: RunDirectory,
    on_event: Consumer = ignore,
    *,
    at_once: int,
    patience: Patience = _USUAL,
) -> None:
    """Run searches without keeping their results, which the run directory holds: for more than fit into memory.

    All searches share one queue, of which `at_once` are in flight; where one ends the next begins. Otherwise as
    `run_searches`, but not from inside a running event loop.
    """
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(_run_all(searches, stack, run, on_event, patience, at_once, lambda index, result: None))


async def _run_all(
    searches: Sequence[Search],
    stack: Stack,
    run: RunDirectory,
    on_event: Consumer,
    patience: Patience,
    at_once: int,
    keep: Callable[[int, SearchResult], None],
) -> None:
    problems = _problems(searches, stack)
    if problems:
        raise MisuseError("\n".join(problems))

    def emit(event: Event) -> None:
        run.record_event({"time": time.time(), **event_json(event)})
        on_event(event)

    emit(RunStarted(stack.name, len(searches), run.journal.count()))
    dispatcher = Dispatcher(run, emit, patience)
    waiting = iter(enumerate(searches))

    async def one_after_another() -> None:
        for index, search in waiting:
            keep(index, await _run_one(index, search, stack, run, dispatcher, emit))

    tasks = [asyncio.ensure_future(one_after_another()) for _ in range(min(at_once, len(searches)))]
    everything = asyncio.gather(*tasks)
    try:
        ends: list[asyncio.Future[Any]] = [everything, dispatcher.failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if dispatcher.failed.done():
            dispatcher.failed.result()
        everything.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, everything, return_exceptions=True)
        await dispatcher.close()


async def _run_one(
    index: int, search: Search, stack: Stack, run: RunDirectory, dispatcher: Dispatcher, emit: Consumer
) -> SearchResult:
    """Run one search, store its result and tell its end."""
    emit(SearchStarted(index, search.id, search.task.prompt, search.strategy.name, search.label))
    tools = Tools(index, search.task, stack, dispatcher, emit)
    try:
        reason = await search.strategy.run(search.task, tools)
    except BudgetExhausted:
        reason = StopReason.BUDGET
    except asyncio.CancelledError:
        emit(_stopped(index, search, _result(search, tools, StopReason.CANCELLED)))
        raise
    result = _result(search, tools, reason)
    row = _result_row(index, search, result)
    await dispatcher.store(lambda: run.store_result(row))
    emit(_stopped(index, search, result))
    return result


def _result(search: Search, tools: Tools, reason: StopReason) -> SearchResult:
    steps = tools.steps
    chosen = best(steps)
    failures = any(step.failure or (step.verdict is not None and step.verdict.failure) for step in steps)
    if chosen is None and failures and reason is not StopReason.CANCELLED:
        reason = StopReason.FAILED
    return SearchResult(
        prompt=search.task.prompt,
        strategy=search.strategy.name,
        best=chosen,
        steps=steps,
        stop=reason,
        charged=tools.charged,
        paid=tools.paid,
        failed_calls=tools.failed_calls,
    )


def _result_row(index: int, search: Search, result: SearchResult) -> ResultRow:
    strategy = search.strategy
    what = {"task": search.task, "strategy": strategy.name, "options": strategy.options}
    return ResultRow(search.id, index, search.label, to_json(what), to_json(result))


def _stopped(index: int, search: Search, result: SearchResult) -> Stopped:
    chosen = result.best
    candidate = chosen.candidate if chosen is not None else None
    verdict = chosen.verdict if chosen is not None else None
    return Stopped(
        search=index,
        id=search.id,
        reason=result.stop,
        best=None if candidate is None else candidate.id,
        score=None if verdict is None else verdict.score,
        charged=result.charged,
        paid=result.paid,
    )


def _problems(searches: Sequence[Search], stack: Stack) -> list[str]:
    """Return the problems of every search; each names its prompt where there are several."""
    several = len({search.task.prompt for search in searches}) > 1
    found = []
    for search in searches:
        about = f"'{search.task.prompt}': " if several else ""
        found += [f"{about}{problem}" for problem in check_task(search.task, stack, search.strategy)]
    return list(dict.fromkeys(found))


def _run_on_own_loop(
    searches: Sequence[Search], stack: Stack, run: RunDirectory, on_event: Consumer, patience: Patience
) -> list[SearchResult]:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(run_searches_async(searches, stack, run, on_event, patience=patience))


def _run_in_thread(
    searches: Sequence[Search], stack: Stack, run: RunDirectory, on_event: Consumer, patience: Patience
) -> list[SearchResult]:
    """Run on a loop in a fresh thread; what interrupts the caller cancels the searches."""
    outcome: Future[list[SearchResult]] = Future()
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[list[SearchResult]]]] = Future()

    async def work() -> list[SearchResult]:
        task = asyncio.current_task()
        assert task is not None
        started.set_result((asyncio.get_running_loop(), task))
        return await run_searches_async(searches, stack, run, on_event, patience=patience)

    def main() -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                outcome.set_result(runner.run(work()))
        except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
            outcome.set_exception(error)

    thread = Thread(target=main, name="reflectionflow-searches", daemon=True)
    thread.start()
    try:
        return outcome.result()
    except BaseException:
        loop, task = started.result()
        if thread.is_alive() and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join()
