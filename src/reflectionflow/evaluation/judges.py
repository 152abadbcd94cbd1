"""Who judges an evaluation, and who may not have searched under that judge."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.revision import rules_revision, scenes_revision
from reflectionflow.geneval import Decision, Metadata
from reflectionflow.roles import Role

if TYPE_CHECKING:
    from PIL.Image import Image

    from reflectionflow.evaluation.benchmarks import Benchmark
    from reflectionflow.genref.graph import Graph
    from reflectionflow.roles import Stack
    from reflectionflow.runtime import Task

LABELS = "training-labels"
"""What a model is related to when it, or its detector, labelled training data."""
WEIGHTS = "weights:"
"""How the names begin that say whose weights a network has; see `models.fingerprint.kinship`."""
SHOWN = 5


class Judge(Protocol):
    """Decides whether pictures satisfy their prompts."""

    name: str
    """Name and revision; another revision judges again."""
    relatives: frozenset[str]
    """What it shares with others: rules, weights, labels. A model that names one of them is related."""
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
        self.name = f"scenes-judge@{scenes_revision()}"

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
        return [*found, *_strange(items, OBJECTS, "Scenes")]

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

    Args:
        detector: A Mask2Former checkpoint of COCO instances: a folder, or its name on the hub.
        clip: The CLIP checkpoint that names colours, likewise.
        device: auto, cpu, mps, cuda or cuda:N.

    Raises:
        MisuseError: if a checkpoint or the device is not on this machine.
        ConfigError: if both checkpoints are not, or one is incomplete or of another kind.
    """

    batch_size = 1
    """One by one: the last digits of a score depend on the neighbours in its batch, and these on the clock."""

    def __init__(self, detector: str, clip: str, device: str = "auto") -> None:
        from reflectionflow.evaluation import geneval

        self._judge = geneval.official_judge(detector, clip, device)
        if device not in ("auto", "cpu"):
            geneval.device_of(device)
        self.name = f"{self._judge.name} + rules@{rules_revision()}"
        self.relatives = frozenset({"geneval-rules"}) | self._judge.relatives

    def problems(self, items: Sequence[Metadata], task: Task) -> list[str]:
        """Return the objects it does not know; it reads pictures of any size."""
        return _strange(items, self._judge.classes, "GenEval")

    def decide(self, items: Sequence[tuple[Image, Metadata]]) -> list[Decision]:
        """Decide about each picture, in order."""
        return self._judge.judge([image for image, _ in items], [metadata for _, metadata in items])


class Kind(StrEnum):
    """The judges, by the benchmark whose objects they know."""

    SCENES = "scenes"
    GENEVAL = "geneval"


def kind_for(benchmark: Benchmark) -> Kind:
    """Return which judge knows all objects of a benchmark; no object is known to both.

    Raises:
        MisuseError: if none does; the objects that are in the way are named.
    """
    from reflectionflow.geneval import OBJECTS as COCO
    from reflectionflow.scenes.words import OBJECTS as SHAPES

    if not (foreign := _unknown(benchmark.items, SHAPES)):
        return Kind.SCENES
    if not (strange := _unknown(benchmark.items, COCO)):
        return Kind.GENEVAL
    if nobodys := [name for name in strange if name in foreign]:
        raise MisuseError(
            f"No judge knows {_some(nobodys)} of {benchmark.name}; prompts can ask for the 80 objects of COCO as "
            f"GenEval spells them (bench, tv remote, …), or for those of Scenes: {', '.join(SHAPES)}."
        )
    raise MisuseError(
        f"No judge knows all objects of {benchmark.name}: that of Scenes does not know {_some(foreign)}, that of "
        f"GenEval does not know {_some(strange)}; make two files of it."
    )


def _unknown(items: Sequence[Metadata], known: Sequence[str]) -> list[str]:
    return sorted({clause.class_name for item in items for clause in (*item.include, *item.exclude)} - set(known))


def _strange(items: Sequence[Metadata], known: Sequence[str], judge: str) -> list[str]:
    """Return a sentence when prompts ask for objects that a judge does not know."""
    unknown = _unknown(items, known)
    return [f"The judge of {judge} does not know {_some(unknown)}."] if unknown else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def related_roles(judge: Judge, models: Stack) -> dict[str, str]:
    """Return the roles whose models may not search under a judge, by name, each with the reason as a sentence.

    Every role counts: a reflector or a corrector that knows what the judge knows makes pictures for the judge as surely
    as a verifier picks them for it.
    """
    found = {}
    for role in Role:
        model = getattr(models, role.value)
        reasons = [] if model is None else objections(judge, model)
        if reasons:
            found[role.value] = f"The {role.value} {reasons[0]}"
    return dict(sorted(found.items()))


def objections(judge: Judge, model: Any) -> list[str]:
    """Return why a model may not search under a judge, one sentence each; empty when the two are independent.

    A model says by an attribute `relatives` (a set of names, such as `geneval-rules`, `training-labels` or
    `weights:openai/clip-vit-large-patch14`) what it shares with others; one without it shares nothing.
    """
    if model.name == judge.name:
        return [f"{model.name} is the judge of this evaluation itself."]
    shared = judge.relatives & frozenset(getattr(model, "relatives", ()))
    reasons = {
        LABELS: "labelled training data, or uses what labelled it",
        "geneval-rules": "decides by GenEval's rules, as the judge does",
    }
    told = [
        "has the same weights as a network of the judge"
        if name.startswith(WEIGHTS)
        else reasons.get(name, f"is related to {name}, as the judge is")
        for name in sorted(shared)
    ]
    return [f"{model.name} {' and '.join(dict.fromkeys(told))}."] if shared else []
