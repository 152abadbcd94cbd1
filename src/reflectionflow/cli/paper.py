"""`reflectionflow paper`: the tables and figures of the paper, by one command."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from reflectionflow.cli.evaluation_setup import (
    Clip,
    Detector,
    Download,
    JudgeDevice,
    Networks,
    forecast_of,
    judge_of,
    models_of,
)
from reflectionflow.cli.group import tell
from reflectionflow.cli.paper_besides import Control, GenRef, PickBy, ReflectBy, ToldBy, Wanted, Without, wanted_of

if TYPE_CHECKING:
    from reflectionflow.evaluation.paper import Made
    from reflectionflow.evaluation.planning import Plan
    from reflectionflow.roles import Stack


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
    reflect_by: ReflectBy = None,
    told_by: ToldBy = "",
    without: Without = "",
    genref: GenRef = None,
    control: Control = None,
    steps: Steps = None,
    guidance: Guidance = None,
    oracle: Oracle = False,
    detector: Detector = None,
    clip: Clip = None,
    judge_device: JudgeDevice = None,
    download: Download = False,
    dry_run: DryRun = False,
    seconds_per_image: Pace = None,
    price_per_hour: Price = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the paper's tables and figures, with the paper's own values beside.

    The directory is that of an evaluation, and gets paper.html, paper.md and paper.json besides. The same command
    continues an interrupted one. What the stack cannot play is left out and said.
    """
    from reflectionflow.evaluation.benchmarks import benchmark as find
    from reflectionflow.evaluation.paper import chosen, lineup, make
    from reflectionflow.evaluation.planning import Asked, plan
    from reflectionflow.evaluation.shrinking import held_more

    wanted = wanted_of(pick_by, reflect_by, told_by, without, genref, control)
    models = models_of(stack, dry_run=dry_run)
    suite = benchmark or _suite(models)
    prompts = find(suite.value, split.value)
    each = per_tag or (SCENES_PER_TAG if suite is Suite.SCENES else len(prompts.items))
    compared = lineup(models, images, wanted.without)
    asked = Asked(
        benchmark=chosen(prompts, each, composite),
        strategies=compared.methods,
        images=images,
        seeds=seeds,
        first_seed=seed,
        stack=models,
        steps=steps,
        guidance=guidance,
        oracle=oracle,
    )
    networks = Networks(detector, clip, judge_device, download)
    planned = plan(asked, judge_of(asked.benchmark, networks, dry_run=dry_run))
    if dry_run:
        _rehearse(planned, wanted, stack, out, seconds_per_image, price_per_hour, as_json=as_json)
        for sentence in compared.left_out:
            tell(sentence)
        return
    beside = wanted.beside(planned)
    passed = {
        "command": "paper",
        "stack": stack,
        "benchmark": suite.value,
        "split": split.value,
        "per_tag": each,
        "composite": composite,
        "images": images,
        "seeds": seeds,
        "seed": seed,
        **wanted.passed,
        "steps": steps,
        "guidance": guidance,
        "oracle": oracle,
        "detector": detector,
        "clip": clip,
        "judge_device": judge_device,
        "out": str(out),
    }
    more = held_more(planned, out)
    with progress(planned, quiet=quiet) as consumer:
        made = make(planned, compared, beside, out, passed, consumer, consumer.begin_part)
    _tell(made, out, as_json=as_json, quiet=quiet)
    if more:
        tell(more)


def _suite(models: Stack) -> Suite:
    """Return the prompts that a stack knows the words of."""
    return Suite.GENEVAL if models.generator.capabilities.words is None else Suite.SCENES


def _rehearse(
    planned: Plan, wanted: Wanted, stack: str, out: Path, pace: float | None, price: float | None, *, as_json: bool
) -> None:
    """Say what all of it needs at most."""
    from reflectionflow.evaluation.paper.costs import together

    parts = wanted.costs(planned, stack)
    tell_forecast(planned, forecast_of(planned, out, pace, price, together(parts)), as_json=as_json)
    for part in parts:
        tell(part.told)


def _tell(made: Made, out: Path, *, as_json: bool, quiet: bool) -> None:
    """Say what came of it."""
    from reflectionflow.evaluation.paper.writing import PAGE

    if as_json:
        outcome = {
            "page": str(out / PAGE),
            "oracle": made.done.results.about.oracle,
            "exhibits": [exhibit.id for exhibit in made.exhibits],
            "left_out": list(made.left_out),
            "computed": dict(made.done.results.computed),
        }
        typer.echo(json.dumps(outcome, ensure_ascii=False))
    if not quiet:
        for sentence in made.left_out:
            tell(sentence)
        tell(f"Tables and figures: {out / PAGE}")
