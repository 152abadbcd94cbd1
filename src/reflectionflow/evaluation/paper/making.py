"""Make the paper's tables and figures: one evaluation of all its methods, other verifiers' picks, three files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reflectionflow.evaluation.benchmarks import Benchmark
from reflectionflow.evaluation.pages import write_all
from reflectionflow.evaluation.paper.exhibits import Exhibit, Material
from reflectionflow.evaluation.paper.methods import FLOW, NOISE, Lineup
from reflectionflow.evaluation.paper.picking import Picker, picked
from reflectionflow.evaluation.paper.writing import write
from reflectionflow.evaluation.planning import Plan
from reflectionflow.evaluation.running import RUN, Consumer, Done, carry_out
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Patience

COMPOSITE = "composite"


@dataclass(frozen=True)
class Made:
    """What came of it: the evaluation, and what was shown of it."""

    done: Done
    exhibits: tuple[Exhibit, ...]


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


def make(
    planned: Plan,
    compared: Lineup,
    by: Sequence[Picker],
    folder: Path,
    passed: dict[str, Any],
    on_event: Consumer,
    patience: Patience | None = None,
) -> Made:
    """Evaluate what the directory does not hold yet, and write the evaluation's report and the paper's exhibits.

    Args:
        planned: The evaluation of the methods.
        compared: The methods.
        by: Verifiers that pick from the pictures of one method, besides the search's own.
        folder: The evaluation's directory; the same call continues an interrupted one.
        passed: The request as the user wrote it, for the record.
        on_event: Called with every event.
        patience: How often to try again, and how long to wait.

    Raises:
        RunMismatchError: if the directory holds another evaluation, or another process is writing it.
        ModelError: if a model failed for good.
        StorageError: if something cannot be written.
    """
    calm = patience or Patience()
    done = carry_out(planned, folder, passed, on_event, calm)
    source = picked_from(compared)
    picks = picked(planned, done.results, source, by, folder / RUN, on_event, calm)
    done = _with_all_calls(done, folder)
    tables = write_all(done, folder)
    oracles = frozenset(picker.name for picker in by if picker.related)
    material = Material(done.results, tables, compared, picks, source, oracles)
    return Made(done, tuple(write(material, folder)))


def _with_all_calls(done: Done, folder: Path) -> Done:
    """Return the evaluation with the pickers' calls counted, which the first and every later pass then tell alike."""
    with RunDirectory.read(folder / RUN) as run:
        spent = run.journal.seconds()
    computed = {kind: count for kind, (count, _) in spent.items()}
    return Done(replace(done.results, computed=computed), {kind: seconds for kind, (_, seconds) in spent.items()})
