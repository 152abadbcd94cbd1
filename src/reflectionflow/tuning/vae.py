"""Train the picture autoencoder of Scenes: `AutoencoderKL`, eight times smaller latents, squared error first, KL last.

Pictures are seen as crops, at half size (a corrector's condition is half-size) and whole. After training the latents
are whitened, and then each channel is scaled by the square root of what it is worth in pixels: both are folded into the
two convolutions that touch them, so that the pipeline's scalar `scaling_factor` is 1. Whitened alone, a denoiser spends
as much on a channel that nobody sees as on the one that decides the picture; here they differ by a factor of 30.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from reflectionflow.errors import MisuseError
from reflectionflow.models.loading import quiet
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.world import CANVAS, UNIFORM, Priors, draw_scene
from reflectionflow.tuning.config import Section, StageConfig
from reflectionflow.tuning.loop import is_main_process, train
from reflectionflow.tuning.reports import NOBODY, Reports
from reflectionflow.tuning.saving import tidy_config

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

VALIDATION_SEED = 9_000_001


class VaeSection(Section):
    """Shape of the autoencoder and weights of its losses."""

    channels: tuple[int, int, int, int] | None = Field(
        default=None, description="Channels at full, half, quarter and eighth size; not with start."
    )
    latent_channels: int | None = Field(default=None, gt=0, description="Not with start.")
    layers: int = Field(default=1, gt=0, description="Residual blocks per size.")
    groups: int = Field(default=8, gt=0, description="Groups of the group normalisation.")
    edges: float = Field(default=0.5, ge=0, description="Weight of the error of horizontal and vertical differences.")
    kl: float = Field(default=1e-6, ge=0, description="Weight of the KL term once it is switched on.")
    kl_from: float = Field(default=0.5, ge=0, le=1, description="Share of the steps before the KL term.")
    whole_every: int = Field(default=4, gt=0, description="Every how many steps whole pictures are seen.")
    start: str | None = Field(
        default=None,
        description="Folder of an autoencoder to go on from: its decoder alone is tuned, so that latents "
        "stay what they are for every model that paints or reads them.",
    )
    white: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the objects repainted white, which squared errors hardly see on light grounds.",
    )
    absolute: float = Field(default=0.02, ge=0, description="Weight of the absolute error of pixels.")
    absolute_edges: float = Field(default=0.0, ge=0, description="Weight of the absolute error of differences.")
    noise: float = Field(
        default=0.0,
        ge=0,
        description="Largest standard deviation of noise on the latents that a decoder is tuned on: painted ones "
        "are not as clean as encoded ones.",
    )

    @model_validator(mode="after")
    def _new_or_started(self) -> VaeSection:
        shape = (self.channels, self.latent_channels)
        if self.start is None and None in shape:
            raise ValueError("give channels and latent_channels of a new autoencoder, or start, one to go on from")
        if self.start is not None and shape != (None, None):
            raise ValueError("channels and latent_channels are those of start; leave them out")
        if self.noise and self.start is None:
            raise ValueError("noise is for tuning a decoder alone; give start, the autoencoder to go on from")
        return self


class VaeConfig(StageConfig):
    """A configuration of `reflectionflow tune vae`."""

    vae: VaeSection


def pictures(rng: np.random.Generator, count: int, priors: Priors = UNIFORM, white: float = 0.0) -> np.ndarray:
    """Return freshly drawn scenes, uint8, shape [count, 128, 128, 3]; a share of their objects is made white."""
    scenes = [draw_scene(rng, priors) for _ in range(count)]
    if white:
        scenes = [
            replace(s, things=tuple(replace(t, color="white") if rng.random() < white else t for t in s.things))
            for s in scenes
        ]
    return np.stack([np.asarray(render(scene)) for scene in scenes])


def to_tensor(array: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Return uint8 pictures [n, h, w, 3] as floats in [-1, 1], shape [n, 3, h, w]."""
    import torch

    return torch.as_tensor(array).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def psnr(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the mean peak signal-to-noise ratio in dB of pictures in [-1, 1], clamped and rounded to 8 bits."""
    import torch

    a, b = ((x.float().clamp(-1, 1) + 1).mul(127.5).round() for x in (first, second))
    error = (a - b).square().flatten(1).mean(1)
    return float((10 * torch.log10(255**2 / error.clamp_min(1e-6))).mean())


@dataclass(frozen=True)
class VaeData:
    """Pictures of a step: a few whole ones, or half-size pictures and 64-pixel crops."""

    whole_every: int
    white: float = 0.0

    def batch(self, step: int, rng: np.random.Generator, share: int) -> dict[str, torch.Tensor]:
        """Return "pictures" in [-1, 1]: [share / 4, 3, 128, 128] or [share, 3, 64, 64]."""
        import torch
        from torch.nn.functional import avg_pool2d

        if step % self.whole_every == 0:
            return {"pictures": to_tensor(pictures(rng, max(1, share // 4), white=self.white))}
        whole = pictures(rng, max(2, share // 2), white=self.white)
        half = avg_pool2d(to_tensor(whole), 2)[: share // 2]
        crops = []
        for index in range(share - len(half)):
            x, y = rng.integers(0, CANVAS - 64 + 1, size=2)
            crops.append(whole[index % len(whole), y : y + 64, x : x + 64])
        return {"pictures": torch.cat([half, to_tensor(np.stack(crops))])}


class Latents(Enum):
    """What the decoder gets of a picture."""

    PLAIN = "plain"
    SAMPLED = "sampled"
    NOISY = "noisy"


class VaeProgram:
    """The autoencoder, its loss and its validation."""

    def __init__(self, config: VaeConfig) -> None:
        import torch

        self.config = config
        torch.manual_seed(config.run.seed)
        self.vae = build(config.vae) if config.vae.start is None else started(config.vae.start)
        self.modules: torch.nn.Module = _roundtrip(self.vae, config.vae.noise)
        self.data = VaeData(config.vae.whole_every, config.vae.white)
        self.held_out = to_tensor(pictures(np.random.default_rng(VALIDATION_SEED), 64))

    def loss(self, step: int, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Errors of pixels and of their differences; a new autoencoder's from `kl_from` on plus a small KL term."""
        section, truth = self.config.vae, batch["pictures"]
        late = section.start is None and step >= self.config.run.steps * section.kl_from
        drawn = Latents.SAMPLED if late else Latents.PLAIN if section.start is None else Latents.NOISY
        painted, kl, off_centre = self.modules(truth, drawn)
        error = painted.float() - truth
        pixels = error.square().mean()
        dx, dy = error.diff(dim=3), error.diff(dim=2)
        loss = pixels + section.edges * (dx.square().mean() + dy.square().mean())
        loss = (
            loss + section.absolute * error.abs().mean() + section.absolute_edges * (dx.abs().mean() + dy.abs().mean())
        )
        loss = loss + 0.01 * off_centre
        numbers = {"pixel error": pixels.detach(), "kl": kl.detach()}
        return (loss + section.kl * kl if late else loss), numbers

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Measure PSNR on held-out pictures at full and at half size; save originals above reconstructions."""
        import torch
        from torch.nn.functional import avg_pool2d

        whole = self.held_out.to(next(self.vae.parameters()).device)
        half = avg_pool2d(whole, 2)
        with torch.no_grad():
            painted = self.modules(whole, Latents.PLAIN)[0]
            smaller = self.modules(half, Latents.PLAIN)[0]
        save_rows([whole[:8], painted[:8]], folder / f"vae-{step}.png")
        return {"psnr full size": psnr(painted, whole), "psnr half size": psnr(smaller, half)}


def build(section: VaeSection) -> AutoencoderKL:
    """Return an untrained autoencoder whose latents need no scaling (`scaling_factor` 1, `shift_factor` 0)."""
    from diffusers import AutoencoderKL

    assert section.channels is not None
    assert section.latent_channels is not None
    levels = len(section.channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=section.channels,
        layers_per_block=section.layers,
        latent_channels=section.latent_channels,
        norm_num_groups=section.groups,
        sample_size=CANVAS,
        scaling_factor=1.0,
        shift_factor=0.0,
        force_upcast=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def started(folder: str) -> AutoencoderKL:
    """Return a trained autoencoder in float32 whose decoder alone is trained on.

    Raises:
        MisuseError: if the folder holds none.
    """
    import torch
    from diffusers import AutoencoderKL

    try:
        with quiet("transformers", "diffusers"):
            vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    except OSError as error:
        raise MisuseError(
            f"vae.start: {folder} holds no autoencoder in diffusers layout; name such a folder."
        ) from error
    vae.encoder.requires_grad_(False)
    return vae


def _roundtrip(vae: AutoencoderKL, noise: float) -> torch.nn.Module:
    """Wrap the autoencoder so that one `forward` gives the reconstruction and the KL (several processes need that)."""
    import torch

    class Roundtrip(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vae = vae

        def forward(self, picture: torch.Tensor, drawn: Latents) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            posterior = self.vae.encode(picture).latent_dist
            latents = posterior.sample() if drawn is Latents.SAMPLED else posterior.mode()
            if drawn is Latents.NOISY:
                strength = noise * torch.rand(len(latents), 1, 1, 1, device=latents.device)
                latents = latents + strength * torch.randn_like(latents)
            kl = posterior.kl().float().mean() / picture[0].numel()
            # Zero-mean latents make zero padding mean the same before and after whitening.
            off_centre = posterior.mean.float().mean((0, 2, 3)).square().mean()
            return self.vae.decode(latents).sample, kl, off_centre

    module: torch.nn.Module = Roundtrip()
    return module


def whiten(vae: AutoencoderKL, seed: int, count: int = 512) -> None:
    """Fold the whitening of the latents into the convolutions around them, in place.

    With mean m and covariance C = U diag(d) U' over `count` training pictures, latents become diag(d)^(-1/2) U' (z - m)
    and the decoder's first convolution undoes it exactly. Log-variances keep their order of size; nothing of ours
    samples from them after training.
    """
    import torch

    rng = np.random.default_rng([seed, 77])
    with torch.no_grad():
        batches = [to_tensor(pictures(rng, 32)) for _ in range(max(1, count // 32))]
        device = next(vae.parameters()).device
        latents = torch.cat([vae.encode(batch.to(device)).latent_dist.mode().float() for batch in batches])
        flat = latents.permute(0, 2, 3, 1).flatten(0, 2).double()
        mean = flat.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(flat.T))
        forward = (vectors / values.clamp_min(1e-6).sqrt()).T
        backward = vectors * values.clamp_min(1e-6).sqrt()
        out, first = vae.encoder.conv_out, vae.decoder.conv_in
        channels = len(mean)
        weight = out.weight[:channels].double().flatten(1)
        out.weight[:channels] = (forward @ weight).view_as(out.weight[:channels]).to(out.weight.dtype)
        out.bias[:channels] = (forward @ (out.bias[:channels].double() - mean)).to(out.bias.dtype)
        kernel = first.weight.double()
        first.bias += torch.einsum("oixy,i->o", kernel, mean).to(first.bias.dtype)
        first.weight.copy_(torch.einsum("oixy,ij->ojxy", kernel, backward).to(first.weight.dtype))


def weigh(vae: AutoencoderKL, seed: int, count: int = 32) -> None:
    """Scale whitened latents by the square root of their channels' worth, in place; mean variance stays 1.

    A channel's worth is the root mean squared change of the picture when noise of standard deviation 0.3 is added to
    it alone.
    """
    import torch

    rng = np.random.default_rng([seed, 78])
    generator = torch.Generator().manual_seed(seed)
    device = next(vae.parameters()).device
    with torch.no_grad():
        latents = vae.encode(to_tensor(pictures(rng, count)).to(device)).latent_dist.mode()
        truth = vae.decode(latents).sample
        noise = 0.3 * torch.randn(latents[:, 0].shape, generator=generator).to(device)
        worth = []
        for channel in range(latents.shape[1]):
            changed = latents.clone()
            changed[:, channel] += noise
            worth.append((vae.decode(changed).sample - truth).square().mean().sqrt())
        scale = torch.stack(worth).sqrt()
        scale = scale / scale.square().mean().sqrt()
        out, first = vae.encoder.conv_out, vae.decoder.conv_in
        out.weight[: len(scale)] *= scale.view(-1, 1, 1, 1)
        out.bias[: len(scale)] *= scale
        first.weight /= scale.view(1, -1, 1, 1)


def save_rows(rows: list[torch.Tensor], path: Path) -> None:
    """Save rows of pictures in [-1, 1] as one PNG, each row [n, 3, h, w]."""
    import torch
    from PIL import Image

    grid = torch.cat([torch.cat(list(row.float().cpu()), dim=2) for row in rows], dim=1)
    array = (grid.clamp(-1, 1) + 1).mul(127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(path)


def run(config: VaeConfig, told: Reports = NOBODY) -> Mapping[str, float]:
    """Train, whiten and save the autoencoder; return its metrics on held-out pictures."""
    import torch

    program = VaeProgram(config)
    train(program, config, told.step)
    if not is_main_process():
        return {}
    if config.vae.start is None:
        whiten(program.vae, config.run.seed)
        weigh(program.vae, config.run.seed)
    output = Path(config.run.output)
    metrics = program.validate(config.run.steps, Path(config.run.state) / "samples")
    with quiet("transformers", "diffusers"):
        program.vae.to(torch.bfloat16).save_pretrained(output, safe_serialization=True)
    tidy_config(output / "config.json")
    return metrics
