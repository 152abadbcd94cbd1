"""Train detector A of Scenes on roughened renderings of every combination of object and colour, some of them flawed as
a generator's pictures are (`tuning/spoiled.py`), and on scenes repainted by the generator (`tuning/repaint.py`).

It plays what Mask2Former and CLIP play at full size: GenEval's rules over it label GenRef, teach, and make the *oracle*
verifier, whose runs count toward no claim. The loss is CenterNet's: a focal loss on the centres, and at the centres
absolute errors of offset and size and the cross-entropy of the colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from reflectionflow.geneval import decide
from reflectionflow.models.detector import SceneDetector, save_detector
from reflectionflow.scenes.claims import draw_claims
from reflectionflow.scenes.prompts import TAGS
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.words import COLORS, OBJECTS
from reflectionflow.scenes.world import UNIFORM, Scene, draw_scene
from reflectionflow.tuning.clip_data import PictureSection, crowded_scene, pictures_of, roughen
from reflectionflow.tuning.config import Section, StageConfig
from reflectionflow.tuning.loop import is_main_process, main_process_first, train
from reflectionflow.tuning.repaint import Repainted, RepaintSection, repainted
from reflectionflow.tuning.reports import NOBODY, PREPARED, Reports
from reflectionflow.tuning.spoiled import bent, moved_together, with_spoiled
from reflectionflow.tuning.vae import save_rows, to_tensor

if TYPE_CHECKING:
    import torch

VALIDATION_SEED = 9_000_003
CELLS = 16
SPREAD = 0.8
"""Standard deviation, in cells, of the bump around a centre in which a detection is not punished."""
ALL = frozenset[tuple[str, str]]()


class DetectorSection(Section):
    """Shape of the network."""

    width: int = Field(default=24, gt=0, multiple_of=8)
    depth: int = Field(default=3, gt=0)


class FlawSection(Section):
    """How renderings come to look like what a generator paints when it fails halfway (`tuning/spoiled.py`)."""

    spoiled: float = Field(default=0.0, ge=0, le=1, description="Share of objects spoiled in spoiled scenes.")
    scenes: float = Field(default=0.5, ge=0, le=1, description="Share of scenes that are spoiled.")
    together: float = Field(default=0.0, ge=0, le=1, description="Share of scenes whose first two objects touch.")
    bent: float = Field(default=0.0, ge=0, description="Largest standard deviation of the bending, in pixels.")


class DetectorConfig(StageConfig):
    """A configuration of `reflectionflow tune detector`."""

    detector: DetectorSection = DetectorSection()
    pictures: PictureSection = PictureSection()
    flaws: FlawSection = FlawSection()
    repaint: RepaintSection | None = None


def targets(scenes: list[Scene]) -> tuple[np.ndarray, np.ndarray]:
    """Return what the maps should be.

    Returns:
        Heatmaps [n, 14, 16, 16], 1 at centres, and one row per object:
        [picture, cell row, cell column, offset y, offset x, log height, log width, colour].
    """
    heat = np.zeros((len(scenes), len(OBJECTS), CELLS, CELLS), dtype=np.float32)
    rows: list[list[float]] = []
    grid = np.arange(CELLS)
    for number, scene in enumerate(scenes):
        for thing in scene.things:
            x, y, size = thing.x / 8, thing.y / 8, thing.size / 8
            column, row = int(x), int(y)
            bump = np.exp(-((grid[:, None] - row) ** 2 + (grid[None, :] - column) ** 2) / (2 * SPREAD**2))
            level = heat[number, OBJECTS.index(thing.noun)]
            np.maximum(level, bump, out=level)
            log = float(np.log(size))
            rows.append([number, row, column, y - row, x - column, log, log, COLORS.index(thing.color)])
    return heat, np.asarray(rows, dtype=np.float32).reshape(-1, 8)


@dataclass(frozen=True)
class DetectorData:
    """Renderings of every combination, some of them crowded, and repainted scenes if there are any."""

    section: PictureSection
    flaws: FlawSection
    share: float = 0.0
    repainted: Repainted | None = None

    def scenes(self, rng: np.random.Generator, count: int) -> list[Scene]:
        """Draw scenes."""
        crowded = rng.random(count) < self.section.crowded
        return [crowded_scene(rng, ALL) if full else draw_scene(rng, UNIFORM) for full in crowded]

    def rendered(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, list[Scene]]:
        """Draw scenes with flaws; return renderings in [-1, 1], [n, 3, 128, 128], and what they show."""
        scenes, flaws = self.scenes(rng, count), self.flaws
        scenes = [moved_together(rng, scene) if rng.random() < flaws.together else scene for scene in scenes]
        shares = [flaws.spoiled * (rng.random() < flaws.scenes) for _ in scenes]
        drawn = [with_spoiled(rng, scene, share) for scene, share in zip(scenes, shares, strict=True)]
        pictures = to_tensor(np.stack([np.asarray(picture) for picture, _ in drawn]))
        return pictures, [scene for _, scene in drawn]

    def batch(self, step: int, rng: np.random.Generator, share: int) -> dict[str, torch.Tensor]:
        """Return clean "pictures" [share, 3, 128, 128] and the `targets`, "heat" and "rows"."""
        import torch

        count = int((rng.random(share) < self.share).sum()) if self.repainted else 0
        pictures, scenes = self.rendered(rng, max(1, share - count))
        if self.repainted and count:
            chosen = rng.integers(0, len(self.repainted.scenes), size=count)
            scenes += [self.repainted.scenes[int(number)] for number in chosen]
            pictures = torch.cat([pictures, to_tensor(self.repainted.pictures[chosen])])
        heat, rows = targets(scenes)
        return {"pictures": pictures, "heat": torch.from_numpy(heat), "rows": torch.from_numpy(rows)}


class DetectorProgram:
    """The detector, its loss and its validation."""

    def __init__(self, config: DetectorConfig, repainted: Repainted | None = None) -> None:
        import torch

        from reflectionflow.models.detector_network import DetectorNetwork

        self.config = config
        torch.manual_seed(config.run.seed)
        self.network = DetectorNetwork(config.detector.width, config.detector.depth)
        self.modules: torch.nn.Module = self.network
        self.data = DetectorData(
            config.pictures, config.flaws, config.repaint.share if config.repaint else 0.0, repainted
        )

    def loss(self, step: int, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return CenterNet's loss on bent and roughened pictures."""
        import torch
        from torch.nn.functional import cross_entropy, logsigmoid

        heat, rows = batch["heat"], batch["rows"]
        pictures = bent(batch["pictures"], self.config.flaws.bent)
        maps = self.modules(roughen(pictures, self.config.pictures)).float()
        logits, nouns = maps[:, : len(OBJECTS)], len(OBJECTS)
        chance, centre = torch.sigmoid(logits), heat == 1
        found = -((1 - chance) ** 2 * logsigmoid(logits) * centre).sum()
        false = -((1 - heat) ** 4 * chance**2 * logsigmoid(-logits) * ~centre).sum()
        at = maps[rows[:, 0].long(), :, rows[:, 1].long(), rows[:, 2].long()]
        places = (at[:, nouns + len(COLORS) :] - rows[:, 3:7]).abs().sum()
        colors = cross_entropy(at[:, nouns : nouns + len(COLORS)], rows[:, 7].long(), reduction="sum")
        most = max(1, len(rows))
        loss = (found + false + places + 0.5 * colors) / most
        return loss, {"centres": (found + false).detach() / most}

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Detect in unseen roughened scenes: objects missed, invented, miscoloured, and claims decided wrongly."""
        import torch

        rng = np.random.default_rng(VALIDATION_SEED)
        scenes = self.data.scenes(rng, 150)
        detector = SceneDetector(self.network)
        torch.manual_seed(VALIDATION_SEED)
        rough = roughen(pictures_of(scenes), self.config.pictures)
        save_rows([rough[:8]], folder / f"detector-{step}.png")
        found = detector.detect_tensor(rough)
        objects = missed = invented = miscoloured = claims = wrong = 0
        for scene, seen in zip(scenes, found, strict=True):
            there = sorted(thing.noun for thing in scene.things)
            told = sorted(name for name, items in seen.items() for item in items if item.score > 0.3)
            objects += len(there)
            missed += sum(max(0, there.count(name) - told.count(name)) for name in OBJECTS)
            invented += sum(max(0, told.count(name) - there.count(name)) for name in OBJECTS)
            colors = sorted((thing.noun, thing.color) for thing in scene.things)
            seen_colors = sorted((n, str(i.colour)) for n, items in seen.items() for i in items if i.score > 0.3)
            miscoloured += there == told and colors != seen_colors
            for claim in draw_claims(rng, scene, Split.TRAIN, tags=TAGS):
                claims += 1
                wrong += decide(claim.metadata, seen).correct != claim.true
        return {
            "missed": missed / objects,
            "invented": invented / objects,
            "miscoloured scenes": miscoloured / len(scenes),
            "claims decided wrongly": wrong / max(1, claims),
        }


def run(config: DetectorConfig, told: Reports = NOBODY) -> Mapping[str, float]:
    """Repaint scenes if the configuration says so, train and save the detector; return its errors on unseen scenes.

    Raises:
        CheckpointError: if the generator that repaints cannot be read.
    """
    with main_process_first():
        known = (
            repainted(config.repaint, config.run.seed, Path(config.run.state), told.counted(PREPARED))
            if config.repaint
            else None
        )
    program = DetectorProgram(config, known)
    train(program, config, told.step)
    if not is_main_process():
        return {}
    metrics = program.validate(config.run.steps, Path(config.run.state) / "samples")
    shape = {"width": config.detector.width, "depth": config.detector.depth}
    save_detector(program.network, shape, Path(config.run.output))
    return metrics
