"""Tables of the benchmark of single models, as Markdown for model cards and as JSON data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reflectionflow.evaluation.reflections import Seen, mean_change, named_faults, shares
from reflectionflow.evaluation.statistics import (
    Bootstrap,
    Estimate,
    auroc,
    best_of,
    calibration_error,
    decompose,
    pass_at,
)
from reflectionflow.geneval import Metadata
from reflectionflow.types import RefinedPrompt, Reflection
from roles_gallery import Spot
from roles_measures import ordered_pairs, requirement_lost

COMPOSITE = "composite"
SIX = "macro over GenEval's tags"
NONE = "–"
SHOWN = 8
"""Most examples of refined prompts that lose something."""
Prompts = Sequence[Metadata]


@dataclass(frozen=True)
class Table:
    """A table: its title, the head, rows of a name and cells, and what to know about it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    @property
    def text(self) -> str:
        """The table as Markdown with aligned columns."""
        cells = [list(self.head), *(list(row) for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.head))]
        lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        lines.insert(1, " | ".join("-" * width for width in widths))
        return "\n".join(
            [f"### {self.title}", "", *(f"| {line} |" for line in lines), *(["", self.note] * bool(self.note))]
        )


def number(value: float) -> str:
    """Return a share with three digits, a dash where there is none."""
    return NONE if np.isnan(value) else f"{value:z.3f}"


def shown(value: Estimate, sign: bool = False) -> str:
    """Return a number with its 95 % interval."""
    if np.isnan(value.value):
        return NONE
    form = "+z.3f" if sign else "z.3f"
    return f"{value.value:{form}} [{value.low:{form}}, {value.high:{form}}]"


def plain(value: Estimate) -> list[float | None]:
    """Return value, low and high, and trials where there are some, as JSON data; none where there is no number."""
    return [None if np.isnan(part) else round(float(part), 6) for part in vars(value).values()]


class Arrays:
    """Drafts as arrays, one per prompt, in the order of the spots.

    Attributes:
        tags: Tag of each prompt that has drafts.
        correct: Whether each of its drafts is right.
        sizes: Numbers of pictures that a pick is measured at.
    """

    def __init__(self, prompts: Prompts, drafts: Mapping[Spot, Seen]) -> None:
        self._spots: dict[int, list[Spot]] = {}
        for spot in drafts:
            self._spots.setdefault(spot[0], []).append(spot)
        self.tags = [prompts[prompt].tag for prompt in self._spots]
        self.correct = self.of({spot: seen.correct for spot, seen in drafts.items()})
        fewest = min(len(spots) for spots in self._spots.values())
        self.sizes = sorted({n for n in (1, 2, 4, 8, 16, 32, 64) if n < fewest} | {fewest})
        self.bootstrap = Bootstrap(self.tags)
        known = dict.fromkeys(self.tags)
        six = [tag for tag in known if tag != COMPOSITE]
        self.groups = ({SIX: six} if six else {}) | ({COMPOSITE: [COMPOSITE]} if COMPOSITE in known else {})

    def of(self, values: Mapping[Spot, Any]) -> list[np.ndarray]:
        """Return values of drafts, none as not a number."""
        return [
            np.array([np.nan if values[spot] is None else values[spot] for spot in spots], dtype=float)
            for spots in self._spots.values()
        ]

    def ratio(self, above: Sequence[float], below: Sequence[float]) -> Estimate:
        """Return a sum over a sum over prompts, with its interval."""
        return (self.bootstrap.pooled(above) / self.bootstrap.pooled(below)).estimate


def verifiers(
    arrays: Arrays, scores: Mapping[str, list[np.ndarray]], ensembles: frozenset[str]
) -> tuple[list[Table], dict[str, Any]]:
    """Return what verifiers are worth.

    Args:
        arrays: The drafts.
        scores: By verifier, one array per prompt; not a number where it gave none.
        ensembles: Names of those whose scores are ranks within the prompt, no more.
    """
    tags = tuple(dict.fromkeys(arrays.tags))
    order, within, promise, data = [], [], [], {}
    right = np.concatenate(arrays.correct)
    for name, told in scores.items():
        single = name not in ensembles
        by_tag = {tag: _auroc(arrays, told, tag) if single else float("nan") for tag in tags}
        pairs = np.array([ordered_pairs(*both) for both in zip(told, arrays.correct, strict=True)])
        inside = {tag: _share(pairs[[t == tag for t in arrays.tags]]) for tag in tags}
        everywhere = arrays.ratio(pairs[:, 0], pairs[:, 1])
        order.append([name, *(number(by_tag[tag]) for tag in tags)])
        within.append([name, *(number(inside[tag]) for tag in tags), shown(everywhere)])
        given = np.concatenate(told)
        known = ~np.isnan(given)
        accuracy = float(((given > 0.5) == (right > 0.5))[known].mean()) if single and known.any() else float("nan")
        error = calibration_error(given[known], right[known]) if single else float("nan")
        promise.append([name, number(accuracy), number(error), str(int((~known).sum()))])
        data[name] = {
            "auroc": {tag: _json(value) for tag, value in by_tag.items()},
            "auroc within prompts": {tag: _json(value) for tag, value in inside.items()} | {"all": plain(everywhere)},
            "accuracy": _json(accuracy), "calibration error": _json(error), "no score": int((~known).sum()),
        }  # fmt: skip
    pictures = f"{len(right)} pictures of {len(arrays.tags)} prompts, {right.mean():.3f} of them right."
    found = [
        Table("Verifiers: AUROC over all pictures of a tag", ["verifier", *tags], order,
              "Ensembles rank within prompts and say nothing across them."),
        Table("Verifiers: AUROC within prompts (pairs of a right and a wrong picture of one prompt)",
              ["verifier", *tags, "all"], within),
        Table("Verifiers: promise", ["verifier", "accuracy at .5", "calibration error", "no score"], promise,
              f"{pictures} The calibration error says something of scores that are probabilities alone."),
    ]  # fmt: skip
    for group, members in arrays.groups.items():
        table, picked = _picks(arrays, scores, group, members)
        found.append(table)
        for name, values in picked.items():
            data.setdefault(name, {})[f"pick, {group}"] = values
    return found, data


def _picks(
    arrays: Arrays, scores: Mapping[str, list[np.ndarray]], group: str, members: Sequence[str]
) -> tuple[Table, dict[str, Any]]:
    """Return the expected score of each verifier's pick from n drafts, against chance and the best there is."""
    sizes, boot = arrays.sizes, arrays.bootstrap
    possible = np.array([pass_at(one, sizes) for one in arrays.correct])
    base = np.array([one.mean() for one in arrays.correct])
    picked = {
        # What has no score is picked only when nothing has.
        name: np.array([best_of(np.nan_to_num(told, nan=-1.0), one, sizes)
                        for told, one in zip(by_prompt, arrays.correct, strict=True)])
        for name, by_prompt in scores.items()
    }  # fmt: skip
    ceiling = boot.macro(possible, members).estimates()
    rows = [["best possible", *map(shown, ceiling), NONE, NONE, NONE]]
    data: dict[str, Any] = {"best possible": {str(n): plain(e) for n, e in zip(sizes, ceiling, strict=True)}}
    first = next(iter(picked))
    for name, values in picked.items():
        estimates = boot.macro(values, members).estimates()
        efficiency = decompose(boot, base, values[:, -1], possible[:, -1], members).efficiency
        others = {f"over {first}": picked[first][:, -1], "over a random picture": base}
        over, gain = (boot.macro(values[:, -1] - other, members).estimate for other in others.values())
        told = NONE if name == first else shown(over, True)
        rows.append([name, *map(shown, estimates), shown(gain, True), shown(efficiency), told])
        data[name] = {str(n): plain(e) for n, e in zip(sizes, estimates, strict=True)}
        data[name] |= {f"over {first}": plain(over), "over a random picture": plain(gain)}
        data[name]["share of what can be gained"] = plain(efficiency)
    most = sizes[-1]
    head = [f"{most}: over a random picture", f"{most}: share of what can be gained", f"{most}: over {first}"]
    note = "Unbiased over the drafts, ties share the pick; 95 % bootstrap over prompts within tags, differences paired."
    return Table(f"Verifiers: pick, {group}", ["verifier", *(f"of {n}" for n in sizes), *head], rows, note), data


def _auroc(arrays: Arrays, told: Sequence[np.ndarray], tag: str) -> float:
    scores, right = (
        np.concatenate([one for one, other in zip(parts, arrays.tags, strict=True) if other == tag])
        for parts in (told, arrays.correct)
    )
    known = ~np.isnan(scores)
    return auroc(scores[known], right[known]) if known.any() else float("nan")


def _share(pairs: np.ndarray) -> float:
    return float(pairs[:, 0].sum() / pairs[:, 1].sum()) if pairs[:, 1].sum() else float("nan")


def _json(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)


def reflectors(
    prompts: Prompts, drafts: Mapping[Spot, Seen], told: Mapping[str, Mapping[Spot, Reflection]]
) -> tuple[list[Table], dict[str, Any]]:
    """Return how reflections compare with what judge B's own reading of each picture implies."""
    data = {name: named_faults(prompts, drafts, reflections) for name, reflections in told.items()}
    names = dict.fromkeys(name for found in data.values() for name in found)
    rows = [[name, *(shown(found[name]) if name in found else NONE for found in data.values())] for name in names]
    note = (
        "Implied edits lead from judge B's reading to the nearest picture that passes; an edit is found when verb and "
        "object agree. Failed pictures whose reading implies none (the judge half sees an object) are not compared."
    )
    table = Table("Reflectors: named faults", ["", *data], rows, note)
    return [table], {name: {key: plain(value) for key, value in found.items()} for name, found in data.items()}


def yields(
    prompts: Prompts, corrector: str, again: Mapping[Spot, Seen], corrected: Mapping[str, Mapping[Spot, Seen]]
) -> tuple[list[Table], dict[str, Any]]:
    """Return the share of failed drafts that pass after one correction; one that was not corrected does not pass.

    Args:
        prompts: The prompts.
        corrector: Its name.
        again: Another picture from new noise for each failed draft.
        corrected: By reflector, the corrections.
    """
    noise = {spot: seen.correct for spot, seen in again.items()}
    arms = {"new noise": noise} | {
        name: {spot: spot in done and done[spot].correct for spot in again} for name, done in corrected.items()
    }
    tags = tuple(dict.fromkeys(prompts[spot[0]].tag for spot in again))
    rows, data = [], {}
    for name, passed in arms.items():
        rates = shares(prompts, passed)
        gain = mean_change(prompts, {spot: passed[spot] - noise[spot] for spot in passed})
        done = len(corrected.get(name, again))
        told = NONE if name == "new noise" else shown(gain, True)
        rows.append([name, str(done), shown(rates["all"]), told, *(number(rates[tag].value) for tag in tags)])
        data[name] = {"painted": done, "beyond new noise": plain(gain)} | {tag: plain(r) for tag, r in rates.items()}
    head = ["reflector", "painted", "pass", "beyond new noise", *tags]
    note = f"{len(again)} failed drafts; corrected once by {corrector}, or not at all, which does not pass."
    return [Table("Reflectors: yield", head, rows, note)], data


def refiners(
    prompts: Prompts,
    told: Mapping[str, Mapping[Spot, RefinedPrompt]],
    again: Mapping[Spot, Seen],
    repainted: Mapping[str, Mapping[Spot, Seen]],
) -> tuple[list[Table], dict[str, Any]]:
    """Return which refined prompts keep every requirement, and what they are worth as prompts.

    Args:
        prompts: The prompts.
        told: By refiner, the refined prompts.
        again: A picture of the user's own prompt for each.
        repainted: By refiner, pictures of the refined prompts from the same noise.
    """
    tags = tuple(dict.fromkeys(prompts[spot[0]].tag for spot in again))
    rows, worth, data, examples = [], [], {}, []
    for name, refined in told.items():
        lost = {
            spot: requirement_lost(prompts[spot[0]], item.text) if item.failure is None else item.failure
            for spot, item in refined.items()
        }
        kept = shares(prompts, {spot: not why for spot, why in lost.items()})
        failed = shares(prompts, {spot: item.failure is not None for spot, item in refined.items()})["all"]
        same = shares(prompts, {spot: item.text == prompts[spot[0]].prompt for spot, item in refined.items()})["all"]
        rows.append([name, shown(kept["all"]), *(number(kept[tag].value) for tag in tags), shown(failed), shown(same)])
        cases = [
            {"prompt": prompts[spot[0]].prompt, "refined": refined[spot].text, "lost": why}
            for spot, why in lost.items()
            if why
        ]
        examples += [f"- {name}: {case['prompt']!r} → {case['refined']!r}: {case['lost']}" for case in cases[:SHOWN]]
        cells, numbers = _worth(prompts, again, repainted[name])
        worth.append([name, *cells])
        data[name] = {"no prompt": plain(failed), "unchanged": plain(same), "not kept": cases, **numbers} | {
            f"keeps, {tag}": plain(value) for tag, value in kept.items()
        }
    note = "\n".join(["Refined prompts that do not keep every requirement:", "", *examples]) if examples else ""
    head = ["refiner", "pictures", "user's prompt", "refined prompt", "difference"]
    return [
        Table("Refiners: requirements kept", ["refiner", "all", *tags, "no prompt", "unchanged"], rows, note),
        Table("Refiners: one picture passes", head, worth, "The same noise for both; bootstrap over prompts."),
    ], data


def _worth(prompts: Prompts, again: Mapping[Spot, Seen], mine: Mapping[Spot, Seen]) -> tuple[list[str], dict[str, Any]]:
    """Return how often a picture of the refined prompt passes, against one of the user's own."""
    spots = [spot for spot in mine if spot in again]
    if not spots:
        return ["0", NONE, NONE, NONE], {"pictures": 0}
    own, new = ({spot: seen[spot].correct for spot in spots} for seen in (again, mine))
    before, after = (shares(prompts, values)["all"] for values in (own, new))
    gain = mean_change(prompts, {spot: new[spot] - own[spot] for spot in spots})
    numbers = {"user's prompt": plain(before), "refined prompt": plain(after), "difference": plain(gain)}
    return [str(len(spots)), shown(before), shown(after), shown(gain, True)], {"pictures": len(spots), **numbers}
