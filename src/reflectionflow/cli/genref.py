"""`reflectionflow genref`: build the triplets a corrector learns from, count them, look at them, check them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from PIL.Image import Image

    from reflectionflow.genref.pool import Painter
    from reflectionflow.genref.teacher_vlm import VlmTeacher
    from reflectionflow.roles import Stack

app = typer.Typer(no_args_is_help=True, help="GenRef: flawed picture, reflection, enhanced picture.")
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of shards, ours or a published one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


class Wanted(StrEnum):
    """Where triplets come from."""

    RULE = "rule"
    REWARD = "reward"
    LENGTH = "length"
    EDITING = "editing"
    RETOUCH = "retouch"
    ALL = "all"


OF_PROMPTS = (Wanted.RULE, Wanted.REWARD, Wanted.LENGTH)
"""Sources that are built from drafts of prompts of one's own."""


class TeacherKind(StrEnum):
    """Who writes captions and comparisons of real pictures."""

    NONE = "none"
    VLM = "vlm"


@app.command()
def build(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the shards go.")],
    source: Annotated[Wanted, typer.Option(help="Where triplets come from.")] = Wanted.ALL,
    triplets: Annotated[int, typer.Option(min=1, help="How many to build.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of prompts, scenes and noise.")] = 0,
    stack: Annotated[str, typer.Option(help="Who paints the pool; its reflector is the teacher.")] = "scenes",
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Edits of real pictures in OmniEdit's layout, with --source editing."),
    ] = None,
    teacher: Annotated[
        TeacherKind,
        typer.Option(help="With --data and --prompts: vlm lets the stack's reflector write captions and comparisons."),
    ] = TeacherKind.NONE,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What any stack paints, with --source reward (a prompt a line), rule (metadata of GenEval a line) or "
            'length ({"short": "…", "detailed": "…"} a line).',
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(metavar="DIR|NAME", help="Mask2Former of --prompts --source rule; GenEval's by default."),
    ] = None,
    clip: Annotated[
        str | None, typer.Option(metavar="DIR|NAME", help="CLIP of --prompts --source rule; GenEval's by default.")
    ] = None,
) -> None:
    """Build triplets; the same command continues an interrupted build and pays for nothing twice."""
    from reflectionflow.genref.shards import require_own

    _require_used(source, data, teacher, prompts, {"--detector": detector, "--clip": clip})
    require_own(out)
    if prompts is not None:
        _build_from_prompts(prompts, out, source, triplets, seed, stack, (detector, clip))
    elif data is not None:
        _build_from_edits(data, out, triplets, seed, stack, teacher)
    else:
        _build_from_pool(out, source, triplets, seed, stack)


def _require_used(
    source: Wanted, data: Path | None, teacher: TeacherKind, prompts: Path | None, networks: Mapping[str, str | None]
) -> None:
    """Refuse options that the build would not make use of, or that it lacks; all reasons at once.

    Raises:
        MisuseError: if there are such options.
    """
    from reflectionflow.errors import MisuseError

    problems = []
    if prompts is not None and data is not None:
        problems.append("--prompts and --data are two ways to build, and both were given; leave one of them out.")
    elif prompts is not None:
        problems += _problems_of_prompts(source, teacher)
    elif data is not None:
        problems += _problems_of_data(source, data)
    elif teacher is not TeacherKind.NONE:
        problems.append("--teacher vlm writes about real pictures and drafts; give them with --data or --prompts.")
    if prompts is None or source is not Wanted.RULE:
        problems += [
            f"{option} {network} judges drafts of --prompts with --source rule alone; leave it out, or give both."
            for option, network in networks.items()
            if network is not None
        ]
    if problems:
        raise MisuseError("\n".join(problems))


def _problems_of_prompts(source: Wanted, teacher: TeacherKind) -> list[str]:
    problems = []
    if source not in OF_PROMPTS:
        problems.append(
            f"--prompts gives drafts to compare, and --source is {source.value}; add --source rule, reward or length."
        )
    if teacher is TeacherKind.NONE:
        problems.append("Reflections on drafts of --prompts are written by a teacher; add --teacher vlm.")
    return problems


def _problems_of_data(source: Wanted, data: Path) -> list[str]:
    problems = []
    if source is not Wanted.EDITING:
        problems.append(f"--data holds edits, and --source is {source.value}; add --source editing.")
    if not data.exists():
        problems.append(f"--data {data} does not exist; give a folder of parquet files or shards.")
    return problems


def _build_from_edits(data: Path, out: Path, triplets: int, seed: int, stack: str, teacher: TeacherKind) -> None:
    from reflectionflow.genref.build import build_from_edits

    used = _teacher(stack, out) if teacher is TeacherKind.VLM else None
    manifest = build_from_edits(data, triplets, seed, out, used, {"stack": stack if used else None})
    _told(manifest, triplets, out)


def _build_from_prompts(
    prompts: Path, out: Path, source: Wanted, triplets: int, seed: int, stack: str,
    networks: tuple[str | None, str | None],
) -> None:  # fmt: skip
    from reflectionflow import stack as stacks
    from reflectionflow.evaluation import geneval
    from reflectionflow.evaluation.judges import GenevalJudge
    from reflectionflow.genref.asked import captions_in, prompts_in, rules_in
    from reflectionflow.genref.build import Source, build_from_drafts

    readers = {Wanted.RULE: rules_in, Wanted.REWARD: prompts_in, Wanted.LENGTH: captions_in}
    asked = readers[source](prompts)
    about = _painted_by(stacks.load(stack, ()))
    judge = None
    if source is Wanted.RULE:
        judge = GenevalJudge(networks[0] or geneval.DETECTOR, networks[1] or geneval.CLIP)
        about["judge"] = judge.name

    def passes(pictures: Sequence[tuple[str, Image]]) -> list[bool]:
        items = [(image, asked.rules[prompt]) for prompt, image in pictures]
        return [] if judge is None else [decision.correct for decision in judge.decide(items)]

    manifest = build_from_drafts(
        {Source(source.value): triplets}, asked.prompts, seed, out, _painter(stack), _teacher(stack, out), passes, about
    )
    _told(manifest, triplets, out)


def _teacher(stack: str, out: Path) -> VlmTeacher:
    """Return the reflector of a stack as a teacher that keeps its answers beside the shards; loads no other model."""
    from reflectionflow import stack as stacks
    from reflectionflow.errors import ConfigError, MisuseError
    from reflectionflow.genref.memo import FILE, RememberedEndpoint
    from reflectionflow.genref.teacher_vlm import VlmTeacher
    from reflectionflow.models.endpoint import Endpoint, EndpointOptions, key_missing
    from reflectionflow.roles import Role

    options = next((part.options for part in stacks.read(stack).parts if part.role is Role.REFLECTOR), None)
    if not isinstance(options, EndpointOptions):
        raise MisuseError(
            f'The reflector of the stack {stack!r} is not served over HTTP (model = "openai-vlm"), and only such a one '
            "can teach; use --stack flux-dev-vlm or a stack of your own."
        )
    if missing := key_missing(options):
        raise ConfigError(stack, missing)
    return VlmTeacher(RememberedEndpoint(Endpoint(options), out / FILE))


def _build_from_pool(out: Path, source: Wanted, triplets: int, seed: int, stack: str) -> None:
    from reflectionflow.cli import progress
    from reflectionflow.genref.build import Source, build

    sources = list(Source) if source is Wanted.ALL else [Source(source.value)]
    about = _painters(stack) if set(sources) - {Source.EDITING} else {}  # rendered scenes need no model
    with progress.counted("triplets written") as report:
        manifest = build(sources, triplets, seed, out, _painter(stack), about, report)
    _told(manifest, triplets, out)


def _painters(stack: str) -> dict[str, Any]:
    """Return who paints, scores and labels a pool; loads nobody else of the stack.

    Raises:
        MisuseError: if the stack does not paint Scenes.
    """
    from reflectionflow import stack as stacks
    from reflectionflow.errors import MisuseError
    from reflectionflow.models.detector import OracleOptions, OracleVerifier

    models = stacks.load(stack, ())
    if models.generator.capabilities.words is None:
        raise MisuseError(
            f"The stack {stack!r} does not paint Scenes, and its triplets need prompts of their own; "
            "use --stack scenes, or --prompts FILE"
        )
    return {**_painted_by(models), "detector": OracleVerifier(OracleOptions()).name}


def _painted_by(models: Stack) -> dict[str, Any]:
    """Return what decides the pictures and scores of a stack: who paints and scores, size, steps and guidance."""
    return {
        "stack": models.name,
        "generator": models.generator.name,
        "verifier": models.verifier.name,
        "settings": dict(models.generator.settings),
        **dataclasses.asdict(models.defaults or models.generator.defaults),
    }


def _told(manifest: Mapping[str, Any], triplets: int, out: Path) -> None:
    from reflectionflow.genref.stats import by_source

    counts = ", ".join(f"{count} {name}" for name, count in by_source(manifest).items())
    tell(f"{manifest['samples']} triplets in {out} ({counts or 'none'}).")
    if manifest["samples"] < triplets:
        tell(f"{triplets} were asked for; `reflectionflow genref stats {out}` says what was left out.")


def _painter(stack: str) -> Painter:
    """Return what paints a pool through the search runtime, with progress on stderr."""
    from reflectionflow.cli import progress
    from reflectionflow.request import Request, carry_out, plan

    def paint(prompts: Sequence[str], images: int, seed: int, folder: Path) -> None:
        planned = plan(Request(tuple(prompts), "noise", images=images, seed=seed, stack=stack, out=folder))
        with progress.shown(planned.folder, images * len(planned.searches)) as consumer:
            carry_out(planned, consumer)

    return paint


@app.command()
def stats(folder: Folder, as_json: AsJson = False) -> None:
    """Count triplets, edits and differences; say what was left out and why."""
    from reflectionflow.genref.stats import statistics

    found = statistics(folder)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found)))
        return
    typer.echo(f"{found.samples} triplets")
    for name, count in found.sources.items():
        verbs = ", ".join(f"{number} {verb}" for verb, number in found.verbs[name].items())
        typer.echo(f"  {name:8} {count:6}  {found.edits[name]:.1f} edits each ({verbs})")
        together = ", ".join(f"{edits} in {some}" for edits, some in found.together[name].items())
        typer.echo(f"{'':17}edits at once: {together}")
        apart = f"; scene graphs {found.apart[name][2]:.2f} apart" if name in found.apart else ""
        typer.echo(f"{'':17}pictures differ by {found.changed[name][2]:.1f} of 255{apart} (medians)")
    for name, reasons in found.dropped.items():
        for reason, count in reasons.items():
            typer.echo(f"  left out of {name}: {count}, {reason}")
    for what, count in found.converted.items():
        typer.echo(f"  converted: {count}, {what}")
    for reason, count in found.skipped.items():
        typer.echo(f"  broken: {count}, {reason}")


@app.command()
def view(
    folder: Folder,
    each: Annotated[int, typer.Option(min=1, help="Samples of every source.")] = 12,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The page; DIR/view.html by default.")
    ] = None,
) -> None:
    """Write a page to look at: statistics, and samples of every source."""
    from reflectionflow.genref.view import page

    file = out or (folder if folder.is_dir() else folder.parent) / "view.html"
    file.write_text(page(folder, each), encoding="utf-8")
    tell(f"Page: {file}")


@app.command()
def check(folder: Folder) -> None:
    """Check a data set: members, pictures, texts; of a build of ours hashes and counts too."""
    from reflectionflow.genref.shards import MANIFEST, check

    problems = check(folder)
    manifest = folder.is_dir() and (folder / MANIFEST).exists()
    for problem in problems:
        tell(f"  - {problem}")
    if problems:
        raise typer.Exit(1)
    tell(f"{folder} is whole." if manifest else f"Every sample in {folder} can be read; it has no manifest to compare.")
