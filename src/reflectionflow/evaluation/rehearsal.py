"""What an evaluation will cost, found by rehearsing it: a few of its prompts run with stand-ins that paint nothing.

The stand-ins never accept a picture, always find something to correct, and answer each question otherwise, as models
do: methods then share what they must, their first drafts, and not what they happen to choose alike. Whatever a strategy
does, its calls are counted by the runtime itself and not predicted from its options.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from reflectionflow import roles, stack
from reflectionflow.evaluation.judges import WEIGHTS
from reflectionflow.evaluation.planning import Plan
from reflectionflow.evaluation.running import is_whole
from reflectionflow.geneval import Decision, Metadata
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Task, drain_searches
from reflectionflow.types import Recipe, RefinedPrompt, Reflection, Spend, Verdict

HOUR = 3600.0
REHEARSED = 4
"""Pairs of prompt and seed that are rehearsed; what methods share differs from one to the next."""
SCORES = 1e-6
"""Scores differ by less than this, so that none is accepted."""
EDITS = 5
"""Edits that are asked for at most, as failed composites need."""
_KINDS = ("draft", "correct", "judge", "reflect", "refine")


@dataclass(frozen=True)
class Forecast:
    """What an evaluation needs if no search ends before its budget.

    Attributes:
        searches: Number of searches.
        most: Pictures if methods shared none: never more are painted.
        charged: Each method's spend as if it ran alone, all prompts and seeds together, by name.
        calls: What is really computed, shared drafts once and what comes besides the searches, by kind of call.
        finished: Searches that the directory holds already.
        seconds: Estimated seconds of model time for the others and for what comes besides; none when no pace is known.
        pace: Where the estimate comes from, as a sentence.
        money: Its price, in the currency of the price given; none without a price or a pace.
    """

    searches: int
    most: int
    charged: Mapping[str, Spend]
    calls: Mapping[str, int]
    finished: int
    seconds: float | None
    pace: str
    money: float | None

    @property
    def pictures(self) -> int:
        """Pictures to be painted, drafts and corrections."""
        return self.calls["draft"] + self.calls["correct"]

    @property
    def hours(self) -> float | None:
        """Estimated hours of model time on one device."""
        return None if self.seconds is None else self.seconds / HOUR


def forecast(
    plan: Plan,
    folder: Path,
    seconds_per_image: float | None = None,
    price_per_hour: float | None = None,
    beside: Mapping[str, int] | None = None,
) -> Forecast:
    """Return what an evaluation needs; nothing is painted, and nothing is left on disk.

    Args:
        plan: The evaluation.
        folder: Its directory; a run in it tells the pace of each kind of call, and what is done.
        seconds_per_image: The pace, everything included, instead of the measured one.
        price_per_hour: Of the device.
        beside: Calls that the directory gets besides these searches, at most, by kind; none for no others.

    Raises:
        RunMismatchError: if the directory holds another evaluation.
        StorageError: if it cannot be read.
    """
    measured, finished = _measured(folder, plan)
    every = list(dict.fromkeys((trial.prompt, trial.seed) for trial in plan.trials))
    some = {every[len(every) * number // REHEARSED] for number in range(REHEARSED)}
    group = [trial for trial in plan.trials if (trial.prompt, trial.seed) in some]
    times = len(every) / len(some)
    with TemporaryDirectory() as scratch, RunDirectory.open(Path(scratch) / "run", {"rehearsal": True}) as run:
        drain_searches([trial.search for trial in group], _stand_ins(plan.models), run, at_once=len(group))
        counted = {kind: round(count * times) for kind, (count, _) in run.journal.seconds().items()}
        charged: dict[str, Spend] = {}
        for trial in group:
            found = run.result(trial.search.id)
            assert found is not None
            charged[trial.method.name] = charged.get(trial.method.name, Spend()) + found.result.charged
    more = beside or {}
    calls = {kind: counted.get(kind, 0) + more.get(kind, 0) for kind in _KINDS}
    share = 1 - finished / len(plan.trials)
    left = {
        kind: _left(counted.get(kind, 0), share, more.get(kind, 0), measured.get(kind, (0, 0.0))[0]) for kind in _KINDS
    }
    seconds, pace = _estimate(left, measured, seconds_per_image)
    return Forecast(
        searches=len(plan.trials),
        most=sum(trial.search.task.budget.images or 0 for trial in plan.trials)
        + sum(more.get(kind, 0) for kind in ("draft", "correct")),
        charged={name: _times(spend, times) for name, spend in charged.items()},
        calls=calls,
        finished=finished,
        seconds=seconds,
        pace=pace,
        money=None if seconds is None or price_per_hour is None else seconds / HOUR * price_per_hour,
    )


def _measured(folder: Path, plan: Plan) -> tuple[dict[str, tuple[int, float]], int]:
    """Return how many calls a directory holds, whosever they are, with their seconds, and how many of the searches."""
    if not (folder / "run.json").exists():
        return {}, 0
    with RunDirectory.read(folder) as run:
        run.require(plan.resolved)
        finished = sum(is_whole(trial, run.result(trial.search.id)) for trial in plan.trials)
        return run.journal.seconds(), finished


def _left(searching: int, share: float, beside: int, there: int) -> int:
    """Return how many calls of a kind are left: those of unfinished searches, and those besides that are not there.

    Calls that are there count for the finished searches first. Those of searches that were interrupted are not told
    from others, so that more seem to be left than are.
    """
    left = round(searching * share)
    return left + max(0, beside - max(0, there - (searching - left)))


def _estimate(
    left: Mapping[str, int], measured: Mapping[str, tuple[int, float]], seconds_per_image: float | None
) -> tuple[float | None, str]:
    """Return the seconds of the calls that are left, and how that is known."""
    if seconds_per_image is not None:
        pictures = left["draft"] + left["correct"]
        return pictures * seconds_per_image, f"{seconds_per_image:g} s a picture, everything included, as given."
    pace = {kind: seconds / count for kind, (count, seconds) in measured.items() if count}
    pace.setdefault("correct", pace.get("draft", 0.0))
    unknown = [kind for kind, count in left.items() if count and kind not in pace]
    if "draft" not in pace:
        return None, "No pace is known: pass --seconds-per-image, or begin the evaluation and ask again."
    without = f", without {' and '.join(unknown)}, which were not called yet" if unknown else ""
    seconds = sum(count * pace.get(kind, 0.0) for kind, count in left.items())
    return seconds, f"Measured in this directory, {pace['draft']:.2f} s a draft{without}."


def _times(spend: Spend, times: float) -> Spend:
    return Spend(
        images=round(spend.images * times),
        denoiser_evaluations=round(spend.denoiser_evaluations * times),
        verifier_calls=round(spend.verifier_calls * times),
        reflector_calls=round(spend.reflector_calls * times),
        refiner_calls=round(spend.refiner_calls * times),
    )


def _drawn(*asked: str) -> float:
    """Return a number in [0, 1) that follows from what was asked and from nothing else."""
    return int.from_bytes(hashlib.sha256("\n".join(asked).encode()).digest()[:6]) / 2**48


@dataclass(frozen=True)
class _StandIn:
    """Answers in a model's name at once, each question otherwise, with one grey pixel for a picture."""

    name: str
    capabilities: roles.Capabilities | None = None
    defaults: roles.Defaults | None = None
    settings: Any = None
    worker: roles.Worker = roles.Worker.LOCAL
    batch_size: int = 64
    relatives: frozenset[str] = frozenset()

    def layout(self, recipe: Recipe) -> Hashable:
        return recipe.parent is None

    def generate(self, requests: Sequence[roles.PaintRequest]) -> list[roles.Painting]:
        assert self.capabilities is not None
        each = self.capabilities.evaluations_per_step
        return [roles.Painting(r.id, Image.new("RGB", (1, 1), "grey"), r.recipe.steps * each) for r in requests]

    def judge(self, questions: Sequence[roles.Question]) -> list[Verdict]:
        return [Verdict(question.id, self.name, score=SCORES * _drawn(question.id)) for question in questions]

    def reflect(self, items: Sequence[roles.ReflectRequest]) -> list[Reflection]:
        return [self._reflect(item) for item in items]

    def _reflect(self, item: roles.ReflectRequest) -> Reflection:
        drawn = _drawn(item.id, *item.history)
        edits = tuple(f"look {number} times at {drawn}" for number in range(1, 2 + int(EDITS * drawn)))
        return Reflection(item.id, self.name, ", ".join(edits), edits)

    def refine(self, items: Sequence[roles.RefineRequest]) -> list[RefinedPrompt]:
        return [RefinedPrompt(item.id, self.name, f"{item.prompt}, unlike {item.id}") for item in items]


class NoJudge:
    """Stands in for a judge that is not on this machine; it decides nothing.

    Args:
        relatives: What the judge shares with others, as far as its name tells.
    """

    name = "nobody"
    batch_size = 1

    def __init__(self, relatives: frozenset[str] = frozenset()) -> None:
        self.relatives = relatives

    def problems(self, items: Sequence[Metadata], task: Task) -> list[str]:
        """Return nothing."""
        return []

    def decide(self, items: Sequence[tuple[Image.Image, Metadata]]) -> list[Decision]:
        """Refuse: a rehearsal paints nothing that could be judged."""
        raise AssertionError("a rehearsal judges nothing")


def unloaded(name: str | Path, usual: roles.Defaults) -> roles.Stack:
    """Return stand-ins for the models of a stack that may lack weights or a device here.

    Args:
        name: A shipped stack, or a stack file.
        usual: Size, steps and guidance where the file says nothing.

    Raises:
        ConfigError: with every fault of the file.
        MisuseError: if there is no such stack.
    """
    plan = stack.read(name)
    played = {part.role: part.model for part in plan.parts}
    hubs = {part.role: getattr(part.options, "hub", None) for part in plan.parts}

    def painter(role: roles.Role) -> Any:
        able = roles.Capabilities(corrects=role is roles.Role.CORRECTOR)
        return _StandIn(played[role], able, plan.defaults.over(usual), {}) if role in played else None

    def named(role: roles.Role) -> Any:
        relatives = frozenset({f"{WEIGHTS}{hubs[role]}"}) if hubs.get(role) else frozenset[str]()
        return _StandIn(played[role], relatives=relatives) if role in played else None

    return roles.Stack(
        name=str(name),
        generator=painter(roles.Role.GENERATOR),
        verifier=named(roles.Role.VERIFIER),
        corrector=painter(roles.Role.CORRECTOR),
        reflector=named(roles.Role.REFLECTOR),
        refiner=named(roles.Role.REFINER),
        defaults=plan.defaults.over(usual),
    )


def _stand_ins(models: roles.Stack) -> roles.Stack:
    """Return a stack whose models stand in for the given ones."""

    def painter(model: roles.Generator) -> Any:
        able = replace(model.capabilities, words=None, longest_prompt=None)  # stand-ins speak in hashes
        return _StandIn(model.name, able, model.defaults, model.settings)

    def named(model: Any) -> Any:
        return None if model is None else _StandIn(model.name)

    return roles.Stack(
        name=models.name,
        generator=painter(models.generator),
        verifier=named(models.verifier),
        corrector=None if models.corrector is None else painter(models.corrector),
        reflector=named(models.reflector),
        refiner=named(models.refiner),
        defaults=models.defaults,
    )
