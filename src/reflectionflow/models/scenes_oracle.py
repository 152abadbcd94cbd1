"""Oracles of Scenes for the roles a search adds to painting and judging: what perfect models could reach.

The reflector reads a picture with detector A and says what leads to the nearest picture that satisfies the prompt. The
corrector reads the flawed picture and the reflection, and lets the renderer draw the result. Put in place of one
trained model at a time they show which one holds a search back. Their runs count toward no claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from pydantic import Field

from reflectionflow.errors import MisuseError
from reflectionflow.genref.edits import VERSION, carry_out, parse_edit
from reflectionflow.genref.graph import graph_of
from reflectionflow.genref.repair import repair
from reflectionflow.genref.retouch import repainted
from reflectionflow.models.detector import OracleOptions, OracleVerifier
from reflectionflow.models.manifest import problems
from reflectionflow.plugins import ModelSpec
from reflectionflow.prompts.vlm import JOIN
from reflectionflow.roles import Capabilities, Context, Defaults, Painting, PaintRequest, ReflectRequest, Role, Worker
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.words import known_words, painted
from reflectionflow.scenes.world import CANVAS
from reflectionflow.types import Failure, Recipe, Reflection, Scalar


class OracleReflector:
    """Says which edits lead to the nearest picture that satisfies the prompt."""

    worker = Worker.LOCAL
    relatives = OracleVerifier.relatives
    reads: frozenset[Context] = frozenset()

    def __init__(self, options: OracleOptions) -> None:
        self._detector = OracleVerifier(options)
        self.name = f"teacher-{VERSION}:{self._detector.name}"
        self.batch_size = options.batch_size

    def reflect(self, items: Sequence[ReflectRequest]) -> Sequence[Reflection]:
        """Criticise each picture; free prompts fail, and so do those that ask for more than fits into a picture."""
        found = self._detector.detections([item.image for item in items])
        return [self._one(item, seen) for item, seen in zip(items, found, strict=True)]

    def _one(self, item: ReflectRequest, seen: Mapping[str, Sequence[object]]) -> Reflection:
        metadata = parse(item.prompt)
        if metadata is None:
            reason = "The oracle reads prompts of the Scenes suites only; choose another reflector for this prompt."
            return Reflection(item.id, self.name, failure=reason)
        try:
            edits = repair(metadata, graph_of(seen, CANVAS)).edits  # type: ignore[arg-type]
        except MisuseError as error:
            return Reflection(item.id, self.name, failure=str(error))
        return Reflection(item.id, self.name, JOIN.join(edits), edits, JOIN.join(edits))


class RendererOptions(OracleOptions):
    """Options of `scenes-renderer`."""

    batch_size: int = Field(default=16, gt=0, description="Most pictures per call.")


class OracleCorrector:
    """Carries out a reflection exactly, with detector A and the renderer; it has no noise and no denoiser."""

    worker = Worker.LOCAL
    relatives = frozenset({"training-labels"})
    """Its detector labels training data; GenEval's rules it does not ask."""

    def __init__(self, options: RendererOptions) -> None:
        self._options = options
        self.batch_size = options.batch_size
        self.name = f"renderer-{VERSION}:{self._detector.name}"
        self.capabilities = Capabilities(corrects=True, multiple=CANVAS, smallest=CANVAS, largest=CANVAS,
                                         words=known_words(), paints=painted(known_words()))  # fmt: skip
        self.defaults = Defaults(CANVAS, CANVAS, 1, 0.0)
        self.settings: Mapping[str, Scalar] = {"renderer": 1}

    def layout(self, recipe: Recipe) -> tuple[int, int]:
        """Return the size, the only one there is."""
        return (recipe.width, recipe.height)

    def generate(self, requests: Sequence[PaintRequest]) -> Sequence[Painting | Failure]:
        """Correct pictures of 128 × 128 pixels; an edit the renderer does not understand is a failure.

        Raises:
            ValueError: if a request has no parent.
        """
        parents = [request.parent for request in requests if request.parent is not None]
        if len(parents) < len(requests):
            raise ValueError("A correction needs its parent's pixels.")
        results: list[Painting | Failure] = []
        for request, parent, found in zip(requests, parents, self._detector.detections(parents), strict=True):
            words = [part for part in (request.recipe.reflection or "").split(JOIN) if part.strip()]
            edits = [edit for part in words if (edit := parse_edit(part)) is not None]
            if len(edits) < len(words):
                unread = next(part for part in words if parse_edit(part) is None)
                results.append(Failure(request.id, f"The renderer does not understand the edit {unread!r}."))
                continue
            wanted = carry_out(edits, graph_of(found, CANVAS))
            results.append(Painting(request.id, repainted(parent.convert("RGB"), found, wanted), 0))
        return results

    @cached_property
    def _detector(self) -> OracleVerifier:
        return OracleVerifier(self._options)


REFLECTOR = ModelSpec(
    (Role.REFLECTOR,), OracleOptions, OracleReflector, lambda options: problems(options.checkpoint),
    "Oracle: what leads to the nearest picture that satisfies the prompt, read by detector A.",
)  # fmt: skip
CORRECTOR = ModelSpec(
    (Role.CORRECTOR,), RendererOptions, OracleCorrector, lambda options: problems(options.checkpoint),
    "Oracle: carries out a reflection exactly, with detector A and the renderer.",
)  # fmt: skip
