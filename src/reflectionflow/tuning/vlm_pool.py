"""Generated pictures with what detector A sees in them, labelled once and kept in a compact file.

They come from run directories, from the folder of a GenRef build (its runs), or from GenRef shards. A picture's own
prompt decides whether training sees it: every tenth prompt, by its hash, is kept for validation.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from reflectionflow.errors import MisuseError
from reflectionflow.geneval import Detection, Options, decide
from reflectionflow.genref.graph import LEAST, graph_of
from reflectionflow.genref.pool import SIDE, Found
from reflectionflow.genref.shards import read_triplets, shards_of
from reflectionflow.models.detector import OracleOptions, OracleVerifier
from reflectionflow.runs import RunDirectory
from reflectionflow.runs.storage import write_atomically
from reflectionflow.scenes.prompts import parse
from reflectionflow.scenes.world import CANVAS
from reflectionflow.tuning.vlm_items import SURE, Known
from reflectionflow.types import canonical_json

CHUNK = 32
HELD_OUT = 10
"""One prompt in this many is kept for validation."""
DOUBTED = 0.24
"""Confidence from which a detection may be an object; the graph holds those of 0.3 and more."""
COUNTED = Options(counting_threshold=LEAST)
"""How labels count: what the graph of a picture shows. GenEval counts detections of 0.9 and more; of generated pictures
detector A is seldom that sure: of 43 counts labelled by a viewer it refused 12 that he called right (docs/log.md)."""


@dataclass(frozen=True)
class Painted:
    """Where one generated picture's pixels are, the prompt it was painted for, and a hash that tells it from others."""

    prompt: str
    digest: str
    read: Callable[[], Image.Image]


@dataclass(frozen=True)
class Labelled:
    """Labelled pictures.

    Attributes:
        pictures: uint8 [n, 128, 128, 3], on disk.
        prompts: What each was painted for.
        found: What detector A sees in each.
    """

    pictures: np.ndarray
    prompts: tuple[str, ...]
    found: tuple[Found, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def known(self, number: int) -> Known:
        """Return one picture with what it shows."""
        found, metadata = self.found[number], parse(self.prompts[number])
        scores = [item.score for items in found.values() for item in items]
        passed = None if metadata is None else decide(metadata, found, options=COUNTED).correct
        image = Image.fromarray(np.asarray(self.pictures[number]))
        doubts = any(DOUBTED <= score < SURE for score in scores)
        return Known(image, graph_of(found, SIDE), metadata, passed, not doubts)

    def numbers(self, held_out: bool) -> list[int]:
        """Return which pictures training sees, or which validation does."""
        return [number for number, prompt in enumerate(self.prompts) if is_held_out(prompt) is held_out]


def is_held_out(prompt: str) -> bool:
    """Return whether pictures of a prompt are for validation."""
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % HELD_OUT == 0


def painted_in(folder: Path) -> list[Painted]:
    """Return the pictures below a folder: those of a run, of all runs of a GenRef build, or of shards.

    Raises:
        MisuseError: if there are none.
    """
    if (folder / "run.json").is_file():
        found = _of_runs([folder])
    elif (folder / "runs").is_dir():
        found = _of_runs(sorted(path.parent for path in (folder / "runs").glob("*/run.json")))
    else:
        found = _of_shards(shards_of(folder))
    if not found:
        raise MisuseError(f"{folder} holds no pictures; name a run, the folder of a GenRef build, or of shards.")
    return found


def _of_runs(folders: Sequence[Path]) -> list[Painted]:
    found: dict[tuple[str, str], Painted] = {}
    for folder in folders:
        with RunDirectory.read(folder) as run:
            for stored in run.results():
                for step in stored.result.steps:
                    if step.candidate is not None:
                        path, prompt = run.image_path(step.candidate.image), stored.result.prompt
                        found[step.candidate.image, prompt] = Painted(prompt, step.candidate.image, _Reader(path))
    return list(found.values())


@dataclass(frozen=True)
class _Reader:
    path: Path

    def __call__(self) -> Image.Image:
        with Image.open(self.path) as picture:
            return picture.convert("RGB")


def _of_shards(paths: Sequence[Path]) -> list[Painted]:
    found = []
    for triplet in read_triplets(paths, Counter()):
        if triplet.subset != "editing":
            found += [
                Painted(triplet.prompt, hashlib.sha256(image.tobytes()).hexdigest(), image.copy)
                for image in (triplet.bad, triplet.good)
            ]
    return found


def labelled(folders: Sequence[str], keep: Path, report: Callable[[int, int], None]) -> Labelled:
    """Return all pictures of the folders with what detector A sees; labelled batch by batch at the first call.

    Args:
        folders: Where pictures are, as `painted_in` takes them.
        keep: Folder of the labelled file; the same pictures are not labelled again.
        report: Told (done, count) after each batch.

    Raises:
        MisuseError: if a folder holds no pictures.
    """
    pictures = [item for folder in folders for item in painted_in(Path(folder))]
    detector = OracleVerifier(OracleOptions())
    prompts = tuple(item.prompt for item in pictures)
    told = canonical_json([(item.prompt, item.digest) for item in pictures])
    key = {"pictures": hashlib.sha256(told.encode()).hexdigest(), "detector": detector.name}
    mark, file, shape = keep / "labelled.json", keep / "labelled.u8", (len(pictures), CANVAS, CANVAS, 3)
    known = json.loads(mark.read_text("utf-8")) if mark.exists() and file.exists() else {}
    if known.get("key") != key:
        keep.mkdir(parents=True, exist_ok=True)
        mark.unlink(missing_ok=True)
        store = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
        rows = list(_label(pictures, store, detector, report))
        store.flush()
        known = {"key": key, "found": rows}
        write_atomically(mark, json.dumps(known).encode())
    found = tuple(_read(row) for row in known["found"])
    return Labelled(np.memmap(file, dtype=np.uint8, mode="r", shape=shape), prompts, found)


def _label(
    pictures: Sequence[Painted], store: np.ndarray, detector: OracleVerifier, report: Callable[[int, int], None]
) -> Iterator[dict[str, list[list[object]]]]:
    """Copy the pictures into the store; yield what is seen in each, JSON-safe."""
    for start in range(0, len(pictures), CHUNK):
        images = [item.read().resize((CANVAS, CANVAS)) for item in pictures[start : start + CHUNK]]
        store[start : start + len(images)] = np.stack([np.asarray(image) for image in images])
        for seen in detector.detections(images):
            yield {name: [[*item.box, item.score, item.colour] for item in items] for name, items in seen.items()}
        report(start + len(images), len(pictures))


def _read(row: dict[str, list[list[object]]]) -> Found:
    """Return detections as they were written."""
    found: Found = {}
    for name, items in row.items():
        for x1, y1, x2, y2, score, color in items:
            box = (float(str(x1)), float(str(y1)), float(str(x2)), float(str(y2)))
            found.setdefault(name, []).append(Detection(box, float(str(score)), None if color is None else str(color)))
    return found
