"""What an evaluation's directory holds beyond what is asked for now: the report and results will leave it out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reflectionflow.evaluation.planning import Plan
from reflectionflow.evaluation.running import RUN
from reflectionflow.runs import RunDirectory


def held_more(planned: Plan, folder: Path) -> str:
    """Return what a directory was last asked for and is not now, as a sentence; nothing where that is nothing.

    To be asked before the evaluation is carried out, because the run then takes the new request down.

    Args:
        planned: What is asked for now.
        folder: The evaluation's directory, which need not be there.

    Raises:
        RunMismatchError: if the run in it is that of another version.
        StorageError: if its record cannot be read.
    """
    if not all((folder / RUN / name).is_file() for name in ("run.json", "journal.sqlite")):
        return ""
    with RunDirectory.read(folder / RUN) as run:
        before = run.spec.resolved.get("budget")
    if not isinstance(before, Mapping):
        return ""
    more = list(_more(before, planned.resolved["budget"]))
    if not more:
        return ""
    return (
        f"{folder} holds more than was asked for now: {', '.join(more)}; report and results leave that out, and the "
        "command that asks for all of it brings it back and paints nothing anew."
    )


def _more(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was asked for before and is not now."""
    for name in ("prompts", "images"):
        if before[name] > now[name]:
            yield f"{before[name]} {'pictures a prompt' if name == 'images' else name} (now {now[name]})"
    seeds = [seed for seed in _seeds(before) if seed not in _seeds(now)]
    if seeds:
        yield f"{'seeds' if len(seeds) > 1 else 'seed'} {_listed(seeds)}"
    known = [method["name"] for method in now["methods"]]
    methods = [method["name"] for method in before["methods"] if method["name"] not in known]
    if methods:
        yield f"{'methods' if len(methods) > 1 else 'method'} {' and '.join(methods)}"


def _seeds(budget: Mapping[str, Any]) -> range:
    first, count = budget["seeds"]
    return range(first, first + count)


def _listed(seeds: list[int]) -> str:
    """Return seeds in words: the first and the last where they are many in a row."""
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    return " and ".join(map(str, seeds)) if len(seeds) < 3 else ", ".join(map(str, seeds))
