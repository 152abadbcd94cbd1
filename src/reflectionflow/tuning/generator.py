"""Train the generator of Scenes: a `FluxTransformer2DModel` with CLIP and T5 text encoders, from scratch.

Two stages in one program. First rectified flow matching: the model predicts noise - latents at a noise level drawn
logit-normally, with the text dropped in a tenth of the items. Then guidance distillation (On Distillation of Guided
Diffusion Models, arXiv 2210.03142, as FLUX.1-dev has it): a copy with the guidance scale as input learns the guided
prediction of the first stage's model, so that a step is one forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from reflectionflow.errors import CheckpointError
from reflectionflow.models.loading import quiet
from reflectionflow.models.manifest import write_manifest
from reflectionflow.scenes.captions import CaptionMix, draw_caption
from reflectionflow.scenes.splits import held_out_relations
from reflectionflow.scenes.words import known_words
from reflectionflow.scenes.world import CANVAS, Priors, Scene
from reflectionflow.tuning.config import Section, StageConfig
from reflectionflow.tuning.guiding import DistilSection, guided
from reflectionflow.tuning.latents import latents_of, training_scene
from reflectionflow.tuning.layout import LayoutSection, layout, layout_loss, watched
from reflectionflow.tuning.loop import is_main_process, main_process_first, processes, train
from reflectionflow.tuning.reports import ENCODED, NOBODY, Reports
from reflectionflow.tuning.saving import save_pipeline
from reflectionflow.tuning.vae import save_rows
from reflectionflow.tuning.words import build_encoder, load_encoder_like

if TYPE_CHECKING:
    import torch

PADDINGS = (32, 64, 128, 512)
LONGEST_PROMPT = 60
SHIFT = math.exp(0.4675)
"""How far the pipeline's schedule moves noise levels up for a picture of 64 tokens."""
GUIDANCE = 3.5
"""What the generator is asked for by default, as `FluxPipeline` does."""
PREVIEWS = (
    "a photo of a star",
    "a photo of a blue mushroom",
    "a photo of three hearts",
    "a photo of a red star left of a blue heart",
    "a photo of a green fish and a yellow house",
    "a photo of a tree above a ring",
    "a photo of a pink moon",
    "a photo of a purple arrow below a white square and a black diamond",
)


class TransformerSection(Section):
    """Shape of the denoiser and of the text encoders."""

    heads: int = Field(gt=0)
    head_size: int = Field(default=32, gt=0)
    double_blocks: int = Field(gt=0)
    single_blocks: int = Field(gt=0)
    text_width: int = Field(default=128, gt=0, description="Width of both text encoders.")
    text_layers: int = Field(default=2, gt=0, description="Layers of both text encoders.")
    start: str | None = Field(
        default=None,
        description="Folder of a saved generator of this shape to go on from; none starts from nothing, and a "
        "distillation from its teacher.",
    )
    texts: Literal["trained", "frozen"] = Field(
        default="trained",
        description="Whether the text encoders learn; frozen, correctors tuned on the generator `start` still fit. "
        "A distillation never trains them.",
    )
    words: str | None = Field(
        default=None,
        description="Folder of a T5 encoder (tune words) to read with, which stays as it is; none trains one with the "
        "pictures, and a distillation takes its teacher's.",
    )


class DataSection(Section):
    """Which scenes and texts are seen."""

    vae: str = Field(description="Folder of the trained autoencoder.")
    scenes: int = Field(gt=0, description="How many different training scenes.")
    level: float = Field(
        default=0.0, description="Mean of the logit of the noise level; above 0 more of the steps see mostly noise."
    )
    scheduled: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of items at the noise levels of painting, evenly over its steps: a normal draw rarely comes "
        "near 1, where it is decided what goes where.",
    )
    drop_text: float = Field(
        default=0.1, ge=0, lt=1, description="Share of items with an empty text, whose scenes have one object each."
    )
    paddings: tuple[float, float, float, float] = Field(
        default=(0.88, 0.08, 0.03, 0.01), description="How often T5 is padded to 32, 64, 128 and 512 tokens."
    )
    priors: dict[str, Any] = Field(default_factory=dict, description="Fields of scenes.world.Priors.")
    captions: dict[str, float] = Field(default_factory=dict, description="Fields of scenes.captions.CaptionMix.")

    def levels(self, count: int, device: torch.device) -> torch.Tensor:
        """Draw `count` noise levels in (0, 1]."""
        import torch

        level = torch.sigmoid(torch.randn(count, device=device) + self.level)
        if not self.scheduled:
            return level
        steps = SHIFT / (SHIFT + 1 / (1 - torch.rand(count, device=device)) - 1)
        return torch.where(torch.rand(count, device=device) < self.scheduled, steps, level)


class GeneratorConfig(StageConfig):
    """A configuration of `reflectionflow tune generator`; with [distil] it is the second stage."""

    transformer: TransformerSection
    data: DataSection
    layout: LayoutSection | None = None
    distil: DistilSection | None = None

    @model_validator(mode="after")
    def _fits(self) -> GeneratorConfig:
        blocks = self.transformer.double_blocks + self.transformer.single_blocks
        if self.layout and self.layout.blocks > blocks:
            raise ValueError(f"[layout] blocks = {self.layout.blocks}, but the transformer has {blocks} blocks")
        if self.transformer.texts == "frozen" and self.transformer.start is None and self.distil is None:
            raise ValueError(
                'transformer.texts = "frozen" needs text encoders that know something: set transformer.start'
            )
        return self


def build(section: TransformerSection, latent_channels: int) -> dict[str, Any]:
    """Return untrained modules and tokenizers, named as in a `FluxPipeline`, without the autoencoder."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from reflectionflow.scenes.tokenizers import clip_tokenizer

    clip_words, width, size = clip_tokenizer(), section.text_width, section.head_size
    first = size // 4 // 2 * 2
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(clip_words), hidden_size=width, intermediate_size=2 * width, projection_dim=width,
            num_hidden_layers=section.text_layers, num_attention_heads=4, max_position_embeddings=77,
            bos_token_id=clip_words.bos_token_id, eos_token_id=clip_words.eos_token_id,
            pad_token_id=clip_words.pad_token_id,
        )
    )  # fmt: skip
    t5, t5_words = build_encoder(width, section.text_layers)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=4 * latent_channels, num_layers=section.double_blocks,
        num_single_layers=section.single_blocks, attention_head_dim=size, num_attention_heads=section.heads,
        joint_attention_dim=width, pooled_projection_dim=width, guidance_embeds=True,
        axes_dims_rope=(first, (size - first) // 2, (size - first) // 2),
    )  # fmt: skip
    _start_at_identity(transformer)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15)
    return {
        "transformer": transformer, "text_encoder": clip, "text_encoder_2": t5,
        "tokenizer": clip_words, "tokenizer_2": t5_words, "scheduler": scheduler,
    }  # fmt: skip


def _start_at_identity(transformer: Any) -> None:
    """Zero every modulation and the last layer, so that training starts from blocks that change nothing.

    adaLN-Zero of DiT (arXiv 2212.09748); diffusers initialises these layers at random.
    """
    import torch

    for name, module in transformer.named_modules():
        modulates = name.endswith(("norm1.linear", "norm1_context.linear", "norm.linear", "norm_out.linear"))
        if isinstance(module, torch.nn.Linear) and (modulates or name == "proj_out"):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)


def denoiser(parts: Mapping[str, Any]) -> torch.nn.Module:
    """Wrap transformer and text encoders so that one `forward` goes from token ids to the predicted velocity."""
    import torch

    with quiet("transformers", "diffusers"):  # they warn when they are imported
        from diffusers import FluxPipeline

    class Denoiser(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = parts["transformer"]
            self.text_encoder = parts["text_encoder"]
            self.text_encoder_2 = parts["text_encoder_2"]

        def forward(
            self, noisy: torch.Tensor, level: torch.Tensor, guidance: torch.Tensor, clip: torch.Tensor, t5: torch.Tensor
        ) -> torch.Tensor:
            count, channels, height, width = noisy.shape
            pooled = self.text_encoder(clip).pooler_output
            words = self.text_encoder_2(t5)[0]
            places = FluxPipeline._prepare_latent_image_ids(count, height // 2, width // 2, noisy.device, noisy.dtype)
            velocity = self.transformer(
                hidden_states=FluxPipeline._pack_latents(noisy, count, channels, height, width),
                timestep=level, guidance=guidance, pooled_projections=pooled, encoder_hidden_states=words,
                txt_ids=torch.zeros(words.shape[1], 3, device=noisy.device), img_ids=places, return_dict=False,
            )[0]  # fmt: skip
            predicted: torch.Tensor = FluxPipeline._unpack_latents(velocity, height * 8, width * 8, 8)
            return predicted

    return Denoiser()


class CaptionData:
    """Numbers of training scenes with a text each, drawn anew at every step."""

    def __init__(self, config: GeneratorConfig, clip_words: Any, t5_words: Any) -> None:
        self._config, self._clip, self._t5 = config, clip_words, t5_words
        self._priors = Priors(**config.data.priors)
        self._scenes: dict[int, Scene] = {}
        self._mix = CaptionMix(**config.data.captions, held_out_relations=held_out_relations())

    def batch(self, step: int, rng: np.random.Generator, share: int) -> dict[str, torch.Tensor]:
        """Return "scene" [n], CLIP ids "clip" [n, 77], T5 ids "t5" [n, padding] and a "guidance" scale [n].

        With [layout] also the "layout" of the scenes [n, 2, 16, 16].
        """
        import torch

        config = self._config
        padding = PADDINGS[int(rng.choice(4, p=np.asarray(config.data.paddings)))]
        drawn = [self._text(rng, padding) for _ in range(share)]
        clip, t5 = self.tokens([text for _, text in drawn], padding)
        low, high = (config.distil.lowest, config.distil.highest) if config.distil else (1.0, 6.0)
        guidance = torch.from_numpy(rng.uniform(low, high, size=share).astype(np.float32))
        numbers = [scene for scene, _ in drawn]
        batch = {"scene": torch.tensor(numbers), "clip": clip, "t5": t5, "guidance": guidance}
        if config.layout:
            batch["layout"] = torch.from_numpy(np.stack([layout(self._scene(number)) for number in numbers]))
        return batch

    def _scene(self, number: int) -> Scene:
        """Return a training scene, kept: drawing one takes longer than its share of a step."""
        if number not in self._scenes:
            self._scenes[number] = training_scene(self._config.run.seed, number, self._priors)
        return self._scenes[number]

    def _text(self, rng: np.random.Generator, padding: int) -> tuple[int, tuple[str, str]]:
        """Draw a scene and its (prompt, text) that fits the padding; (empty, empty) for the share that drops it.

        Scenes without a text have a single object. Guidance goes from what an empty text gives to what the prompt
        gives; if the empty text gave two objects on average, it would push the one object of a simple prompt away.
        """
        config = self._config
        dropped = rng.random() < config.data.drop_text
        while True:
            number = int(rng.integers(0, config.data.scenes))
            scene = self._scene(number)
            if dropped and len(scene.things) == 1:
                return number, ("", "")
            if dropped:
                continue
            pair = draw_caption(scene, rng, self._mix)
            # Both tokenizers split into words, and CLIP's adds one more mark than T5's.
            if len(self._t5(pair[1]).input_ids) < padding:
                return number, pair

    def tokens(self, texts: list[tuple[str, str]], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return CLIP ids [n, 77 or the padding if that is less] and T5 ids [n, padding].

        CLIP looks back only, so what follows the end of a text changes nothing; shorter is faster.
        """
        shared = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        clip = self._clip([prompt for prompt, _ in texts], max_length=min(77, padding), **shared).input_ids
        return clip, self._t5([text for _, text in texts], max_length=padding, **shared).input_ids


class GeneratorProgram:
    """The generator, its loss in either stage and its validation."""

    def __init__(self, config: GeneratorConfig, parts: dict[str, Any], vae: Any, latents: np.ndarray) -> None:
        import torch

        self.config, self.parts, self.vae = config, parts, vae
        self.latents = torch.from_numpy(np.array(latents)).to(vae.device)
        self._denoiser = denoiser(parts)
        self.modules = watched(self._denoiser, config.layout) if config.layout else self._denoiser
        self.teacher: Callable[..., torch.Tensor] | None = None
        self.data = CaptionData(config, parts["tokenizer"], parts["tokenizer_2"])

    def loss(self, step: int, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Flow matching, or the distance to the teacher's guided prediction when there is a teacher."""
        import torch

        clean = self.latents[batch["scene"]].float()
        level = self.config.data.levels(len(clean), clean.device)
        noise = torch.randn_like(clean)
        noisy = torch.lerp(clean, noise, level.view(-1, 1, 1, 1))
        guidance, clip, t5 = batch["guidance"], batch["clip"], batch["t5"]
        target = noise - clean if self.teacher is None else self._guided(noisy, level, guidance, clip, t5)
        # Only the commonest shape is compiled: every further one costs a minute or more.
        modules = self.modules if t5.shape[1] == PADDINGS[0] else getattr(self.modules, "_orig_mod", self.modules)
        if self.config.layout is None:
            return (modules(noisy, level, guidance, clip, t5).float() - target).square().mean(), {}
        predicted, scores = modules(noisy, level, guidance, clip, t5)
        error, blind = (predicted.float() - target).square().mean(), layout_loss(scores, batch["layout"])
        return error + self.config.layout.weight * blind, {"velocity": error.detach(), "layout": blind.detach()}

    def _guided(self, noisy: Any, level: Any, guidance: Any, clip: Any, t5: Any) -> torch.Tensor:
        """Return the teacher's prediction with classifier-free guidance."""
        import torch

        assert self.teacher is not None
        empty_clip, empty_t5 = self.data.tokens([("", "")], t5.shape[1])
        clips = torch.cat([clip, empty_clip.to(clip).expand_as(clip)])
        t5s = torch.cat([t5, empty_t5.to(t5).expand_as(t5)])
        with torch.no_grad():
            both = self.teacher(noisy.repeat(2, 1, 1, 1), level.repeat(2), guidance.repeat(2), clips, t5s).float()
        told, untold = both.chunk(2)
        assert self.config.distil is not None
        return guided(told, untold, guidance, self.config.distil)

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Paint the preview prompts with fixed noise, guided or distilled, and measure the loss on unseen scenes."""
        import torch
        from accelerate.utils import send_to_device

        with torch.no_grad():
            painted = self.vae.decode(self._paint(list(PREVIEWS) * 2, GUIDANCE)).sample
            save_rows([painted[:8], painted[8:]], folder / f"generator-{step}.png")
            torch.manual_seed(5)
            rng = np.random.default_rng(99)
            seen = [send_to_device(self.data.batch(step, rng, 32), self.latents.device) for _ in range(4)]
            found = [self.loss(step, batch) for batch in seen]
        parts = [{"loss": float(loss), **{name: float(value) for name, value in rest.items()}} for loss, rest in found]
        return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}

    def _paint(self, prompts: list[str], guidance: float, steps: int = 20) -> torch.Tensor:
        """Return latents painted by Euler steps with the pipeline's own noise levels."""
        import torch

        device = next(self.parts["transformer"].parameters()).device
        generator = torch.Generator().manual_seed(11)
        shape = (len(prompts), *self.latents.shape[1:])
        latents = torch.randn(shape, generator=generator).to(device)
        clip, t5 = (ids.to(device) for ids in self.data.tokens([(p, p) for p in prompts], 32))
        empty_clip, empty_t5 = (ids.to(device) for ids in self.data.tokens([("", "")] * len(prompts), 32))
        scale = torch.full((len(prompts),), guidance, device=device)
        sigmas = np.linspace(1, 1 / steps, steps)
        sigmas = np.append(SHIFT / (SHIFT + (1 / sigmas - 1)), 0.0)
        for now, then in pairwise(sigmas):
            level = torch.full((len(prompts),), float(now), device=device)
            velocity = self._denoiser(latents, level, scale, clip, t5).float()
            if self.teacher is None:
                untold = self._denoiser(latents, level, scale, empty_clip, empty_t5).float()
                velocity = untold + guidance * (velocity - untold)
            latents = latents + float(then - now) * velocity
        return latents


def load_parts(folder: str | Path) -> dict[str, Any]:
    """Read a saved generator in diffusers layout.

    Raises:
        CheckpointError: if the folder is no complete `FluxPipeline`.
    """
    import torch

    try:
        with quiet("transformers", "diffusers"):
            from diffusers import FluxPipeline

            pipe = FluxPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder} holds no complete FluxPipeline ({error}).") from error
    return {name: part for name, part in pipe.components.items() if part is not None}


def _starting_parts(config: GeneratorConfig, latent_channels: int) -> dict[str, Any]:
    """Return the modules that training starts from: the teacher's, a saved generator's, or untrained ones.

    Raises:
        CheckpointError: if the saved generator cannot be read or has another shape than the configuration.
    """
    untrained = build(config.transformer, latent_channels)
    folder = config.transformer.start or (config.distil.teacher if config.distil else None)
    if folder is None:
        return untrained
    parts = load_parts(folder)
    for name in ("transformer", "text_encoder", "text_encoder_2"):
        wanted, found = ({key: p.shape for key, p in some[name].named_parameters()} for some in (untrained, parts))
        if wanted != found:
            raise CheckpointError(f"The {name} in {folder} has another shape than [transformer] says; change either.")
    return parts


def save(parts: Mapping[str, Any], vae: Any, output: Path) -> None:
    """Save a plain `FluxPipeline` in bf16: it loads without this package."""
    with quiet("transformers", "diffusers"):
        from diffusers import FluxPipeline

        pipe = FluxPipeline(vae=vae, **{name: part for name, part in parts.items() if name != "vae"})
    save_pipeline(pipe, output)
    write_manifest(
        output, name="scenes-flux", width=CANVAS, height=CANVAS, steps=20, guidance=GUIDANCE, smallest=CANVAS,
        largest=CANVAS, words=sorted(known_words()), longest_prompt=LONGEST_PROMPT, paddings=PADDINGS,
    )  # fmt: skip


def run(config: GeneratorConfig, told: Reports = NOBODY) -> Mapping[str, float]:
    """Train either stage and save the pipeline; return its validation metrics.

    Raises:
        CheckpointError: if the autoencoder, the teacher or what training starts with cannot be read or does not fit.
    """
    import torch
    from diffusers import AutoencoderKL

    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    try:
        vae = AutoencoderKL.from_pretrained(config.data.vae, dtype=torch.float32, local_files_only=True)
    except OSError as error:
        raise CheckpointError(
            f"{config.data.vae} holds no autoencoder; train it with scenes-vae.toml first."
        ) from error
    vae = vae.to(processes().device).eval().requires_grad_(False)
    torch.manual_seed(config.run.seed)
    # All that may be refused is read before thirty thousand scenes are encoded.
    parts = _starting_parts(config, vae.config["latent_channels"])
    parts.pop("vae", None)
    if config.transformer.words is not None:
        given = load_encoder_like(Path(config.transformer.words), parts["text_encoder_2"])
        parts["text_encoder_2"] = given.requires_grad_(False)
    frozen = load_parts(config.distil.teacher) if config.distil else None
    priors = Priors(**config.data.priors)
    with main_process_first():
        latents = latents_of(
            vae,
            Path(config.run.state),
            config.run.seed,
            config.data.scenes,
            priors,
            told.counted(ENCODED),
            config.run.workers,
        )
    if vae.device.type == "cpu":
        # The fused attention's backward pass in bf16 takes four times as long on a CPU as plain matrix products.
        with quiet("diffusers"):
            parts["transformer"].set_attention_backend("_native_math")
    program = GeneratorProgram(config, parts, vae, latents)
    if frozen is not None:
        teacher: Any = denoiser(frozen).to(vae.device).requires_grad_(False)
        program.teacher = torch.compile(teacher) if config.run.compile else teacher
    if frozen is not None or config.transformer.texts == "frozen":
        for name in ("text_encoder", "text_encoder_2"):
            parts[name].requires_grad_(False)
    train(program, config, told.step)
    if not is_main_process():
        return {}
    metrics = program.validate(config.run.steps, Path(config.run.state) / "samples")
    save(parts, vae, Path(config.run.output))
    return metrics
