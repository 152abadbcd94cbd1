"""`paper.json`: every number of the paper's exhibits for people who plot themselves, and what is shown in pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from reflectionflow.evaluation.paper.chains import WORDS, Chains, Change
from reflectionflow.evaluation.paper.criticism import Example, examples
from reflectionflow.evaluation.paper.exhibit import Exhibit, Line, subject
from reflectionflow.evaluation.paper.material import Material
from reflectionflow.evaluation.paper.provenance import Provenance
from reflectionflow.evaluation.paper.reflecting import Criticised
from reflectionflow.evaluation.results import Results
from reflectionflow.evaluation.tables import Difference, plain
from reflectionflow.types import to_json

SCHEMA_VERSION = 1


def records(material: Material, shown: Sequence[Exhibit], told: Provenance) -> Any:
    """Return everything as JSON data."""
    about = material.results.about
    return {
        "schema_version": SCHEMA_VERSION,
        "version": about.version,
        "command": told.command,
        "began": told.began,
        "ended": told.ended,
        "benchmark": about.benchmark,
        "digest": about.digest,
        "stack": about.stack,
        "models": dict(about.models),
        "models_beside": {name: list(models) for name, models in told.beside.items()},
        "judge": about.judge,
        "oracle": about.oracle,
        "budgets": list(about.budgets),
        "seeds": list(about.seeds),
        "left_out": list(material.left_out),
        "tests": plain([_test(item, material) for item in material.tables.differences]),
        "exhibits": [
            {
                "id": exhibit.id,
                "title": exhibit.title,
                "notes": list(exhibit.notes),
                "ours": plain([item for line in exhibit.lines for item in _ours(exhibit, line)]),
                "paper": [item for line in exhibit.lines for item in _published(exhibit, line)],
            }
            for exhibit in shown
        ],
        "dataset": None if material.dataset is None else plain(to_json(material.dataset)),
        "reflections": None if material.criticised is None else _examples(material.criticised, material.results),
        "chains": None if material.chains is None else _chains(material.chains, material.results),
    }


def _test(item: Difference, material: Material) -> dict[str, Any]:
    """Return the tests of one method against the baseline, as `results.json` has them."""
    where = {"group": material.group, "pictures": material.results.about.budgets[-1]}
    tests = {name: getattr(item, name) for name in ("p", "p_holm", "p_exact", "better", "worse")}
    return {"method": item.method, "baseline": item.baseline, **where, **tests}


def _examples(found: Criticised, results: Results) -> list[dict[str, Any]]:
    return [_example(example, results) for example in examples(found, results.prompts)]


def _example(example: Example, results: Results) -> dict[str, Any]:
    return {
        "prompt": results.prompts[example.prompt].prompt,
        "seed": example.seed,
        "draft": example.picture,
        "told": {
            name: {
                "reflection": "" if told.reflection is None else told.reflection.text,
                "failure": None if told.reflection is None else told.reflection.failure,
                "correction": None if told.corrected is None else told.corrected.image,
                "correct": told.correct,
            }
            for name, told in example.told.items()
        },
    }


def _chains(chains: Chains, results: Results) -> dict[str, Any]:
    """Return the chains and from how many they were chosen, by (draft, answer) in the judge's words."""
    counts = {f"{WORDS[draft]}, {WORDS[answer]}": count for (draft, answer), count in chains.counts.items()}
    return {"answers": chains.answers, "corrections": counts, "shown": [_chain(item, results) for item in chains.shown]}


def _chain(change: Change, results: Results) -> dict[str, Any]:
    item = results.prompts[change.row.prompt]
    named = {"tag": item.tag, "prompt": item.prompt, "seed": change.row.seed, "search": change.row.search}
    return {**named, "pictures": list(change.pictures), "said": list(change.said)}


def _ours(exhibit: Exhibit, line: Line) -> Iterator[dict[str, Any]]:
    for column, value in zip(exhibit.columns, line.values, strict=False):
        if value is not None:
            yield {
                "line": line.name,
                "column": column.name,
                "difference": line.difference,
                "value": value.value,
                "low": value.low,
                "high": value.high,
                "prompts": column.prompts,
                column.counted: column.pairs,
            }


def _published(exhibit: Exhibit, line: Line) -> Iterator[dict[str, Any]]:
    for column, value in zip(exhibit.columns, line.published, strict=False):
        if value is not None:
            yield {"line": subject(line), "column": column.name, "value": value, "setting": line.setting}
