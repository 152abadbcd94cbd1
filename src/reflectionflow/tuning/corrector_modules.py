"""The trained module of a corrector: a transformer with its condition, what it starts from, and its frozen teacher."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflectionflow.errors import CheckpointError
from reflectionflow.models.corrector import TRANSFORMER
from reflectionflow.models.loading import quiet
from reflectionflow.tuning.layout import LayoutSection, layout_head, read_after

if TYPE_CHECKING:
    import torch

    from reflectionflow.models.condition.transformer import Condition

LAST = r"transformer\.single_transformer_blocks\.{}\.(proj_mlp|proj_out|attn\.to_q)\."
"""The layers of the last block that condition tokens go through for nothing."""


def conditioned(transformer: Any, section: LayoutSection | None = None) -> torch.nn.Module:
    """Wrap the transformer so that one `forward` takes latents, texts and a condition, if any, to the velocity.

    It returns the velocity and, with a [layout], the scores of the layout head, else none.
    """
    import torch

    from reflectionflow.models.condition.transformer import CONDITION, WATCH, Watch

    seen: list[torch.Tensor] = []

    class Corrector(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer
            if section is not None:
                self.head = layout_head(section, transformer.inner_dim)
                block = read_after(transformer, section)
                # Without a condition the blocks are called as modules; with one they are not, and a `Watch` goes in.
                block.register_forward_hook(lambda _module, _given, found: seen.append(found[1]))

        def forward(
            self, noisy: torch.Tensor, level: torch.Tensor, guidance: torch.Tensor, pooled: torch.Tensor,
            words: torch.Tensor, places: torch.Tensor, condition: Condition | None,
        ) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
            seen.clear()
            given: dict[str, Any] = {} if condition is None else {CONDITION: condition}
            if condition is not None and section is not None:
                given[WATCH] = Watch(section.blocks, seen)
            velocity: torch.Tensor = self.transformer(
                hidden_states=noisy, timestep=level, guidance=guidance, pooled_projections=pooled,
                encoder_hidden_states=words, txt_ids=torch.zeros(words.shape[1], 3, device=noisy.device),
                img_ids=places, joint_attention_kwargs=given or None, return_dict=False,
            )[0]  # fmt: skip
            return velocity, None if section is None else self.head(seen.pop())

    return Corrector()


def spare_the_untaught(modules: Any) -> None:
    """Tell `DistributedDataParallel` not to wait for gradients that never come, where a LoRA is on the condition alone.

    What the last block makes of the condition is read by nobody; it gives keys and values, that is all. The LoRA of its
    queries and its feed-forward stays as it began, and is saved all the same, as the published one is.
    """
    from torch.nn.parallel import DistributedDataParallel

    last = re.compile(LAST.format(len(modules.transformer.single_transformer_blocks) - 1))
    untaught = [name for name, part in modules.named_parameters() if part.requires_grad and last.match(name)]
    ignoring: Any = DistributedDataParallel
    ignoring._set_params_and_buffers_to_ignore_for_model(modules, untaught)


def begin_with(transformer: Any, folder: Path) -> None:
    """Put the weights of a saved transformer in place of a loaded one's.

    Raises:
        CheckpointError: if the folder holds no transformer of the same shape.
    """
    import torch
    from diffusers import FluxTransformer2DModel

    try:
        with quiet("transformers", "diffusers"):
            found = FluxTransformer2DModel.from_pretrained(folder / TRANSFORMER, dtype=torch.float32)
        transformer.load_state_dict(found.state_dict())
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder} holds no transformer of the base's shape ({error}).") from error


def frozen_teacher(transformer: Any, folder: Path) -> torch.nn.Module:
    """Return a frozen copy of a tuned transformer, wrapped as the student is.

    Raises:
        CheckpointError: if the folder holds no transformer of the same shape.
    """
    frozen = copy.deepcopy(transformer).requires_grad_(False)
    begin_with(frozen, folder)
    return conditioned(frozen)
