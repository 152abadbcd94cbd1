"""Train the picture autoencoder of Scenes: `AutoencoderKL`, eight times smaller latents, squared error first, KL last.

Pictures are seen as crops, at half size (a corrector's condition is half-size) and whole. After training the latents
are whitened, and then each channel is scaled by the square root of what it is worth in pixels: both are folded into the
two convolutions that touch them, so that the pipeline's scalar `scaling_factor` is 1. Whitened alone, a denoiser spends
as much on a channel that nobody sees as on the one that decides the picture; here they differ by a factor of 30.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from reflectionflow.models.loading import quiet
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.world import CANVAS, UNIFORM, Priors, draw_scene
from reflectionflow.tuning.config import Section, StageConfig
from reflectionflow.tuning.loop import is_main_process, train
from reflectionflow.tuning.reports import NOBODY, Reports

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

VALIDATION_SEED = 9_000_001


class VaeSection(Section):
    """Shape of the autoencoder and weights of its losses."""

    channels: tuple[int, int, int, int] = Field(description="Channels at full, half, quarter and eighth size.")
    latent_channels: int = Field(gt=0)
    layers: int = Field(default=1, gt=0, description="Residual blocks per size.")
    groups: int = Field(default=8, gt=0, description="Groups of the group normalisation.")
    edges: float = Field(default=0.5, ge=0, description="Weight of the error of horizontal and vertical differences.")
    kl: float = Field(default=1e-6, ge=0, description="Weight of the KL term once it is switched on.")
    kl_from: float = Field(default=0.5, ge=0, le=1, description="Share of the steps before the KL term.")
    whole_every: int = Field(default=4, gt=0, description="Every how many steps whole pictures are seen.")


class VaeConfig(StageConfig):
    """A configuration of `reflectionflow tune vae`."""

    vae: VaeSection


def pictures(rng: np.random.Generator, count: int, priors: Priors = UNIFORM) -> np.ndarray:
    """Return freshly drawn scenes, uint8, shape [count, 128, 128, 3]."""
    return np.stack([np.asarray(render(draw_scene(rng, priors))) for _ in range(count)])


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

    def batch(self, step: int, rng: np.random.Generator, share: int) -> dict[str, torch.Tensor]:
        """Return "pictures" in [-1, 1]: [share / 4, 3, 128, 128] or [share, 3, 64, 64]."""
        import torch
        from torch.nn.functional import avg_pool2d

        if step % self.whole_every == 0:
            return {"pictures": to_tensor(pictures(rng, max(1, share // 4)))}
        whole = pictures(rng, max(2, share // 2))
        half = avg_pool2d(to_tensor(whole), 2)[: share // 2]
        crops = []
        for index in range(share - len(half)):
            x, y = rng.integers(0, CANVAS - 64 + 1, size=2)
            crops.append(whole[index % len(whole), y : y + 64, x : x + 64])
        return {"pictures": torch.cat([half, to_tensor(np.stack(crops))])}


class VaeProgram:
    """The autoencoder, its loss and its validation."""

    def __init__(self, config: VaeConfig) -> None:
        import torch

        self.config = config
        torch.manual_seed(config.run.seed)
        self.vae = build(config.vae)
        self.modules: torch.nn.Module = _roundtrip(self.vae)
        self.data = VaeData(config.vae.whole_every)
        self.held_out = to_tensor(pictures(np.random.default_rng(VALIDATION_SEED), 64))

    def loss(self, step: int, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Squared error of pixels and of their differences; from `kl_from` on plus a small KL term."""
        late = step >= self.config.run.steps * self.config.vae.kl_from
        truth = batch["pictures"]
        painted, kl, off_centre = self.modules(truth, late)
        painted = painted.float()
        pixels = (painted - truth).square().mean()
        dx = (painted.diff(dim=3) - truth.diff(dim=3)).square().mean()
        dy = (painted.diff(dim=2) - truth.diff(dim=2)).square().mean()
        loss = pixels + self.config.vae.edges * (dx + dy) + 0.02 * (painted - truth).abs().mean()
        loss = loss + 0.01 * off_centre
        numbers = {"pixel error": pixels.detach(), "kl": kl.detach()}
        return (loss + self.config.vae.kl * kl if late else loss), numbers

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Measure PSNR on held-out pictures at full and at half size; save originals above reconstructions."""
        import torch
        from torch.nn.functional import avg_pool2d

        whole = self.held_out.to(next(self.vae.parameters()).device)
        half = avg_pool2d(whole, 2)
        with torch.no_grad():
            painted = self.modules(whole, False)[0]
            smaller = self.modules(half, False)[0]
        save_rows([whole[:8], painted[:8]], folder / f"vae-{step}.png")
        return {"psnr full size": psnr(painted, whole), "psnr half size": psnr(smaller, half)}


def build(section: VaeSection) -> AutoencoderKL:
    """Return an untrained autoencoder whose latents need no scaling (`scaling_factor` 1, `shift_factor` 0)."""
    from diffusers import AutoencoderKL

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


def _roundtrip(vae: AutoencoderKL) -> torch.nn.Module:
    """Wrap the autoencoder so that one `forward` gives the reconstruction and the KL (several processes need that)."""
    import torch

    class Roundtrip(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vae = vae

        def forward(self, picture: torch.Tensor, sample: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            posterior = self.vae.encode(picture).latent_dist
            latents = posterior.sample() if sample else posterior.mode()
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
    whiten(program.vae, config.run.seed)
    weigh(program.vae, config.run.seed)
    output = Path(config.run.output)
    metrics = program.validate(config.run.steps, Path(config.run.state) / "samples")
    with quiet("transformers", "diffusers"):
        program.vae.to(torch.bfloat16).save_pretrained(output, safe_serialization=True)
    return metrics
