"""`reflectionflow evaluate`: compare search methods on a benchmark, under the same budgets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reflectionflow.cli.evaluation_setup import (
    Clip,
    Detector,
    Download,
    JudgeDevice,
    Networks,
    cast_for,
    forecast_of,
)
from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from reflectionflow.evaluation.planning import Plan
    from reflectionflow.evaluation.rehearsal import Forecast
    from reflectionflow.evaluation.running import Done
    from reflectionflow.evaluation.tables import Tables


class Part(StrEnum):
    """A part of the Scenes suite that training never sees."""

    TEST = "test"
    VALIDATION = "validation"


Bench = Annotated[
    str, typer.Option("--benchmark", metavar="NAME|FILE", help="scenes, geneval, or a JSONL file of GenEval metadata.")
]
Strategies = Annotated[str, typer.Option(metavar="NAMES", help="Search methods, the baseline first, with commas.")]
Images = Annotated[int, typer.Option(metavar="N", help="The largest budget: pictures for each prompt.")]
Seeds = Annotated[int, typer.Option(metavar="N", help="How many seeds.")]
Seed = Annotated[int, typer.Option(metavar="N", help="The first seed.")]
Limit = Annotated[int | None, typer.Option(metavar="N", help="Most prompts of one tag.")]
Split = Annotated[Part, typer.Option(help="Part of the Scenes suite.")]
StackName = Annotated[
    str, typer.Option("--stack", metavar="NAME|PATH", help="The models: a shipped stack or a stack file.")
]
Steps = Annotated[int | None, typer.Option(metavar="N", help="Denoiser steps; the stack's default when absent.")]
Guidance = Annotated[
    float | None, typer.Option(metavar="SCALE", help="Guidance scale; the stack's default when absent.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The evaluation's directory.")]
Oracle = Annotated[bool, typer.Option("--oracle", help="Allow models related to the judge; every table says which.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it needs at most, and paint nothing.")]
Pace = Annotated[
    float | None,
    typer.Option(min=0, metavar="S", help="For --dry-run: seconds a picture takes; measured ones when absent."),
]
Price = Annotated[float | None, typer.Option(min=0, metavar="PRICE", help="For --dry-run: of an hour of the device.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")]


def evaluate(
    out: Out,
    stack: StackName = "scenes",
    benchmark: Bench = "scenes",
    strategies: Strategies = "noise",
    images: Images = 16,
    seeds: Seeds = 1,
    seed: Seed = 0,
    limit: Limit = None,
    split: Split = Part.TEST,
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
    """Compare search methods on a benchmark at budgets of 1, 2, 4, … pictures, under an independent judge.

    GenEval's networks judge prompts of COCO's objects, judge B those of Scenes. The directory gets report.html,
    report.md, results.json, results.csv, and a page for each prompt. The same command continues an interrupted
    evaluation; more images, seeds, prompts or strategies extend it.
    """
    from reflectionflow.evaluation.benchmarks import benchmark as find
    from reflectionflow.evaluation.pages import write_all
    from reflectionflow.evaluation.planning import Asked, plan
    from reflectionflow.evaluation.running import carry_out
    from reflectionflow.evaluation.shrinking import held_more

    prompts = find(benchmark, split.value, limit)
    judge, models = cast_for(prompts, stack, Networks(detector, clip, judge_device, download), dry_run=dry_run)
    asked = Asked(
        benchmark=prompts,
        strategies=tuple(name.strip() for name in strategies.split(",") if name.strip()),
        images=images,
        seeds=seeds,
        first_seed=seed,
        stack=models,
        steps=steps,
        guidance=guidance,
        oracle=oracle,
    )
    planned = plan(asked, judge)
    if dry_run:
        tell_forecast(planned, forecast_of(planned, out, seconds_per_image, price_per_hour), as_json=as_json)
        return
    more = held_more(planned, out)
    with progress(planned, quiet=quiet) as consumer:
        done = carry_out(planned, out, _passed(planned, benchmark, split.value, limit), consumer)
    found = write_all(done, out)
    if as_json:
        typer.echo(json.dumps(_outcome(done, found, out), ensure_ascii=False))
    if not quiet:
        _summarise(done, found, out)
    if more:
        tell(more)


def progress(planned: Plan, *, quiet: bool) -> Any:
    """Return the context manager that shows progress on stderr, or nothing."""
    from reflectionflow.cli import evaluation_progress

    return evaluation_progress.hidden() if quiet else evaluation_progress.shown(planned)


def _passed(planned: Plan, benchmark: str, split: str, limit: int | None) -> dict[str, Any]:
    asked = planned.asked
    return {
        "command": "evaluate",
        "benchmark": benchmark,
        "split": split,
        "limit": limit,
        "stack": planned.models.name,
        "strategies": [method.name for method in planned.methods],
        "images": asked.images,
        "seeds": asked.seeds,
        "seed": asked.first_seed,
        "steps": asked.steps,
        "guidance": asked.guidance,
        "oracle": asked.oracle,
    }


def _outcome(done: Done, found: Tables, out: Path) -> dict[str, Any]:
    """Return what `--json` prints: the macro scores and differences, and where the rest is."""
    from dataclasses import asdict

    from reflectionflow.evaluation.pages.costs import cost_lines
    from reflectionflow.evaluation.pages.writing import PAGE
    from reflectionflow.evaluation.results import FILE

    data, results = found.json(), done.results
    return {
        "report": str(out / PAGE),
        "results": str(out / FILE),
        "judge": results.about.judge,
        "oracle": results.about.oracle,
        "related": dict(results.about.related),
        "budgets": list(results.about.budgets),
        "scores": {item["method"]: item["groups"] for item in data["scores"]},
        "prompt_averages": {item["method"]: item["prompts"] for item in data["scores"]},
        "differences": {item["method"]: item["groups"] for item in data["differences"]},
        "against_largest": data["against"],
        "charged": data["charged"],
        "costs": [asdict(line) for line in cost_lines(done, found)],
        "computed": dict(results.computed),
    }


def _summarise(done: Done, found: Tables, out: Path) -> None:
    from reflectionflow.evaluation.pages.grids import oracle_note
    from reflectionflow.evaluation.pages.writing import PAGE

    about = done.results.about
    label = f" (oracle: {', '.join(about.related)})" if about.oracle else ""
    head = f"  {'pictures':14}" + "".join(f"{budget:>21}" for budget in about.budgets)

    def line(name: str, cells: Iterable[str]) -> None:
        tell(f"  {name:14}" + "".join(f"{cell:>21}" for cell in cells))

    tell("")
    if about.oracle:
        tell(oracle_note(about.related))
    for group in found.groups:
        for told in (group, f"{group}, prompt average"):
            tell(f"{told}{label}")
            tell(head)
            for item in found.scores:
                estimates = item.groups[group] if told == group else item.prompts[group]
                line(item.method, [f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]" for e in estimates])
    tell(f"Model seconds for one prompt{label}")
    tell(head)
    for method, seconds in done.each.items():
        line(method, [f"{value:.2f}" for value in seconds])
    tell(f"Report: {out / PAGE}")


def tell_forecast(planned: Plan, found: Forecast, *, as_json: bool) -> None:
    """Print a forecast on stdout."""
    from reflectionflow.types import to_json

    if as_json:
        more = {"pictures": found.pictures, "gpu_hours": found.hours}
        typer.echo(json.dumps({**to_json(found), **more}, ensure_ascii=False))
        return
    asked, calls = planned.asked, found.calls
    typer.echo(
        f"{len(asked.benchmark.items)} prompts × {asked.seeds} seeds × {len(planned.methods)} methods "
        f"at budgets of {', '.join(map(str, planned.budgets))}: {found.searches:,} searches. "
        "If none ends before its budget, about:"
    )
    typer.echo(
        f"  pictures           {found.pictures:12,}  ({calls['draft']:,} drafts, {calls['correct']:,} corrections; "
        f"never more than {found.most:,})"
    )
    for kind, told in (("judge", "verifier calls"), ("reflect", "reflector calls"), ("refine", "refiner calls")):
        typer.echo(f"  {told:18} {calls[kind]:12,}")
    if found.finished:
        typer.echo(f"  done already       {found.finished:12,}  searches")
    if found.seconds is not None and found.hours is not None:
        typer.echo(f"  seconds            {found.seconds:12,.0f}  {found.pace}")
        typer.echo(f"  device hours       {found.hours:12,.2f}  of one GPU, or of this CPU where the stack runs on it")
    else:
        typer.echo(f"  seconds            {'unknown':>12}  {found.pace}")
    typer.echo(f"  money              {'unknown' if found.money is None else f'{found.money:,.2f}':>12}")
    for method in planned.methods:
        spent = found.charged[method.name]
        typer.echo(f"  {method.name}: charged {spent.images:,} pictures. {method.note}")
