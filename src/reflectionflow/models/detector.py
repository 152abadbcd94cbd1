"""Detector A of Scenes, and the *oracle* verifier it makes with GenEval's rules.

It plays what Mask2Former and CLIP play at full size. Runs verified by it are labelled "oracle": it decides by the same
rules as the judge of the evaluation, so its runs show what a perfect verifier could reach and count toward no claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from reflectionflow.errors import CheckpointError
from reflectionflow.geneval import Clause, Detection, Metadata, Options, decide, keep, relations, threshold_for
from reflectionflow.models.manifest import problems, read_manifest, write_manifest
from reflectionflow.plugins import LocalPath, ModelOptions, ModelSpec
from reflectionflow.roles import Question, Role, Worker
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.words import COLORS, OBJECTS
from reflectionflow.types import Verdict

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

SHIPPED = Path(str(files("reflectionflow") / "scenes" / "checkpoints" / "detector"))
WEIGHTS = "model.safetensors"
LEAST = 0.05
"""Detections below this confidence are not reported."""
MOST = 16
CONFIDENCES = ((0.0, 0.45, 0.48, 1.0), (0.0, 0.3, 0.9, 1.0))
"""The network's own confidences, and what is reported for them; straight lines in between. At 0.45 the network misses
as few objects as it can without inventing more, so that is GenEval's threshold of 0.3; counting, whose threshold is
0.9, is right most often there too. Set on the pictures of docs/labels/mixed; docs/labels/mixed-2 tells how good it is.
"""
Detections = dict[str, list[Detection]]


class OracleOptions(ModelOptions):
    """Options of `scenes-oracle`."""

    checkpoint: LocalPath = Field(default=SHIPPED, description="Folder of a detector of Scenes.")
    batch_size: int = Field(default=16, gt=0, description="Most pictures per call.")


class SceneDetector:
    """Finds the objects of Scenes pictures with a trained network."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return, per picture, the detections of each class, best first, with colours and boxes in pixels."""
        import torch

        array = np.stack([np.asarray(image.convert("RGB")) for image in images])
        return self.detect_tensor(torch.from_numpy(array).permute(0, 3, 1, 2).float().div(127.5).sub(1.0))

    def detect_tensor(self, pictures: torch.Tensor) -> list[Detections]:
        """Do the same for pictures in [-1, 1], [n, 3, h, w]."""
        import torch

        with torch.inference_mode():
            maps = self._network(pictures.to(next(self._network.parameters()).device)).float()
            heat = maps[:, : len(OBJECTS)].sigmoid()
            peaks = heat * (heat == torch.nn.functional.max_pool2d(heat, 3, stride=1, padding=1))
            # One thing has one class: a weaker class at or beside a stronger one's centre is no second object.
            strongest = torch.nn.functional.max_pool2d(heat.amax(1, keepdim=True), 3, stride=1, padding=1)
            sure = np.interp((peaks * (peaks == strongest)).cpu().numpy(), *CONFIDENCES)
        return [_read(one, all_) for one, all_ in zip(sure, maps.cpu().numpy(), strict=True)]


def _read(peaks: np.ndarray, maps: np.ndarray) -> Detections:
    """Return the detections of one picture from its peaks [14, h, w] and maps [28, h, w]."""
    found: Detections = {}
    for noun, row, column in zip(*np.nonzero(peaks > LEAST), strict=True):
        color, shift_y, shift_x, log_height, log_width = _at(maps[len(OBJECTS) :, row, column])
        x, y = (column + shift_x) * 8, (row + shift_y) * 8
        half_width, half_height = np.exp(log_width) * 4, np.exp(log_height) * 4
        box = (x - half_width, y - half_height, x + half_width, y + half_height)
        item = Detection(tuple(map(float, box)), float(peaks[noun, row, column]), color)  # type: ignore[arg-type]
        found.setdefault(OBJECTS[noun], []).append(item)
    return {name: sorted(items, key=lambda item: -item.score)[:MOST] for name, items in found.items()}


def _at(values: np.ndarray) -> tuple[str, float, float, float, float]:
    """Return colour, offsets and logarithms of the sizes from one cell's values."""
    color = COLORS[int(values[: len(COLORS)].argmax())]
    shift_y, shift_x, log_height, log_width = (float(value) for value in values[len(COLORS) :])
    return color, shift_y, shift_x, min(log_height, 3.0), min(log_width, 3.0)


def graded(metadata: Metadata, found: Mapping[str, Sequence[Detection]]) -> float:
    """Return how nearly a picture satisfies a prompt, in [0, 1]: above 0.5 exactly when GenEval's rules pass it.

    A passing picture scores 0.5 plus half its least confident needed detection; a failing one less than half the share
    of its requirements (each object, its colour, its place, no surplus) that are met.
    """
    options = Options()
    needed = [
        item.score for clause in metadata.include for item in list(found.get(clause.class_name, ()))[: clause.count]
    ]
    if decide(metadata, found, options=options).correct:
        return 0.5 + 0.5 * min(needed, default=0.0)
    threshold = threshold_for(metadata.tag, options)
    kept = {name: keep(list(items), threshold, options) for name, items in found.items()}
    met: list[float] = []
    for clause in metadata.include:
        met += _met(clause, metadata, kept, options)
    met += [float(len(kept.get(clause.class_name, ())) < clause.count) for clause in metadata.exclude]
    return 0.49 * float(np.mean(met))


def _met(clause: Clause, metadata: Metadata, kept: Mapping[str, Sequence[Detection]], options: Options) -> list[float]:
    """Return how far each requirement of one clause is met."""
    items = list(kept.get(clause.class_name, ()))[: clause.count]
    met = [len(items) / clause.count]
    if clause.color is not None:
        met.append(sum(item.colour == clause.color for item in items) / clause.count)
    if clause.position is not None:
        target = metadata.include[clause.position.target]
        others = list(kept.get(target.class_name, ()))[: target.count]
        holds = [clause.position.relation in relations(item, other, options) for item in items for other in others]
        met.append(float(bool(holds) and all(holds)))
    return met


class OracleVerifier:
    """Judges Scenes pictures by detector A and GenEval's rules; weights load at the first call.

    Raises:
        CheckpointError: on construction, if the folder does not say what it is.
    """

    worker = Worker.LOCAL
    relatives = frozenset({"geneval-rules", "training-labels"})
    """Its detector labels training data, and it decides by GenEval's rules: evaluations take it as an oracle only."""

    def __init__(self, options: OracleOptions) -> None:
        self._folder = options.checkpoint
        self._manifest = read_manifest(options.checkpoint)
        self.name = f"oracle:{self._manifest.identity}"
        self.batch_size = options.batch_size

    def detections(self, images: Sequence[Image]) -> list[Detections]:
        """Return what detector A sees in each picture."""
        return self._detector.detect(images)

    def judge(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        """Score each picture: above 0.5 when it passes; the rationale is GenEval's reason. Free prompts fail."""
        found = self.detections([question.image for question in questions])
        return [self._verdict(question, seen) for question, seen in zip(questions, found, strict=True)]

    def _verdict(self, question: Question, seen: Detections) -> Verdict:
        metadata = parse(question.prompt)
        if metadata is None:
            reason = "The oracle reads prompts of the Scenes suites only; choose another verifier for this prompt."
            return Verdict(question.id, self.name, failure=reason)
        decision = decide(metadata, seen)
        return Verdict(question.id, self.name, graded(metadata, seen), rationale=decision.reason)

    @cached_property
    def _detector(self) -> SceneDetector:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from reflectionflow.models.detector_network import DetectorNetwork

        try:
            network = DetectorNetwork(**self._manifest.details["network"])
            weights = load_file(self._folder / WEIGHTS)
            network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        except (OSError, KeyError, TypeError, RuntimeError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"{self._folder} holds no detector of Scenes: {error}") from error
        return SceneDetector(network.eval().requires_grad_(False))


def save_detector(network: torch.nn.Module, shape: Mapping[str, int], folder: Path) -> None:
    """Save weights in bf16 with their manifest."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.to(torch.bfloat16).contiguous().cpu() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    write_manifest(folder, name="scenes-detector", network=dict(shape))


SCENES = ModelSpec(
    roles=(Role.VERIFIER,),
    options=OracleOptions,
    load=OracleVerifier,
    needs=lambda options: problems(options.checkpoint),
    summary="Oracle: a detector trained on Scenes with GenEval's rules. Its runs count toward no claim.",
)
