"""Tiny random models of the real classes, saved as checkpoints."""

from __future__ import annotations

from pathlib import Path


def tiny_generator(folder: Path, seed: int = 0) -> Path:
    """Save a random FluxPipeline of a few thousand weights, with the Scenes tokenizers and a manifest; return it."""
    import torch

    from reflectionflow.tuning import generator, vae

    torch.manual_seed(seed)
    coder = vae.build(vae.VaeSection(channels=(8, 8, 8, 8), latent_channels=4, groups=4))
    section = generator.TransformerSection(heads=2, head_size=16, double_blocks=1, single_blocks=1, text_width=32)
    parts = generator.build(section, 4)
    for parameter in parts["transformer"].parameters():
        if not parameter.any():  # training starts from blocks that change nothing; a random model's change something
            torch.nn.init.normal_(parameter, std=0.5)
    generator.save(parts, coder, folder)
    return folder
