"""Teach the T5 of Scenes to read before anything is painted: what stands where in a text.

FLUX leaves the order of words to T5: its own text tokens carry no position, so that "a red star left of a blue tree"
and "a blue star left of a red tree" differ only if T5's outputs tell which word stood beside which. At full size T5-XXL
comes trained on text. Here every output is asked for the words around it and for its own place, by linear heads that
are dropped afterwards; then the encoder stays as it is, as in FLUX.1. Trained by the pictures' error alone, it had
remained a bag of words (docs/decisions/0014).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from reflectionflow.errors import CheckpointError
from reflectionflow.models.corrector import WORDS
from reflectionflow.models.loading import quiet
from reflectionflow.models.manifest import write_manifest
from reflectionflow.scenes.captions import CaptionMix, draw_caption
from reflectionflow.scenes.splits import held_out_relations
from reflectionflow.scenes.world import Priors, Scene
from reflectionflow.tuning.config import Section, StageConfig
from reflectionflow.tuning.latents import training_scene
from reflectionflow.tuning.loop import is_main_process, train
from reflectionflow.tuning.reports import NOBODY, Reports
from reflectionflow.tuning.saving import tidy_config

if TYPE_CHECKING:
    import torch

OFFSETS = (-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6)
"""The neighbours that every output is asked for."""
EXAMINED = 512


class EncoderSection(Section):
    """Shape of the encoder, and what it begins with."""

    width: int = Field(default=128, gt=0, multiple_of=4)
    layers: int = Field(default=2, gt=0)
    start: str | None = Field(
        default=None, description="Folder of a FluxPipeline whose T5 it begins with; none begins with nothing."
    )
    soften: float = Field(
        default=1.0, gt=0,
        description="Factor on the attention's queries of what it begins with: below 1 for an encoder whose every word "
        "looks at one other, from where nothing is learned.",
    )  # fmt: skip


class LossSection(Section):
    """Weights beside the loss of the neighbours."""

    place: float = Field(default=0.3, ge=0, description="Of the loss that asks for a word's place.")
    keep: float = Field(
        default=0.0, ge=0,
        description="Of the squared distance to what it began with says of the same texts with the shortest padding, "
        "as a share of its squares: for models that have learned to read that.",
    )  # fmt: skip


class TextSection(Section):
    """Which texts are seen: captions and corrections of training scenes, drawn anew at every step."""

    scenes: int = Field(default=4000, gt=0)
    paddings: tuple[int, ...] = Field(default=(32, 64), min_length=1, description="Lengths that texts are padded to.")
    priors: dict[str, Any] = Field(default_factory=dict, description="Fields of scenes.world.Priors.")
    captions: dict[str, float] = Field(default_factory=dict, description="Fields of scenes.captions.CaptionMix.")


class WordsConfig(StageConfig):
    """A configuration of `reflectionflow tune words`."""

    encoder: EncoderSection = EncoderSection()
    loss: LossSection = LossSection()
    data: TextSection = TextSection()


def build_encoder(width: int, layers: int) -> tuple[Any, Any]:
    """Return an untrained T5 of Scenes and its tokenizer."""
    from transformers import T5Config, T5EncoderModel

    from reflectionflow.scenes.tokenizers import t5_tokenizer

    words = t5_tokenizer()
    shape = T5Config(
        vocab_size=len(words), d_model=width, d_kv=width // 4, num_heads=4, d_ff=2 * width, num_layers=layers,
        feed_forward_proj="gated-gelu", dropout_rate=0.0, pad_token_id=0, eos_token_id=1, is_encoder_decoder=False,
        use_cache=False,
    )  # fmt: skip
    return T5EncoderModel(shape), words


def load_encoder(folder: Path) -> Any:
    """Return the T5 encoder in a folder, float32.

    Raises:
        CheckpointError: if there is none that can be read.
    """
    import torch

    if not (folder / WORDS).is_dir():
        raise CheckpointError(f"{folder} holds no T5 encoder: there is no folder {WORDS} in it.")
    try:
        with quiet("transformers"):
            from transformers import T5EncoderModel

            return T5EncoderModel.from_pretrained(folder / WORDS, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder} holds no T5 encoder ({error}).") from error


def load_encoder_like(folder: Path, like: Any) -> Any:
    """Return the T5 encoder in a folder, float32, where it can stand in for another one.

    Raises:
        CheckpointError: if there is none that can be read, or it has another shape.
    """
    found = load_encoder(folder)
    first, second = ({name: p.shape for name, p in some.named_parameters()} for some in (found, like))
    if first != second:
        raise CheckpointError(f"The T5 encoder in {folder} has another shape than is wanted here; name another.")
    return found


def save_encoder(encoder: Any, output: Path) -> None:
    """Save a T5 encoder in bf16 below a folder, to be loaded in float32 unless told otherwise."""
    import torch

    with quiet("transformers"):
        encoder.to(torch.bfloat16).save_pretrained(output / WORDS, safe_serialization=True)
    tidy_config(output / WORDS / "config.json", dtype="float32")


def neighbours(tokens: torch.Tensor) -> torch.Tensor:
    """Return the tokens around each token, [n, length] to [n, length, offsets]; 0, the padding, beyond both ends."""
    import torch

    found = []
    for offset in OFFSETS:
        moved = torch.zeros_like(tokens)
        if offset < 0:
            moved[:, -offset:] = tokens[:, :offset]
        else:
            moved[:, :-offset] = tokens[:, offset:]
        found.append(moved)
    return torch.stack(found, -1)


def asked(encoder: Any, longest: int) -> torch.nn.Module:
    """Wrap an encoder so that one `forward` gives its outputs and, of each word, the scores of neighbours and place.

    Outputs are [n, padding, width], scores [words of all texts, offsets, vocabulary] and [words of all texts, longest]:
    padding is asked nothing.
    """
    import torch

    class Asked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.around = torch.nn.Linear(encoder.config.d_model, len(OFFSETS) * encoder.config.vocab_size)
            self.place = torch.nn.Linear(encoder.config.d_model, longest)

        def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            outputs = self.encoder(tokens)[0]
            words = outputs[tokens > 0]
            return outputs, self.around(words).unflatten(-1, (len(OFFSETS), -1)), self.place(words)

    return Asked()


class TextData:
    """Texts of training scenes."""

    def __init__(self, section: TextSection, words: Any, seed: int) -> None:
        self._section, self._words, self._seed = section, words, seed
        self._priors = Priors(**section.priors)
        self._mix = CaptionMix(**section.captions, held_out_relations=held_out_relations())
        self._scenes: dict[int, Scene] = {}

    def batch(self, step: int, rng: np.random.Generator, share: int) -> dict[str, torch.Tensor]:
        """Return "tokens" [n, padding]."""
        padding = self._section.paddings[int(rng.integers(len(self._section.paddings)))]
        texts = [self._text(rng, padding) for _ in range(share)]
        given = {"padding": "max_length", "max_length": padding, "return_tensors": "pt"}
        return {"tokens": self._words(texts, **given).input_ids}

    def _text(self, rng: np.random.Generator, padding: int) -> str:
        while True:
            number = int(rng.integers(self._section.scenes))
            if number not in self._scenes:
                self._scenes[number] = training_scene(self._seed, number, self._priors)
            text = draw_caption(self._scenes[number], rng, self._mix)[1]
            if len(self._words(text).input_ids) <= padding:
                return text


class WordsProgram:
    """The encoder, its loss and its examination."""

    def __init__(self, config: WordsConfig) -> None:
        import torch

        torch.manual_seed(config.run.seed)
        self.config = config
        self.encoder, words = build_encoder(config.encoder.width, config.encoder.layers)
        self.before: Any = None
        if config.encoder.start:
            self.before = load_encoder_like(Path(config.encoder.start), self.encoder).eval().requires_grad_(False)
            self._begin()
        self.data = TextData(config.data, words, config.run.seed)
        self.modules: torch.nn.Module = asked(self.encoder, max(config.data.paddings))

    def _begin(self) -> None:
        """Put the weights of what it begins with into the encoder, its attention softened."""
        import torch

        self.encoder.load_state_dict(self.before.state_dict())
        with torch.no_grad():
            for block in self.encoder.encoder.block:
                block.layer[0].SelfAttention.q.weight.mul_(self.config.encoder.soften)

    def loss(self, step: int, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Cross-entropy of neighbours and places over all words, and how far the outputs went."""
        import torch
        from torch.nn.functional import cross_entropy

        tokens, weights = batch["tokens"], self.config.loss
        real = tokens > 0
        outputs, around, place = self.modules(tokens)
        beside = cross_entropy(around.flatten(0, 1).float(), neighbours(tokens)[real].flatten())
        places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        there = cross_entropy(place.float(), places[real])
        total = beside + weights.place * there
        parts = {"neighbours": beside.detach(), "place": there.detach()}
        if self.before is not None and weights.keep:
            short = self._shortest(real)
            with torch.no_grad():
                old = self.before.to(tokens.device)(tokens[:, :short])[0]
            moved = (outputs[:, :short].float() - old).square().mean() / old.square().mean()
            total, parts = total + weights.keep * moved, parts | {"moved": moved.detach()}
        return total, parts

    def _shortest(self, real: torch.Tensor) -> int:
        """Return the shortest padding that holds the texts: what words mean does not depend on how many pads follow."""
        longest = int(real.sum(1).max())
        return min(padding for padding in self.config.data.paddings if padding >= longest)

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Return the shares of neighbours and places that are told rightly of other texts of the same scenes."""
        import torch

        rng = np.random.default_rng([self.config.run.seed, 99])
        tokens = self.data.batch(0, rng, EXAMINED)["tokens"].to(next(self.encoder.parameters()).device)
        with torch.no_grad():
            _, around, place = self.modules(tokens)
        real = tokens > 0
        places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        return {
            "neighbours": float((around.argmax(-1) == neighbours(tokens)[real]).float().mean()),
            "places": float((place.argmax(-1) == places[real]).float().mean()),
        }


def run(config: WordsConfig, told: Reports = NOBODY) -> Mapping[str, float]:
    """Train and save the encoder; return its validation metrics.

    Raises:
        CheckpointError: if what it begins with cannot be read or has another shape.
    """
    import torch

    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    program = WordsProgram(config)
    train(program, config, told.step)
    if not is_main_process():
        return {}
    metrics = program.validate(config.run.steps, Path(config.run.state))
    save_encoder(program.encoder, Path(config.run.output))
    write_manifest(Path(config.run.output), name="scenes-t5")
    return metrics
