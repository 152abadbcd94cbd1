"""FLUX's two kinds of blocks over text, image and condition tokens.

They use the modules of diffusers' blocks and compute what their `forward` computes, operation by operation, so that
without a condition the result is the same to the last bit. New is that a stream may carry the LoRA or not: layers
wrapped by peft are called whole or by their base layer, and no LoRA is computed only to be multiplied by zero.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from torch.nn.functional import gelu, silu

Tensor = torch.Tensor
Rotary = tuple[Tensor, Tensor]
KeysValues = tuple[Tensor, Tensor]
"""Keys after rotary embedding and values of a block, each [batch, tokens, heads, head size]."""


def linear(layer: Any, x: Tensor, lora: bool) -> Tensor:
    """Apply a linear layer with or without the LoRA that wraps it."""
    plain = getattr(layer, "base_layer", None)
    result: Tensor = layer(x) if lora or plain is None else plain(x)
    return result


def project(attn: Any, x: Tensor, lora: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalised queries and keys, and values, of image or condition tokens."""
    q, k, v = (_heads(linear(layer, x, lora), attn) for layer in (attn.to_q, attn.to_k, attn.to_v))
    return attn.norm_q(q), attn.norm_k(k), v


def project_text(attn: Any, x: Tensor, lora: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalised queries and keys, and values, of text tokens in a double block."""
    layers = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
    q, k, v = (_heads(linear(layer, x, lora), attn) for layer in layers)
    return attn.norm_added_q(q), attn.norm_added_k(k), v


def _heads(x: Tensor, attn: Any) -> Tensor:
    return x.view(*x.shape[:-1], -1, attn.head_dim)


def attend(attn: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax attention, heads joined, [batch, queries, width]."""
    processor = attn.processor
    found: Tensor = dispatch_attention_fn(
        q, k, v, backend=processor._attention_backend, parallel_config=processor._parallel_config
    )
    return found.flatten(2, 3).to(q.dtype)


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Apply rotary position embeddings along the tokens."""
    turned: Tensor = apply_rotary_emb(x, rotary, sequence_dim=1)
    return turned


def _modulation(norm: Any, temb: Tensor, parts: int, lora: bool) -> tuple[Tensor, ...]:
    """Return the modulation vectors of an adaptive normalisation, each [batch, width]."""
    return linear(norm.linear, silu(temb), lora).chunk(parts, dim=1)


def _feed_forward(ff: Any, x: Tensor, lora: bool) -> Tensor:
    hidden = gelu(linear(ff.net[0].proj, x, lora), approximate="tanh")
    return linear(ff.net[2], hidden, lora)


def output(transformer: Any, x: Tensor, temb: Tensor, lora: bool) -> Tensor:
    """Return the velocity of image tokens after the last block."""
    scale, shift = linear(transformer.norm_out.linear, silu(temb).to(x.dtype), lora).chunk(2, dim=1)
    normed = transformer.norm_out.norm(x) * (1 + scale)[:, None, :] + shift[:, None, :]
    return linear(transformer.proj_out, normed, lora)


class _Modulated:
    """One stream of a double block: normalised, to be projected, and finished after attention."""

    def __init__(self, x: Tensor, norm1: Any, norm2: Any, ff: Any, out: Any, temb: Tensor, lora: bool) -> None:
        parts = _modulation(norm1, temb, 6, lora)
        shift, scale, self._gate, self._shift, self._scale, self._gate_mlp = parts
        self.normed = norm1.norm(x) * (1 + scale[:, None]) + shift[:, None]
        self._x, self._norm2, self._ff, self._out, self._lora = x, norm2, ff, out, lora

    def finish(self, attended: Tensor) -> Tensor:
        """Return the stream after attention and feed-forward."""
        x = self._x + self._gate.unsqueeze(1) * linear(self._out, attended.contiguous(), self._lora)
        normed = self._norm2(x) * (1 + self._scale[:, None]) + self._shift[:, None]
        x = x + self._gate_mlp.unsqueeze(1) * _feed_forward(self._ff, normed, self._lora)
        return x.clip(-65504, 65504) if x.dtype == torch.float16 else x


def _image_stream(block: Any, x: Tensor, temb: Tensor, lora: bool) -> _Modulated:
    return _Modulated(x, block.norm1, block.norm2, block.ff, block.attn.to_out[0], temb, lora)


def _text_stream(block: Any, x: Tensor, temb: Tensor, lora: bool) -> _Modulated:
    return _Modulated(x, block.norm1_context, block.norm2_context, block.ff_context, block.attn.to_add_out, temb, lora)


def double_condition(block: Any, x: Tensor, temb: Tensor, rotary: Rotary, lora: bool) -> tuple[Tensor, KeysValues]:
    """Take condition tokens alone through a double block; return them and their keys and values."""
    stream = _image_stream(block, x, temb, lora)
    q, k, v = project(block.attn, stream.normed, lora)
    q, k = rotate(q, rotary), rotate(k, rotary)
    return stream.finish(attend(block.attn, q, k, v)), (k, v)


def double(
    block: Any, text: Tensor, image: Tensor, temb: Tensor, rotary: Rotary, lora: bool, seen: KeysValues | None
) -> tuple[Tensor, Tensor]:
    """Take text and image tokens through a double block; they also attend to the keys and values `seen`."""
    told, painted = _text_stream(block, text, temb, lora), _image_stream(block, image, temb, lora)
    parts = zip(project_text(block.attn, told.normed, lora), project(block.attn, painted.normed, lora), strict=True)
    q, k, v = (torch.cat(pair, dim=1) for pair in parts)
    q, k = rotate(q, rotary), rotate(k, rotary)
    if seen is not None:
        k, v = _joined(k, v, seen)
    attended = attend(block.attn, q, k, v)
    return told.finish(attended[:, : text.shape[1]]), painted.finish(attended[:, text.shape[1] :])


def double_union(
    block: Any,
    streams: tuple[Tensor, Tensor, Tensor],
    tembs: tuple[Tensor, Tensor],
    rotary: Rotary,
    loras: tuple[bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Take text, image and condition tokens through a double block in which all attend to all.

    `tembs` and `loras` are those of text and image, then those of the condition.
    """
    text, image, condition = streams
    told, painted = _text_stream(block, text, tembs[0], loras[0]), _image_stream(block, image, tembs[0], loras[0])
    given = _image_stream(block, condition, tembs[1], loras[1])
    projected = (
        project_text(block.attn, told.normed, loras[0]),
        project(block.attn, painted.normed, loras[0]),
        project(block.attn, given.normed, loras[1]),
    )
    q, k, v = (torch.cat(parts, dim=1) for parts in zip(*projected, strict=True))
    attended = attend(block.attn, rotate(q, rotary), rotate(k, rotary), v)
    first, second, third = torch.split(attended, [text.shape[1], image.shape[1], condition.shape[1]], dim=1)
    return told.finish(first), painted.finish(second), given.finish(third)


def _single_normed(block: Any, x: Tensor, temb: Tensor, lora: bool) -> tuple[Tensor, Tensor]:
    """Return the normalised tokens of a single block and their gate."""
    shift, scale, gate = _modulation(block.norm, temb, 3, lora)
    return block.norm.norm(x) * (1 + scale[:, None]) + shift[:, None], gate


def _single_finish(block: Any, x: Tensor, normed: Tensor, gate: Tensor, attended: Tensor, lora: bool) -> Tensor:
    hidden = block.act_mlp(linear(block.proj_mlp, normed, lora))
    x = x + gate.unsqueeze(1) * linear(block.proj_out, torch.cat([attended, hidden], dim=2), lora)
    return x.clip(-65504, 65504) if x.dtype == torch.float16 else x


def single_condition(block: Any, x: Tensor, temb: Tensor, rotary: Rotary, lora: bool) -> tuple[Tensor, KeysValues]:
    """Take condition tokens alone through a single block; return them and their keys and values."""
    normed, gate = _single_normed(block, x, temb, lora)
    q, k, v = project(block.attn, normed, lora)
    q, k = rotate(q, rotary), rotate(k, rotary)
    return _single_finish(block, x, normed, gate, attend(block.attn, q, k, v), lora), (k, v)


def single(block: Any, x: Tensor, temb: Tensor, rotary: Rotary, lora: bool, seen: KeysValues | None) -> Tensor:
    """Take text and image tokens, one after the other, through a single block; they also attend to `seen`."""
    normed, gate = _single_normed(block, x, temb, lora)
    q, k, v = project(block.attn, normed, lora)
    q, k = rotate(q, rotary), rotate(k, rotary)
    if seen is not None:
        k, v = _joined(k, v, seen)
    return _single_finish(block, x, normed, gate, attend(block.attn, q, k, v), lora)


def single_union(
    block: Any, x: Tensor, condition: Tensor, tembs: tuple[Tensor, Tensor], rotary: Rotary, loras: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Take text and image tokens, and the condition's, through a single block in which all attend to all."""
    normed, gate = _single_normed(block, x, tembs[0], loras[0])
    given, given_gate = _single_normed(block, condition, tembs[1], loras[1])
    projected = project(block.attn, normed, loras[0]), project(block.attn, given, loras[1])
    q, k, v = (torch.cat(parts, dim=1) for parts in zip(*projected, strict=True))
    attended = attend(block.attn, rotate(q, rotary), rotate(k, rotary), v)
    first, second = torch.split(attended, [x.shape[1], condition.shape[1]], dim=1)
    return (
        _single_finish(block, x, normed, gate, first, loras[0]),
        _single_finish(block, condition, given, given_gate, second, loras[1]),
    )


def _joined(k: Tensor, v: Tensor, seen: KeysValues) -> KeysValues:
    """Append the keys and values of a condition, one for all items or one each."""
    more = (part.expand(len(k), -1, -1, -1) for part in seen)
    return tuple(torch.cat([mine, other.to(mine)], dim=1) for mine, other in zip((k, v), more, strict=True))  # type: ignore[return-value]
