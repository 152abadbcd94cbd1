"""A loaded Qwen2.5-VL of any size: pictures and questions in, probabilities of the first answer token or texts out.

Pictures go through the image processor directly, its Pillow variant, so that torchvision is not needed. Every forward
gets `mm_token_type_ids`: without them transformers gives all tokens one-dimensional positions and says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflectionflow.errors import CheckpointError, ModelError
from reflectionflow.models.loading import quiet

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

TEMPLATES = ("chat_template.jinja", "chat_template.json")
"""Where a processor's folder keeps the chat template when the tokenizer has none."""


@dataclass(frozen=True)
class Ask:
    """One picture and what is asked about it; `system` is the system message, empty for none."""

    image: Image
    text: str
    system: str = ""


@dataclass(frozen=True)
class Written:
    """One answer.

    Attributes:
        text: The model's words, without special tokens.
        tokens: Tokens read and written, those of the picture included.
        finished: Whether it ended by itself and not at the limit.
    """

    text: str
    tokens: int
    finished: bool


def messages(ask: Ask) -> list[dict[str, Any]]:
    """Return a question in the form chat templates take; marks of special tokens in it are broken up."""
    text = ask.text.replace("<|", "< |")
    system = [{"role": "system", "content": [{"type": "text", "text": ask.system}]}] if ask.system else []
    return [*system, {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


class VisionLanguage:
    """A Qwen2.5-VL with its tokenizer and image processor.

    Args:
        model: A `Qwen2_5_VLForConditionalGeneration`.
        words: Its tokenizer, with a chat template.
        processor: Its `Qwen2VLImageProcessorPil`.
    """

    def __init__(self, model: Any, words: Any, processor: Any) -> None:
        self.model, self.words, self.processor = model, words, processor
        self.image_token = int(model.config.image_token_id)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        found: torch.device = self.model.device
        return found

    def spelled(self, ask: Ask, places: int) -> list[int]:
        """Return the token ids of a question whose picture takes `places` tokens."""
        text = self.words.apply_chat_template(messages(ask), tokenize=False, add_generation_prompt=True)
        image = self.words.convert_ids_to_tokens(self.image_token)
        text = text.replace(image, image * places, 1)
        ids: list[int] = self.words(text, add_special_tokens=False).input_ids
        return ids

    def answered(self, answer: str) -> list[int]:
        """Return the token ids of an answer, its end included."""
        return [*self.words(answer, add_special_tokens=False).input_ids, int(self.words.eos_token_id)]

    def seen(self, images: Sequence[Image]) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
        """Return the patches of all pictures, their grids [n, 3], and how many tokens each takes."""
        with quiet("transformers"):
            found = self.processor(images=[image.convert("RGB") for image in images], return_tensors="pt")
        grid = found["image_grid_thw"]
        return found["pixel_values"], grid, (grid.prod(1) // self.processor.merge_size**2).tolist()

    def inputs(self, asks: Sequence[Ask]) -> dict[str, torch.Tensor]:
        """Return what the model takes for these questions, padded on the left."""
        pixels, grid, places = self.seen([ask.image for ask in asks])
        rows = [self.spelled(ask, count) for ask, count in zip(asks, places, strict=True)]
        device = self.device
        return {
            **self._padded(rows),
            "pixel_values": pixels.to(device, self.model.dtype),
            "image_grid_thw": grid.to(device),
        }

    def _padded(self, rows: Sequence[list[int]]) -> dict[str, torch.Tensor]:
        """Return token ids of unequal length as the model takes them, padded on the left."""
        import torch

        longest, padding = max(map(len, rows)), int(self.words.pad_token_id)
        ids = torch.tensor([[padding] * (longest - len(row)) + row for row in rows])
        attended = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        device = self.device
        return {
            "input_ids": ids.to(device),
            "attention_mask": attended.to(device),
            "mm_token_type_ids": (ids == self.image_token).int().to(device),
        }

    def first_token(self, asks: Sequence[Ask]) -> tuple[torch.Tensor, list[int]]:
        """Return the probabilities of each answer's first token, float32 [n, vocabulary], and the tokens read.

        A picture that several questions share (the same object) goes through the vision tower once.
        """
        import torch

        images = list({id(ask.image): ask.image for ask in asks}.values())
        number = {id(image): place for place, image in enumerate(images)}
        which = [number[id(ask.image)] for ask in asks]
        pixels, grid, places = self.seen(images)
        given = self._padded([self.spelled(ask, places[one]) for ask, one in zip(asks, which, strict=True)])
        grid = grid.to(self.device)
        with torch.inference_mode():
            pixels = pixels.to(self.device, self.model.dtype)
            seen = self.model.get_image_features(pixels, grid, return_dict=True)
            seen.pooler_output = tuple(seen.pooler_output[one] for one in which)
            logits = self.model(
                **given, image_grid_thw=grid[which], mm_encoder_outputs={"image": seen}, logits_to_keep=1,
                use_cache=False,
            ).logits[:, -1]  # fmt: skip
        return logits.float().softmax(-1).cpu(), given["attention_mask"].sum(1).tolist()

    def write(self, asks: Sequence[Ask], longest: int) -> list[Written]:
        """Return the most likely answers, token by token (greedy), of at most `longest` tokens each."""
        import torch

        given = self.inputs(asks)
        with torch.inference_mode(), quiet("transformers"):
            rows = self.model.generate(
                **given, max_new_tokens=longest, do_sample=False, num_beams=1, temperature=None, top_p=None, top_k=None,
                pad_token_id=int(self.words.pad_token_id), eos_token_id=self._ends,
            )[:, given["input_ids"].shape[1] :].tolist()  # fmt: skip
        answers = []
        for row, read in zip(rows, given["attention_mask"].sum(1).tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token in self._ends), None)
            text = self.words.decode(row[:end], skip_special_tokens=True).strip()
            answers.append(Written(text, read + (len(row) if end is None else end + 1), end is not None))
        return answers

    @property
    def _ends(self) -> list[int]:
        """The tokens that end an answer: the tokenizer's and the checkpoint's own."""
        own = getattr(self.model.generation_config, "eos_token_id", None)
        told = own if isinstance(own, list) else [own]
        return sorted({int(token) for token in (self.words.eos_token_id, *told) if token is not None})

    def spellings(self, word: str) -> list[int]:
        """Return the tokens that spell a whole word: small, capitalised, in capitals, with and without a space.

        Raises:
            ModelError: if there is none.
        """
        texts = {space + text for space in ("", " ") for text in (word, word.capitalize(), word.upper())}
        found = [self.words(text, add_special_tokens=False).input_ids for text in texts]
        tokens = sorted({ids[0] for ids in found if len(ids) == 1})
        if not tokens:
            raise ModelError(f"The tokenizer has no single token for {word!r}; this model cannot play the verifier.")
        return tokens


def load(folder: Path, device: torch.device, dtype: torch.dtype, most_pixels: int | None = None) -> VisionLanguage:
    """Load a checkpoint in transformers layout.

    Args:
        folder: Holds model, tokenizer, image processor and chat template.
        device: Where it runs.
        dtype: Precision of the weights.
        most_pixels: Larger pictures are scaled down to this many pixels; none keeps the checkpoint's own limit.

    Raises:
        CheckpointError: if something is missing or of another model.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} does not exist; correct its name, or train one into it: `reflectionflow tune reflector` with "
            "a configuration that names that folder as output."
        )
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    try:
        with quiet("transformers"):
            model, found = Qwen2_5_VLForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, local_files_only=True, output_loading_info=True
            )
            words = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            processor = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{folder} holds no complete Qwen2.5-VL ({error}); fetch the checkpoint again."
        ) from error
    lacking = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
    if lacking:
        raise CheckpointError(
            f"{folder} lacks {len(lacking)} weights of a Qwen2.5-VL, {lacking[0]} among them; fetch it again."
        )
    if most_pixels is not None:
        processor.size["longest_edge"] = most_pixels
    words.chat_template = words.chat_template or template_of(folder)
    model = model.to(device).eval().requires_grad_(False)
    return VisionLanguage(model, words, processor)


def template_of(folder: Path) -> str:
    """Return the chat template that a processor's folder keeps beside the tokenizer.

    Raises:
        CheckpointError: if there is none.
    """
    for name in TEMPLATES:
        path = folder / name
        if path.is_file():
            text = path.read_text("utf-8")
            return str(json.loads(text)["chat_template"]) if path.suffix == ".json" else text
    raise CheckpointError(f"{folder} has no chat template ({' or '.join(TEMPLATES)}); fetch the checkpoint again.")
