"""What the verifier of Scenes is trained on and examined with: roughened scenes, their claims and their facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from reflectionflow.scenes.claims import Claim, draw_claims
from reflectionflow.scenes.prompts import TAGS
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.splits import Split, held_out_colors
from reflectionflow.scenes.words import BACKGROUNDS, COLORS, OBJECTS, PATTERNS
from reflectionflow.scenes.world import CANVAS, UNIFORM, Priors, Scene, draw_color, draw_scene, place_things
from reflectionflow.tuning.config import Section

if TYPE_CHECKING:
    import torch

VALIDATION_SEED = 9_000_002
MOST = 5
"""Counts are told apart up to this."""
FACTS = len(OBJECTS) * (MOST + len(COLORS))
NOTHING = len(OBJECTS)


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
    things = place_things(rng, UNIFORM, nouns[:1] * more + nouns, colors[:1] * more + colors)
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


def roughen(pictures: torch.Tensor, section: PictureSection) -> torch.Tensor:
    """Blur, tint and add noise to pictures in [-1, 1], each to its own degree, as a generator's pictures are.

    Drawn from torch's random state on the pictures' device.
    """
    import torch
    from torch.nn.functional import conv2d, pad

    count, channels, height, width = pictures.shape
    device = pictures.device
    sigma = torch.empty(count, 1, device=device).uniform_(0.05, max(0.06, section.blur))
    kernel = torch.exp(-torch.arange(-3.0, 4.0, device=device)[None].square() / (2 * sigma.square()))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = pad(pictures.reshape(1, count * channels, height, width), (3, 3, 3, 3), mode="reflect")
    flat = conv2d(flat, kernel[:, None, None, :], groups=count * channels)
    flat = conv2d(flat, kernel[:, None, :, None], groups=count * channels)
    tint = torch.empty(2, count, channels, 1, 1, device=device).uniform_(-section.tint, section.tint)
    noise = torch.empty(count, 1, 1, 1, device=device).uniform_(0, section.noise / 127.5)
    rough = flat.view_as(pictures) * (1 + tint[0]) + tint[1] + noise * torch.randn_like(pictures)
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


def examined_scenes(split: Split, per_tag: int, seed: int) -> tuple[list[Scene], list[tuple[Claim, ...]]]:
    """Draw unseen scenes with one or two claims of a split each: `per_tag` claims of every tag, half of them true.

    Scenes of the training split hold no held-out colours; the others hold any.
    """
    rng = np.random.default_rng([seed, list(Split).index(split)])
    held_out = held_out_colors() if split is Split.TRAIN else frozenset()
    scenes: list[Scene] = []
    claims: list[tuple[Claim, ...]] = []
    half = max(1, per_tag // 2)
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
    return scenes, claims


def examination(split: Split, section: PictureSection, words: Any, patch: int) -> Examined:
    """Return unseen scenes and claims of a split as a batch of roughened pictures."""
    import torch

    scenes, claims = examined_scenes(split, section.validation, VALIDATION_SEED)
    batch = collate(scenes, claims, words, patch)
    torch.manual_seed(VALIDATION_SEED)
    rough = roughen(batch.pictures, section)
    return Examined(replace(batch, pictures=rough), tuple(claim.metadata.tag for group in claims for claim in group))
