r"""How good each model of a search is alone, on generated pictures of the validation suite, by judge B.

    python benchmarks/roles_quality.py --per-tag 20 --images 16 --out work/roles \
        --verifiers scenes-clip,scenes-vlm,scenes-reward,scenes-vlm+scenes-reward,scenes-oracle \
        --reflectors scenes-vlm,scenes-teacher --refiners scenes-vlm --json work/roles.json

Drafts come from the stack's generator. Verifiers: AUROC over the pictures of a tag and within prompts, accuracy at one
half, calibration error, and the score of the pick from n drafts (`a+b` is an ensemble: the mean of the ranks within a
prompt). Reflectors: their edits against those that judge B's own reading implies, false "nothing to correct", false
alarms, and *yield*, the share of failed drafts that pass after one correction, against new noise. Refiners: whether
rewritten prompts keep every requirement, and whether one picture of them passes more often, from the same noise.

Everything runs through the search runtime into one directory: the same command resumes, and one with other models or
more prompts continues. Models are registered names or "package.module:SPEC" with their default options unless `--set`
changes them; one that is not ready on this machine is left out with a sentence. Test prompts are not used.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from rich.console import Console

import roles_reports as reports
from reflectionflow import stack
from reflectionflow.errors import CheckpointError, MisuseError
from reflectionflow.evaluation.reflections import Seen
from reflectionflow.plugins import find_model
from reflectionflow.roles import Role
from reflectionflow.runs import RunDirectory, RunSpec
from reflectionflow.scenes.prompts import TAGS, suite
from reflectionflow.scenes.splits import Split
from roles_gallery import Gallery, Spot, resolved
from roles_measures import mean_ranks

PLUS = "+"


class Roster:
    """The models by name, each loaded once; those that cannot play are left out with a sentence."""

    def __init__(self, options: Mapping[str, Mapping[str, str]]) -> None:
        self._options = options
        self._loaded: dict[str, Any] = {}
        self.left_out: list[str] = []

    def model(self, name: str, role: Role) -> Any:
        """Return a model, or none.

        Raises:
            MisuseError: if there is no such model, or it does not play the role, or its options are refused.
        """
        spec = find_model(name)
        if role not in spec.roles:
            raise MisuseError(f"The model {name} is no {role.value}; name another.")
        try:
            options = spec.options(**self._options.get(name, {}))
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise MisuseError(
                f"The options of {name} are refused ({faults}); give them as --set {name}.OPTION=VALUE."
            ) from error
        if name not in self._loaded:
            self._loaded[name] = self._load(name, spec, options)
        return self._loaded[name]

    def _load(self, name: str, spec: Any, options: Any) -> Any:
        missing = spec.needs(options)
        if not missing:
            try:
                return spec.load(options)
            except CheckpointError as error:
                missing = [str(error)]
        self.left_out.append(f"{name} is left out: {'; '.join(missing)}")
        return None


def measure_verifiers(gallery: Gallery, names: Sequence[str], roster: Roster, drafts: Mapping[Spot, Seen]) -> Any:
    """Return tables and data of verifiers and ensembles, none when none is ready."""
    arrays = reports.Arrays(gallery.prompts, drafts)
    members = dict.fromkeys(part for name in names for part in name.split(PLUS))
    ready = {part: model for part in members if (model := roster.model(part, Role.VERIFIER)) is not None}
    asked = [name for name in names if all(part in ready for part in name.split(PLUS))]
    needed = dict.fromkeys(part for name in asked for part in name.split(PLUS))
    given = {part: arrays.of(gallery.scores(part, ready[part], list(drafts))) for part in needed}
    scores = {
        name: [mean_ranks(np.stack(one)) for one in zip(*(given[part] for part in name.split(PLUS)), strict=True)]
        if PLUS in name
        else given[name]
        for name in asked
    }
    return reports.verifiers(arrays, scores, frozenset(name for name in asked if PLUS in name)) if scores else None


def measure_reflectors(
    gallery: Gallery, names: Sequence[str], corrector: str, roster: Roster, drafts: Mapping[Spot, Seen]
) -> Any:
    """Return tables and data of reflectors and of their yield, none when none is ready."""
    ready = {name: model for name in names if (model := roster.model(name, Role.REFLECTOR)) is not None}
    painter = roster.model(corrector, Role.CORRECTOR) if ready else None
    if not ready:
        return None
    told = {name: gallery.reflections(name, model, list(drafts)) for name, model in ready.items()}
    tables, faults = reports.reflectors(gallery.prompts, drafts, told)
    failed = {spot: seen for spot, seen in drafts.items() if not seen.correct}
    if painter is None or not failed:
        return tables, {"faults": faults}
    again = gallery.again(list(failed))
    corrected = {
        name: gallery.corrections(
            f"{corrector} after {name}", painter, failed, {spot: said[spot] for spot in again if said[spot].text}
        )
        for name, said in told.items()
    }
    more, values = reports.yields(gallery.prompts, corrector, again, corrected)
    return tables + more, {"faults": faults, "yield": values}


def measure_refiners(gallery: Gallery, names: Sequence[str], roster: Roster, drafts: Mapping[Spot, Seen]) -> Any:
    """Return tables and data of refiners, none when none is ready."""
    ready = {name: model for name in names if (model := roster.model(name, Role.REFINER)) is not None}
    if not ready:
        return None
    told = {name: gallery.refined(name, model, list(drafts)) for name, model in ready.items()}
    again = gallery.again(list(drafts))
    repainted = {
        name: gallery.repainted(name, {spot: item for spot, item in refined.items() if item.failure is None})
        for name, refined in told.items()
    }
    return reports.refiners(gallery.prompts, told, again, repainted)


def arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-tag", type=positive, default=20, help="prompts a tag at most")
    parser.add_argument("--images", type=positive, default=16, help="drafts a prompt")
    parser.add_argument("--tags", type=names_of, default=list(TAGS), help="which tags")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stack", default="scenes", help="whose generator paints")
    parser.add_argument("--verifiers", type=names_of, default=[])
    parser.add_argument("--reflectors", type=names_of, default=[])
    parser.add_argument("--corrector", default="scenes-corrector")
    parser.add_argument("--refiners", type=names_of, default=[])
    parser.add_argument("--reflect-on", type=positive, default=4, help="drafts a prompt that are reflected on")
    parser.add_argument("--refine-on", type=positive, default=2, help="drafts a prompt after which it is refined")
    parser.add_argument("--set", action="append", default=[], metavar="MODEL.OPTION=VALUE", help="an option of a model")
    parser.add_argument("--out", type=Path, required=True, help="run directory")
    parser.add_argument("--json", type=Path, default=None, help="write all numbers here")
    return parser, parser.parse_args()


def names_of(text: str) -> list[str]:
    """Return a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def positive(text: str) -> int:
    """Return a number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def options_of(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return `MODEL.OPTION=VALUE`s by model.

    Raises:
        MisuseError: if one has another form.
    """
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        model, dot, option = name.rpartition(".")
        if not (equals and dot and model and option):
            raise MisuseError(f"--set {text} is no MODEL.OPTION=VALUE.")
        found.setdefault(model, {})[option] = value
    return found


def checked(asked: argparse.Namespace) -> Roster:
    """Return the roster, after refusing what no run could serve.

    Raises:
        MisuseError: if nothing is named, or a name, a tag or an option is unknown.
    """
    unknown = [tag for tag in asked.tags if tag not in TAGS]
    if unknown or not asked.tags:
        raise MisuseError(f"There are no prompts of {', '.join(unknown) or 'no tag'}; the tags are {', '.join(TAGS)}.")
    if not (asked.verifiers or asked.reflectors or asked.refiners):
        raise MisuseError("No model is named; give --verifiers, --reflectors or --refiners.")
    roster = Roster(options_of(asked.set))
    parts = [part for name in asked.verifiers for part in name.split(PLUS)]
    for role, names in ((Role.VERIFIER, parts), (Role.REFLECTOR, asked.reflectors), (Role.REFINER, asked.refiners)):
        for name in names:
            roster.model(name, role)
    if asked.reflectors:
        roster.model(asked.corrector, Role.CORRECTOR)
    return roster


def measure(asked: argparse.Namespace, roster: Roster, console: Console) -> tuple[list[reports.Table], dict[str, Any]]:
    """Paint, ask and compare."""
    prompts = [item for item in suite(Split.VALIDATION, asked.per_tag) if item.tag in asked.tags]
    models = stack.load(asked.stack)
    about = resolved(models, asked.seed)
    tables: list[reports.Table] = []
    data: dict[str, Any] = {
        "prompts": len(prompts),
        "per tag": asked.per_tag,
        "images": asked.images,
        "seed": asked.seed,
    }
    with RunDirectory.open(asked.out, RunSpec(about, about)) as run:
        gallery = Gallery(run, models, prompts, asked.seed, console)
        drafts = gallery.drafts(asked.images)
        criticised = {spot: seen for spot, seen in drafts.items() if spot[1] < asked.reflect_on}
        refined = {spot: seen for spot, seen in drafts.items() if spot[1] < asked.refine_on}
        for name, part in (
            ("verifiers", measure_verifiers(gallery, asked.verifiers, roster, drafts)),
            ("reflectors", measure_reflectors(gallery, asked.reflectors, asked.corrector, roster, criticised)),
            ("refiners", measure_refiners(gallery, asked.refiners, roster, refined)),
        ):
            if part is not None:
                tables += part[0]
                data[name] = part[1]
    return tables, {**data, "left out": roster.left_out}


def main() -> None:
    """Measure and print."""
    parser, asked = arguments()
    console = Console(stderr=True)
    try:
        roster = checked(asked)
    except MisuseError as error:
        parser.error(str(error))
    for sentence in roster.left_out:
        console.print(sentence, style="yellow")
    tables, data = measure(asked, roster, console)
    print(f"Validation prompts, at most {asked.per_tag} a tag, {asked.images} drafts each, seed {asked.seed}; judge B.")
    for sentence in roster.left_out:
        print(f"\n{sentence}")
    for table in tables:
        print(f"\n{table.text}")
    if asked.json:
        asked.json.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
