"""Tiny random models of GenEval's two classes, saved as checkpoints, and pictures for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def tiny_mask2former(folder: Path) -> Path:
    """Save a random Mask2Former with 80 classes, as sure of masks and classes as a trained one; return it."""
    import torch
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = SwinConfig(
        image_size=32, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        dim_feedforward=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=12, num_labels=80,
    )  # fmt: skip
    model = Mask2FormerForUniversalSegmentation(config)
    torch.nn.init.normal_(model.class_predictor.weight, std=2.0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".mask_embedder.2." in name:
                parameter.mul_(30.0)
    model.save_pretrained(folder)
    return folder


def tiny_clip(folder: Path, seed: int = 1) -> Path:
    """Save a random CLIP of 32-pixel pictures with the tokenizer of Scenes; return it."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from reflectionflow.scenes.tokenizers import clip_tokenizer

    words = clip_tokenizer()
    tower = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**tower, "vocab_size": len(words), "eos_token_id": words.eos_token_id, "max_position_embeddings": 24}
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = CLIPConfig(text_config=text, vision_config={**tower, "image_size": 32, "patch_size": 8}, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def stains(seed: int, size: tuple[int, int]) -> Image.Image:
    """Return a picture of (height, width) with few, large stains."""
    few = np.random.default_rng(seed).integers(0, 256, (2, 9, 3), dtype=np.uint8)
    return Image.fromarray(few).resize(size[::-1], Image.Resampling.BICUBIC)


def three_pictures() -> list[Image.Image]:
    """Return three small pictures; one has another shape."""
    return [stains(0, (16, 200)), stains(1, (16, 200)), stains(2, (24, 220))]
