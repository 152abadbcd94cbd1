"""Below the tools: grant calls, answer them from the journal, or batch them, make them, journal them and answer.

A call passes four stations. *Asked*: a search waits for it. *Granted*: at the next idle moment of the loop its price
is reserved, in the order of places and not of arrival. *Made*: unless the journal or a call in flight already answers
it, it waits in its model's lane until the model is free. *Journaled*: its answer is committed on the journal's own
thread, and only then handed on; the model meanwhile goes on with its next batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from reflectionflow.errors import TransientError
from reflectionflow.roles import Worker
from reflectionflow.runs.directory import RunDirectory
from reflectionflow.runs.journal import Row
from reflectionflow.runtime.calls import Call, Finished, Reply, answer_of, match, perform, rows_of, spend_of
from reflectionflow.runtime.events import BatchEnded, BatchStarted, Event, Retrying
from reflectionflow.runtime.faults import Patience, is_out_of_memory
from reflectionflow.runtime.idle import IdleWatcher
from reflectionflow.runtime.lanes import Account, Ask, Lanes, OpenCall, Outcome
from reflectionflow.runtime.ledger import BudgetExhausted
from reflectionflow.runtime.workers import Report, WorkerThread
from reflectionflow.types import Failure

LOCAL = "local"
MOST_ROUNDS_WITHOUT_MODEL = 64
"""Idle moments in a row at which searches advance on journaled answers before a free model is given what waits."""


class Bench:
    """One worker thread with the lanes it serves."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.lanes = Lanes()
        self.thread = WorkerThread(name, loop)
        self.running: list[OpenCall] = []
        self.rested = asyncio.Event()
        """Set while no batch is running."""


class Dispatcher:
    """Makes the calls of all searches of one run. Lives on one event loop.

    Args:
        run: Where calls are journaled and looked up.
        emit: Consumer of events; what it raises ends the run.
        patience: How often to try again, and how long to wait for the last batch.
    """

    def __init__(self, run: RunDirectory, emit: Callable[[Event], None], patience: Patience) -> None:
        self._loop = asyncio.get_running_loop()
        self._run = run
        self._emit = emit
        self._patience = patience
        self.failed: asyncio.Future[None] = self._loop.create_future()
        """Gets the error that ends the run; never a value."""
        self._idle = IdleWatcher(self._loop, partial(self._guarded, self._advance))
        self._asked: list[Ask] = []
        self._open: dict[str, OpenCall] = {}
        self._given_up: dict[str, Row] = {}
        self._benches: dict[str | int, Bench] = {}
        self._retries: set[asyncio.TimerHandle] = set()
        self._recorder = WorkerThread("journal", self._loop)
        self._batch = run.journal.last_batch()
        self._rounds = 0
        self._closing = False

    async def ask(self, account: Account, call: Call, place: tuple[int, int]) -> Outcome:
        """Return the outcome of a call, from the journal or from its model.

        Raises:
            BudgetExhausted: if the budget does not allow it.
        """
        ask = Ask(account, call, place, self._loop.create_future())
        self._asked.append(ask)
        self._idle.wake()
        try:
            return await ask.future
        except asyncio.CancelledError:
            self._withdraw(ask)
            raise

    async def store(self, job: Callable[[], None]) -> None:
        """Run a job on the journal's thread, after everything already handed to it."""
        future: asyncio.Future[None] = self._loop.create_future()

        def done(report: Report[None]) -> None:
            if not future.done():
                future.set_exception(report.error) if report.error else future.set_result(None)

        self._recorder.submit(job, done)
        await future

    async def close(self) -> None:
        """End the threads: wait a little for a local model's batch, journal what is finished, abandon the rest."""
        self._closing = True
        for handle in self._retries:
            handle.cancel()
        local = self._benches.get(LOCAL)
        if local is not None and local.running:
            with suppress(TimeoutError):
                await asyncio.wait_for(local.rested.wait(), self._patience.grace)
        for bench in self._benches.values():
            bench.thread.stop()
        self._recorder.stop()
        self._recorder.join()
        await asyncio.sleep(0)  # let what the journal has just reported be settled
        if self.failed.done():
            self.failed.exception()  # seen: whoever closes has raised it already
        else:
            self.failed.cancel()

    def fail(self, error: BaseException) -> None:
        """End the run with an error."""
        if not self.failed.done():
            self.failed.set_exception(error)

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """Run one step on the loop; what it raises ends the run, unchanged."""
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001  the runner raises it again
            self.fail(error)

    # granting

    def _advance(self) -> None:
        """At an idle moment: grant what waits; when nobody could go on, give the free models work."""
        if self._closing or self.failed.done():
            return
        progress = self._grant()
        if progress and self._rounds < MOST_ROUNDS_WITHOUT_MODEL:
            self._rounds += 1
            self._idle.wake()
            return
        self._rounds = 0
        for bench in self._benches.values():
            if not bench.running and (batch := bench.lanes.take()):
                self._start(bench, batch)
        if progress:
            self._idle.wake()

    def _grant(self) -> bool:
        """Grant or deny the waiting asks in their order; return whether any search can go on at once."""
        waiting, self._asked = sorted(self._asked, key=lambda ask: ask.order), []
        progress = False
        for ask in waiting:
            if ask.future.done():
                continue
            ledger, call = ask.account.ledger, ask.call
            competes = ledger.is_limited(call.price) and not ledger.is_free(call.id)
            if competes and not ask.account.may_overtake(ask.moment):
                self._asked.append(ask)
            elif not ledger.reserve(call.id, call.price):
                ask.future.set_exception(BudgetExhausted())
                progress = True
            else:
                ask.granted = True
                ask.account.take_off(ask.moment)
                progress |= self._answer_or_enqueue(ask)
        return progress

    def _answer_or_enqueue(self, ask: Ask) -> bool:
        """Answer an ask from the journal, or have its call made; return whether it was answered."""
        call = ask.call
        if (shared := self._open.get(call.id)) is not None:
            shared.asks.append(ask)
            return False
        row = self._given_up.get(call.id) or self._run.answer(call.id)
        if row is not None:
            ask.answer(answer_of(call, row), spend_of(row), computed=False)
            return True
        self._open[call.id] = opened = OpenCall(call, [ask], ask.order)
        self._bench_of(call).lanes.of(call).add([opened])
        return False

    def _withdraw(self, ask: Ask) -> None:
        """Forget an ask whose search was cancelled; a call that is already being made is finished and kept."""
        self._idle.wake()
        if not ask.future.cancelled():  # answered in the same moment in which its search was cancelled
            ask.future.exception()
            return
        if not ask.granted:
            self._asked = [other for other in self._asked if other is not ask]
            return
        ask.account.land(ask.moment)
        opened = self._open.get(ask.call.id)
        if opened is None or opened.running:
            return
        opened.asks.remove(ask)
        ask.account.ledger.release(ask.call.id)
        if not opened.asks:
            del self._open[ask.call.id]
            self._bench_of(ask.call).lanes.of(ask.call).remove(opened)

    def _drop_if_unwanted(self, opened: OpenCall) -> bool:
        """Forget a call that would have to be made again although nobody waits for it any more."""
        if any(not ask.future.done() for ask in opened.asks):
            return False
        for ask in opened.asks:
            ask.account.ledger.release(opened.call.id)
        del self._open[opened.call.id]
        return True

    # making

    def _bench_of(self, call: Call) -> Bench:
        key: str | int = LOCAL if call.model.worker is Worker.LOCAL else id(call.model)
        if key not in self._benches:
            self._benches[key] = Bench(LOCAL if key == LOCAL else call.model.name, self._loop)
        return self._benches[key]

    def _start(self, bench: Bench, batch: list[OpenCall]) -> None:
        self._batch += 1
        first = batch[0].call
        ids = tuple(opened.call.id for opened in batch)
        self._emit(BatchStarted(self._batch, first.kind.value, first.model.name, ids))
        for opened in batch:
            opened.running = True
        bench.running = batch
        bench.rested.clear()
        job = partial(perform, [opened.call for opened in batch], self._run.images)
        bench.thread.submit(job, partial(self._guarded, self._made, bench, batch, self._batch))

    def _made(self, bench: Bench, batch: list[OpenCall], number: int, report: Report[Sequence[Reply]]) -> None:
        """Take a model's replies, or decide what its error means."""
        bench.running = []
        bench.rested.set()
        self._idle.wake()
        for opened in batch:
            opened.seconds += report.seconds / len(batch)
        if report.error is not None:
            self._sort_out(batch, number, report.error)
        else:
            replies = match([opened.call for opened in batch], report.value or ())
            again = [isinstance(reply, Failure) and reply.transient for reply in replies]
            self._finish(batch, number, report.seconds, replies, again)

    def _sort_out(self, batch: list[OpenCall], number: int, error: BaseException) -> None:
        """Decide whose fault an error is: try again, halve the batch, or end the run."""
        if isinstance(error, TransientError):
            failures = [Failure(opened.call.id, _sentence(error), transient=True) for opened in batch]
            self._finish(batch, number, 0.0, failures, [True] * len(batch))
        elif is_out_of_memory(error):
            self._halve(batch, number, error)
        else:
            self.fail(error)

    def _halve(self, batch: list[OpenCall], number: int, error: BaseException) -> None:
        lane = self._bench_of(batch[0].call).lanes.of(batch[0].call)
        if len(batch) > 1:
            lane.limit = max(1, min(lane.limit, len(batch)) // 2)
            self._enqueue(batch)
            return
        reason = f"There is not enough memory for this one item ({_sentence(error)}); use a smaller size or model."
        self._finish(batch, number, 0.0, [Failure(batch[0].call.id, reason, transient=True)], [False])

    def _finish(
        self, batch: list[OpenCall], number: int, seconds: float, replies: Sequence[Reply], again: Sequence[bool]
    ) -> None:
        """Journal what is finished, and try again what may still succeed."""
        finished, retried = [], []
        for opened, reply, retry in zip(batch, replies, again, strict=True):
            opened.attempts += 1
            if retry and isinstance(reply, Failure) and opened.attempts < self._patience.attempts:
                retried.append((opened, reply))
                continue
            if retry and isinstance(reply, Failure):
                reply = Failure(reply.id, f"{reply.reason} (tried {opened.attempts} times)", transient=True)
            finished.append((opened, Finished(opened.call, reply, opened.seconds)))
        if retried:
            self._try_again([opened for opened, _ in retried], retried[0][1].reason)
        job = partial(self._record, [item for _, item in finished], number)
        done = partial(self._guarded, self._journaled, [opened for opened, _ in finished], number, seconds)
        self._recorder.submit(job, done)

    def _try_again(self, calls: list[OpenCall], reason: str) -> None:
        for attempt in sorted({opened.attempts for opened in calls}):
            same = [opened for opened in calls if opened.attempts == attempt]
            delay = self._patience.delay_after(attempt)
            first = same[0].call
            ids = tuple(opened.call.id for opened in same)
            self._emit(Retrying(first.kind.value, first.model.name, ids, attempt, reason, delay))
            if not self._closing:
                self._retries.add(self._loop.call_later(delay, partial(self._guarded, self._enqueue, same)))

    def _enqueue(self, calls: list[OpenCall]) -> None:
        for opened in calls:
            opened.running = False
            if self._drop_if_unwanted(opened):
                continue
            self._bench_of(opened.call).lanes.of(opened.call).add([opened])
        self._idle.wake()

    # journaling

    def _record(self, finished: list[Finished], number: int) -> list[Row]:
        """Journal finished calls; runs on the journal's thread."""
        rows = rows_of(finished, number, self._run.images)
        if rows:
            self._run.journal.append(rows)
        return rows

    def _journaled(self, calls: list[OpenCall], number: int, seconds: float, report: Report[list[Row]]) -> None:
        """Hand on answers that are in the journal."""
        if report.error is not None:
            raise report.error
        for opened, row in zip(calls, report.value or (), strict=True):
            if row.transient:
                self._given_up[row.id] = row
            del self._open[row.id]
            answer, cost = answer_of(opened.call, row), spend_of(row)
            for index, ask in enumerate(opened.asks):
                ask.answer(answer, cost, computed=index == 0)
        if calls:
            kind, model = calls[0].call.kind, calls[0].call.model.name
            ids = tuple(opened.call.id for opened in calls)
            self._emit(BatchEnded(number, kind.value, model, ids, seconds))
        self._idle.wake()


def _sentence(error: BaseException) -> str:
    return str(error) or type(error).__name__
