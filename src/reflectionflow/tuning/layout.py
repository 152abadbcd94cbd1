"""What lies where in a training scene, and the loss that makes the generator know it while it denoises.

A generator of a few million parameters sees its objects only through the error of a predicted velocity, most of which
is noise. Representation alignment (REPA, arXiv 2410.06940) shortens training many times by asking the hidden states of
an early block for features of the clean picture. Scenes are drawn by us, so the exact answer is at hand: which object
and which colour covers each latent cell. The head that answers is thrown away after training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field

from reflectionflow.errors import ConfigError
from reflectionflow.geneval import Detection
from reflectionflow.genref.graph import graph_of
from reflectionflow.genref.retouch import things_of
from reflectionflow.scenes.renderer import outlines
from reflectionflow.scenes.words import COLORS, OBJECTS
from reflectionflow.scenes.world import CANVAS, Scene
from reflectionflow.tuning.config import Section

if TYPE_CHECKING:
    import torch

CELLS = 16
"""Latent cells along a side of the canvas."""
FINE = 4
"""Pixels of the mask along a side of a cell."""
COVERED = 0.4
"""Share of a cell that an object must cover to be named there."""


SURE = 0.5
"""What detector A finds with less confidence is not in a layout."""


class Detector(Protocol):
    """Finds objects in pictures."""

    def detections(self, images: Sequence[Image.Image]) -> Sequence[Mapping[str, Sequence[Detection]]]:
        """Return, per picture, the detections of each class."""


class LayoutSection(Section):
    """The auxiliary loss: what each latent cell shows, read from the hidden states of the picture's tokens."""

    weight: float = Field(gt=0, description="Weight of the cross-entropy beside the flow matching loss.")
    blocks: int = Field(gt=0, description="After how many blocks of the transformer, double ones first, it is read.")
    width: int = Field(default=256, gt=0, description="Width of the head's hidden layer.")


def layout(scene: Scene) -> np.ndarray:
    """Return what covers each latent cell, uint8, shape [2, 16, 16].

    The first map names objects, the second colours: 0 for the background, i + 1 for `OBJECTS[i]` or `COLORS[i]`.
    Later objects lie over earlier ones, as in the picture.
    """
    found = np.zeros((2, CELLS, CELLS), dtype=np.uint8)
    for thing in scene.things:
        left, top, _, _ = thing.box
        covered = _covered(thing.noun, left / CANVAS, top / CANVAS, thing.size / CANVAS)
        found[0][covered] = OBJECTS.index(thing.noun) + 1
        found[1][covered] = COLORS.index(thing.color) + 1
    return found


@lru_cache(maxsize=20_000)
def _covered(noun: str, left: float, top: float, size: float) -> np.ndarray:
    """Return which cells an outline covers, bool, shape [16, 16]; places and sizes as shares of the canvas."""
    side = CELLS * FINE
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon(
        [((left + x * size) * side, (top + y * size) * side) for x, y in outlines()[noun]], fill=255
    )
    share = np.asarray(mask, dtype=np.float32).reshape(CELLS, FINE, CELLS, FINE).mean(axis=(1, 3)) / 255
    return np.asarray(share > COVERED)


def layout_head(section: LayoutSection, width: int) -> torch.nn.Module:
    """Return the head: hidden states of picture tokens [n, tokens, width] to scores [n, 16, 16, objects + colours + 2].

    A token of FLUX holds 2 × 2 latent cells, so each answers for four.
    """
    import torch

    class LayoutHead(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            answers = 4 * (len(OBJECTS) + len(COLORS) + 2)
            self.layers = torch.nn.Sequential(
                torch.nn.LayerNorm(width),
                torch.nn.Linear(width, section.width),
                torch.nn.SiLU(),
                torch.nn.Linear(section.width, answers),
            )

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            count, side = len(hidden), CELLS // 2
            scores = self.layers(hidden).view(count, side, side, 2, 2, -1)
            cells: torch.Tensor = scores.permute(0, 1, 3, 2, 4, 5).reshape(count, CELLS, CELLS, -1)
            return cells

    return LayoutHead()


def read_after(transformer: Any, section: LayoutSection) -> torch.nn.Module:
    """Return the block after which the layout is read.

    Raises:
        ConfigError: if the transformer has fewer blocks than `section.blocks`.
    """
    blocks: list[torch.nn.Module] = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    if section.blocks > len(blocks):
        problem = f"[layout] blocks = {section.blocks}, but the transformer has {len(blocks)} blocks."
        raise ConfigError("the training configuration", [problem])
    return blocks[section.blocks - 1]


def watched(denoiser: Any, section: LayoutSection) -> torch.nn.Module:
    """Wrap a denoiser with a plain transformer so that `forward` returns its velocity and the head's scores.

    Raises:
        ConfigError: if the transformer has fewer blocks than `section.blocks`.
    """
    import torch

    hidden: list[torch.Tensor] = []

    class Watched(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.denoiser = denoiser
            self.head = layout_head(section, denoiser.transformer.inner_dim)
            block = read_after(denoiser.transformer, section)
            block.register_forward_hook(lambda _module, _given, found: hidden.append(found[1]))

        def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            hidden.clear()
            velocity = self.denoiser(*given)
            return velocity, self.head(hidden.pop())

    return Watched()


def detected_layouts(detector: Detector) -> Callable[[np.ndarray], np.ndarray]:
    """Return what takes pictures, uint8 [n, 128, 128, 3], to the layouts of what a detector finds, [n, 2, 16, 16]."""

    def look(pictures: np.ndarray) -> np.ndarray:
        graphs = [
            graph_of(found, CANVAS, SURE) for found in detector.detections([Image.fromarray(p) for p in pictures])
        ]
        return np.stack([layout(Scene(things_of(graph))) for graph in graphs])

    return look


def layout_loss(scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of objects and colours.

    Args:
        scores: Answers of the head, shape [n, 16, 16, objects + colours + 2].
        seen: What `layout` says, integers, shape [n, 2, 16, 16].
    """
    import torch

    entropy = torch.nn.functional.cross_entropy
    scores, nouns = scores.float(), len(OBJECTS) + 1
    total: torch.Tensor = entropy(scores[..., :nouns].flatten(0, 2), seen[:, 0].flatten().long())
    return total + entropy(scores[..., nouns:].flatten(0, 2), seen[:, 1].flatten().long())
