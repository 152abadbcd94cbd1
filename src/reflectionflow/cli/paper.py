"""`reflectionflow paper`: the tables and figures of the paper, by one command."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reflectionflow.cli.evaluate import (
    AsJson,
    DryRun,
    Guidance,
    Oracle,
    Out,
    Pace,
    Part,
    Price,
    Quiet,
    Seed,
    Split,
    StackName,
    Steps,
    progress,
    tell_forecast,
)
from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from reflectionflow import roles
    from reflectionflow.evaluation.judges import Judge
    from reflectionflow.evaluation.planning import Plan
    from reflectionflow.evaluation.rehearsal import Forecast


class Suite(StrEnum):
    """Prompts whose judge comes with the package."""

    SCENES = "scenes"
    GENEVAL = "geneval"


Which = Annotated[
    Suite | None,
    typer.Option(
        "--benchmark", help="The prompts; absent: scenes for a stack that knows its words alone, else geneval."
    ),
]
PerTag = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Most prompts of each of GenEval's tags; absent: 25 of scenes, else all."),
]
Composite = Annotated[int, typer.Option(min=0, metavar="N", help="Most prompts of the tag composite (scenes).")]
Images = Annotated[int, typer.Option(metavar="N", help="The largest budget: pictures for each prompt.")]
Seeds = Annotated[int, typer.Option(metavar="N", help="How many seeds.")]
PickBy = Annotated[
    str,
    typer.Option(
        metavar="NAMES", help="Verifiers that pick from the same pictures: models or stack files, with commas."
    ),
]
SCENES_PER_TAG = 25


def paper(
    out: Out,
    stack: StackName = "scenes",
    benchmark: Which = None,
    per_tag: PerTag = None,
    composite: Composite = 100,
    images: Images = 16,
    seeds: Seeds = 2,
    seed: Seed = 0,
    split: Split = Part.TEST,
    pick_by: PickBy = "",
    steps: Steps = None,
    guidance: Guidance = None,
    oracle: Oracle = False,
    dry_run: DryRun = False,
    seconds_per_image: Pace = None,
    price_per_hour: Price = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the paper's tables and figures: Table 1, Figure 4, width and depth, with the paper's own values beside.

    The directory is that of an evaluation, and gets paper.html, paper.md and paper.json besides. The same command
    continues an interrupted one. What the stack cannot play is left out and said.
    """
    from reflectionflow.evaluation.benchmarks import benchmark as find
    from reflectionflow.evaluation.paper import chosen, lineup, make
    from reflectionflow.evaluation.paper.picking import pickers
    from reflectionflow.evaluation.paper.writing import PAGE
    from reflectionflow.evaluation.planning import Asked, plan

    models = _models(stack, dry_run=dry_run)
    suite = benchmark or (Suite.GENEVAL if models.generator.capabilities.words is None else Suite.SCENES)
    found = find(suite.value, split.value)
    each = per_tag or (SCENES_PER_TAG if suite is Suite.SCENES else len(found.items))
    compared = lineup(models, images)
    asked = Asked(
        benchmark=chosen(found, each, composite),
        strategies=compared.methods,
        images=images,
        seeds=seeds,
        first_seed=seed,
        stack=models,
        steps=steps,
        guidance=guidance,
        oracle=oracle,
    )
    planned = plan(asked, _judge(suite, dry_run=dry_run))
    names = [name.strip() for name in pick_by.split(",") if name.strip()]
    if dry_run:
        _rehearse(planned, compared.left_out, names, out, seconds_per_image, price_per_hour, as_json=as_json)
        return
    by = pickers(names, planned)
    passed: dict[str, Any] = {
        "command": "paper",
        "stack": stack,
        "benchmark": suite.value,
        "split": split.value,
        "per_tag": each,
        "composite": composite,
        "images": images,
        "seeds": seeds,
        "seed": seed,
        "pick_by": names,
        "oracle": oracle,
    }
    with progress(planned, quiet=quiet) as consumer:
        made = make(planned, compared, by, out, passed, consumer)
    if as_json:
        about = made.done.results.about
        shown = [exhibit.id for exhibit in made.exhibits]
        typer.echo(
            json.dumps(
                {
                    "page": str(out / PAGE),
                    "oracle": about.oracle,
                    "exhibits": shown,
                    "left_out": list(compared.left_out),
                    "computed": dict(made.done.results.computed),
                },
                ensure_ascii=False,
            )
        )
    if not quiet:
        for sentence in compared.left_out:
            tell(sentence)
        tell(f"Tables and figures: {out / PAGE}")


def _models(name: str, *, dry_run: bool) -> roles.Stack:
    """Return the stack's models; for a dry run stand-ins where something of it is not on this machine."""
    from reflectionflow import roles
    from reflectionflow import stack as stacks
    from reflectionflow.evaluation.rehearsal import unloaded

    if dry_run and (missing := stacks.read(name).missing()):
        tell(f"{name} cannot run here; counting does not need it. {' '.join(missing)}")
        return unloaded(name, roles.Defaults(width=1024, height=1024, steps=28, guidance=3.5))
    return stacks.load(name)


def _judge(suite: Suite, *, dry_run: bool) -> Judge:
    from reflectionflow.evaluation.judges import GenevalJudge, ScenesJudge
    from reflectionflow.evaluation.rehearsal import NoJudge

    if suite is Suite.SCENES:
        return ScenesJudge()
    return NoJudge() if dry_run else GenevalJudge()


def _rehearse(
    planned: Plan,
    left_out: tuple[str, ...],
    pick_by: list[str],
    out: Path,
    pace: float | None,
    price: float | None,
    *,
    as_json: bool,
) -> None:
    """Say what it needs at most; nothing is painted."""
    tell_forecast(planned, _forecast(planned, out, pace, price), as_json=as_json)
    again = planned.asked.images * planned.asked.seeds * len(planned.asked.benchmark.items)
    for name in pick_by:
        tell(f"--pick-by {name}: {again:,} further verifier calls, outside the estimate of time.")
    for sentence in left_out:
        tell(sentence)


def _forecast(planned: Plan, out: Path, pace: float | None, price: float | None) -> Forecast:
    """Return the forecast, at the pace of the paper's release for pictures of its size where none is known."""
    from reflectionflow.evaluation.paper import published
    from reflectionflow.evaluation.rehearsal import forecast
    from reflectionflow.evaluation.running import RUN

    found = forecast(planned, out / RUN, pace, price)
    if found.seconds is not None or planned.trials[0].search.task.width != published.SIDE:
        return found
    return replace(forecast(planned, out / RUN, published.SECONDS_PER_IMAGE, price), pace=published.PACE)
