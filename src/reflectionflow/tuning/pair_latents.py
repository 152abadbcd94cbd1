"""Latents of all triplets, encoded once: on a CPU the autoencoder costs as much as the step it would be part of."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflectionflow.errors import MisuseError
from reflectionflow.genref.index import Entry, Index, state_of
from reflectionflow.runs.storage import write_atomically
from reflectionflow.tuning.triplets import Material, Pixels

if TYPE_CHECKING:
    import torch

CHUNK = 64
KNOWN = 1024
"""Pictures whose latents are kept at hand while others are encoded."""


@dataclass(frozen=True)
class Cached:
    """Reads a sample's latents and texts.

    Attributes:
        good: Latents of the targets, float16 [n, channels, height, width].
        bad: Latents of the conditions, and of a black one at the end, [n + 1, …].
        rows: The row of each sample, by shard and key.
        texts: Prompt, reflection and subset of each row.
        layout: What covers each latent cell of the targets, uint8 [n, 2, 16, 16], if that was asked for.
    """

    good: np.ndarray
    bad: np.ndarray
    rows: dict[tuple[str, str], int]
    texts: list[tuple[str, str, str]]
    layout: np.ndarray | None = None

    def __call__(self, entry: Entry, rng: np.random.Generator) -> Material:
        """Return the sample as float32 latents."""
        row = self.rows[str(entry.shard), entry.key]
        good, bad, black = (np.asarray(a, dtype=np.float32) for a in (self.good[row], self.bad[row], self.bad[-1]))
        seen = None if self.layout is None else np.asarray(self.layout[row])
        return Material(good, bad, black, *self.texts[row], layout=seen)


@dataclass(frozen=True)
class Looking:
    """How the layouts of targets are found: by whom, and a function from uint8 pictures to layouts."""

    identity: str
    look: Callable[[np.ndarray], np.ndarray]


def cached(
    encode: Callable[[np.ndarray], torch.Tensor], pixels: Pixels, index: Index, folder: Path, identity: str,
    report: Callable[[int, int], None], looking: Looking | None = None, keep: Path | None = None,
) -> Cached:  # fmt: skip
    """Encode every sample once, or read what an earlier run left in `folder`.

    Args:
        encode: Takes uint8 pictures [n, h, w, 3] to latents.
        pixels: How pictures are scaled and reduced.
        index: The samples.
        folder: Where latents are kept.
        identity: What the latents depend on besides the pictures: the model's name and revision, and its precision.
        report: Told (done, all) after each chunk.
        looking: How layouts of the targets are found, if they are wanted.
        keep: The folder of another program, whose latents are not replaced.

    Raises:
        MisuseError: if `folder` is to be kept and holds latents of other pictures, or a picture is not of the target's
            size, so that a crop would have to be drawn.
    """
    entries = [entry for some in index.subsets.values() for entry in some]
    key = {"identity": identity, "size": pixels.size, "reduction": pixels.reduction, "samples": len(entries),
           "shards": [state_of(shard) for shard in dict.fromkeys(entry.shard for entry in entries)]}  # fmt: skip
    if looking:
        key["layout"] = looking.identity
    mark = folder / "pairs.json"
    rows = {(str(entry.shard), entry.key): row for row, entry in enumerate(entries)}
    if mark.exists():
        known = json.loads(mark.read_text("utf-8"))
        if {name: known["key"].get(name) for name in key} == key:  # layouts that nobody asks for do no harm
            kept = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _arrays(looking)}
            return Cached(rows=rows, texts=[tuple(text) for text in known["texts"]], **kept)
        if folder == keep:
            raise MisuseError(
                f"{folder} holds latents of other triplets, or of another autoencoder; give data.shards as they were "
                "when it was made, or leave data.latents out."
            )
    folder.mkdir(parents=True, exist_ok=True)
    mark.unlink(missing_ok=True)  # first, so that it never stands beside latents of other pictures
    stored, texts = _encode(encode, pixels, entries, report, looking)
    for name, array in stored.items():
        np.save(folder / f"{name}.npy", array)
    write_atomically(mark, json.dumps({"key": key, "texts": texts}).encode())
    return Cached(rows=rows, texts=texts, **stored)


def _arrays(looking: Looking | None) -> tuple[str, ...]:
    return ("good", "bad", "layout") if looking else ("good", "bad")


def _encode(
    encode: Callable[[np.ndarray], Any], pixels: Pixels, entries: list[Entry], report: Callable[[int, int], None],
    looking: Looking | None,
) -> tuple[dict[str, np.ndarray], list[tuple[str, str, str]]]:  # fmt: skip
    rng = np.random.default_rng(0)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _arrays(looking)}
    texts: list[tuple[str, str, str]] = []

    def latents(pictures: np.ndarray) -> np.ndarray:
        found: np.ndarray = encode(pictures).float().cpu().numpy().astype(np.float16)
        return found

    encoded = Remembered(latents)
    seen = None if looking is None else Remembered(looking.look)
    for start in range(0, len(entries), CHUNK):
        found = [_read(pixels, entry, rng) for entry in entries[start : start + CHUNK]]
        if seen is not None:
            parts["layout"].append(seen([item.good for item in found]))
        for name in ("good", "bad"):
            parts[name].append(encoded([getattr(item, name) for item in found]))
        texts += [(item.prompt, item.reflection, item.subset) for item in found]
        report(len(texts), len(entries))
    parts["bad"].append(latents(found[0].black[None]))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}, texts


class Remembered:
    """A function of pictures that is asked once for each of the last pictures: samples of one scene share them."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self._function = function
        self._known: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def __call__(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Return what the function says of uint8 pictures [h, w, 3] of one size, stacked."""
        names = [sha256(repr(picture.shape).encode() + picture.tobytes()).digest() for picture in pictures]
        missing = {name: picture for name, picture in zip(names, pictures, strict=True) if name not in self._known}
        if missing:
            self._known.update(zip(missing, self._function(np.stack([*missing.values()])), strict=True))
        for name in names:
            self._known.move_to_end(name)
        answers = np.stack([self._known[name] for name in names])
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return answers


def _read(pixels: Pixels, entry: Entry, rng: np.random.Generator) -> Material:
    found = pixels(entry, rng)
    if found.whole != (pixels.size, pixels.size):
        raise MisuseError(
            f"The sample {entry.key} of {entry.shard} is not {pixels.size} pixels square; "
            "set data.cache = false, so that crops are drawn at every step."
        )
    return found
