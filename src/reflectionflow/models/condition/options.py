"""How a picture conditions FLUX: everything about the condition stream that is configuration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Attention(StrEnum):
    """Who attends to whom.

    UNION: all tokens to all, as in the release; needed for the published LoRA. INDEPENDENT: condition tokens to each
    other only, so that their keys and values are computed once for all steps (OminiControl2, arXiv 2503.08280).
    """

    UNION = "union"
    INDEPENDENT = "independent"


class LoraTokens(StrEnum):
    """Which tokens of an item with a condition carry the LoRA: the condition's (the release), or all."""

    CONDITION = "condition"
    ALL = "all"


class Positions(StrEnum):
    """Where condition tokens stand.

    SHIFTED: left of the picture, as in the release. ALIGNED: at the same place in the picture, on the first axis 1.
    """

    SHIFTED = "shifted"
    ALIGNED = "aligned"


@dataclass(frozen=True)
class ConditionOptions:
    """The condition stream of one corrector.

    Attributes:
        attention: Who attends to whom.
        lora: Which tokens carry the LoRA.
        positions: Where condition tokens stand.
        reduction: How many times smaller than the picture the condition is, in width and height.
    """

    attention: Attention = Attention.INDEPENDENT
    lora: LoraTokens = LoraTokens.ALL
    positions: Positions = Positions.ALIGNED
    reduction: int = 2


RELEASE = ConditionOptions(Attention.UNION, LoraTokens.CONDITION, Positions.SHIFTED)
"""The published FLUX-Corrector's."""


def condition_ids(options: ConditionOptions, rows: int, columns: int) -> torch.Tensor:
    """Return the positions of a condition of rows × columns tokens, [rows · columns, 3], row after row.

    Aligned tokens stand in the middle of the picture's tokens they cover: at half resolution token i at 2 i + ½.
    """
    import torch

    ids = torch.zeros(rows, columns, 3)
    if options.positions is Positions.SHIFTED:
        ids[..., 1] = torch.arange(rows)[:, None]
        ids[..., 2] = torch.arange(columns)[None, :] - columns
    else:
        ids[..., 0] = 1
        middle = (options.reduction - 1) / 2
        ids[..., 1] = options.reduction * torch.arange(rows)[:, None] + middle
        ids[..., 2] = options.reduction * torch.arange(columns)[None, :] + middle
    return ids.view(-1, 3)
