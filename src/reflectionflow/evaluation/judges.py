"""Who judges an evaluation, and who may not have searched under that judge."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

from reflectionflow.geneval import Decision, Metadata

if TYPE_CHECKING:
    from PIL.Image import Image

    from reflectionflow.genref.graph import Graph
    from reflectionflow.runtime import Task

LABELS = "training-labels"
"""What a verifier is related to when it, or its detector, labelled training data."""


class Judge(Protocol):
    """Decides whether pictures satisfy their prompts."""

    name: str
    """Name and revision; another revision judges again."""
    relatives: frozenset[str]
    """What it shares with others: rules, weights, labels. A verifier that names one of them is related."""
    batch_size: int
    """Most pictures in one call."""

    def problems(self, items: Sequence[Metadata], task: Task) -> list[str]:
        """Return why it cannot judge such pictures, one sentence each."""

    def decide(self, items: Sequence[tuple[Image, Metadata]]) -> list[Decision]:
        """Decide about each picture, in order."""


class ScenesJudge:
    """Judge B of Scenes: classical vision and GenEval's rules; used by evaluations alone."""

    relatives = frozenset({"geneval-rules", LABELS})
    batch_size = 1

    def __init__(self) -> None:
        self.name = f"scenes-judge@{_revision()}"

    def problems(self, items: Sequence[Metadata], task: Task) -> list[str]:
        """Return what it does not know: other sizes of pictures, objects that are not of Scenes."""
        from reflectionflow.evaluation.scenes_judge import SIDE
        from reflectionflow.scenes.words import OBJECTS

        found = []
        if (task.width, task.height) != (SIDE, SIDE):
            found.append(
                f"The judge of Scenes reads pictures of {SIDE} × {SIDE} pixels, and the stack paints "
                f"{task.width} × {task.height}; choose a stack of Scenes."
            )
        unknown = {clause.class_name for item in items for clause in item.include} - set(OBJECTS)
        if unknown:
            found.append(
                f"The judge of Scenes does not know {', '.join(sorted(unknown)[:5])}; it knows {', '.join(OBJECTS)}."
            )
        return found

    def decide(self, items: Sequence[tuple[Image, Metadata]]) -> list[Decision]:
        """Decide about each picture, in order."""
        from reflectionflow.evaluation.scenes_judge import judge

        return [judge(image, metadata) for image, metadata in items]

    def graph(self, image: Image) -> Graph:
        """Return the objects of a picture as the judge sees them."""
        from reflectionflow.evaluation.scenes_judge import SIDE, detect
        from reflectionflow.genref.graph import graph_of

        return graph_of(detect(image), SIDE)


class GenevalJudge:
    """GenEval's own judge, Mask2Former and CLIP by its rules; weights load when it is first asked.

    Raises:
        MisuseError: if the checkpoints are not on this machine.
    """

    relatives = frozenset({"geneval-rules"})
    batch_size = 8

    def __init__(self) -> None:
        from reflectionflow.evaluation.geneval import official_judge

        self._judge = official_judge()
        self.name = self._judge.name

    def problems(self, items: Sequence[Metadata], task: Task) -> list[str]:
        """Return the objects it does not know; it reads pictures of any size."""
        known = set(self._judge.classes)
        unknown = sorted({clause.class_name for item in items for clause in item.include} - known)
        return [f"The judge of GenEval does not know {', '.join(unknown[:5])}."] if unknown else []

    def decide(self, items: Sequence[tuple[Image, Metadata]]) -> list[Decision]:
        """Decide about each picture, in order."""
        return self._judge.judge([image for image, _ in items], [metadata for _, metadata in items])


_SOURCES = ("scenes_judge.py", "explain.py", "shapes.py", "shapes.json", "silhouettes.py", "colours.py")


def _revision() -> str:
    """Return twelve hex digits that change with the judge's own source."""
    folder = files("reflectionflow") / "evaluation"
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:12]


def objections(judge: Judge, verifier: Any) -> list[str]:
    """Return why a verifier may not search under a judge, one sentence each; empty when the two are independent.

    A verifier says by an attribute `relatives` (a set of names, such as `geneval-rules` or `training-labels`) what it
    shares with others; one without it shares nothing.
    """
    if verifier.name == judge.name:
        return [f"{verifier.name} is the judge of this evaluation itself."]
    shared = judge.relatives & frozenset(getattr(verifier, "relatives", ()))
    reasons = {
        LABELS: "labelled training data, or uses what labelled it",
        "geneval-rules": "decides by GenEval's rules, as the judge does",
    }
    told = " and ".join(reasons.get(name, f"is related to {name}, as the judge is") for name in sorted(shared))
    return [f"{verifier.name} {told}."] if shared else []
