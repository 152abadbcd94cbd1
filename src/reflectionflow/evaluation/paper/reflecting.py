"""Reflectors criticise the same failed drafts, and the corrector carries out what each of them says (Figure 2).

The drafts are those that the judge refuses among the first ones, which all methods share. Every reflector sees picture
and prompt alone. Its correction starts from the same noise as that of any other, and as the new draft which stands for
saying nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.judges import objections
from reflectionflow.evaluation.judging import Decisions
from reflectionflow.evaluation.paper.methods import NOISE, WIDTH
from reflectionflow.evaluation.paper.named import Named, named
from reflectionflow.evaluation.paper.replaying import Say, decisions_on, recorded
from reflectionflow.evaluation.planning import Plan, Trial
from reflectionflow.evaluation.reflections import Spot
from reflectionflow.evaluation.results import Results
from reflectionflow.evaluation.running import AT_ONCE, DECISIONS, RUN, Consumer
from reflectionflow.genref.graph import Graph
from reflectionflow.roles import Reflector, Role, Stack
from reflectionflow.runs import RunDirectory, RunReader
from reflectionflow.runtime import Patience, Search, Strategy, Task, Tools, drain_searches
from reflectionflow.search.seeds import derive
from reflectionflow.types import Budget, Candidate, Failure, Reflection, StopReason

if TYPE_CHECKING:
    from PIL.Image import Image

SMALL_VLM = "scenes-vlm"
"""The tuned vision-language model of Scenes, which writes its reflections itself."""
TEACHER = "scenes-teacher"
"""Labels the triplets of Scenes; it reads pictures with detector A."""
FIRST = 2 * WIDTH
"""Drafts of a prompt and seed that are looked at: as many as ReflectionFlow begins with."""
NEW_NOISE = "new noise"


@runtime_checkable
class Reader(Protocol):
    """A judge that can say what it sees in a picture, in the words of edits."""

    def graph(self, image: Image) -> Graph:
        """Return the objects of a picture."""


@dataclass(frozen=True)
class Told:
    """What a reflector said of a draft, and what came of it.

    Attributes:
        reflection: Its words; none of a draft from new noise.
        corrected: The correction; none where there was nothing to carry out, or it could not be painted.
        correct: Whether the judge accepts the correction; false without one.
    """

    reflection: Reflection | None
    corrected: Candidate | None
    correct: bool


@dataclass(frozen=True)
class Criticised:
    """What came of it all.

    Attributes:
        drafts: The failed drafts by (prompt, seed, slot), in this order.
        graphs: What the judge sees in each; empty where it is no reader.
        again: Whether another draft, from the noise of the corrections, passes.
        told: What each reflector said, by its name as tables show it.
        oracles: Names of those that are related to the judge.
    """

    drafts: Mapping[Spot, Candidate]
    graphs: Mapping[Spot, Graph]
    again: Mapping[Spot, bool]
    told: Mapping[str, Mapping[Spot, Told]]
    oracles: frozenset[str]


def usual(models: Stack) -> tuple[str, ...]:
    """Return the reflectors that are asked besides the stack's own where nobody is named: two on Scenes."""
    return () if models.generator.capabilities.words is None else (SMALL_VLM, TEACHER)


def critics(names: Sequence[str] | None, planned: Plan) -> tuple[Named, ...]:
    """Return the stack's own reflector and others by name: registered models, or stack files, whose reflector is meant.

    Args:
        names: The others; none for the usual ones: where the stack paints Scenes its tuned vision-language model and
            the teacher.
        planned: The evaluation.

    Returns:
        Nobody where the stack cannot correct: then nothing would come of a reflection.

    Raises:
        MisuseError: if one is unknown, reflects on nothing, lacks something on this machine, is named twice, or is the
            stack's own; all reasons at once.
    """
    models = planned.models
    if models.corrector is None:
        if names:
            raise MisuseError(f"--reflect-by: the stack {models.name} has no corrector; choose another with --stack.")
        return ()
    own = [] if models.reflector is None else [_own(models.reflector, planned)]
    if names is None:
        others, _ = named("--reflect-by", usual(models), Role.REFLECTOR, planned)
        return (*own, *(other for other in others if all(other.model.name != one.model.name for one in own)))
    others, problems = named("--reflect-by", names, Role.REFLECTOR, planned)
    if problems:
        raise MisuseError("\n".join(problems))
    return (*own, *others)


def _own(reflector: Reflector, planned: Plan) -> Named:
    return Named(reflector.name.split("@")[0], reflector, tuple(objections(planned.judge, reflector)))


def criticised(
    planned: Plan,
    results: Results,
    by: Sequence[Named],
    folder: Path,
    on_event: Consumer,
    say: Say,
    patience: Patience,
) -> Criticised:
    """Return what reflectors say of the failed first drafts, asking and painting what is not there yet.

    Args:
        planned: The evaluation, carried out; its stack has a corrector.
        results: Its outcomes.
        by: The reflectors.
        folder: The evaluation's directory.
        on_event: Called with every event.
        say: Told what begins.
        patience: How often to try again, and how long to wait.

    Raises:
        ModelError: if a model failed for good.
        StorageError: if something cannot be read or written.
    """
    trials = {(trial.prompt, trial.seed): trial for trial in planned.trials if trial.method.name == NOISE}
    said: dict[str, _Answers] = {}
    with RunDirectory.reopen(folder / RUN) as run:
        failed = _failed(results, trials, run)
        asking = _Asking(planned.models, trials, failed, run, on_event, patience)
        for critic in by:
            say(f"{critic.name} reflects on {len(failed)} failed drafts, and they are corrected.")
            said[critic.told] = asking.corrected(critic)
        say(f"{len(failed)} new drafts to compare with.")
        said[NEW_NOISE] = asking.redrawn()
        right = _accepted(planned, said.values(), run, folder)
        graphs = {}
        if isinstance(planned.judge, Reader):
            graphs = {spot: planned.judge.graph(run.image(draft.image)) for spot, draft in failed.items()}

    def told(answers: _Answers) -> dict[Spot, Told]:
        pictures = {spot: answers.pictures.get(spot) for spot in failed}
        return {
            spot: Told(answers.words.get(spot), picture, picture is not None and (spot[0], picture.image) in right)
            for spot, picture in pictures.items()
        }

    again = {spot: answer.correct for spot, answer in told(said.pop(NEW_NOISE)).items()}
    oracles = frozenset(critic.told for critic in by if critic.related)
    return Criticised(failed, graphs, again, {name: told(answers) for name, answers in said.items()}, oracles)


@dataclass(frozen=True)
class _Answers:
    """Reflections on drafts, and pictures painted in their place."""

    words: dict[Spot, Reflection]
    pictures: dict[Spot, Candidate]


@dataclass(frozen=True)
class _Asking:
    """Shows failed drafts to models, through the runtime and into the evaluation's run."""

    models: Stack
    trials: Mapping[tuple[int, int], Trial]
    failed: Mapping[Spot, Candidate]
    run: RunDirectory
    consume: Consumer
    patience: Patience

    def corrected(self, critic: Named) -> _Answers:
        """Have each draft criticised, and corrected where there is something to correct."""
        found = _Answers({}, {})

        async def ask(task: Task, tools: Tools, spot: Spot) -> Candidate | Failure | None:
            draft, place = self.failed[spot], (1, spot[2])
            words = found.words[spot] = await tools.reflect(draft)
            if words.failure is not None or not words.text.strip():
                return None
            return await tools.correct(draft, words, task.prompt, derive(task.seed, task.prompt, place), place)

        self._ask(replace(self.models, reflector=critic.model), f"{critic.model.name} on failed drafts", ask, found)
        return found

    def redrawn(self) -> _Answers:
        """Have another draft for each, from the noise that a correction of it starts from."""
        found = _Answers({}, {})

        async def ask(task: Task, tools: Tools, spot: Spot) -> Candidate | Failure | None:
            place = (1, spot[2])
            return await tools.draft(task.prompt, derive(task.seed, task.prompt, place), place)

        self._ask(self.models, f"{NEW_NOISE} after failed drafts", ask, found)
        return found

    def _ask(self, models: Stack, what: str, ask: _Ask, found: _Answers) -> None:
        groups: dict[tuple[int, int], list[Spot]] = {}
        for spot in self.failed:
            groups.setdefault((spot[0], spot[1]), []).append(spot)
        searches = [self._search(self.trials[key], spots, what, ask, found) for key, spots in groups.items()]
        if searches:
            drain_searches(searches, models, self.run, self.consume, at_once=AT_ONCE, patience=self.patience)

    def _search(self, trial: Trial, spots: Sequence[Spot], what: str, ask: _Ask, found: _Answers) -> Search:
        async def one(task: Task, tools: Tools, spot: Spot) -> None:
            answer = await ask(task, tools, spot)
            if isinstance(answer, Candidate):
                found.pictures[spot] = answer

        async def visit(task: Task, tools: Tools) -> StopReason:
            for spot in spots:  # the journal holds them, so nothing is painted
                draft = self.failed[spot]
                same = await tools.draft(task.prompt, draft.recipe.seed, (0, spot[2]))
                assert same == draft, "a recorded picture is that of its recipe"
            await tools.gather(*(one(task, tools, spot) for spot in spots))
            return StopReason.COMPLETE

        strategy = Strategy("replay", visit, nested=False, options=(("of", trial.search.id),))
        task = replace(trial.search.task, budget=Budget(images=2 * len(spots)))
        return Search(task, strategy, what)


_Ask = Callable[[Task, Tools, Spot], Awaitable[Candidate | Failure | None]]


def _failed(results: Results, trials: Mapping[tuple[int, int], Trial], run: RunReader) -> dict[Spot, Candidate]:
    """Return the first drafts that the judge refuses."""
    found: dict[Spot, Candidate] = {}
    rows = {row.search: row for row in results.rows}
    for (prompt, seed), trial in trials.items():
        result = recorded(run, trial.search.id)
        right = decisions_on(rows[trial.search.id], result)
        for step in result.steps:
            round_, slot = step.place
            if round_ == 0 and slot < FIRST and step.candidate is not None and not right[step.candidate.id]:
                found[prompt, seed, slot] = step.candidate
    return found


def _accepted(planned: Plan, answers: Iterable[_Answers], run: RunReader, folder: Path) -> set[tuple[int, str]]:
    """Return which pictures the judge accepts, as (index of the prompt, SHA-256), judging what is not judged yet."""
    items = planned.asked.benchmark.items
    asked = {(spot[0], picture.image) for part in answers for spot, picture in part.pictures.items()}
    decisions = Decisions(folder / DECISIONS, planned.judge)
    try:
        decisions.make([(image, items[prompt]) for prompt, image in sorted(asked)], run.images.load)
        decided = {key: decisions.find(key[1], items[key[0]]) for key in asked}
    finally:
        decisions.close()
    return {key for key, decision in decided.items() if decision is not None and decision[0]}
