"""`FluxReflectionPipeline`: a `FluxPipeline` that also takes the picture to correct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import FluxPipeline
from PIL.Image import Image

from reflectionflow.models.condition.options import Attention, ConditionOptions, condition_ids
from reflectionflow.models.condition.transformer import CONDITION, Condition, ConditionedFluxTransformer


class FluxReflectionPipeline(FluxPipeline):  # type: ignore[misc]
    """Paints a prompt, or with `condition_image` corrects a picture (ReflectionFlow section 3.2).

    All of `FluxPipeline` works as usual: loading, LoRA, offloading, callbacks, generators. Text is what the caller
    says; `prompts.correction` has the spelling of a correction: the bare prompt is `prompt` (for CLIP), prompt and
    reflection are `prompt_2` (for T5).

    Attributes:
        condition_options: How a picture conditions; set it to what the corrector was trained with.
    """

    condition_options = ConditionOptions()

    def register_modules(self, **parts: Any) -> None:
        """Register the parts; the transformer is noted as the plain one it is, then learns to take conditions."""
        super().register_modules(**parts)
        if parts.get("transformer") is not None:
            ConditionedFluxTransformer.adopt(parts["transformer"])

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        *arguments: Any,
        condition_image: Image | Sequence[Image] | None = None,
        **named: Any,
    ) -> Any:
        """Paint as `FluxPipeline` does, conditioned on pictures if there are any.

        Args:
            prompt: What to paint, as in `FluxPipeline`; further arguments too.
            *arguments: As in `FluxPipeline`.
            condition_image: The picture to correct: one for all prompts, or one each.
            **named: As in `FluxPipeline`; `height` and `width` in pixels must divide by 16 times the reduction.

        Raises:
            ValueError: if there are several pictures but not one for each prompt, or a size does not divide.
        """
        if condition_image is None:
            return super().__call__(prompt, *arguments, **named)
        height = named.setdefault("height", self.default_sample_size * self.vae_scale_factor)
        width = named.setdefault("width", self.default_sample_size * self.vae_scale_factor)
        images = [condition_image] if isinstance(condition_image, Image) else list(condition_image)
        prompts = len(prompt) if isinstance(prompt, list) else 1
        if prompt is None and named.get("prompt_embeds") is not None:
            prompts = len(named["prompt_embeds"])
        if len(images) not in (1, prompts):
            raise ValueError(f"There are {len(images)} condition images for {prompts} prompts; give one, or one each.")
        condition = self.condition(images, height, width)
        repeats = named.get("num_images_per_prompt", 1)
        if len(images) > 1 and repeats > 1:
            condition = replace(condition, tokens=condition.tokens.repeat_interleave(repeats, 0))
        if condition.options.attention is Attention.INDEPENDENT:
            # Filled by the transformer's first `forward`, for which offloading has it on the device.
            condition = replace(condition, memory=[])
        attention = dict(named.pop("joint_attention_kwargs", None) or {}) | {CONDITION: condition}
        return super().__call__(prompt, *arguments, joint_attention_kwargs=attention, **named)

    @torch.no_grad()
    def condition(self, images: Sequence[Image], height: int, width: int) -> Condition:
        """Return the condition of pictures that are painted anew at height × width pixels.

        Latents are the mode of the encoder, not a sample as in the release, so that a picture conditions the same way
        every time.

        Raises:
            ValueError: if the size does not divide by 16 times the reduction.
        """
        options, step = self.condition_options, 2 * self.vae_scale_factor * self.condition_options.reduction
        if height % step or width % step:
            raise ValueError(f"{width} × {height} pixels do not divide by {step}, which a condition needs; round them.")
        dtype, device = self.transformer.dtype, self._execution_device
        size = {"height": height // options.reduction, "width": width // options.reduction}
        pixels = self.image_processor.preprocess([image.convert("RGB") for image in images], **size)
        latents = self.vae.encode(pixels.to(device, self.vae.dtype)).latent_dist.mode()
        latents = (latents - self.vae.config.shift_factor) * self.vae.config.scaling_factor
        count, channels, rows, columns = latents.shape
        tokens = self._pack_latents(latents.to(dtype), count, channels, rows, columns)
        pooled = None
        if options.attention is Attention.INDEPENDENT:
            pooled = self._get_clip_prompt_embeds([""], device=device).to(dtype)
        return Condition(tokens, condition_ids(options, rows // 2, columns // 2).to(device), options, pooled)
