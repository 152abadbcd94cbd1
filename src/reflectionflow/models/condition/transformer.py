"""A `FluxTransformer2DModel` that also takes a condition; without one it is plain FLUX to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.modeling_outputs import Transformer2DModelOutput

from reflectionflow.models.condition.blocks import (
    KeysValues,
    Rotary,
    Tensor,
    double,
    double_condition,
    double_union,
    linear,
    output,
    single,
    single_condition,
    single_union,
)
from reflectionflow.models.condition.options import Attention, ConditionOptions, LoraTokens

CONDITION = "condition"
"""The key of `joint_attention_kwargs` under which a condition travels through a `FluxPipeline`."""
WATCH = "watch"
"""The key under which a `Watch` travels beside a condition; without one it is not looked at."""
STILL = 0.0
"""The condition's time: it is clean."""
GUIDANCE = 1000.0
"""The condition's guidance of 1, times 1000 as FLUX embeds it."""


@dataclass(frozen=True)
class Condition:
    """A picture that conditions another.

    Attributes:
        tokens: Packed clean latents, [batch or 1, tokens, channels].
        ids: Their positions, [tokens, 3].
        options: Attention, LoRA and positions.
        pooled: The pooled text vector of the condition stream in independent attention, [1, width]: a fixed one, so
            that keys and values depend on the picture alone. Union attention uses the item's own.
        memory: Keys and values of all blocks, when they are known already; an empty list is filled by the first
            `forward`, which other steps then share.
    """

    tokens: Tensor
    ids: Tensor
    options: ConditionOptions
    pooled: Tensor | None = None
    memory: Sequence[KeysValues] | None = None


@dataclass(frozen=True)
class Watch:
    """Collects the picture's tokens as they are after so many blocks, for losses on what the model knows by then.

    Attributes:
        blocks: After how many blocks, double ones first.
        seen: Where they are put, [batch, tokens, width] at each `forward`.
    """

    blocks: int
    seen: list[Tensor]


class ConditionedFluxTransformer(FluxTransformer2DModel):  # type: ignore[misc]
    """FLUX with text, image and condition tokens (ReflectionFlow section 3.2; OminiControl, arXiv 2411.15098).

    A condition comes as `joint_attention_kwargs={"condition": Condition(...)}`. LoRA layers are used for items with a
    condition only, on the tokens that the options say.
    """

    @classmethod
    def adopt(cls, transformer: FluxTransformer2DModel) -> ConditionedFluxTransformer:
        """Turn a loaded transformer into one that takes conditions, in place: no weight is copied or renamed.

        Raises:
            TypeError: if it is no `FluxTransformer2DModel`.
        """
        if not isinstance(transformer, FluxTransformer2DModel):
            raise TypeError(f"A {type(transformer).__name__} cannot take a condition; load a FluxTransformer2DModel.")
        transformer.__class__ = cls
        adopted: ConditionedFluxTransformer = transformer
        return adopted

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        pooled_projections: Tensor,
        timestep: Tensor,
        img_ids: Tensor,
        txt_ids: Tensor,
        guidance: Tensor | None = None,
        joint_attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
        **more: Any,
    ) -> Any:
        """Return the velocity; arguments as in diffusers, plus the condition in `joint_attention_kwargs`.

        Raises:
            ValueError: if a condition comes together with control nets.
        """
        kwargs = dict(joint_attention_kwargs or {})
        condition: Condition | None = kwargs.pop(CONDITION, None)
        watch: Watch | None = kwargs.pop(WATCH, None)
        if condition is None and not self._has_lora():
            return super().forward(
                hidden_states, encoder_hidden_states, pooled_projections, timestep, img_ids, txt_ids, guidance,
                joint_attention_kwargs=kwargs or None, return_dict=return_dict, **more,
            )  # fmt: skip
        if any(value is not None and value is not False for value in more.values()):
            raise ValueError(f"A condition does not go together with {', '.join(more)}; leave them out.")
        lora = condition is not None and condition.options.lora is LoraTokens.ALL
        image = linear(self.x_embedder, hidden_states, lora)
        scales = None if guidance is None else guidance.to(image.dtype) * 1000
        temb = self._temb(timestep.to(image.dtype) * 1000, scales, pooled_projections)
        text = linear(self.context_embedder, encoder_hidden_states, lora)
        ids = torch.cat((txt_ids, img_ids))
        if condition is None:
            image = self._alone(text, image, temb, self.pos_embed(ids), lora, None, None)
        elif condition.options.attention is Attention.UNION:
            image = self._union(text, image, temb, pooled_projections, ids, condition, watch)
        else:
            memory = condition.memory or self.remember(condition).memory
            if isinstance(condition.memory, list) and not condition.memory:
                condition.memory.extend(memory or ())
            image = self._alone(text, image, temb, self.pos_embed(ids), lora, memory, watch)
        velocity = output(self, image, temb, lora)
        return Transformer2DModelOutput(sample=velocity) if return_dict else (velocity,)

    def remember(self, condition: Condition) -> Condition:
        """Return the condition with the keys and values of all blocks, which independent attention uses at every step.

        Raises:
            ValueError: for union attention, whose keys and values change with the picture, or without `pooled`.
        """
        if condition.options.attention is not Attention.INDEPENDENT or condition.pooled is None:
            raise ValueError("Only a condition with independent attention and a pooled vector can be remembered.")
        x = linear(self.x_embedder, condition.tokens, True)
        temb = self._condition_temb(condition.pooled.to(x.dtype).expand(len(x), -1))
        rotary = self.pos_embed(condition.ids)
        memory: list[KeysValues] = []
        for block in self.transformer_blocks:
            x, seen = self._run(double_condition, block, x, temb, rotary, True)
            memory.append(seen)
        for block in self.single_transformer_blocks:
            x, seen = self._run(single_condition, block, x, temb, rotary, True)
            memory.append(seen)
        return replace(condition, memory=tuple(memory))

    def _alone(
        self,
        text: Tensor,
        image: Tensor,
        temb: Tensor,
        rotary: Rotary,
        lora: bool,
        memory: Sequence[KeysValues] | None,
        watch: Watch | None,
    ) -> Tensor:
        """Take text and image tokens through all blocks; they may attend to remembered keys and values."""
        known: Sequence[KeysValues | None] = memory or [None] * self._blocks()
        first = len(self.transformer_blocks)
        for done, (block, seen) in enumerate(zip(self.transformer_blocks, known, strict=False), 1):
            text, image = self._run(double, block, text, image, temb, rotary, lora, seen)
            _watched(watch, done, image)
        both = torch.cat([text, image], dim=1)
        for done, (block, seen) in enumerate(
            zip(self.single_transformer_blocks, known[first:], strict=True), first + 1
        ):
            both = self._run(single, block, both, temb, rotary, lora, seen)
            _watched(watch, done, both[:, text.shape[1] :])
        return both[:, text.shape[1] :]

    def _union(
        self,
        text: Tensor,
        image: Tensor,
        temb: Tensor,
        pooled: Tensor,
        ids: Tensor,
        condition: Condition,
        watch: Watch | None,
    ) -> Tensor:
        """Take all tokens through all blocks together."""
        loras = (condition.options.lora is LoraTokens.ALL, True)
        given = linear(self.x_embedder, condition.tokens, True).expand(len(image), -1, -1)
        tembs = (temb, self._condition_temb(pooled))
        rotary = self.pos_embed(torch.cat((ids, condition.ids)))
        for done, block in enumerate(self.transformer_blocks, 1):
            text, image, given = self._run(double_union, block, (text, image, given), tembs, rotary, loras)
            _watched(watch, done, image)
        both = torch.cat([text, image], dim=1)
        for done, block in enumerate(self.single_transformer_blocks, len(self.transformer_blocks) + 1):
            both, given = self._run(single_union, block, both, given, tembs, rotary, loras)
            _watched(watch, done, both[:, text.shape[1] :])
        return both[:, text.shape[1] :]

    def _temb(self, times: Tensor, scales: Tensor | None, pooled: Tensor) -> Tensor:
        arguments = (times, pooled) if scales is None else (times, scales, pooled)
        found: Tensor = self.time_text_embed(*arguments)
        return found

    def _condition_temb(self, pooled: Tensor) -> Tensor:
        """Return the time embedding of clean tokens at guidance 1."""
        still = torch.full((len(pooled),), STILL, dtype=pooled.dtype, device=pooled.device)
        return self._temb(still, still + GUIDANCE if self.config.guidance_embeds else None, pooled)

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a block, with gradient checkpointing where it is switched on."""
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(function, *arguments)
        return function(*arguments)

    def _blocks(self) -> int:
        return len(self.transformer_blocks) + len(self.single_transformer_blocks)

    def _has_lora(self) -> bool:
        return any(hasattr(module, "base_layer") for module in self.modules())


def _watched(watch: Watch | None, done: int, image: Tensor) -> None:
    if watch is not None and watch.blocks == done:
        watch.seen.append(image)
