"""Who decides whether pictures satisfy their prompts: GenEval's two networks, or judge B for pictures of Scenes.

Both are GenEval's rules on detections; they differ in who detects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from reflectionflow.evaluation.geneval.clip_colours import ClipColours, CutOut, cut_out
from reflectionflow.evaluation.geneval.detector import Detections, Mask2FormerDetector
from reflectionflow.evaluation.revision import scenes_revision
from reflectionflow.geneval import COLORS, OBJECTS, Decision, Detection, Metadata, Options, decide, threshold_for

if TYPE_CHECKING:
    from PIL.Image import Image

Asked = list[tuple[str, tuple[Detection, ...]]]


class Judge(Protocol):
    """Decides about pictures, several at once.

    Attributes:
        name: Everything that decides its answers: models with their revisions, and options.
        classes: The objects it can find.
        size: Width and height in pixels that pictures must have; none when any will do.
    """

    name: str
    classes: tuple[str, ...]
    size: tuple[int, int] | None

    def judge(self, images: Sequence[Image], prompts: Sequence[Metadata]) -> list[Decision]:
        """Return whether each picture satisfies its prompt, in order."""


class OfficialJudge:
    """GenEval's judge: Mask2Former finds objects, CLIP names their colours.

    Args:
        detector: Finds objects.
        colours: Names the colours of those that a prompt wants in one.
        options: Thresholds; the official ones when none.

    Attributes:
        relatives: What it shares with any other user of the same weights.
    """

    classes: tuple[str, ...] = OBJECTS
    size: tuple[int, int] | None = None

    def __init__(self, detector: Mask2FormerDetector, colours: ClipColours, options: Options | None = None) -> None:
        self._detector = detector
        self._colours = colours
        self._options = options or Options()
        self.relatives = detector.relatives | colours.relatives
        self.name = f"{detector.name} + {colours.name}" + (f" + {options}" if self._options != Options() else "")

    def judge(self, images: Sequence[Image], prompts: Sequence[Metadata]) -> list[Decision]:
        """Return whether each picture satisfies its prompt, in order.

        Raises:
            CheckpointError: if weights are missing.
            MisuseError: if the device is not there.
        """
        least = min((threshold_for(prompt.tag, self._options) for prompt in prompts), default=0.0)
        found = self._detector.detect(images, least)
        # Which colours are asked for does not depend on the answers, so the rules are gone through twice: once to hear
        # the questions of all pictures, which are then answered in one batch, and once with the answers.
        asked = [self._asked(prompt, seen) for prompt, seen in zip(prompts, found, strict=True)]
        objects = [
            CutOut(name, cut_out(image, item))
            for image, questions in zip(images, asked, strict=True)
            for name, items in questions
            for item in items
        ]
        answers = iter(self._colours.name_all(objects))

        def answer(class_name: str, detections: Sequence[Detection]) -> list[str]:
            return [next(answers) for _ in detections]

        return [decide(prompt, seen, answer, self._options) for prompt, seen in zip(prompts, found, strict=True)]

    def _asked(self, prompt: Metadata, seen: Detections) -> Asked:
        """Return the objects whose colours the rules ask for, clause by clause."""
        asked: Asked = []

        def listen(class_name: str, detections: Sequence[Detection]) -> list[str]:
            asked.append((class_name, tuple(detections)))
            return [COLORS[0]] * len(detections)

        decide(prompt, seen, listen, self._options)
        return asked


class ScenesJudge:
    """Judge B: classical vision that reads pictures of Scenes, its own colours included."""

    def __init__(self) -> None:
        from reflectionflow.evaluation import scenes_judge
        from reflectionflow.scenes.words import OBJECTS as THINGS

        self.name = f"scenes@{scenes_revision()}"
        self.classes: tuple[str, ...] = THINGS
        self.size: tuple[int, int] | None = (scenes_judge.SIDE, scenes_judge.SIDE)
        self._judge = scenes_judge.judge

    def judge(self, images: Sequence[Image], prompts: Sequence[Metadata]) -> list[Decision]:
        """Return whether each picture satisfies its prompt, in order.

        Raises:
            ValueError: if a picture has another size.
        """
        return [self._judge(image, prompt) for image, prompt in zip(images, prompts, strict=True)]
