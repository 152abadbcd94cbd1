"""What `evaluate` and `paper` share before anything is painted: who judges, who plays, and what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from reflectionflow.cli.group import tell
from reflectionflow.errors import MisuseError

if TYPE_CHECKING:
    from reflectionflow import roles
    from reflectionflow.evaluation.benchmarks import Benchmark
    from reflectionflow.evaluation.judges import Judge
    from reflectionflow.evaluation.planning import Plan
    from reflectionflow.evaluation.rehearsal import Forecast

Detector = Annotated[
    str | None,
    typer.Option(metavar="DIR|NAME", help="For GenEval's judge: another Mask2Former, as for `geneval score`."),
]
Clip = Annotated[
    str | None, typer.Option(metavar="DIR|NAME", help="For GenEval's judge: another CLIP, as for `geneval score`.")
]
JudgeDevice = Annotated[
    str | None, typer.Option(metavar="NAME", help="For GenEval's judge: auto (the default), cpu, mps, cuda or cuda:N.")
]
Download = Annotated[bool, typer.Option("--download", help="For GenEval's judge: fetch its weights from the hub.")]


@dataclass(frozen=True)
class Networks:
    """The networks of GenEval's judge as the user named them; none for the official ones."""

    detector: str | None = None
    clip: str | None = None
    device: str | None = None
    download: bool = False

    @property
    def named(self) -> list[str]:
        """The options that were given."""
        given = {
            "--detector": self.detector,
            "--clip": self.clip,
            "--judge-device": self.device,
            "--download": self.download,
        }
        return [option for option, value in given.items() if value]


def cast_for(benchmark: Benchmark, stack: str, networks: Networks, *, dry_run: bool) -> tuple[Judge, roles.Stack]:
    """Return the judge of a benchmark and the models of a stack; for a dry run stand-ins where weights are missing.

    Raises:
        MisuseError: if no judge knows all objects, or something is not on this machine; of judge and stack at once.
    """
    refused: list[MisuseError] = []
    judge = _or_refused(lambda: judge_of(benchmark, networks, dry_run=dry_run), refused)
    models = _or_refused(lambda: models_of(stack, dry_run=dry_run), refused)
    if judge is not None and models is not None:
        return judge, models
    if len(refused) == 1:
        raise refused[0]
    raise MisuseError("\n".join(map(str, refused)))


def forecast_of(
    planned: Plan, out: Path, pace: float | None, price: float | None, beside: Mapping[str, int] | None = None
) -> Forecast:
    """Return the forecast, at the pace of the paper's release for pictures of its size where none is known.

    Args:
        planned: The evaluation.
        out: Its directory.
        pace: Seconds a picture takes, as the user says; none for what the directory tells.
        price: Of an hour of the device.
        beside: Calls besides its searches, at most, by kind.
    """
    from reflectionflow.evaluation.paper import published
    from reflectionflow.evaluation.rehearsal import forecast
    from reflectionflow.evaluation.running import RUN

    found = forecast(planned, out / RUN, pace, price, beside)
    if found.seconds is not None or planned.trials[0].search.task.width != published.SIDE:
        return found
    return replace(forecast(planned, out / RUN, published.SECONDS_PER_IMAGE, price, beside), pace=published.PACE)


def judge_of(benchmark: Benchmark, networks: Networks, *, dry_run: bool) -> Judge:
    """Return who knows all objects of a benchmark; for a dry run a stand-in where its weights are missing.

    Raises:
        MisuseError: if no judge knows them, or its weights or its device are not on this machine.
        ModelError: if weights cannot be downloaded.
    """
    from reflectionflow.evaluation import geneval
    from reflectionflow.evaluation.judges import WEIGHTS, GenevalJudge, Kind, ScenesJudge, kind_for
    from reflectionflow.evaluation.rehearsal import NoJudge

    if kind_for(benchmark) is Kind.SCENES:
        if networks.named:
            raise MisuseError(
                f"{benchmark.name} is judged by the judge of Scenes, which has no networks; leave "
                f"{' and '.join(networks.named)} out."
            )
        return ScenesJudge()
    detector, clip = networks.detector or geneval.DETECTOR, networks.clip or geneval.CLIP
    if networks.download and not dry_run:
        for name in (detector, clip):
            tell(f"Looking for {name}")
            geneval.download(name)
    try:
        return GenevalJudge(detector, clip, networks.device or "auto")
    except MisuseError as error:
        if not dry_run:
            raise
        tell(f"The judge cannot judge here; counting does not need it.\n{error}")
        return NoJudge(frozenset({"geneval-rules", f"{WEIGHTS}{detector}", f"{WEIGHTS}{clip}"}))


def models_of(name: str, *, dry_run: bool) -> roles.Stack:
    """Return the models of a stack; for a dry run stand-ins where something of it is not on this machine.

    Raises:
        MisuseError: if there is no such stack, or something of it is not there.
    """
    from reflectionflow import roles
    from reflectionflow import stack as stacks
    from reflectionflow.evaluation.rehearsal import unloaded

    if dry_run and (missing := stacks.read(name).missing()):
        tell("\n".join([f"{name} cannot run here; counting does not need it.", *missing]))
        return unloaded(name, roles.Defaults(width=1024, height=1024, steps=28, guidance=3.5))
    return stacks.load(name)


Built = TypeVar("Built")


def _or_refused(build: Callable[[], Built], refused: list[MisuseError]) -> Built | None:
    """Return what is built, or none with the reason noted."""
    try:
        return build()
    except MisuseError as error:
        refused.append(error)
        return None
