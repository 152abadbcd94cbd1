"""Train the verifier of Scenes: a small `CLIPModel` that says whether a picture satisfies a prompt, from scratch.

Each item is a rendered scene, roughened as painted pictures are, with a few claims about it (`scenes.claims`). The
loss is the sigmoid loss of SigLIP (arXiv 2303.15343) on scale · cos + bias, one term per picture and claim of its own.
Beside it two linear heads, dropped afterwards, ask the picture tower for what is known of a scene: the pooled vector
for its facts (which objects, how many, their colours and places), every patch for the object that covers it. A claim
is one bit, these are hundreds; the tower learns to see from them and to be asked from the claims.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from reflectionflow.models.manifest import write_manifest
from reflectionflow.scenes.claims import Claim, draw_claims
from reflectionflow.scenes.prompts import TAGS
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.splits import Split, held_out_colors
from reflectionflow.scenes.words import BACKGROUNDS, COLORS, OBJECTS, PATTERNS
from reflectionflow.scenes.world import (
    CANVAS,
    UNIFORM,
    Priors,
    Scene,
    draw_color,
    draw_scene,
    place_things,
)
from reflectionflow.tuning.config import OptimiserSection, RunSection, Section
from reflectionflow.tuning.loop import Progress, train

if TYPE_CHECKING:
    import torch
    from transformers import CLIPModel, CLIPTokenizer

NAME = "scenes-clip"
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
VALIDATION_SEED = 9_000_002
MOST = 5
"""Counts are told apart up to this."""
FACTS = len(OBJECTS) * (MOST + len(COLORS))
NOTHING = len(OBJECTS)
TEXT_GROUPS = 3
"""Texts are sorted by length into this many groups: the longest claim has 25 tokens, the usual one 9."""


class ClipSection(Section):
    """Shape of the two towers."""

    patch: int = Field(default=16, gt=0, description="Side of a patch in pixels.")
    vision_width: int = Field(gt=0)
    vision_layers: int = Field(gt=0)
    text_width: int = Field(gt=0)
    text_layers: int = Field(gt=0)
    projection: int = Field(gt=0, description="Width of the shared space.")
    facts: float = Field(default=0.05, ge=0, description="Weight of the loss that asks for the scene's facts.")
    patches: float = Field(default=0.5, ge=0, description="Weight of the loss that asks what covers each patch.")


class PictureSection(Section):
    """Which pictures and claims are seen."""

    true: int = Field(default=2, gt=0, description="True claims per picture.")
    near: int = Field(default=4, gt=0, description="Near misses per picture.")
    uniform: float = Field(default=0.5, ge=0, le=1, description="Share of scenes without the world's priors.")
    crowded: float = Field(default=0.15, ge=0, le=1, description="Share of scenes with one to five of an object.")
    blur: float = Field(default=1.2, ge=0, description="Largest standard deviation of the blur, in pixels.")
    noise: float = Field(default=10.0, ge=0, description="Largest standard deviation of the noise, of 255.")
    tint: float = Field(default=0.04, ge=0, description="Largest change of contrast and of each channel.")
    validation: int = Field(default=150, gt=0, description="Validation claims per tag and kind of combination.")


class ClipConfig(Section):
    """A configuration of `reflectionflow tune clip`."""

    run: RunSection
    optimiser: OptimiserSection
    clip: ClipSection
    pictures: PictureSection = PictureSection()


@dataclass(frozen=True)
class Batch:
    """Pictures with their claims.

    Attributes:
        pictures: Normalised, float, [n, 3, 128, 128].
        tokens: Token ids of all claims, [m, length].
        owner: Which picture each claim is about, [m].
        true: 1 for true claims, float, [m].
        facts: What the scene's facts are, float, [n, FACTS].
        places: Centre of the only object of a noun, in [-1, 1], [n, 14, 2]; NaN where there is none or several.
        covers: Number of the noun, and of the colour, of the object whose box covers a patch's centre, [n, 2, patches];
            for patches of the background `NOTHING`.
    """

    pictures: torch.Tensor
    tokens: torch.Tensor
    owner: torch.Tensor
    true: torch.Tensor
    facts: torch.Tensor
    places: torch.Tensor
    covers: torch.Tensor


@dataclass(frozen=True)
class Seen:
    """What the module gives: a logit per claim [m], facts and places [n, FACTS + 28], patches [n, patches, 25]."""

    logits: torch.Tensor
    facts: torch.Tensor
    patches: torch.Tensor


def build(section: ClipSection) -> tuple[CLIPModel, CLIPTokenizer]:
    """Return an untrained model and its tokenizer."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    from reflectionflow.scenes.tokenizers import CLIP_LENGTH, clip_tokenizer

    words = clip_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=section.text_width, intermediate_size=3 * section.text_width,
        num_hidden_layers=section.text_layers, num_attention_heads=section.text_width // 32,
        max_position_embeddings=CLIP_LENGTH, projection_dim=section.projection, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=section.vision_width, intermediate_size=3 * section.vision_width, image_size=CANVAS,
        num_hidden_layers=section.vision_layers, num_attention_heads=section.vision_width // 32,
        patch_size=section.patch, projection_dim=section.projection,
    )  # fmt: skip
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=section.projection,
        logit_scale_init_value=math.log(10.0),
    )  # fmt: skip
    return CLIPModel(config), words


def judge_module(model: CLIPModel) -> torch.nn.Module:
    """Wrap the model so that one `forward` gives the claims' logits and the facts seen in the pictures."""
    import torch
    from torch.nn.functional import normalize

    class Judge(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            width = model.config.vision_config.hidden_size
            self.bias = torch.nn.Parameter(torch.tensor(-4.0))
            self.facts = torch.nn.Linear(width, FACTS + 2 * len(OBJECTS))
            self.patches = torch.nn.Linear(width, NOTHING + 1 + len(COLORS))

        def forward(self, pictures: torch.Tensor, tokens: torch.Tensor, owner: torch.Tensor) -> Seen:
            seen = self.model.vision_model(pixel_values=pictures)
            images = normalize(self.model.visual_projection(seen.pooler_output).float(), dim=-1)
            texts = normalize(self.model.text_projection(self.told(tokens)).float(), dim=-1)
            logits = self.model.logit_scale.exp() * (images[owner] * texts).sum(-1) + self.bias
            patches = self.patches(seen.last_hidden_state[:, 1:])
            return Seen(logits, self.facts(seen.pooler_output).float(), patches.float())

        def told(self, tokens: torch.Tensor) -> torch.Tensor:
            """Return the texts' pooled vectors, computed in groups of about equal lengths."""
            end = self.model.config.text_config.eos_token_id
            lengths = (tokens != end).sum(1) + 1
            groups = lengths.argsort().tensor_split(TEXT_GROUPS)
            parts = [self.model.text_model(input_ids=tokens[g, : int(lengths[g].max())]).pooler_output for g in groups]
            return torch.cat(parts)[torch.cat(groups).argsort()]

    return Judge()


def training_scene(rng: np.random.Generator, section: PictureSection) -> Scene:
    """Draw a scene without held-out object-colour pairs: by the world's priors, evenly, or crowded."""
    draw = rng.random()
    if draw < section.crowded:
        return crowded_scene(rng, held_out_colors())
    return draw_scene(rng, UNIFORM if rng.random() < section.uniform else Priors(), held_out_colors())


def crowded_scene(rng: np.random.Generator, held_out: frozenset[tuple[str, str]]) -> Scene:
    """Draw one to five objects of one noun and colour, and up to two others: what painting a count wrongly gives."""
    nouns = [OBJECTS[int(index)] for index in rng.choice(len(OBJECTS), size=1 + int(rng.integers(3)), replace=False)]
    colors = [draw_color(rng, UNIFORM, noun, held_out) for noun in nouns]
    more = int(rng.integers(0, 6 - len(nouns)))
    things = place_things(rng, nouns[:1] * more + nouns, colors[:1] * more + colors)
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    return Scene(things, background, PATTERNS[int(rng.integers(len(PATTERNS)))], int(rng.integers(2**31)))


def facts_of(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return a scene's facts and places as `Batch` holds them: [FACTS] and [14, 2]."""
    counts = np.zeros((len(OBJECTS), MOST), dtype=np.float32)
    colors = np.zeros((len(OBJECTS), len(COLORS)), dtype=np.float32)
    places = np.full((len(OBJECTS), 2), np.nan, dtype=np.float32)
    for thing in scene.things:
        row = OBJECTS.index(thing.noun)
        number = int(counts[row].sum())
        counts[row, min(number, MOST - 1)] = 1.0
        colors[row, COLORS.index(thing.color)] = 1.0
        places[row] = (thing.x / CANVAS * 2 - 1, thing.y / CANVAS * 2 - 1) if number == 0 else np.nan
    return np.concatenate([counts.ravel(), colors.ravel()]), places


def covers_of(scene: Scene, patch: int) -> np.ndarray:
    """Return which noun and which colour covers the centre of each patch, row by row: [2, patches]."""
    side = CANVAS // patch
    centres = (np.arange(side) + 0.5) * patch
    found = np.full((2, side, side), NOTHING, dtype=np.int64)
    for thing in scene.things:
        inside = np.abs(centres - thing.y)[:, None] <= thing.size / 2
        covered = inside & (np.abs(centres - thing.x)[None, :] <= thing.size / 2)
        found[:, covered] = np.array([[OBJECTS.index(thing.noun)], [COLORS.index(thing.color)]])
    return found.reshape(2, -1)


def roughen(pictures: torch.Tensor, rng: np.random.Generator, section: PictureSection) -> torch.Tensor:
    """Blur, tint and add noise to pictures in [-1, 1], each to its own degree, as a generator's pictures are."""
    import torch
    from torch.nn.functional import conv2d, pad

    count, channels, height, width = pictures.shape
    sigma = torch.from_numpy(rng.uniform(0.05, max(0.06, section.blur), (count, 1)).astype(np.float32))
    kernel = torch.exp(-torch.arange(-3.0, 4.0)[None].square() / (2 * sigma.square()))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = pad(pictures.reshape(1, count * channels, height, width), (3, 3, 3, 3), mode="reflect")
    flat = conv2d(flat, kernel[:, None, None, :], groups=count * channels)
    flat = conv2d(flat, kernel[:, None, :, None], groups=count * channels)
    tint = torch.from_numpy(rng.uniform(-section.tint, section.tint, (2, count, channels, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.uniform(0, section.noise / 127.5, (count, 1, 1, 1)).astype(np.float32))
    rough = flat.view_as(pictures) * (1 + tint[0]) + tint[1] + noise * torch.randn(pictures.shape)
    return rough.clamp_(-1, 1)


def pictures_of(scenes: Sequence[Scene]) -> torch.Tensor:
    """Return rendered scenes, float in [-1, 1], [n, 3, 128, 128]."""
    import torch

    array = np.stack([np.asarray(render(scene)) for scene in scenes])
    return torch.from_numpy(array).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0).contiguous()


def collate(scenes: Sequence[Scene], claims: Sequence[Sequence[Claim]], words: Any, patch: int) -> Batch:
    """Return clean pictures of scenes with their claims; texts are padded to the longest."""
    import torch

    texts = [claim.text for group in claims for claim in group]
    known = [facts_of(scene) for scene in scenes]
    return Batch(
        pictures=pictures_of(scenes),
        tokens=words(texts, padding=True, truncation=True, return_tensors="pt").input_ids,
        owner=torch.tensor([index for index, group in enumerate(claims) for _ in group]),
        true=torch.tensor([float(claim.true) for group in claims for claim in group]),
        facts=torch.from_numpy(np.stack([facts for facts, _ in known])),
        places=torch.from_numpy(np.stack([places for _, places in known])),
        covers=torch.from_numpy(np.stack([covers_of(scene, patch) for scene in scenes])),
    )


@dataclass(frozen=True)
class Examined:
    """Validation pictures with claims of one kind of combinations, and the tag of each claim."""

    batch: Batch
    tags: tuple[str, ...]


def examination(split: Split, section: PictureSection, words: Any, patch: int) -> Examined:
    """Draw validation pictures, roughened, and claims of a split: for each tag as many as asked for, half of them true.

    Scenes of the training split hold no held-out colours; the others hold any.
    """
    import torch

    rng = np.random.default_rng([VALIDATION_SEED, list(Split).index(split)])
    held_out = held_out_colors() if split is Split.TRAIN else frozenset()
    scenes: list[Scene] = []
    claims: list[tuple[Claim, ...]] = []
    half = max(1, section.validation // 2)
    for tag in TAGS:
        wanted = {True: half, False: half}
        while any(wanted.values()):
            scene = crowded_scene(rng, held_out) if rng.random() < 0.3 else draw_scene(rng, UNIFORM, held_out)
            drawn = draw_claims(rng, scene, split, min(1, wanted[True]), min(1, wanted[False]), (tag,))
            if drawn:
                scenes.append(scene)
                claims.append(drawn)
                for claim in drawn:
                    wanted[claim.true] -= 1
    batch = collate(scenes, claims, words, patch)
    torch.manual_seed(VALIDATION_SEED)
    rough = roughen(batch.pictures, rng, section)
    return Examined(replace(batch, pictures=rough), tuple(claim.metadata.tag for group in claims for claim in group))


def auroc(scores: np.ndarray, true: np.ndarray) -> float:
    """Return the probability that a true claim scores above a false one; ties count half."""
    from scipy.stats import rankdata

    positive = true > 0.5
    count, others = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def calibration_error(probabilities: np.ndarray, true: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error over equally wide bins."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [
        abs(float(probabilities[place == index].mean() - true[place == index].mean())) * float((place == index).mean())
        for index in range(bins)
        if bool((place == index).any())
    ]
    return float(sum(gaps))


class ClipProgram:
    """The verifier, its loss and its validation."""

    def __init__(self, config: ClipConfig) -> None:
        import torch

        self.config = config
        torch.manual_seed(config.run.seed)
        self.model, self.words = build(config.clip)
        self.judge = judge_module(self.model)
        self.modules: torch.nn.Module = self.judge
        self.examinations = {
            "": examination(Split.TRAIN, config.pictures, self.words, config.clip.patch),
            "held-out ": examination(Split.VALIDATION, config.pictures, self.words, config.clip.patch),
        }

    def loss(self, step: int, rng: np.random.Generator, share: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Sigmoid loss of the claims plus the weighted errors of facts, places and patches."""
        from torch.nn.functional import binary_cross_entropy_with_logits as binary
        from torch.nn.functional import cross_entropy

        section, weights = self.config.pictures, self.config.clip
        scenes = [training_scene(rng, section) for _ in range(share)]
        claims = [draw_claims(rng, scene, Split.TRAIN, section.true, section.near) for scene in scenes]
        batch = collate(scenes, claims, self.words, weights.patch)
        device = self.model.logit_scale.device
        rough = roughen(batch.pictures, rng, section).to(device)
        seen: Seen = self.modules(rough, batch.tokens.to(device), batch.owner.to(device))
        claimed = binary(seen.logits, batch.true.to(device))
        known = binary(seen.facts[:, :FACTS], batch.facts.to(device), reduction="sum") / share
        places, covers = batch.places.to(device), batch.covers.to(device)
        placed = places.isfinite()
        error = (seen.facts[:, FACTS:].view_as(places)[placed] - places[placed]).square().sum() / share
        nouns, colors = seen.patches.transpose(1, 2).split((NOTHING + 1, len(COLORS)), dim=1)
        covered = cross_entropy(nouns, covers[:, 0]) + cross_entropy(colors, covers[:, 1], ignore_index=NOTHING)
        loss = claimed + weights.facts * (known + 2 * error) + weights.patches * covered
        parts = {"claims": claimed, "facts": known, "places": error, "patches": covered}
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def logits(self, batch: Batch) -> np.ndarray:
        """Return the logit of every claim of a batch, without gradients."""
        import torch

        device = self.model.logit_scale.device
        found = np.empty(len(batch.owner), dtype=np.float64)
        with torch.no_grad():
            for start in range(0, len(batch.pictures), 64):
                chosen = (batch.owner >= start) & (batch.owner < start + 64)
                parts = batch.pictures[start : start + 64], batch.tokens[chosen], batch.owner[chosen] - start
                found[chosen.numpy()] = self.judge(*(part.to(device) for part in parts)).logits.cpu().numpy()
        return found

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Measure, on unseen pictures and claims, AUROC per tag, accuracy and calibration.

        "held-out" numbers are of claims whose combinations training never states, about scenes with any colours.
        """
        metrics: dict[str, float] = {}
        for kind, examined in self.examinations.items():
            logits, true = self.logits(examined.batch), examined.batch.true.numpy()
            probabilities = 1 / (1 + np.exp(-logits))
            tags = np.asarray(examined.tags)
            for tag in TAGS:
                metrics[f"{kind}auroc {tag}"] = auroc(logits[tags == tag], true[tags == tag])
            metrics[f"{kind}auroc"] = float(np.mean([metrics[f"{kind}auroc {tag}"] for tag in TAGS]))
            metrics[f"{kind}accuracy"] = float(((logits > 0) == (true > 0.5)).mean())
            metrics[f"{kind}calibration error"] = calibration_error(probabilities, true)
        return {name: round(value, 4) for name, value in metrics.items()}


def save(program: ClipProgram, output: Path) -> None:
    """Save a plain `CLIPModel` and its tokenizer with bf16 weights and a manifest; it loads without this package."""
    import torch

    scale = float(program.model.logit_scale.detach().exp())
    bias = float(program.judge.get_parameter("bias").detach())
    output.mkdir(parents=True, exist_ok=True)
    program.model.to("cpu", torch.bfloat16).save_pretrained(output, safe_serialization=True)
    program.words.save_pretrained(output)
    # transformers loads in the dtype a configuration names; a CPU judges in float32.
    file = output / "config.json"
    data = json.loads(file.read_text("utf-8")) | {"dtype": "float32"}
    for tower in ("text_config", "vision_config"):
        data[tower]["dtype"] = "float32"
    file.write_text(json.dumps(data, indent=2) + "\n", "utf-8")
    calibration = {"kind": "sigmoid", "scale": round(scale, 4), "bias": round(bias, 4)}
    write_manifest(output, name=NAME, calibration=calibration, image_size=CANVAS, mean=MEAN, std=STD)


def run(config: ClipConfig, report: Callable[[Progress], None]) -> Mapping[str, float]:
    """Train and save the verifier; return its metrics on unseen pictures and claims."""
    import torch

    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    program = ClipProgram(config)
    train(program, config.run, config.optimiser, report)
    metrics = program.validate(config.run.steps, Path(config.run.state) / "samples")
    save(program, Path(config.run.output))
    return metrics
