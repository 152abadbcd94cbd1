"""`reflectionflow paper`: the tables and figures of the paper, by one command."""

from __future__ import annotations

import json
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reflectionflow.evaluation.paper import Beside
    from reflectionflow.evaluation.planning import Plan


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
ReflectBy = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Further reflectors asked about the same failed drafts: models or stack files, with commas; absent: "
        "scenes-teacher where the stack paints Scenes.",
    ),
]
GenRef = Annotated[
    Path | None, typer.Option("--genref", metavar="DIR", help="The data set to show: a folder of GenRef shards.")
]
Control = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PATH",
        help="A generator tuned on the data set's good pictures without a condition: noise scaling by it is a further "
        "row. A model or a stack file.",
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
    reflect_by: ReflectBy = None,
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
    from reflectionflow.evaluation.paper import chosen, lineup, make, nobody
    from reflectionflow.evaluation.paper.writing import PAGE
    from reflectionflow.evaluation.planning import Asked, plan
    from reflectionflow.stack import read

    models = models_of(stack, dry_run=dry_run)
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
    networks = Networks(detector, clip, judge_device, download)
    planned = plan(asked, judge_of(asked.benchmark, networks, dry_run=dry_run))
    names, others = _names(pick_by), None if reflect_by is None else _names(reflect_by)
    if dry_run:
        if not read(stack).missing():  # else stand-ins are counted, which say nothing of whom they stand for
            _beside(names, others, genref, control, planned)
        tell_forecast(planned, forecast_of(planned, out, seconds_per_image, price_per_hour), as_json=as_json)
        for sentence in (*_further(planned, names, others, control), *compared.left_out):
            tell(sentence)
        return
    beside = _beside(names, others, genref, control, planned)
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
        "reflect_by": others,
        "genref": None if genref is None else str(genref),
        "control": control,
        "oracle": oracle,
    }
    with progress(planned, quiet=quiet) as consumer:
        made = make(planned, compared, beside, out, passed, consumer, nobody if quiet else tell)
    if as_json:
        about = made.done.results.about
        shown = [exhibit.id for exhibit in made.exhibits]
        typer.echo(
            json.dumps(
                {
                    "page": str(out / PAGE),
                    "oracle": about.oracle,
                    "exhibits": shown,
                    "left_out": list(made.left_out),
                    "computed": dict(made.done.results.computed),
                },
                ensure_ascii=False,
            )
        )
    if not quiet:
        for sentence in made.left_out:
            tell(sentence)
        tell(f"Tables and figures: {out / PAGE}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _beside(
    pick_by: list[str], reflect_by: list[str] | None, genref: Path | None, control: str | None, planned: Plan
) -> Beside:
    """Return what the user names beside the evaluation, refused or read before anything is painted."""
    from reflectionflow.evaluation.paper import Beside
    from reflectionflow.evaluation.paper.control import control_of
    from reflectionflow.evaluation.paper.picking import pickers
    from reflectionflow.evaluation.paper.reflecting import critics
    from reflectionflow.genref.stats import statistics

    return Beside(
        pickers=pickers(pick_by, planned),
        critics=critics(reflect_by, planned),
        control=None if control is None else control_of(control, planned),
        dataset=None if genref is None else statistics(genref),
    )


def _further(planned: Plan, pick_by: list[str], reflect_by: list[str] | None, control: str | None) -> Iterator[str]:
    """Yield what is needed at most besides the evaluation itself, outside its estimate of time."""
    from reflectionflow.evaluation.paper.reflecting import FIRST, usual

    asked, models = planned.asked, planned.models
    searches = asked.seeds * len(asked.benchmark.items)
    outside = "outside the estimate of time"
    for name in pick_by:
        yield f"--pick-by {name}: {asked.images * searches:,} further verifier calls, {outside}."
    others = usual(models) if reflect_by is None else reflect_by
    critics = (models.reflector is not None) + len(others) if models.corrector is not None else 0
    if critics:
        drafts = min(FIRST, asked.images) * searches
        yield (
            f"Figure 2, {critics} reflectors: {critics * drafts:,} further reflector calls and "
            f"{(critics + 1) * drafts:,} pictures, {outside}; as many as if every first draft failed."
        )
    if control is not None:
        yield f"--control {control}: {asked.images * searches:,} further pictures and verifier calls, {outside}."
