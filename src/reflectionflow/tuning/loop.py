"""The training loop every stage shares: accelerate, averaged weights, exact resuming, progress, TensorBoard.

Data order is a pure function of the step: a batch is drawn from `step_rng(seed, step, rank)`, so a resumed run sees
what the uninterrupted one would have seen, however many processes prepare it; and each of several devices its share.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from reflectionflow.errors import MisuseError, ReflectionFlowError
from reflectionflow.tuning.config import OptimiserSection, RunSection, StageConfig
from reflectionflow.tuning.reports import Progress
from reflectionflow.tuning.states import described, resume, save, save_trained_alone

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState


NOTHING: Mapping[str, str] = MappingProxyType({})


class Data(Protocol):
    """Where a stage's batches come from; it travels to the processes that prepare them."""

    def batch(self, step: int, rng: np.random.Generator, share: int) -> dict[str, torch.Tensor]:
        """Return `share` items as tensors on the CPU: a pure function of its arguments."""


class Program(Protocol):
    """What one stage adds to the loop."""

    modules: torch.nn.Module
    """All trained weights, as one module."""

    @property
    def data(self) -> Data:
        """Where its batches come from."""

    def loss(self, step: int, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the loss of a batch on the modules' device, and numbers worth logging, detached."""

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """With the averaged weights in place: write sample pictures to `folder`, return metrics."""


def step_rng(seed: int, step: int, rank: int = 0) -> np.random.Generator:
    """Return the random generator of one step on one process."""
    return np.random.default_rng([seed, step, rank])


def learning_rate(optimiser: OptimiserSection, step: int, steps: int) -> float:
    """Return the learning rate at a step: linear warm-up, then cosine decay to `final` of the peak."""
    if step < optimiser.warmup:
        return optimiser.learning_rate * (step + 1) / optimiser.warmup
    done = (step - optimiser.warmup) / max(1, steps - optimiser.warmup)
    share = optimiser.final + (1 - optimiser.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return optimiser.learning_rate * share


class _Parts:
    """The parts of all steps' batches by number, as a map-style data set.

    An error of ours takes the place of its part: raised in a process that prepares batches, it would reach the user as
    that process's traceback.
    """

    def __init__(self, data: Data, run: RunSection, rank: int, share: int) -> None:
        self._data, self._run, self._rank, self._share = data, run, rank, share

    def __getitem__(self, part: int) -> dict[str, torch.Tensor] | ReflectionFlowError:
        rng = step_rng(self._run.seed, part, self._rank)
        try:
            return self._data.batch(part // self._run.accumulate, rng, self._share)
        except ReflectionFlowError as error:
            return error


def batches(data: Data, run: RunSection, start: int, rank: int, share: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the parts of the batches from step `start` on, prepared ahead by at most `run.workers` processes.

    Raises:
        ReflectionFlowError: what the data raises, here and not where a part was prepared.
    """
    from torch.utils.data import DataLoader

    workers = min(run.workers, _cores())
    if workers:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive a fork
    parts: Any = _Parts(data, run, rank, share)
    numbers = range(start * run.accumulate, run.steps * run.accumulate)
    ahead = 6 if workers else None
    for part in DataLoader(parts, batch_size=None, sampler=numbers, num_workers=workers, prefetch_factor=ahead):
        if isinstance(part, ReflectionFlowError):
            raise part
        yield part


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes() -> PartialState:
    """Return which of the launcher's processes this is, and its device; also of several on a CPU.

    Whoever asks first decides for all: without the flag, processes on a CPU would each train a model of their own.
    They wait for one another for days, because the first one may have a million pictures to read and encode.
    """
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    if "LOCAL_RANK" in os.environ and not torch.accelerator.is_available():
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=timedelta(days=7))


def is_main_process() -> bool:
    """Return whether this is the process that saves; the only one unless a launcher started several."""
    return bool(processes().is_main_process)


@contextmanager
def main_process_first() -> Iterator[None]:
    """Let the main process do something that leaves a file before the others read it."""
    with processes().main_process_first():
        yield


def _optimisers(modules: torch.nn.Module, section: OptimiserSection) -> list[torch.optim.Optimizer]:
    """Return AdamW, and with `method = "muon"` also Muon for the matrices inside blocks (names with a layer number)."""
    import torch

    trained = [(name, p) for name, p in modules.named_parameters() if p.requires_grad]
    inside = [p for name, p in trained if section.method == "muon" and p.ndim == 2 and re.search(r"\.\d+\.", name)]
    chosen = {id(p) for p in inside}
    decayed = [p for _, p in trained if p.ndim > 1 and id(p) not in chosen]
    plain = [p for _, p in trained if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": section.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if section.method == "prodigy":
        return [_prodigy(groups, section)]
    adamw = torch.optim.AdamW(groups, lr=section.learning_rate, betas=(0.9, section.beta2))
    if not inside:
        return [adamw]
    muon = torch.optim.Muon(
        inside, lr=section.learning_rate, weight_decay=section.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [adamw, muon]


def _prodigy(groups: list[dict[str, Any]], section: OptimiserSection) -> torch.optim.Optimizer:
    """Return Prodigy with the release's settings."""
    try:
        from prodigyopt import Prodigy
    except ImportError as error:
        raise MisuseError('method = "prodigy" needs its package; pip install "reflectionflow[train]".') from error
    found: torch.optim.Optimizer = Prodigy(
        groups, lr=section.learning_rate, betas=(0.9, section.beta2), use_bias_correction=True, safeguard_warmup=True
    )
    return found


def _nothing_more() -> None:
    """Do nothing."""


def train(
    program: Program, config: StageConfig, report: Callable[[Progress], None], known: Mapping[str, str] = NOTHING,
    finish: Callable[[], None] = _nothing_more,
) -> list[float]:  # fmt: skip
    """Train a program to its end, resuming from the latest checkpoint in `run.state`.

    A training goes on with the configuration that it began with, but for what `states.FREE` names. Contents of folders
    are not compared; how many processes share a batch is not either, though other numbers draw other data.

    Args:
        program: What is trained.
        config: The configuration, of which a checkpoint keeps a record.
        report: Told how far it is.
        known: What the record says in place of values of the configuration, by "table.key".
        finish: Called by every process after the last step, while they can still add up what each has counted.

    Returns:
        The loss of every step, resumed ones included. On return the program's modules hold the averaged weights.

    Raises:
        CheckpointError: if a checkpoint is damaged or of another model.
        MisuseError: if the batch does not divide over the processes, the loss stops being a number, or the checkpoint
            was trained with another configuration.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import set_seed
    from diffusers.training_utils import EMAModel

    run, optimiser_section, record = config.run, config.optimiser, described(config, known)
    if run.threads:
        torch.set_num_threads(run.threads)
    state = Path(run.state)
    processes()
    _hush_torch()
    AcceleratorState._reset_state()  # a training before it in this process may have had another precision
    accelerator = Accelerator(mixed_precision=run.precision, log_with="tensorboard", project_dir=str(state))
    save_trained_alone(accelerator)
    share = _share(run, accelerator.num_processes)
    set_seed(run.seed + accelerator.process_index)
    accelerator.init_trackers("log")
    raw = program.modules
    program.modules, *optimisers = accelerator.prepare(raw, *_optimisers(raw, optimiser_section))
    if run.compile:
        compiled: Any = torch.compile(program.modules, dynamic=False)
        program.modules = compiled
    weights = [p for p in raw.parameters() if p.requires_grad]
    ema = EMAModel(weights, decay=optimiser_section.ema, use_ema_warmup=True, power=0.75, foreach=True)
    ema.to(accelerator.device)
    start, losses = resume(accelerator, ema, state, record)
    log = _Log(accelerator, run, losses, report)
    prepared = batches(program.data, run, start, accelerator.process_index, share)
    for step in range(start, run.steps):
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = learning_rate(optimiser_section, step, run.steps)
        loss, numbers = _backward(program, accelerator, prepared, run, step)
        accelerator.clip_grad_norm_(weights, optimiser_section.clip)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        ema.step(weights)
        log.add(step, loss, numbers)
        done = step + 1
        if done % run.checkpoint_every == 0 or done == run.steps:
            log.flush()
            save(accelerator, ema, state, done, losses, record)
        if done % run.sample_every == 0 or done == run.steps:
            _validate(program, raw, accelerator, ema, weights, done, state)
    ema.copy_to(weights)
    program.modules = raw
    finish()
    accelerator.end_training()
    return losses


def _hush_torch() -> None:
    """Keep from the terminal how torch normalises in bfloat16, and what of it is not compiled."""
    warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)


def _share(run: RunSection, count: int) -> int:
    """Return how many items of a batch a process sees at a time.

    Raises:
        MisuseError: if the batch does not divide.
    """
    if run.batch % (count * run.accumulate):
        raise MisuseError(
            f"batch = {run.batch} does not divide over {count} processes × {run.accumulate} parts; change it."
        )
    return run.batch // (count * run.accumulate)


def _backward(
    program: Program, accelerator: Any, prepared: Iterator[dict[str, torch.Tensor]], run: RunSection, step: int
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    """Compute the gradient of a step part by part; return its mean loss and the numbers of its last part."""
    import torch
    from accelerate.utils import send_to_device

    total = torch.zeros((), device=accelerator.device)
    numbers: Mapping[str, torch.Tensor] = {}
    for part in range(run.accumulate):
        batch = send_to_device(next(prepared), accelerator.device, non_blocking=True)
        number = step * run.accumulate + part
        torch.manual_seed(int(step_rng(run.seed, number, accelerator.process_index).integers(2**62)))
        with accelerator.autocast():
            loss, numbers = program.loss(step, batch)
        accelerator.backward(loss / run.accumulate)
        total += loss.detach() / run.accumulate
    return total, numbers


class _Log:
    """Losses, read from the device every few steps so that it is not kept waiting, and what is reported of them."""

    def __init__(
        self, accelerator: Any, run: RunSection, losses: list[float], report: Callable[[Progress], None]
    ) -> None:
        self._accelerator, self._run, self._losses, self._report = accelerator, run, losses, report
        self._pending: list[torch.Tensor] = []
        self._since, self._pace = time.perf_counter(), 0.0
        self._steps, self._reports = 0, 0

    def add(self, step: int, loss: torch.Tensor, numbers: Mapping[str, torch.Tensor]) -> None:
        """Keep a loss; log and report at every `log_every`-th step and at the first."""
        self._pending.append(loss)
        self._steps += 1
        if step % self._run.log_every and step + 1 < self._run.steps:
            return
        self.flush()
        spent = (time.perf_counter() - self._since) / self._steps
        self._since, self._steps, self._reports = time.perf_counter(), 0, self._reports + 1
        # The first report may be of a step that compiled, and says nothing of the others.
        self._pace = spent if self._reports <= 2 else 0.8 * self._pace + 0.2 * spent
        shown = {name: float(value) for name, value in numbers.items()}
        self._accelerator.log({"loss": self._losses[-1], "seconds per step": spent, **shown}, step=step)
        unknown = self._run.compile and self._reports == 1
        left = None if unknown else self._pace * (self._run.steps - step - 1)
        if self._accelerator.is_main_process:
            self._report(Progress(step + 1, self._run.steps, self._losses[-1], self._pace, left))

    def flush(self) -> None:
        """Move what is kept to the list of losses.

        Raises:
            MisuseError: if one of them is not a number.
        """
        import torch

        if not self._pending:
            return
        first = len(self._losses)
        means = self._accelerator.gather(torch.stack(self._pending)).view(-1, len(self._pending)).mean(0)
        self._losses += means.tolist()
        self._pending.clear()
        for step, loss in enumerate(self._losses[first:], first):
            if not math.isfinite(loss):
                raise MisuseError(f"The loss of step {step} is {loss}; lower the learning rate and resume.")


def _validate(
    program: Program, raw: Any, accelerator: Any, ema: Any, weights: list[Any], step: int, state: Path
) -> None:
    """Run the program's validation with the averaged weights in place, on the main process, not compiled."""
    if not accelerator.is_main_process:
        return
    folder = state / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    ema.store(weights)
    ema.copy_to(weights)
    trained, program.modules = program.modules, raw
    metrics = program.validate(step, folder)
    program.modules = trained
    ema.restore(weights)
    accelerator.log({f"validation/{name}": value for name, value in metrics.items()}, step=step)
    with (state / "validation.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"step": step, **metrics}) + "\n")
