"""What a search may do: draft, judge, reflect, refine, correct, and wait for several of these at once.

A search awaits single calls and knows nothing of batches, caches, retries and counting. Each call may raise
`BudgetExhausted`, which a search need not catch: the runtime ends it with `StopReason.BUDGET`.

Places. A picture is painted at a place (round, slot), which nobody else in the search uses; whatever is painted because
of an answer about round r belongs to a later round. Then the result depends on neither batches nor timing, even where
the budget ends in the middle: a call that draws on a limited budget waits for the earlier rounds.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from reflectionflow.errors import MisuseError
from reflectionflow.ranking import best, judged
from reflectionflow.roles import Generator, Role, Stack
from reflectionflow.runtime.calls import Call, CallKind, judge_call, paint_call, refine_call, reflect_call
from reflectionflow.runtime.checks import prompt_problems
from reflectionflow.runtime.dispatcher import Dispatcher
from reflectionflow.runtime.events import Corrected, Drafted, Event, Failed, Judged, Refined, Reflected, Selected
from reflectionflow.runtime.lanes import Account, Outcome
from reflectionflow.runtime.ledger import BudgetExhausted, Ledger
from reflectionflow.runtime.task import SEED_LIMIT, Place, Task
from reflectionflow.types import (
    Candidate,
    FailedCall,
    Failure,
    Recipe,
    RefinedPrompt,
    Reflection,
    Spend,
    Step,
    Verdict,
    settings,
)
from reflectionflow.vocabulary import unknown_words

T = TypeVar("T")


class Tools:
    """The calls one search may make, and the story of what it has done.

    Args:
        search: Index of the search in the run.
        task: What is wanted.
        stack: The models.
        dispatcher: Makes the calls.
        emit: Consumer of events.
    """

    def __init__(
        self, search: int, task: Task, stack: Stack, dispatcher: Dispatcher, emit: Callable[[Event], None]
    ) -> None:
        self._task = task
        self._stack = stack
        self._dispatcher = dispatcher
        self._emit = emit
        self._ledger = Ledger(task.budget)
        self._account = Account(search, self._ledger)
        self._steps: dict[Place, Step] = {}
        self._taken: set[Place] = set()
        self._places: dict[str, list[Place]] = {}
        self._failed: dict[str, tuple[Place, FailedCall]] = {}
        self._best: Step | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every picture so far, painted or failed, with what was said of it, ordered by place."""
        return tuple(self._steps[place] for place in sorted(self._steps))

    @property
    def failed_calls(self) -> tuple[FailedCall, ...]:
        """The reflections and rewritten prompts that failed so far, each question once, ordered by its picture."""
        ordered = sorted(self._failed.items(), key=lambda item: (item[1][0], item[1][1].call, item[0]))
        return tuple(failed for _, (_, failed) in ordered)

    @property
    def charged(self) -> Spend:
        """Spend so far as if this search ran alone, including the price of calls still being made."""
        return self._ledger.charged

    @property
    def paid(self) -> Spend:
        """What this process has computed for this search so far."""
        return self._ledger.paid

    def has(self, role: Role) -> bool:
        """Return whether the stack has a model for this role."""
        return getattr(self._stack, role.value) is not None

    def affordable(self, pictures: int) -> int:
        """Return how many of this many further pictures the budget may allow, 0 ≤ … ≤ `pictures`.

        Goes by the limits on images and denoiser evaluations, and lets a search ask for no reflection on whose picture
        nothing could follow. What is granted in the end is still decided call by call.
        """
        painters = [painter for painter in (self._stack.generator, self._stack.corrector) if painter is not None]
        evaluations = self._task.steps * min(painter.capabilities.evaluations_per_step for painter in painters)
        return self._ledger.affordable(Spend(images=1, denoiser_evaluations=evaluations), pictures)

    async def draft(self, prompt: str | RefinedPrompt, seed: int, place: Place) -> Candidate | Failure:
        """Paint a picture from noise.

        Args:
            prompt: The text to paint; a refined prompt is kept with the picture.
            seed: Seed of its noise, 0 ≤ seed < 2**63.
            place: (round, slot), not used before in this search.

        Returns:
            The candidate, or why it could not be painted.
        """
        recipe = self._recipe(self._stack.generator, prompt, seed)
        return await self._paint(paint_call(self._stack.generator, recipe, None), place, prompt, None)

    async def correct(
        self, candidate: Candidate, reflection: Reflection | None, prompt: str | RefinedPrompt, seed: int, place: Place
    ) -> Candidate | Failure:
        """Paint a better picture from a flawed one and a reflection on it.

        Args:
            candidate: The flawed picture.
            reflection: What is wrong with it; none to correct it by the prompt alone.
            prompt: The text to paint; a refined prompt is kept with the picture.
            seed: Seed of the noise, 0 ≤ seed < 2**63.
            place: (round, slot), not used before in this search.

        Returns:
            The new candidate, or why it could not be painted.

        Raises:
            ValueError: if the reflection has no text.
        """
        corrector = _require(self._stack.corrector, "corrector", self._stack)
        if reflection is not None and not reflection.text:
            raise ValueError("a correction needs a reflection with text; stop when there is nothing to correct")
        text = None if reflection is None else reflection.text
        recipe = self._recipe(corrector, prompt, seed, parent=candidate.id, reflection=text)
        return await self._paint(paint_call(corrector, recipe, candidate), place, prompt, reflection)

    async def judge(self, candidate: Candidate) -> Verdict:
        """Ask the verifier how well a picture of this search shows the user's own prompt."""
        places = self._places_of(candidate)
        call = judge_call(self._stack.verifier, candidate, self._task.prompt)
        outcome = await self._dispatcher.ask(self._account, call, places[0])
        verdict = outcome.answer
        assert isinstance(verdict, Verdict)
        for place in places:
            step = self._steps[place]
            self._steps[place] = Step(place, step.candidate, verdict, step.reflection, step.refined, step.failure)
        if not self._tell_failure(call, places[0], outcome):
            self._emit(Judged(self._account.search, places[0], verdict, outcome.cached))
            self._tell_if_best(self._steps[places[0]])
        return verdict

    async def reflect(
        self,
        candidate: Candidate,
        verdict: Verdict | None = None,
        history: Sequence[str] = (),
        reader: Role = Role.CORRECTOR,
    ) -> Reflection:
        """Ask the reflector what is wrong with a picture of this search.

        A text with words that the stack's corrector does not know comes back as a failure, unless another
        role is to read it.

        Args:
            candidate: The picture.
            verdict: What the verifier said of it, or none when the reflector is not to see it.
            history: Texts of earlier reflections of the same chain, oldest first.
            reader: Who is to read it.
        """
        place = self._places_of(candidate)[0]
        reflector = _require(self._stack.reflector, "reflector", self._stack)
        call = reflect_call(reflector, candidate, self._task.prompt, verdict, history)
        outcome = await self._dispatcher.ask(self._account, call, place)
        assert isinstance(outcome.answer, Reflection)
        reflection = self._readable(outcome.answer, reader)
        outcome = replace(outcome, answer=reflection)
        if not self._tell_failure(call, place, outcome):
            self._emit(Reflected(self._account.search, place, reflection, outcome.cached))
        return reflection

    async def refine(
        self,
        candidate: Candidate,
        verdict: Verdict | None = None,
        reflection: Reflection | None = None,
        current_prompt: str | None = None,
    ) -> RefinedPrompt:
        """Ask the refiner for a better prompt, seeing a picture of this search.

        A text that the stack's painters cannot paint (empty, too long, unknown words) comes back as a failure.

        Args:
            candidate: The last picture.
            verdict: What the verifier said of it, or none.
            reflection: What is wrong with it, or none.
            current_prompt: The prompt to rewrite; the one the picture was painted from when none.
        """
        place = self._places_of(candidate)[0]
        refiner = _require(self._stack.refiner, "refiner", self._stack)
        current = candidate.recipe.prompt if current_prompt is None else current_prompt
        critique = None if reflection is None else reflection.text
        call = refine_call(refiner, candidate, self._task.prompt, current, verdict, critique)
        outcome = await self._dispatcher.ask(self._account, call, place)
        assert isinstance(outcome.answer, RefinedPrompt)
        refined = self._paintable(outcome.answer)
        outcome = replace(outcome, answer=refined)
        if not self._tell_failure(call, place, outcome):
            self._emit(Refined(self._account.search, place, refined, outcome.cached))
        return refined

    async def gather(self, *calls: Coroutine[Any, Any, T]) -> list[T]:
        """Wait for several chains at once and return their values in the order given.

        When the budget ends in one of them the others are awaited to their own end (work in flight is kept), then
        `BudgetExhausted` is raised. Any other error cancels them and is raised at once.
        """
        tasks = [asyncio.ensure_future(call) for call in calls]
        pending = set(tasks)
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    _raise_unless_out_of_budget(task)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [task.result() for task in tasks]

    def _readable(self, reflection: Reflection, reader: Role) -> Reflection:
        """Return the reflection, as a failure when it is for the corrector and that does not know its words."""
        corrector = self._stack.corrector
        if reflection.failure is not None or reader is not Role.CORRECTOR or corrector is None:
            return reflection
        problem = unknown_words(reflection.text, corrector)
        return replace(reflection, text="", edits=(), failure=problem) if problem else reflection

    def _paintable(self, refined: RefinedPrompt) -> RefinedPrompt:
        """Return the refined prompt, as a failure when it is no text or no painter understands it."""
        if refined.failure is not None:
            return refined
        painters = [painter for painter in (self._stack.generator, self._stack.corrector) if painter is not None]
        problems = list(prompt_problems(refined.text, *painters))
        if not refined.text.strip():
            problems = [f"{refined.refiner} gave an empty prompt."]
        return replace(refined, text="", failure=" ".join(problems)) if problems else refined

    def _recipe(
        self,
        generator: Generator,
        prompt: str | RefinedPrompt,
        seed: int,
        parent: str | None = None,
        reflection: str | None = None,
    ) -> Recipe:
        if not 0 <= seed < SEED_LIMIT:
            raise ValueError(f"a seed lies in 0 ≤ seed < 2**63, not {seed}")
        text = prompt if isinstance(prompt, str) else prompt.text
        if not text.strip():
            raise ValueError("a picture needs a prompt; a refined prompt that failed has none")
        task = self._task
        return Recipe(
            generator=generator.name,
            prompt=text,
            seed=seed,
            width=task.width,
            height=task.height,
            steps=task.steps,
            guidance=task.guidance,
            parent=parent,
            reflection=reflection,
            settings=settings(generator.settings),
        )

    async def _paint(
        self, call: Call, place: Place, prompt: str | RefinedPrompt, reflection: Reflection | None
    ) -> Candidate | Failure:
        if place in self._taken:
            raise ValueError(f"place {place} is taken; every picture of a search has its own (round, slot)")
        self._taken.add(place)
        outcome = await self._dispatcher.ask(self._account, call, place)
        answer = outcome.answer
        assert isinstance(answer, Candidate | Failure)
        refined = None if isinstance(prompt, str) else prompt
        if isinstance(answer, Failure):
            self._steps[place] = Step(place, None, None, reflection, refined, answer)
            self._tell_failure(call, place, outcome)
            return answer
        self._steps[place] = Step(place, answer, None, reflection, refined)
        insort(self._places.setdefault(answer.id, []), place)
        kind = Corrected if call.kind is CallKind.CORRECT else Drafted
        self._emit(kind(self._account.search, place, answer, outcome.cached))
        return answer

    def _places_of(self, candidate: Candidate) -> list[Place]:
        if candidate.id not in self._places:
            raise ValueError(f"candidate {candidate.id} was not painted in this search")
        return self._places[candidate.id]

    def _tell_failure(self, call: Call, place: Place, outcome: Outcome) -> bool:
        """Emit `Failed` if the answer is a failure, and return whether it is."""
        answer = outcome.answer
        if isinstance(answer, Candidate):
            return False
        failure = answer if isinstance(answer, Failure) else None
        if failure is None and not isinstance(answer, Failure) and answer.failure is not None:
            failure = Failure(call.id, answer.failure)
            if not isinstance(answer, Verdict):
                self._failed[call.id] = (place, FailedCall(call.kind.value, answer.candidate, failure.reason))
        if failure is None:
            return False
        self._emit(Failed(self._account.search, place, call.kind.value, failure, outcome.cached))
        return True

    def _tell_if_best(self, step: Step) -> None:
        """Emit `Selected` if a judged picture is better than those before it."""
        if not judged(step) or best([step, *([self._best] if self._best else [])]) is not step:
            return
        self._best = step
        if step.candidate is not None and step.verdict is not None and step.verdict.score is not None:
            self._emit(Selected(self._account.search, step.place, step.candidate, step.verdict.score))


def _raise_unless_out_of_budget(task: asyncio.Task[Any]) -> None:
    """Raise a finished task's error (or its cancellation), except that of an exhausted budget."""
    if task.cancelled():
        raise asyncio.CancelledError
    error = task.exception()
    if error is not None and not isinstance(error, BudgetExhausted):
        raise error


R = TypeVar("R")


def _require(role: R | None, name: str, stack: Stack) -> R:
    """Return a role the stack must fill.

    Raises:
        MisuseError: if it does not.
    """
    if role is None:
        raise MisuseError(f"the stack {stack.name} has no {name}; choose a stack that has one.")
    return role
