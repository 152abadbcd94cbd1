"""What a corrector is shown at a step: triplets of the mixture, cropped alike, with the published drops."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import numpy as np
from PIL import Image
from pydantic import BeforeValidator, Field

from reflectionflow.errors import MisuseError
from reflectionflow.genref.index import Entry, Index, index_of, readable
from reflectionflow.genref.members import BrokenSampleError
from reflectionflow.genref.shards import Triplet, shards_of
from reflectionflow.prompts.correction import fitted
from reflectionflow.tuning.config import Section
from reflectionflow.tuning.reports import READ, Reports

if TYPE_CHECKING:
    import torch

SHORTEST = 5
"""Reflections of fewer characters are dropped, as in the release."""
PUBLISHED = {
    "general": (0.1, 0.3),
    "length": (0.1, 0.3),
    "rule": (0.1, 0.4),
    "editing": (0.7, 0.0),
}
PATIENCE = 30
"""Draws for a short text before one is cut, and for a sample that can be read."""
LENGTHS = 17
"""Seed of the lengths."""


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class TripletSection(Section):
    """Which triplets are seen, and what is dropped of them (ReflectionFlow, appendix; release `train_flux`)."""

    shards: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(
        min_length=1, description="A folder of GenRef shards, or several that are read as one."
    )
    size: int = Field(gt=0, multiple_of=32, description="Width and height of the target in pixels.")
    paddings: tuple[int, ...] = Field(
        default=(512,),
        min_length=1,
        description="Lengths, ascending: T5's tokens are padded to the shortest that holds a batch; reflections longer "
        "than all lose their last edits.",
    )
    short: float = Field(
        default=0.6, ge=0, le=1,
        description="Share of the batches whose texts all fit the shortest padding; others hold any.",
    )  # fmt: skip
    cache: bool = Field(
        default=False, description="Encode every picture once, before training; for pictures of the target's size."
    )
    latents: str | None = Field(
        default=None, description="Folder of the encoded pictures, which stages can share; none: that of run.state."
    )
    mixture: dict[str, tuple[float, float]] = Field(
        default=PUBLISHED, description="Weight of each subset at the first step and from the end of the warm-up on."
    )
    warmup: int = Field(default=5000, ge=0, description="Steps over which the mixture changes, linearly.")
    drop_text: float = Field(default=0.1, ge=0, lt=1, description="Share of items without a text for T5.")
    drop_image: float = Field(default=0.1, ge=0, lt=1, description="Share with a black condition and no reflection.")
    drop_reflection: float = Field(default=0.1, ge=0, lt=1, description="Share without a reflection.")
    unchanged: float = Field(
        default=0.0, ge=0, lt=1,
        description="Share whose flawed picture is the target itself, beside another sample's prompt and without a "
        "reflection: then everything stays.",
    )  # fmt: skip
    verbs: dict[str, Annotated[float, Field(ge=0.1, le=10)]] = Field(
        default={},
        description="How often samples are drawn whose reflection begins with a word, such as add or change, beside 1 "
        "for all others: for what is learned more slowly than the rest.",
    )
    keep_out: int = Field(default=0, ge=0, description="Last samples of each subset that only validation sees.")


def mixture(section: TripletSection, step: int) -> dict[str, float]:
    """Return the weights of the subsets at a step: a pure function of it, whatever the number of processes."""
    done = 1.0 if section.warmup == 0 else min(1.0, step / section.warmup)
    weights = {name: first + (last - first) * done for name, (first, last) in section.mixture.items()}
    total = sum(weights.values()) or 1.0
    return {name: weight / total for name, weight in weights.items()}


def seen(section: TripletSection, index: Index) -> dict[str, tuple[Entry, ...]]:
    """Return the samples that training sees, of the subsets that have more than validation sees."""
    held = section.keep_out
    return {name: entries[: len(entries) - held] for name, entries in index.subsets.items() if len(entries) > held}


def drawn(section: TripletSection, index: Index, steps: int) -> str:
    """Return which subsets are drawn how often, and which are left out and why.

    Raises:
        MisuseError: if nothing can be drawn at some step.
    """
    there = seen(section, index)
    shares = []
    for step in (0, steps - 1):
        weights = {name: weight for name, weight in mixture(section, step).items() if name in there}
        if sum(weights.values()) <= 0:
            raise MisuseError(
                f"data.mixture draws nothing that is there at step {step}: it gives no weight to "
                f"{', '.join(there) or 'any subset of more than data.keep_out samples'}; change it."
            )
        shares.append({name: weight / sum(weights.values()) for name, weight in weights.items()})
    first, last = shares
    often = [f"{name} {_percent(first[name], last[name])}" for name in first if first[name] or last[name]]
    absent = [f"{name} (no samples)" for name in section.mixture if name not in index.subsets]
    kept = [f"{name} (no more than the {section.keep_out} that validation sees)"
            for name in index.subsets if name not in there]  # fmt: skip
    unwanted = [f"{name} (no weight in data.mixture)" for name in there if not first.get(name) and not last.get(name)]
    left = absent + kept + unwanted
    return f"Drawn: {', '.join(often)}." + (f" Not drawn: {', '.join(left)}." if left else "")


def check_readable(section: TripletSection, index: Index, steps: int) -> None:
    """Refuse subsets that are drawn and of which nothing can be read, such as shards in a layout that nobody knows.

    A few samples from all over each are tried, until one can be read: single broken ones are drawn again in training.

    Raises:
        MisuseError: with the last reason for each of these subsets.
    """
    weights = [mixture(section, step) for step in (0, steps - 1)]
    reasons = []
    for name, entries in seen(section, index).items():
        asked = any(some.get(name) for some in weights)
        if asked and (reason := _unreadable(entries[:: math.ceil(len(entries) / PATIENCE)])):
            reasons.append(f"{name} (the last that was tried, {reason})")
    if reasons:
        raise MisuseError(f"No sample of {' or '.join(reasons)} can be read; {_advice(section)}")


def _unreadable(entries: Sequence[Entry]) -> str:
    """Return the last of some samples and what is wrong with it; nothing if one of them can be read."""
    reason = ""
    for entry in entries:
        try:
            entry.read()
        except BrokenSampleError as error:
            reason = f"{entry.key} of {entry.shard}: {error}"
        else:
            return ""
    return reason


def _advice(section: TripletSection) -> str:
    return f"`reflectionflow genref check` tells what is wrong with {', '.join(section.shards)}."


def _percent(first: float, last: float) -> str:
    before, after = f"{100 * first:.0f} %", f"{100 * last:.0f} %"
    return before if before == after else f"{before} at first and {after} in the end"


@dataclass(frozen=True)
class Shown:
    """One item: the target, the condition, both texts, the target's layout where it is known, whether it is `blind`,
    with a black condition.
    """

    good: np.ndarray
    bad: np.ndarray
    prompt: str
    text: str
    layout: np.ndarray | None = None
    blind: bool = False


def same_crop(triplet: Triplet, size: int, reduction: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return target and condition of a triplet: the shorter edge scaled to `size`, one random crop for both.

    Returns:
        uint8 arrays [size, size, 3] and [size / reduction, size / reduction, 3].
    """
    width, height = triplet.good.size
    scale = size / min(width, height)
    scaled = (max(size, round(width * scale)), max(size, round(height * scale)))
    x = int(rng.integers(0, scaled[0] - size + 1))
    y = int(rng.integers(0, scaled[1] - size + 1))
    good, bad = (
        image if image.size == scaled else image.resize(scaled, Image.Resampling.LANCZOS)
        for image in (triplet.good, triplet.bad)
    )
    box = (x, y, x + size, y + size)
    small = size // reduction
    return np.asarray(good.crop(box)), np.asarray(bad.crop(box).resize((small, small), Image.Resampling.LANCZOS))


class Source(Protocol):
    """Where the pictures of a sample come from: pixels, cropped alike, or latents made before."""

    def __call__(self, entry: Entry, rng: np.random.Generator) -> Material:
        """Return target and condition, a black condition, and texts."""


@dataclass(frozen=True)
class Material:
    """A sample before drops.

    Attributes:
        good: The target: uint8 pixels or float latents.
        bad: The condition.
        black: A condition without anything to see.
        prompt: What both were painted for.
        reflection: What leads from the condition to the target.
        subset: rule, general, length or editing.
        whole: Width and height of the target's picture before it was scaled and cropped.
        layout: What covers each latent cell of the target, where that is known.
    """

    good: np.ndarray
    bad: np.ndarray
    black: np.ndarray
    prompt: str
    reflection: str
    subset: str
    whole: tuple[int, int] = (0, 0)
    layout: np.ndarray | None = None


@dataclass(frozen=True)
class Pixels:
    """Reads a sample's pictures, scaled and cropped to `size`, the condition reduced."""

    size: int
    reduction: int

    def __call__(self, entry: Entry, rng: np.random.Generator) -> Material:
        """Return the sample as uint8 [size, size, 3] and [size / reduction, size / reduction, 3]."""
        triplet = entry.read()
        good, bad = same_crop(triplet, self.size, self.reduction, rng)
        texts = (triplet.prompt, triplet.reflection, triplet.subset)
        return Material(good, bad, np.zeros_like(bad), *texts, whole=triplet.good.size)


@dataclass(frozen=True)
class Unsaid:
    """Leaves out the reflections: a sample is its target and its prompt."""

    source: Source

    def __call__(self, entry: Entry, rng: np.random.Generator) -> Material:
        """Return the sample without a reflection."""
        return replace(self.source(entry, rng), reflection="")


class TripletData:
    """The triplets of each step."""

    def __init__(
        self, section: TripletSection, index: Index, words: tuple[Any, Any], seed: int, source: Source
    ) -> None:
        self._section, self._seed, self._source = section, seed, source
        self._clip, self._t5 = words
        held = section.keep_out
        self._seen = seen(section, index)
        self.held_out = {n: e[max(0, len(e) - held) :] for n, e in index.subsets.items() if held}

    def subset(self, step: int, rng: np.random.Generator) -> str:
        """Draw a subset by the mixture, among those that are there; `drawn` says whether there is one."""
        weights = {name: weight for name, weight in mixture(self._section, step).items() if name in self._seen}
        names, values = list(weights), np.asarray(list(weights.values()))
        return names[int(rng.choice(len(names), p=values / values.sum()))]

    def batch(self, step: int, rng: np.random.Generator, share: int) -> dict[str, torch.Tensor]:
        """Return what `collate` does, how many edits were "cut" off, and how many draws were "unreadable".

        Processes draw the same length at a step: all would wait for one whose texts are long.
        """
        paddings = self._section.paddings
        short = np.random.default_rng([LENGTHS, step]).random() < self._section.short
        padding = paddings[0] if short else paddings[-1]
        counts = Counter({"cut": 0, "unreadable": 0})
        items = [self._fitting(self.subset(step, rng), padding, rng, counts) for _ in range(share)]
        longest = max(len(self._t5(item.text).input_ids) for item in items)
        holds = next((size for size in paddings if size >= longest), padding)
        return self.collate(items, holds) | {name: _tensor(count) for name, count in counts.items()}

    def _fitting(self, subset: str, padding: int, rng: np.random.Generator, counts: Counter[str]) -> Shown:
        """Draw items of a subset until the text of one fits the padding, or patience ends and it loses edits."""
        entries = self._seen[subset]
        for _ in range(PATIENCE):
            item, lost = self._readable(entries, padding, rng, counts)
            if not lost or padding == self._section.paddings[-1]:
                break
        counts["cut"] += lost
        return item

    def _readable(
        self, entries: Sequence[Entry], padding: int, rng: np.random.Generator, counts: Counter[str]
    ) -> tuple[Shown, int]:
        """Draw an item; in place of a sample that cannot be read another one.

        Raises:
            MisuseError: if none of many can be read.
        """
        reason = ""
        for _ in range(PATIENCE):
            try:
                return self.item(self._drawn(entries, rng), rng, padding)
            except BrokenSampleError as error:
                counts["unreadable"] += 1
                reason = str(error)
        raise MisuseError(
            f"{PATIENCE} samples one after the other cannot be read (the last one: {reason}); {_advice(self._section)}"
        )

    def _drawn(self, entries: Sequence[Entry], rng: np.random.Generator) -> Entry:
        """Draw an entry, those whose reflection begins with a weighted word as often as is asked."""
        verbs = {verb.lower(): weight for verb, weight in self._section.verbs.items()}
        most = max([1.0, *verbs.values()])
        while True:
            entry = entries[int(rng.integers(len(entries)))]
            if not verbs:
                return entry
            verb = self._source(entry, rng).reflection.strip().split(" ", 1)[0].lower()
            if rng.random() < verbs.get(verb, 1.0) / most:
                return entry

    def item(self, entry: Entry, rng: np.random.Generator, padding: int) -> tuple[Shown, int]:
        """Return a triplet as it is shown, with drops drawn, and how many edits did not fit."""
        section, found = self._section, self._source(entry, rng)
        if section.unchanged and rng.random() < section.unchanged:
            entries = self._seen[self.subset(0, rng)]
            other = self._source(entries[int(rng.integers(len(entries)))], rng)
            found = replace(found, bad=found.good, prompt=other.prompt, reflection="")
        no_image = found.subset != "editing" and rng.random() < section.drop_image
        no_reflection = rng.random() < section.drop_reflection or len(found.reflection) < SHORTEST or no_image
        text, lost = fitted(self._t5, found.prompt, "" if no_reflection else found.reflection, padding)
        if rng.random() < section.drop_text:
            text = ""
        bad = found.black if no_image else found.bad
        return Shown(found.good, bad, found.prompt, text, found.layout, no_image), lost

    def collate(self, items: list[Shown], padding: int) -> dict[str, torch.Tensor]:
        """Return items as tensors, texts padded to `padding` tokens; "layout" only if all items have one."""
        shared = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        clip = self._clip([item.prompt for item in items], max_length=min(77, padding), **shared)
        t5 = self._t5([item.text for item in items], max_length=padding, **shared)
        layouts = [item.layout for item in items if item.layout is not None]
        known = {"layout": _tensor(np.stack(layouts))} if len(layouts) == len(items) else {}
        return known | {
            "good": _tensor(np.stack([item.good for item in items])),
            "bad": _tensor(np.stack([item.bad for item in items])),
            "blind": _tensor(np.asarray([item.blind for item in items])),
            "clip": clip.input_ids,
            "t5": t5.input_ids,
        }


def _tensor(value: Any) -> torch.Tensor:
    import torch

    return torch.as_tensor(value)


def all_triplets(folders: Sequence[str], told: Reports) -> Index:
    """Return the samples of data sets by the headers of their shards alone; some may turn out to be broken.

    Decoding a million pairs takes hours, reading their headers minutes.

    Raises:
        MisuseError: if there is none.
    """
    return index_of([shard for folder in folders for shard in shards_of(Path(folder))], told.counted(READ))


def intact(entries: Sequence[Entry], count: int) -> list[Entry]:
    """Return the first of some samples that can be read, at most `count`."""
    found: list[Entry] = []
    for entry in entries:
        if len(found) == count:
            break
        try:
            entry.read()
        except BrokenSampleError:
            continue
        found.append(entry)
    return found


def readable_triplets(folders: Sequence[str], state: Path, told: Reports) -> Index:
    """Return the samples of data sets that can be read, and say what is left out.

    Args:
        folders: Of shards, or single ones.
        state: Where it is remembered what cannot be read.
        told: Who is told how many shards are read, and what is left out.

    Raises:
        MisuseError: if there is none.
    """
    broken: Counter[str] = Counter()
    paths = [shard for folder in folders for shard in shards_of(Path(folder))]
    index = readable(paths, broken, state / "unreadable.json", told.counted(READ))
    if broken:
        told.say(broken_sentence(broken))
    if not len(index):
        raise MisuseError(f"No sample of {', '.join(folders)} can be read; build or fetch it again.")
    return index


def broken_sentence(broken: Counter[str]) -> str:
    """Return what is left out of the training data, as one sentence."""
    return "Left out: " + "; ".join(f"{count} samples, {reason}" for reason, count in sorted(broken.items())) + "."
