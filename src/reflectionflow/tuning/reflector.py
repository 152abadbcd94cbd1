"""Train the vision-language model that judges, reflects and refines.

With a [shape] table a small Qwen2.5-VL of Scenes is trained from scratch: first of all to list what it sees, and beside
that to judge, to reflect and to refine. With a [base] table a Qwen2.5-VL of any size gets a LoRA from GenRef
(ReflectionFlow section 3.1). The loss is the cross-entropy of the answers' tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from reflectionflow.errors import CheckpointError, MisuseError
from reflectionflow.models.loading import quiet
from reflectionflow.models.manifest import write_manifest
from reflectionflow.models.qwen_vl import own_identity
from reflectionflow.models.vision_language import VisionLanguage, load
from reflectionflow.prompts.vlm import WORDINGS, Wording
from reflectionflow.scenes.splits import Split
from reflectionflow.tuning.config import Section, StageConfig
from reflectionflow.tuning.corrector import LoraSection as CorrectorLora
from reflectionflow.tuning.loop import is_main_process, main_process_first, processes, train
from reflectionflow.tuning.repaint import repainted
from reflectionflow.tuning.reports import NOBODY, PREPARED, Reports
from reflectionflow.tuning.saving import save_adapter, tidy_config
from reflectionflow.tuning.triplets import readable_triplets
from reflectionflow.tuning.vlm_data import (
    DataSection,
    Painted,
    Rendered,
    Repaints,
    Source,
    Triplets,
    VlmData,
    entries_of,
)
from reflectionflow.tuning.vlm_examination import Examined, claims, drawn, judge_metrics, one_auroc, text_metrics
from reflectionflow.tuning.vlm_items import Task
from reflectionflow.tuning.vlm_model import EAGER, LossSection, ShapeSection, build, losses, reader
from reflectionflow.tuning.vlm_pool import labelled

if TYPE_CHECKING:
    import torch

NAME, LORA_NAME = "scenes-vlm", "qwen-vl-reflector"
TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""All linear layers of the language model; the vision tower stays as it is."""


class BaseSection(Section):
    """What is tuned, when it is not trained from scratch."""

    checkpoint: str = Field(description="Folder of a Qwen2.5-VL in transformers layout.")
    most_pixels: int | None = Field(default=None, gt=0, description="Larger pictures are scaled down to this size.")
    checkpointing: bool = Field(default=False, description="Gradient checkpointing: less memory, a third more time.")


class TunedSection(BaseSection):
    """What gets a LoRA, and in which words it is asked."""

    wording: Literal["full", "scenes"] = Field(default="full", description="full: English; scenes: the world's words.")


class LoraSection(CorrectorLora):
    """The LoRA of a tuned base."""

    rank: int = Field(default=64, gt=0)
    alpha: float = Field(default=128.0, gt=0)
    targets: str = Field(default=TARGETS, description="Pattern of the names of the layers that get one.")


class VlmConfig(StageConfig):
    """A configuration of `reflectionflow tune reflector`."""

    shape: ShapeSection | None = None
    base: TunedSection | None = None
    lora: LoraSection = LoraSection()
    loss: LossSection = LossSection()
    data: DataSection = DataSection()

    @property
    def wording(self) -> Wording:
        """The words of the questions: the world's for a model trained from scratch."""
        return WORDINGS["scenes" if self.base is None else self.base.wording]

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.shape is None) == (self.base is None):
            raise ValueError("give either [shape], to train from scratch, or [base], to tune a checkpoint")
        return self


@dataclass(frozen=True)
class Sources:
    """What is trained on, with weights, and what is examined on, by name."""

    trained: tuple[tuple[float, Source], ...]
    examined: Mapping[str, Source]


def sources_of(config: VlmConfig, told: Reports) -> Sources:
    """Open, repaint and label what the configuration names; say what of it cannot be read.

    Raises:
        CheckpointError: if the generator that repaints cannot be read.
        MisuseError: if there is nothing to learn from, or a folder holds no pictures.
    """
    data, wording, state = config.data, config.wording, Path(config.run.state)
    trained: list[tuple[float, Source]] = []
    examined: dict[str, Source] = {}
    if data.rendered:
        rendered = Rendered(data.pictures, data.questions, wording)
        trained.append((data.rendered, rendered))
        examined["rendered"] = rendered
    if data.repaint is not None:
        known = repainted(data.repaint, config.run.seed, state, told.counted(PREPARED))
        trained.append((data.repaint.share, Repaints(known, data.questions, wording)))
    if data.pool:
        pool = labelled(data.pool, state, told.counted(PREPARED))
        seen, kept = (tuple(pool.numbers(held_out)) for held_out in (False, True))
        if seen:
            trained.append((data.painted, Painted(pool, seen, data.questions, wording)))
        if kept:
            examined["painted"] = Painted(pool, kept, data.questions, wording)
    if data.shards is not None:
        index = readable_triplets([data.shards], state, told)
        seen_entries, kept_entries = (entries_of(index, data.keep_out, held) for held in (False, True))
        if seen_entries:
            trained.append((data.triplets, Triplets(seen_entries, wording)))
        if kept_entries:
            examined["triplets"] = Triplets(kept_entries, wording)
    if not sum(weight for weight, _ in trained):
        raise MisuseError("There is nothing to learn from; set data.rendered, data.pool or data.shards.")
    return Sources(tuple(trained), examined)


def model_of(config: VlmConfig, device: torch.device) -> VisionLanguage:
    """Return the untrained model, one of its shape to go on from, or the base with a fresh LoRA.

    Raises:
        CheckpointError: if the base or what training goes on from cannot be read, or has another shape.
    """
    import torch

    torch.manual_seed(config.run.seed)
    if config.base is None:
        assert config.shape is not None
        return build(config.shape) if config.shape.start is None else begun(config.shape, config.shape.start)
    dtype = torch.bfloat16 if config.run.precision == "bf16" else torch.float32
    return adapted(config.base, config.lora, device, dtype)


def begun(shape: ShapeSection, start: str) -> VisionLanguage:
    """Return a model of Scenes with the weights of a trained one.

    Raises:
        CheckpointError: if it cannot be read or has another shape.
    """
    import torch

    vl, found = build(shape), load(Path(start), torch.device("cpu"), torch.float32)
    try:
        vl.model.load_state_dict(found.model.state_dict())
    except RuntimeError as error:
        raise CheckpointError(f"The model in {start} has another shape than [shape] says; change either.") from error
    return vl


def adapted(base: BaseSection, lora: CorrectorLora, device: torch.device, dtype: torch.dtype) -> VisionLanguage:
    """Return a checkpoint with a fresh LoRA, which alone is trained.

    Raises:
        CheckpointError: if the checkpoint cannot be read.
    """
    from peft import LoraConfig

    vl = load(Path(base.checkpoint), device, dtype, base.most_pixels)
    vl.model.add_adapter(
        LoraConfig(
            r=lora.rank, lora_alpha=lora.alpha, init_lora_weights="gaussian", target_modules=lora.targets,
        )
    )  # fmt: skip
    if base.checkpointing:
        vl.model.enable_input_require_grads()
        with quiet("transformers"):  # 5.23 has another name for it, which older ones lack
            vl.model.gradient_checkpointing_enable()
    return vl


class VlmProgram:
    """The model, its loss and its validation."""

    def __init__(self, config: VlmConfig, vl: VisionLanguage, sources: Sources) -> None:
        import torch

        self.config, self.vl, self._examined = config, vl, sources.examined
        self.wording = config.wording
        self.data = VlmData(sources.trained, vl, self.wording)
        torch.manual_seed(config.run.seed)  # what was prepared before may have drawn numbers, or have been there
        self.modules = reader(vl.model, config.loss.patches > 0).train()

    def loss(self, step: int, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the weighted cross-entropy of the answers."""
        return losses(self.modules(batch), batch, self.config.loss)

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Ask about unseen pictures as at inference; numbers of other sources than renderings carry their name.

        "held-out" numbers are of prompts whose combinations training never states, about scenes with any colours.
        """
        self.modules.eval()
        metrics: dict[str, float] = {}
        count = self.config.data.examined
        for name, source in self._examined.items() if count else ():
            prefix = "" if name == "rendered" else f"{name} "
            texts = (Task.LIST, Task.REFLECT, Task.REFINE)
            groups: dict[Task, Examined] = {task: drawn(source, count, task) for task in texts}
            numbers = text_metrics(self.vl, groups, self.wording)
            if name == "rendered":
                numbers |= self._claims(Split.TRAIN) | {
                    f"held-out {key}": value for key, value in self._claims(Split.VALIDATION).items()
                }
            else:
                numbers |= one_auroc(self.vl, drawn(source, count, Task.JUDGE), self.wording)
            metrics |= {f"{prefix}{key}": value for key, value in numbers.items()}
        self.modules.train()
        return metrics

    def _claims(self, split: Split) -> dict[str, float]:
        examined: Examined = claims(split, self.config.data.pictures, self.wording)
        return judge_metrics(self.vl, examined, self.wording)


def save(program: VlmProgram, output: Path) -> None:
    """Save a plain Qwen2.5-VL with bf16 weights, or the LoRA, with a manifest that names the wording."""
    output.mkdir(parents=True, exist_ok=True)
    base, vl = program.config.base, program.vl
    if base is None:
        save_model(vl, output)
        write_manifest(output, name=NAME, wording=program.wording.name)
        return
    told = own_identity(Path(base.checkpoint), None)
    save_adapter(vl.model, output, told)
    write_manifest(output, name=LORA_NAME, wording=program.wording.name, base=told)


def save_model(vl: VisionLanguage, output: Path) -> None:
    """Save model, tokenizer and image processor in transformers layout; weights in bf16, to be loaded in float32."""
    import torch

    with quiet("transformers"):
        vl.model.to("cpu", torch.bfloat16).save_pretrained(output, safe_serialization=True)
        vl.words.save_pretrained(output)
        vl.processor.save_pretrained(output)
    tidy_config(output / "config.json", dtype="float32")


def run(config: VlmConfig, told: Reports = NOBODY) -> Mapping[str, float]:
    """Train and save the model; return its metrics on unseen pictures.

    Args:
        config: What to train on what.
        told: Who is told of it.

    Raises:
        CheckpointError: if the base or the generator that repaints cannot be read.
        MisuseError: if there is nothing to learn from.
    """
    import torch

    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    vl = model_of(config, processes().device)  # first: repainting and labelling pictures takes minutes
    with main_process_first():
        sources = sources_of(config, told)
    if processes().device.type == "cpu":
        vl.model.set_attn_implementation(EAGER)
    program = VlmProgram(config, vl, sources)
    train(program, config, told.step)
    if not is_main_process():
        return {}
    metrics = program.validate(config.run.steps, Path(config.run.state) / "samples")
    save(program, Path(config.run.output))
    return metrics
