"""`reflectionflow paper`: the tables and figures of the paper, by one command."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
    from reflectionflow.evaluation.paper import Beside
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
        "scenes-vlm and scenes-teacher where the stack paints Scenes.",
    ),
]
ToldBy = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="Who speaks in the reflector's place for whole searches: models or stack files, with commas; "
        "another-picture gives every picture what was said of another one.",
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
    told_by: ToldBy = "",
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
    from reflectionflow.evaluation.paper.costs import further, together
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
    others = None if reflect_by is None else _names(reflect_by)
    wanted = _Wanted(_names(pick_by), others, _names(told_by), genref, control)
    if dry_run:
        # stand-ins say nothing of whom they stand for
        critics = wanted.critics(models) if read(stack).missing() else len(wanted.beside(planned).critics)
        parts = list(further(planned, wanted.pick_by, critics, control, wanted.told_by))
        needed = forecast_of(planned, out, seconds_per_image, price_per_hour, together(parts))
        tell_forecast(planned, needed, as_json=as_json)
        for sentence in (*(part.told for part in parts), *compared.left_out):
            tell(sentence)
        return
    beside = wanted.beside(planned)
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
        "pick_by": wanted.pick_by or None,
        "reflect_by": wanted.reflect_by,
        "told_by": wanted.told_by or None,
        "genref": None if genref is None else str(genref),
        "control": control,
        "steps": steps,
        "guidance": guidance,
        "oracle": oracle,
        "detector": detector,
        "clip": clip,
        "judge_device": judge_device,
        "out": str(out),
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


@dataclass(frozen=True)
class _Wanted:
    """What the user names beside the evaluation; see the options."""

    pick_by: list[str]
    reflect_by: list[str] | None
    told_by: list[str]
    genref: Path | None
    control: str | None

    def beside(self, planned: Plan) -> Beside:
        """Return it refused or read, before anything is painted."""
        from reflectionflow.evaluation.paper import Beside
        from reflectionflow.evaluation.paper.control import control_of
        from reflectionflow.evaluation.paper.picking import pickers
        from reflectionflow.evaluation.paper.reflecting import critics
        from reflectionflow.evaluation.paper.speaking import speakers
        from reflectionflow.genref.stats import statistics

        return Beside(
            pickers=pickers(self.pick_by, planned),
            critics=critics(self.reflect_by, planned),
            control=None if self.control is None else control_of(self.control, planned),
            speakers=speakers(self.told_by, planned),
            dataset=None if self.genref is None else statistics(self.genref),
        )

    def critics(self, models: Stack) -> int:
        """Return how many reflectors Figure 2 shows for models that cannot be loaded here."""
        from reflectionflow.evaluation.paper.reflecting import usual

        if models.corrector is None:
            return 0
        others = usual(models) if self.reflect_by is None else self.reflect_by
        return (models.reflector is not None) + len(others)
