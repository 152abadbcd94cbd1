"""Guidance distillation: a student with the guidance scale as input learns a teacher's guided prediction.

On Distillation of Guided Diffusion Models (arXiv 2210.03142), the first of its two stages, as FLUX.1-dev has it: a step
is one forward pass afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from reflectionflow.tuning.config import Section

if TYPE_CHECKING:
    import torch


class DistilSection(Section):
    """From which model, over which guidance scales."""

    teacher: str = Field(description="Folder of the undistilled model.")
    lowest: float = Field(default=1.0, ge=1)
    highest: float = Field(default=6.0, gt=1)
    strength: float = Field(default=1.0, gt=0, description="The teacher is guided by 1 + strength · (guidance - 1).")


def guided(told: torch.Tensor, untold: torch.Tensor, guidance: torch.Tensor, section: DistilSection) -> torch.Tensor:
    """Return classifier-free guidance (arXiv 2207.12598) of two velocities [n, …] by the scales of `guidance` [n]."""
    scale = 1 + section.strength * (guidance.view(-1, *[1] * (told.ndim - 1)) - 1)
    return untold + scale * (told - untold)
