"""Others speak in the place of the stack's reflector for whole searches: what true, wrong and better words are worth.

Pictures are ranked by the verifier's score and not by edits, so that nothing but the words differs. Wrong words are the
reflector's own about another picture, those of the evaluation itself, given where it found something to correct too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.judges import objections
from reflectionflow.evaluation.paper.methods import BY_SCORE
from reflectionflow.evaluation.paper.named import Named, named
from reflectionflow.evaluation.paper.replaying import Say, recorded
from reflectionflow.evaluation.paper.substituting import correct_picks, substituted
from reflectionflow.evaluation.planning import Plan
from reflectionflow.evaluation.running import RUN, Consumer
from reflectionflow.roles import Reflector, ReflectRequest, Role, read_by
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Patience
from reflectionflow.types import Failure, Reflection, canonical_json

ELSEWHERE = "another-picture"
"""Stands among the names for the stack's own reflector, whose words are given to other pictures."""

Words = Mapping[str, tuple[Reflection, ...]]
"""By prompt: what was said of its pictures and corrected by, nothing twice of one picture."""
Spoken = Mapping[str, np.ndarray]
"""Whether the pick is right, by speaker, [prompts, seeds, budgets]."""


@dataclass(frozen=True)
class Elsewhere:
    """The stack's reflector, before it is known what it says.

    Attributes:
        reflector: The stack's own.
    """

    reflector: Reflector

    @property
    def name(self) -> str:
        """Its name, which does not yet tell the words it will have to choose from."""
        return f"{ELSEWHERE}:{self.reflector.name}"


class Swapped:
    """Says of a picture what its reflector said of another one, where that has something to correct in both.

    Args:
        reflector: Asked about the picture itself.
        words: What it said before.
    """

    def __init__(self, reflector: Reflector, words: Words) -> None:
        self._reflector, self._words = reflector, words
        self.worker, self.batch_size, self.reads = reflector.worker, reflector.batch_size, read_by(reflector)
        known = {prompt: [(one.candidate, one.text) for one in said] for prompt, said in words.items()}
        digest = hashlib.sha256(canonical_json(known).encode()).hexdigest()
        self.name = f"{Elsewhere(reflector).name}+{digest[:6]}"

    def reflect(self, items: Sequence[ReflectRequest]) -> list[Reflection | Failure]:
        """Say of each picture what was said of another; nothing, or a failure, where the reflector has that."""
        said = self._reflector.reflect(items)
        own = {one.id if isinstance(one, Failure) else one.candidate: one for one in said}
        return [self._other(item, own[item.id]) for item in items if item.id in own]  # the runtime misses others

    def _other(self, item: ReflectRequest, own: Reflection | Failure) -> Reflection | Failure:
        if isinstance(own, Failure):
            return own
        if own.failure is not None or not own.text.strip():
            return replace(own, reflector=self.name)
        found = self._apart(item, own, self._words.get(item.prompt, ()))
        if not found:
            every = (one for prompt, words in self._words.items() if prompt != item.prompt for one in words)
            found = self._apart(item, own, tuple(every))
        if not found:
            return Reflection(own.candidate, self.name, failure="Nothing else was said of any other picture.")
        other = min(found, key=lambda one: hashlib.sha256(f"{item.id} {one.candidate} {one.text}".encode()).digest())
        return replace(own, reflector=self.name, text=other.text, edits=other.edits, raw=other.raw)

    @staticmethod
    def _apart(item: ReflectRequest, own: Reflection, words: Sequence[Reflection]) -> list[Reflection]:
        return [one for one in words if one.candidate != item.id and one.text != own.text]


def speakers(names: Sequence[str], planned: Plan) -> tuple[Named, ...]:
    """Return who speaks instead: registered models or stack files, whose reflector is meant, or `another-picture`.

    Raises:
        MisuseError: if one is unknown, reflects on nothing, lacks something on this machine, is named twice, or is the
            stack's own, all reasons at once; or if the stack cannot play ReflectionFlow.
    """
    own = planned.models.reflector
    if names and (own is None or all(trial.method.name != BY_SCORE for trial in planned.trials)):
        raise MisuseError(
            f"--told-by: the stack {planned.models.name} cannot play ReflectionFlow; choose one with a corrector and a "
            "reflector with --stack."
        )
    models, problems = named("--told-by", [name for name in names if name != ELSEWHERE], Role.REFLECTOR, planned)
    if names.count(ELSEWHERE) > 1:
        problems.append(f"--told-by names {ELSEWHERE} twice; name it once.")
    if problems:
        raise MisuseError("\n".join(problems))
    found = {speaker.name: speaker for speaker in models}
    if own is not None:
        found[ELSEWHERE] = Named(ELSEWHERE, Elsewhere(own), tuple(objections(planned.judge, own)))
    return tuple(found[name] for name in names)


def spoken(
    planned: Plan, by: Sequence[Named], folder: Path, on_event: Consumer, say: Say, patience: Patience
) -> Spoken:
    """Return what comes of ReflectionFlow, ranked by score, when others speak; what is not there yet is painted.

    Args:
        planned: The evaluation, carried out.
        by: From `speakers`.
        folder: The evaluation's directory.
        on_event: Called with every event.
        say: Told what begins.
        patience: How often to try again, and how long to wait.

    Raises:
        ModelError: if a model failed for good.
        StorageError: if something cannot be read or written.
    """
    found = {}
    for speaker in by:
        model = speaker.model
        if isinstance(model, Elsewhere):
            model = Swapped(model.reflector, said_in(planned, folder))
        label = f"{BY_SCORE}, told by {model.name}"
        other = substituted(planned, BY_SCORE, replace(planned.models, reflector=model), label)
        say(f"{speaker.name} speaks in the reflector's place: {len(other.trials)} searches.")
        found[speaker.told] = correct_picks(other, folder, on_event, patience)
    return found


def said_in(planned: Plan, folder: Path) -> Words:
    """Return the reflections that the pictures of ReflectionFlow, ranked by score, were corrected by.

    Raises:
        StorageError: if the run cannot be read.
    """
    found: dict[str, dict[tuple[str, str], Reflection]] = {}
    with RunDirectory.read(folder / RUN) as run:
        for trial in (trial for trial in planned.trials if trial.method.name == BY_SCORE):
            words = found.setdefault(trial.search.task.prompt, {})
            for step in recorded(run, trial.search.id).steps:
                if step.reflection is not None and step.reflection.text.strip():
                    words.setdefault((step.reflection.candidate, step.reflection.text), step.reflection)
    return {prompt: tuple(words.values()) for prompt, words in found.items()}
