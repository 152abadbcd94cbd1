"""`reflectionflow tune`: train a model from a configuration file, resumable."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reflectionflow.cli.group import tell

if TYPE_CHECKING:
    from reflectionflow.tuning.config import RunSection
    from reflectionflow.tuning.reports import Progress, Reports

app = typer.Typer(no_args_is_help=True, help="Train the models of a stack; the same command resumes.")
Config = Annotated[Path, typer.Argument(help="A TOML file, such as those in configs/tuning/.", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Replace a value of the file, as in --set run.steps=100."),
]
Output = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where model and state go.")]
LINE_EVERY = 30.0
Show = Callable[[str, int, int, str], None]
"""Takes what is counted, how much is done, of how much, and a note."""


@app.command()
def vae(config: Config, changes: Changes = None) -> None:
    """Train the picture autoencoder of Scenes."""
    from reflectionflow.tuning import vae as program
    from reflectionflow.tuning.config import read_config

    settings = read_config(config, program.VaeConfig, changes or [])
    _train("autoencoder", settings.run, partial(program.run, settings))


@app.command()
def words(config: Config, changes: Changes = None) -> None:
    """Train the T5 text encoder of Scenes on text alone: what stands where."""
    from reflectionflow.tuning import words as program
    from reflectionflow.tuning.config import read_config

    settings = read_config(config, program.WordsConfig, changes or [])
    _train("text encoder", settings.run, partial(program.run, settings))


@app.command()
def generator(config: Config, changes: Changes = None) -> None:
    """Train the generator of Scenes, or, with a [distil] table, distil its guidance."""
    from reflectionflow.tuning import generator as program
    from reflectionflow.tuning.config import read_config

    settings = read_config(config, program.GeneratorConfig, changes or [])
    _train("generator", settings.run, partial(program.run, settings))


@app.command()
def clip(config: Config, changes: Changes = None) -> None:
    """Train the verifier of Scenes: a CLIP model that says whether a picture satisfies a prompt."""
    from reflectionflow.tuning import clip as program
    from reflectionflow.tuning.config import read_config

    settings = read_config(config, program.ClipConfig, changes or [])
    _train("verifier", settings.run, partial(program.run, settings))


@app.command()
def detector(config: Config, changes: Changes = None) -> None:
    """Train detector A of Scenes, which makes the oracle verifier."""
    from reflectionflow.tuning import detector as program
    from reflectionflow.tuning.config import read_config

    settings = read_config(config, program.DetectorConfig, changes or [])
    _train("detector", settings.run, partial(program.run, settings))


@app.command()
def corrector(config: Config, changes: Changes = None, out: Output = None) -> None:
    """Reflection tuning: teach a FLUX generator to paint a flawed picture again as a reflection says."""
    from reflectionflow.genref.shards import shards_of
    from reflectionflow.tuning import corrector as program
    from reflectionflow.tuning.config import read_config

    more = [f"run.output={out}", f"run.state={out / 'state'}"] if out else []
    settings = read_config(config, program.CorrectorConfig, [*(changes or []), *more])
    for folder in settings.data.shards:
        shards_of(Path(folder))  # refuses those that have none
    _train("corrector", settings.run, partial(program.run, settings))


@app.command()
def reflector(config: Config, changes: Changes = None) -> None:
    """Train the vision-language model that judges, reflects and refines: from scratch, or a LoRA on Qwen2.5-VL."""
    from reflectionflow.tuning import reflector as program
    from reflectionflow.tuning.config import read_config

    settings = read_config(config, program.VlmConfig, changes or [])
    _train("reflector", settings.run, partial(program.run, settings))


@app.command()
def verifier(config: Config, changes: Changes = None) -> None:
    """Tune the reward verifier: a calibrated head on a vision-language model, from preferences between pictures."""
    from reflectionflow.tuning import verifier as program
    from reflectionflow.tuning.config import read_config

    settings = read_config(config, program.VerifierConfig, changes or [])
    _train("reward verifier", settings.run, partial(program.run, settings))


def _train(name: str, run: RunSection, program: Callable[[Reports], Mapping[str, float]]) -> None:
    """Run a program, showing how far it is, and say what came of it."""
    from reflectionflow.tuning.reports import Reports

    if os.environ.get("RANK", "0") != "0":  # one of several processes that a launcher started; the first one speaks
        program(Reports())
        return
    with _training(name, run.steps) as show:
        metrics = program(Reports(partial(_step, show), tell, lambda what, done, count: show(what, done, count, "")))
    tell(f"Saved to {run.output}. " + ", ".join(f"{name} {value:.3f}" for name, value in metrics.items()))


def _step(show: Show, progress: Progress) -> None:
    """Show a step."""
    pace = f"{progress.seconds_per_step:.2f} s a step"
    left = "compiled" if progress.seconds_left is None else f"{_left(progress.seconds_left)} left"
    note = f"loss {progress.loss:.4f}, {pace}, {left}"
    show("steps", progress.step, progress.steps, note)


def _left(seconds: float) -> str:
    """Return a duration in words."""
    minutes = int(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "< 1 min"


@contextmanager
def _training(name: str, steps: int) -> Iterator[Show]:
    """Show bars on a terminal, and a line every half minute elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    console = Console(stderr=True)
    tell(f"Training the {name} for {steps} steps; interrupt at any time, the same command resumes.")
    if not console.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(kind: str, done: int, count: int, note: str) -> None:
            if kind not in tasks:
                tasks[kind] = bars.add_task(kind, total=count, note=note)
            bars.update(tasks[kind], completed=done, total=count, note=note)

        yield show


def _lines() -> Show:
    """Return a display that prints a line at most every half minute, and the last one of each kind."""
    told = {"at": -LINE_EVERY}

    def show(kind: str, done: int, count: int, note: str) -> None:
        now = time.monotonic()
        if done == count or now - told["at"] >= LINE_EVERY:
            told["at"] = now
            tell(f"{done} of {count} {kind}{', ' + note if note else ''}")

    return show
