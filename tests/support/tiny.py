"""Tiny random models of the real classes, saved as checkpoints."""

from __future__ import annotations

from pathlib import Path


def tiny_generator(folder: Path, seed: int = 0, heads: int = 2) -> Path:
    """Save a random FluxPipeline of a few thousand weights, with the Scenes tokenizers and a manifest; return it."""
    import torch

    from reflectionflow.tuning import generator, vae

    torch.manual_seed(seed)
    coder = vae.build(vae.VaeSection(channels=(8, 8, 8, 8), latent_channels=4, groups=4))
    section = generator.TransformerSection(heads=heads, head_size=16, double_blocks=1, single_blocks=1, text_width=32)
    parts = generator.build(section, 4)
    for parameter in parts["transformer"].parameters():
        if not parameter.any():  # training starts from blocks that change nothing; a random model's change something
            torch.nn.init.normal_(parameter, std=0.5)
    generator.save(parts, coder, folder)
    return folder


def tiny_vlm(folder: Path, seed: int = 0, wording: str = "scenes") -> Path:
    """Save a random Qwen2.5-VL of Scenes with its tokenizer, image processor and manifest; return it."""
    import torch

    from reflectionflow.models.manifest import write_manifest
    from reflectionflow.tuning.reflector import save_model
    from reflectionflow.tuning.vlm_model import ShapeSection, build

    torch.manual_seed(seed)
    vl = build(ShapeSection(vision_width=32, vision_layers=1, width=64, layers=2, key_heads=1))
    save_model(vl, folder)
    write_manifest(folder, name="tiny-vlm", wording=wording)
    return folder


QWEN_CHAT = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template of the form full-size checkpoints have."""


def tiny_qwen(folder: Path, seed: int = 0) -> Path:
    """Save a random Qwen2.5-VL as full-size ones come from the hub: no manifest, patches of 14, the template apart."""
    import json

    import torch

    from reflectionflow.tuning.reflector import save_model
    from reflectionflow.tuning.vlm_model import ShapeSection, build

    torch.manual_seed(seed)
    vl = build(ShapeSection(patch=14, vision_width=32, vision_layers=2, width=64, layers=2, key_heads=1), frames=2)
    vl.words.chat_template = None
    save_model(vl, folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": QWEN_CHAT}))
    about = {"min_pixels": 3136, "max_pixels": 12544, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    about |= {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"}
    about |= {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return folder
