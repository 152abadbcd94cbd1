"""The text a corrector is conditioned on, in its one spelling, shared by data, tuning and inference.

This is the training form of the official release (Diffusion-CoT/ReflectionFlow, `train_flux/train/data.py`): prompt,
space, the marker, space, reflection; CLIP reads the bare prompt, T5 this text. The release's search spells it otherwise
(`tts/tts_reflectionflow.py`): a colon follows the marker, and both encoders read the whole. A corrector is best asked
as it was trained, so that form is an option for the release's own setting only; tuning never uses it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from reflectionflow.prompts.vlm import JOIN

REFLECTION_MARK = "[Reflexion]"


class Spelling(StrEnum):
    """How the release spells a correction: when it trains, and when it searches."""

    TRAINING = "training"
    INFERENCE = "inference"


def correction_text(prompt: str, reflection: str, spelling: Spelling = Spelling.TRAINING) -> str:
    """Return what T5 reads for a correction; the bare prompt when there is nothing to correct."""
    if not reflection:
        return prompt
    mark = REFLECTION_MARK if spelling is Spelling.TRAINING else f"{REFLECTION_MARK}:"
    return f"{prompt} {mark} {reflection}"


def clip_text(prompt: str, reflection: str, spelling: Spelling = Spelling.TRAINING) -> str:
    """Return what CLIP reads: the bare prompt, or T5's text in the spelling that gives both the same."""
    return prompt if spelling is Spelling.TRAINING else correction_text(prompt, reflection, spelling)


def fitted(
    words: Any, prompt: str, reflection: str, length: int, spelling: Spelling = Spelling.TRAINING
) -> tuple[str, int]:
    """Return the correction text within `length` tokens, and how many edits it lost: the last ones first.

    Where not even one edit fits beside the prompt, it is left out here, since CLIP reads it too; a prompt without edits
    stays, however long, and is cut by the tokenizer.

    Args:
        words: T5's tokenizer.
        prompt: What the picture should show.
        reflection: Edits, in sentences.
        length: Most tokens, the end token included.
        spelling: How the two are joined.
    """
    edits = reflection.split(JOIN)
    for count in range(len(edits), 0, -1):
        text = correction_text(prompt, JOIN.join(edits[:count]), spelling)
        if len(words(text).input_ids) <= length:
            return text, len(edits) - count
    return correction_text("", edits[0], spelling).strip() or prompt, len(edits) - 1
