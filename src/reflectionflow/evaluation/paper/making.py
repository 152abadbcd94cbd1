"""Make the paper's tables and figures: one evaluation of all its methods, other models beside it, and the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reflectionflow.evaluation.benchmarks import Benchmark
from reflectionflow.evaluation.pages import write_all
from reflectionflow.evaluation.paper.chains import Chains, chains_of
from reflectionflow.evaluation.paper.control import controlled
from reflectionflow.evaluation.paper.exhibit import Exhibit
from reflectionflow.evaluation.paper.material import Material
from reflectionflow.evaluation.paper.methods import FLOW, NOISE, Lineup, Part
from reflectionflow.evaluation.paper.named import Named
from reflectionflow.evaluation.paper.picking import picked
from reflectionflow.evaluation.paper.reflecting import Criticised, criticised
from reflectionflow.evaluation.paper.replaying import Say
from reflectionflow.evaluation.paper.speaking import spoken
from reflectionflow.evaluation.paper.writing import write
from reflectionflow.evaluation.planning import Plan
from reflectionflow.evaluation.running import RUN, Consumer, Done, carry_out
from reflectionflow.genref.stats import Statistics
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Patience

COMPOSITE = "composite"


@dataclass(frozen=True)
class Made:
    """What came of it: the evaluation, the tables, and why other parts of the paper are not shown."""

    done: Done
    exhibits: tuple[Exhibit, ...]
    left_out: tuple[str, ...]


def chosen(benchmark: Benchmark, per_tag: int, composite: int) -> Benchmark:
    """Return the first prompts of each tag, with another number for `composite`."""
    items, seen = [], dict.fromkeys(benchmark.tags, 0)
    for item in benchmark.items:
        seen[item.tag] += 1
        if seen[item.tag] <= (composite if item.tag == COMPOSITE else per_tag):
            items.append(item)
    return replace(benchmark, items=tuple(items))


def picked_from(compared: Lineup) -> str:
    """Return the method whose pictures other verifiers pick from: ReflectionFlow, or noise where nobody plays that."""
    return FLOW if FLOW in compared else NOISE


@dataclass(frozen=True)
class Beside:
    """What is shown besides the evaluation itself.

    Attributes:
        pickers: Verifiers that pick from the pictures of one method, besides the search's own.
        critics: Reflectors that are asked about the same failed drafts.
        dataset: Numbers of the data set that the corrector learnt from; none leaves it out.
        control: A generator tuned on the data set's good pictures without a condition; none leaves it out.
        speakers: Who speaks in the reflector's place for whole searches.
    """

    pickers: tuple[Named, ...] = ()
    critics: tuple[Named, ...] = ()
    dataset: Statistics | None = None
    control: Named | None = None
    speakers: tuple[Named, ...] = ()

    @property
    def models(self) -> Mapping[str, tuple[str, ...]]:
        """Names and versions of all of them, by what they do."""
        control = () if self.control is None else (self.control,)
        parts = {
            "Further picks by": self.pickers,
            "Figure 2 asks": self.critics,
            "In the reflector's place": self.speakers,
            "Control": control,
        }
        return {name: tuple(model.model.name for model in models) for name, models in parts.items() if models}


def nobody(sentence: str) -> None:
    """Tell nobody."""


def make(
    planned: Plan,
    compared: Lineup,
    shown: Beside,
    folder: Path,
    passed: dict[str, Any],
    on_event: Consumer,
    say: Say = nobody,
    patience: Patience | None = None,
) -> Made:
    """Evaluate what the directory does not hold yet, and write the evaluation's report and the paper's exhibits.

    Args:
        planned: The evaluation of the methods.
        compared: The methods.
        shown: What is shown besides.
        folder: The evaluation's directory; the same call continues an interrupted one.
        passed: The request as the user wrote it, for the record.
        on_event: Called with every event.
        say: Told what begins after the evaluation itself.
        patience: How often to try again, and how long to wait.

    Raises:
        RunMismatchError: if the directory holds another evaluation, or another process is writing it.
        ModelError: if a model failed for good.
        StorageError: if something cannot be written.
    """
    calm = patience or Patience()
    done = carry_out(planned, folder, passed, on_event, calm)
    source = picked_from(compared)
    picks = picked(planned, done.results, source, shown.pickers, folder / RUN, on_event, say, calm)
    critics = shown.critics
    told = criticised(planned, done.results, critics, folder, on_event, say, calm) if critics else None
    control = None if shown.control is None else controlled(planned, shown.control, folder, on_event, say, calm)
    told_by = spoken(planned, shown.speakers, folder, on_event, say, calm)
    chains = chains_of(done.results, FLOW, folder) if FLOW in compared else None
    done = _with_all_calls(done, folder)
    material = Material(
        results=done.results,
        tables=write_all(done, folder),
        compared=compared,
        picks=picks,
        picked_from=source,
        oracles=frozenset(picker.name for picker in shown.pickers if picker.related),
        left_out=(*compared.left_out, *_left_out(compared, shown, told, chains)),
        criticised=told,
        chains=chains,
        dataset=shown.dataset,
        control=control,
        spoken=told_by,
        beside=shown.models,
    )
    return Made(done, tuple(write(material, folder)), material.left_out)


def _left_out(compared: Lineup, shown: Beside, told: Criticised | None, chains: Chains | None) -> Iterator[str]:
    """Yield why figures that show pictures or data are not there."""
    if shown.dataset is None:
        yield "Figure 1 is left out: no data set was named; --genref DIR shows one."
    if told is None and Part.REFLECTIONS not in compared.without:
        yield "Figure 2 is left out: it needs a corrector and a reflector."
    elif told is not None and not told.drafts:
        yield "Figure 2 is left out: the judge refuses none of the first drafts."
    if shown.control is None:
        yield "The control without condition is left out: no generator was named; --control STACK.toml names one."
    if not shown.speakers and chains is not None and Part.CHOICES not in compared.without:
        yield (
            "Reflections by others are left out: nobody was named; --told-by another-picture gives every picture what "
            "was said of another one, and a model's name has that model speak."
        )
    if chains is None:
        yield "Figure 5 is left out: it shows chains of ReflectionFlow, which the stack cannot play."
    elif not chains.shown:
        yield (
            "Figure 5 is left out: no chain leads from a draft that the judge refuses to an answer it accepts; "
            f"{chains.notes[1]}"
        )


def _with_all_calls(done: Done, folder: Path) -> Done:
    """Return the evaluation with the pickers' calls counted, which the first and every later pass then tell alike."""
    with RunDirectory.read(folder / RUN) as run:
        spent = run.journal.seconds()
    computed = {kind: count for kind, (count, _) in spent.items()}
    seconds = {kind: taken for kind, (_, taken) in spent.items()}
    return replace(done, results=replace(done.results, computed=computed), seconds=seconds)
