"""The network of detector A: objects as points (CenterNet, arXiv 1904.07850) on a grid of one cell per eight pixels.

It shares no weights, data or code with judge B (`evaluation/`), which works by classical vision.
"""

from __future__ import annotations

import torch
from torch import nn

from reflectionflow.scenes.words import COLORS, OBJECTS

STRIDE = 8
RARE = -4.0
"""First logit of every heatmap cell: objects' centres are rare."""


class Block(nn.Module):
    """Two convolutions with group normalisation around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        return torch.nn.functional.silu(features + self.body(features))


class DetectorNetwork(nn.Module):
    """Pictures in [-1, 1], [n, 3, h, w], to maps on the grid [n, ·, h/8, w/8].

    The 28 channels are: 14 logits that an object of a class has its centre in the cell, 10 logits of its colour, two
    offsets of the centre within the cell and two logarithms of width and height, all in cells.

    Args:
        width: Channels at half, quarter and eighth size are `width`, 2 · `width` and 4 · `width`.
        depth: Residual blocks at the eighth size.
    """

    def __init__(self, width: int = 24, depth: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=2, padding=2),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            Block(2 * width),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            *(Block(4 * width) for _ in range(depth)),
        )
        self.head = nn.Conv2d(4 * width, len(OBJECTS) + len(COLORS) + 4, 1)
        with torch.no_grad():
            self.head.get_parameter("bias")[: len(OBJECTS)] = RARE

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the maps."""
        maps: torch.Tensor = self.head(self.body(pictures))
        return maps
