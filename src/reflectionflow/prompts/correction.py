"""The text a corrector is conditioned on, in its one spelling, shared by data, tuning and inference.

This is the training form of the official release (Diffusion-CoT/ReflectionFlow, `train_flux/train/data.py`): prompt,
space, the marker, space, reflection. CLIP reads the bare prompt, T5 this text.
"""

from __future__ import annotations

REFLECTION_MARK = "[Reflexion]"


def correction_text(prompt: str, reflection: str) -> str:
    """Return what T5 reads for a correction; the bare prompt when there is nothing to correct."""
    return f"{prompt} {REFLECTION_MARK} {reflection}" if reflection else prompt
