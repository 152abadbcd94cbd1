"""Tune the reward verifier: a head, and a LoRA on the backbone, from preferences between pictures of one prompt.

After training the rewards are calibrated on held-out pictures by a logistic fit, kept in the manifest beside the head
(ReflectionFlow section 4.2; the release's `reward_modeling`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from reflectionflow.errors import MisuseError
from reflectionflow.models.manifest import write_manifest
from reflectionflow.models.qwen_vl import own_identity, wording_of
from reflectionflow.models.reward import HEAD
from reflectionflow.models.vision_language import VisionLanguage
from reflectionflow.scenes.splits import Split
from reflectionflow.tuning.clip_data import PictureSection
from reflectionflow.tuning.config import Section, StageConfig
from reflectionflow.tuning.corrector import LoraSection as CorrectorLora
from reflectionflow.tuning.loop import is_main_process, main_process_first, processes, train
from reflectionflow.tuning.metrics import auroc
from reflectionflow.tuning.pairs import EditedScenes, PaintedPairs, Pair, PairData, PairSource, TripletPairs
from reflectionflow.tuning.preference import INVALID, TIE, PreferenceLoss, logistic_fit, loss_named, preference_loss
from reflectionflow.tuning.reflector import TARGETS, BaseSection, adapted
from reflectionflow.tuning.reports import NOBODY, PREPARED, Reports
from reflectionflow.tuning.saving import save_adapter
from reflectionflow.tuning.triplets import readable_triplets
from reflectionflow.tuning.vlm_data import entries_of
from reflectionflow.tuning.vlm_pool import labelled

if TYPE_CHECKING:
    import torch

    from reflectionflow.models.reward_network import RewardNetwork

SEED = 9_000_005
BATCH = 16


class LoraSection(CorrectorLora):
    """The LoRA on the backbone; the release's rank and alpha."""

    rank: int = Field(default=16, gt=0)
    alpha: float = Field(default=32.0, gt=0)
    targets: str = Field(default=TARGETS, description="Pattern of the names of the layers that get one.")


class PreferenceSection(Section):
    """Where pairs come from, with weights."""

    rendered: float = Field(default=1.0, ge=0, description="Weight of edited renderings.")
    pool: tuple[str, ...] = Field(default=(), description="Runs, GenRef builds or shards that detector A labels.")
    painted: float = Field(default=1.0, ge=0, description="Weight of pairs of labelled pictures, if there are any.")
    shards: str | None = Field(default=None, description="Folder of GenRef shards, enhanced over flawed.")
    triplets: float = Field(default=1.0, ge=0, description="Weight of GenRef samples, if there are any.")
    keep_out: int = Field(default=0, ge=0, description="Last samples of each subset that only validation sees.")
    examined: int = Field(default=200, gt=0, description="Held-out pairs per source; calibration is fitted on them.")
    pictures: PictureSection = PictureSection()


class RewardSection(Section):
    """What is learnt from a pair, and what the result is called."""

    loss: str = Field(default="btt", description="bt, constant_margin, margin, scaled or btt (with ties).")
    name: str = Field(default="scenes-reward", min_length=1, description="Name of the head, in its manifest.")

    @field_validator("loss")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            return loss_named(name).value
        except MisuseError as error:
            raise ValueError(str(error).removesuffix(".")) from None


class VerifierConfig(StageConfig):
    """A configuration of `reflectionflow tune verifier`."""

    base: BaseSection
    lora: LoraSection = LoraSection()
    reward: RewardSection = RewardSection()
    data: PreferenceSection = PreferenceSection()

    @model_validator(mode="after")
    def _not_muon(self) -> Self:
        if self.optimiser.method == "muon":
            raise ValueError("Muon is for full-rank training; use adamw or prodigy with a LoRA")
        return self


@dataclass(frozen=True)
class PairSources:
    """What is trained on, with weights, and what is examined on, by name."""

    trained: tuple[tuple[float, PairSource], ...]
    examined: Mapping[str, PairSource]


def sources_of(config: VerifierConfig, told: Reports) -> PairSources:
    """Open and label what the configuration names; say what of it cannot be read.

    Raises:
        MisuseError: if there is nothing to learn from, or a folder holds no pictures.
    """
    data = config.data
    trained: list[tuple[float, PairSource]] = []
    examined: dict[str, PairSource] = {}
    if data.rendered:
        trained.append((data.rendered, EditedScenes(data.pictures)))
        examined["rendered"] = EditedScenes(data.pictures, Split.VALIDATION)
    if data.pool:
        pool = labelled(data.pool, Path(config.run.state), told.counted(PREPARED))
        seen, kept = (PaintedPairs.of(pool, pool.numbers(held)) for held in (False, True))
        if seen.groups:
            trained.append((data.painted, seen))
        if kept.groups:
            examined["painted"] = kept
    if data.shards is not None:
        index = readable_triplets([data.shards], Path(config.run.state), told)
        entries, kept_entries = (entries_of(index, data.keep_out, held) for held in (False, True))
        if entries:
            trained.append((data.triplets, TripletPairs(entries)))
        if kept_entries:
            examined["triplets"] = TripletPairs(kept_entries)
    if not sum(weight for weight, _ in trained):
        raise MisuseError("There is nothing to learn from; set data.rendered, data.pool or data.shards.")
    return PairSources(tuple(trained), examined)


def network_of(config: VerifierConfig, device: torch.device) -> tuple[VisionLanguage, RewardNetwork]:
    """Return the backbone with a fresh LoRA and a fresh head.

    Raises:
        CheckpointError: if the backbone cannot be read.
    """
    import torch

    from reflectionflow.models.reward_network import RewardNetwork

    torch.manual_seed(config.run.seed)
    vl = adapted(config.base, config.lora, device, torch.float32)
    return vl, RewardNetwork(vl)


class VerifierProgram:
    """The reward model, its loss and its validation."""

    def __init__(
        self, config: VerifierConfig, vl: VisionLanguage, network: RewardNetwork, sources: PairSources
    ) -> None:
        self.config, self.vl, self._examined = config, vl, sources.examined
        self._loss: PreferenceLoss = loss_named(config.reward.loss)
        self.wording = wording_of(Path(config.base.checkpoint))
        self.modules: torch.nn.Module = network.train()
        self.data = PairData(sources.trained, vl, self.wording)

    def loss(self, step: int, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the preference loss over the pairs that have a part in it, and the share of those."""
        first, second = self.modules(batch).float().chunk(2)
        preferred = batch["preferred"]
        loss = preference_loss(self._loss, first, second, preferred, batch["margin"])
        return loss, {"pairs used": (preferred != INVALID).float().mean()}

    def rewards(self, pairs: list[Pair]) -> tuple[np.ndarray, np.ndarray]:
        """Return the rewards of the first and of the second pictures, without gradients."""
        import torch

        rows = []
        with torch.no_grad():
            for start in range(0, len(pairs), BATCH):
                batch = self.data.collate(pairs[start : start + BATCH])
                given = {name: tensor.to(self.vl.device) for name, tensor in batch.items()}
                rows.append(self.modules(given).float().cpu().numpy().reshape(2, -1))
        first, second = np.concatenate(rows, axis=1)
        return first, second

    def held_out(self) -> dict[str, list[Pair]]:
        """Return the validation pairs of each source."""
        found = {}
        for number, (name, source) in enumerate(self._examined.items()):
            rng = np.random.default_rng([SEED, number])
            found[name] = [source.draw(rng) for _ in range(self.config.data.examined)]
        return found

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Return, per source, how often the preferred picture has the larger reward, and the AUROC of good ones."""
        self.modules.eval()
        metrics: dict[str, float] = {}
        for name, pairs in self.held_out().items():
            first, second = self.rewards(pairs)
            preferred = np.asarray([pair.preferred for pair in pairs])
            clear = (preferred != TIE) & (preferred != INVALID)
            if clear.any():
                right = ((first - second) * preferred)[clear] > 0
                metrics[f"{name} pairs"] = round(float(right.mean()), 4)
            rewards, good = _labelled(pairs, first, second)
            if 0 < good.sum() < len(good):
                metrics[f"{name} auroc"] = round(auroc(rewards, good), 4)
        self.modules.train()
        return metrics

    def calibration(self) -> tuple[float, float]:
        """Return scale and bias of the logistic fit on all held-out pictures known to be good or not.

        Generated pictures are what a search judges, so renderings count only where there are no others.

        Raises:
            MisuseError: if there are none, or all are of one kind.
        """
        self.modules.eval()
        pairs = self.held_out()
        chosen = {name: group for name, group in pairs.items() if name != "rendered"}
        known = [pair for group in chosen.values() for pair in group if pair.good is not None]
        known = known or pairs.get("rendered", [])
        if not known:
            raise MisuseError("There are no held-out pictures to calibrate on; set data.keep_out or data.rendered.")
        return logistic_fit(*_labelled(known, *self.rewards(known)))


def _labelled(pairs: list[Pair], first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rewards of all pictures known to be good or not, and which are."""
    known = [number for number, pair in enumerate(pairs) if pair.good is not None]
    good = [pair.good for pair in pairs if pair.good is not None]
    rewards = np.concatenate([first[known], second[known]])
    return rewards, np.asarray([side[0] for side in good] + [side[1] for side in good], dtype=np.float64)


def save(program: VerifierProgram, network: RewardNetwork, calibration: tuple[float, float], output: Path) -> None:
    """Save LoRA (bf16) and head with a manifest that names backbone, wording, loss and calibration."""
    from safetensors.torch import save_file

    output.mkdir(parents=True, exist_ok=True)
    base = own_identity(Path(program.config.base.checkpoint), None)
    save_adapter(program.vl.model, output, base)
    save_file(network.own_weights(), output / HEAD)
    scale, bias = (round(value, 6) for value in calibration)
    write_manifest(
        output,
        name=program.config.reward.name,
        base=base,
        wording=program.wording.name,
        loss=program.config.reward.loss,
        calibration={"kind": "sigmoid", "scale": scale, "bias": bias},
    )


def run(config: VerifierConfig, told: Reports = NOBODY) -> Mapping[str, float]:
    """Tune, calibrate and save a reward head; return its metrics on held-out pairs.

    Raises:
        CheckpointError: if the backbone cannot be read.
        MisuseError: if there is nothing to learn from, or the rewards cannot be calibrated.
    """
    import torch

    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    vl, network = network_of(config, processes().device)  # first: reading and labelling pictures takes minutes
    with main_process_first():
        sources = sources_of(config, told)
    program = VerifierProgram(config, vl, network, sources)
    train(program, config, told.step)
    if not is_main_process():
        return {}
    metrics = program.validate(config.run.steps, Path(config.run.state) / "samples")
    save(program, network, program.calibration(), Path(config.run.output))
    return metrics
