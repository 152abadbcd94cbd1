"""Pictures of a benchmark of single models, and what models say of them: all of it through the search runtime.

One run directory holds everything. What its journal has is neither painted nor asked again, so an interrupted command
resumes, and one with other models, more prompts or more pictures continues.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

from reflectionflow.evaluation.reflections import Seen
from reflectionflow.evaluation.scenes_judge import detect
from reflectionflow.geneval import Metadata, decide
from reflectionflow.genref.graph import graph_of
from reflectionflow.roles import Generator, Refiner, Reflector, Role, Stack, Verifier
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Search, Strategy, Task, Tools, run_searches
from reflectionflow.search.seeds import derive
from reflectionflow.types import Budget, Candidate, Failure, RefinedPrompt, Reflection, StopReason, Verdict

SIDE = 128.0
T = TypeVar("T")
Spot = tuple[int, int]
"""(index of the prompt, number of the draft)."""
Ask = Callable[[Task, Tools, Spot], Awaitable[T]]


class Gallery:
    """Paints and asks.

    Args:
        run: The open run directory.
        stack: Its generator paints; its verifier is never asked unless it is named.
        prompts: The prompts.
        seed: Seed of the run.
        console: Where progress is shown.
    """

    def __init__(
        self, run: RunDirectory, stack: Stack, prompts: Sequence[Metadata], seed: int, console: Console
    ) -> None:
        self._run, self._stack, self.prompts, self._seed, self._console = run, stack, prompts, seed, console
        self._index = {item.prompt: number for number, item in enumerate(prompts)}
        self._seen: dict[tuple[str, int], Seen] = {}

    def drafts(self, images: int) -> dict[Spot, Seen]:
        """Return `images` drafts of every prompt; those that could not be painted are absent."""

        async def draft(task: Task, tools: Tools, spot: Spot) -> Candidate | Failure:
            return await _draft(task, tools, spot)

        spots = [(prompt, slot) for prompt in range(len(self.prompts)) for slot in range(images)]
        return self._judged(self._asked("drafts", self._stack, draft, spots), "judge B on drafts")

    def scores(self, name: str, verifier: Verifier, spots: Sequence[Spot]) -> dict[Spot, float | None]:
        """Return the verifier's score of each draft, none where it gave none."""

        async def ask(task: Task, tools: Tools, spot: Spot) -> Verdict:
            return await tools.judge(_painted(await _draft(task, tools, spot)))

        told = self._asked(f"{name} judges", replace(self._stack, verifier=verifier), ask, spots)
        return {spot: verdict.score for spot, verdict in told.items()}

    def reflections(self, name: str, reflector: Reflector, spots: Sequence[Spot]) -> dict[Spot, Reflection]:
        """Return the reflection on each draft, written without a verdict."""

        async def ask(task: Task, tools: Tools, spot: Spot) -> Reflection:
            return await tools.reflect(_painted(await _draft(task, tools, spot)))

        return self._asked(f"{name} reflects", replace(self._stack, reflector=reflector), ask, spots)

    def refined(self, name: str, refiner: Refiner, spots: Sequence[Spot]) -> dict[Spot, RefinedPrompt]:
        """Return the prompt rewritten after each draft, without a verdict or reflection."""

        async def ask(task: Task, tools: Tools, spot: Spot) -> RefinedPrompt:
            return await tools.refine(_painted(await _draft(task, tools, spot)))

        return self._asked(f"{name} refines", replace(self._stack, refiner=refiner), ask, spots)

    def again(self, spots: Sequence[Spot]) -> dict[Spot, Seen]:
        """Return another picture of each draft's prompt, from new noise."""

        async def ask(task: Task, tools: Tools, spot: Spot) -> Candidate | Failure:
            return await tools.draft(task.prompt, _new_seed(task, spot), (1, spot[1]))

        return self._judged(self._asked("new noise", self._stack, ask, spots), "judge B on new noise")

    def repainted(self, name: str, refined: Mapping[Spot, RefinedPrompt]) -> dict[Spot, Seen]:
        """Return a picture of each rewritten prompt, from the noise of `again`, judged by the user's own prompt."""

        async def ask(task: Task, tools: Tools, spot: Spot) -> Candidate | Failure:
            return await tools.draft(refined[spot], _new_seed(task, spot), (1, spot[1]))

        return self._judged(self._asked(f"{name}'s prompts", self._stack, ask, tuple(refined)), f"judge B on {name}")

    def corrections(
        self, name: str, corrector: Generator, drafts: Mapping[Spot, Seen], reflections: Mapping[Spot, Reflection]
    ) -> dict[Spot, Seen]:
        """Return the correction of each draft that has a reflection, from the noise of `again`."""

        async def ask(task: Task, tools: Tools, spot: Spot) -> Candidate | Failure:
            flawed = drafts[spot].candidate
            return await tools.correct(flawed, reflections[spot], task.prompt, _new_seed(task, spot), (1, spot[1]))

        stack = replace(self._stack, corrector=corrector)
        told = self._asked(f"corrections by {name}", stack, ask, tuple(reflections), {Role.CORRECTOR})
        return self._judged(told, f"judge B on {name}")

    def _asked(
        self, what: str, stack: Stack, ask: Ask[T], spots: Sequence[Spot], needs: set[Role] | None = None
    ) -> dict[Spot, T]:
        """Ask something of each draft, all prompts at once."""
        slots: dict[int, list[int]] = {}
        for prompt, slot in spots:
            slots.setdefault(prompt, []).append(slot)
        answers: dict[Spot, T] = {}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console) as bars:
            bar = bars.add_task(what, total=len(spots))

            async def one(task: Task, tools: Tools, spot: Spot) -> None:
                answers[spot] = await ask(task, tools, spot)
                bars.advance(bar)

            async def visit(task: Task, tools: Tools) -> StopReason:
                prompt = self._index[task.prompt]
                await tools.gather(*(one(task, tools, (prompt, slot)) for slot in slots[prompt]))
                return StopReason.COMPLETE

            strategy = Strategy(what, visit, nested=False, needs=frozenset(needs or ()))
            searches = [Search(self._task(stack, prompt, len(slots[prompt])), strategy, what) for prompt in slots]
            if searches:
                run_searches(searches, stack, self._run)
        return {spot: answers[spot] for spot in spots}

    def _task(self, stack: Stack, prompt: int, pictures: int) -> Task:
        usual = stack.defaults or stack.generator.defaults
        return Task(
            self.prompts[prompt].prompt, Budget(images=pictures), self._seed,
            usual.width, usual.height, usual.steps, usual.guidance,
        )  # fmt: skip

    def _judged(self, painted: Mapping[Spot, Candidate | Failure], what: str) -> dict[Spot, Seen]:
        there = {spot: answer for spot, answer in painted.items() if isinstance(answer, Candidate)}
        shown = track(there.items(), what, console=self._console, disable=not there)
        return {spot: self._look(answer, spot[0]) for spot, answer in shown}

    def _look(self, candidate: Candidate, prompt: int) -> Seen:
        key = (candidate.image, prompt)
        if key not in self._seen:
            found = detect(self._run.image(candidate.image))
            correct = decide(self.prompts[prompt], found).correct
            self._seen[key] = Seen(candidate, correct, graph_of(found, SIDE))
        return replace(self._seen[key], candidate=candidate)


def resolved(stack: Stack, seed: int) -> dict[str, Any]:
    """Return what two commands on one directory must have in common: who paints the drafts, and from which noise."""
    usual = stack.defaults or stack.generator.defaults
    return {"benchmark": "roles", "seed": seed, "generator": stack.generator.name,
            "settings": dict(stack.generator.settings), "defaults": vars(usual)}  # fmt: skip


async def _draft(task: Task, tools: Tools, spot: Spot) -> Candidate | Failure:
    """Return a draft: the same one in every search of a prompt, and the one that any search method begins with."""
    place = (0, spot[1])
    return await tools.draft(task.prompt, derive(task.seed, task.prompt, place), place)


def _painted(answer: Candidate | Failure) -> Candidate:
    assert isinstance(answer, Candidate), "only drafts that were painted are asked about"
    return answer


def _new_seed(task: Task, spot: Spot) -> int:
    return derive(task.seed, task.prompt, (1, spot[1]))
