"""The control that the paper lacks: noise scaling by a generator tuned on GenRef's good pictures without a condition.

What a correction gains over drafts of this generator is gained by looking at the picture and saying what is wrong, and
not by having seen good pictures for longer. `tune corrector configs/tuning/scenes-control.toml` makes one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.paper.methods import NOISE
from reflectionflow.evaluation.paper.named import Named, named
from reflectionflow.evaluation.paper.replaying import Say
from reflectionflow.evaluation.paper.substituting import correct_picks, substituted
from reflectionflow.evaluation.planning import Plan
from reflectionflow.evaluation.running import Consumer
from reflectionflow.roles import Role
from reflectionflow.runtime import Patience, check_task


def control_of(name: str, planned: Plan) -> Named:
    """Return a generator by name: a registered model, or a stack file, whose generator is meant.

    Raises:
        MisuseError: if it is unknown, does not paint drafts, lacks something on this machine, is the stack's own, is
            related to the judge, or cannot paint the evaluation's prompts at its size; all reasons at once.
    """
    found, problems = named("--control", [name], Role.GENERATOR, planned)
    if not problems:
        other = _planned(found[0], planned)
        first = [trial for trial in other.trials if trial.seed == planned.asked.first_seed]
        problems = [
            f"--control {name}: {sentence}"
            for trial in first
            for sentence in check_task(trial.search.task, other.models, trial.search.strategy)
        ]
        problems += [
            f"--control {name}: {sentence} Name a generator that has learnt otherwise." for sentence in found[0].related
        ]
    if problems:
        raise MisuseError("\n".join(dict.fromkeys(problems)))
    return found[0]


def controlled(
    planned: Plan, control: Named, folder: Path, on_event: Consumer, say: Say, patience: Patience
) -> np.ndarray:
    """Return whether noise scaling by another generator is right, painting what is not there yet.

    Args:
        planned: The evaluation, carried out.
        control: The other generator; its drafts are picked by the evaluation's own verifier.
        folder: The evaluation's directory.
        on_event: Called with every event.
        say: Told what begins.
        patience: How often to try again, and how long to wait.

    Returns:
        0 or 1, [prompts, seeds, budgets].

    Raises:
        ModelError: if a model failed for good.
        StorageError: if something cannot be read or written.
    """
    other = _planned(control, planned)
    say(f"The control {control.name} paints: {len(other.trials)} searches.")
    return correct_picks(other, folder, on_event, patience)


def _planned(control: Named, planned: Plan) -> Plan:
    """Return the evaluation's noise scaling with another generator."""
    models = replace(planned.models, generator=control.model, corrector=None, reflector=None, refiner=None)
    return substituted(planned, NOISE, models, f"control {control.model.name}")
