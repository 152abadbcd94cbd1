"""Judging a folder of pictures: batches, a journal that survives a kill, the official result file at the end."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from reflectionflow.errors import ConfigError, StorageError
from reflectionflow.evaluation.geneval.journal import Journal
from reflectionflow.evaluation.geneval.judges import Judge
from reflectionflow.evaluation.geneval.layout import Picture
from reflectionflow.geneval import ResultRecord, write_records

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 8
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Broken:
    """A picture that could not be judged, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Scored:
    """What came of a folder.

    Attributes:
        records: One for each picture that could be judged, in the order given.
        broken: The others; they are in no score.
        reused: How many of the records were in the journal already.
    """

    records: tuple[ResultRecord, ...]
    broken: tuple[Broken, ...]
    reused: int


@dataclass(frozen=True)
class _Loaded:
    picture: Picture
    digest: str
    image: Image


_Step = _Loaded | ResultRecord | Broken


def score(
    pictures: Sequence[Picture],
    judge: Judge,
    results: Path,
    batch_size: int = BATCH,
    progress: Progress = lambda done, total: None,
) -> Scored:
    """Judge pictures and write the official result file; the same call continues after a kill.

    Args:
        pictures: As `read_folder` returns them.
        judge: Who decides.
        results: The file to write; its journal lies beside it. Pictures that the same judge saw with the same bytes and
            prompt are not judged again.
        batch_size: Most pictures judged at once; no more than twice as many are held in memory.
        progress: Told how many pictures are done, and how many there are.

    Raises:
        ConfigError: if prompts ask for objects that the judge cannot find; nothing is loaded then.
        MisuseError: if the result file belongs to another judge or process.
        StorageError: if the results cannot be written.
    """
    _check_classes(pictures, judge)
    records: dict[str, ResultRecord] = {}
    broken: list[Broken] = []
    reused = 0
    with Journal(results, judge.name) as journal:
        for batch in _ahead(_batches((_step(picture, judge, journal) for picture in pictures), batch_size)):
            fresh = [step for step in batch if isinstance(step, _Loaded)]
            for loaded, record in zip(fresh, _judged(fresh, judge), strict=True):
                journal.add(loaded.picture.key, loaded.digest, record)
                records[record.filename] = record
            for step in batch:
                if isinstance(step, ResultRecord):
                    records[step.filename] = step
                    reused += 1
                elif isinstance(step, Broken):
                    broken.append(step)
            progress(len(records) + len(broken), len(pictures))
        ordered = tuple(records[str(picture.path)] for picture in pictures if str(picture.path) in records)
        _write(results, ordered)
    return Scored(ordered, tuple(broken), reused)


def _check_classes(pictures: Sequence[Picture], judge: Judge) -> None:
    wanted = {clause.class_name for picture in pictures for clause in picture.metadata.include}
    wanted |= {clause.class_name for picture in pictures for clause in picture.metadata.exclude}
    strange = sorted(wanted - set(judge.classes))
    if strange:
        known = ", ".join(judge.classes)
        raise ConfigError(
            "what the prompts ask for",
            [f"no picture could show {name!r} to this judge; it knows {known}" for name in strange],
        )


def _step(picture: Picture, judge: Judge, journal: Journal) -> _Step:
    """Return a picture's record, if it has one, or the picture ready to be judged, or why it cannot be."""
    from PIL import Image as Pictures
    from PIL import ImageOps, UnidentifiedImageError

    try:
        content = picture.path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        known = journal.find(picture.key, digest, picture.metadata.line())
        if known is not None:
            return dataclasses.replace(known, filename=str(picture.path))
        with Pictures.open(io.BytesIO(content)) as found:
            image = ImageOps.exif_transpose(found).convert("RGB")
    except UnidentifiedImageError:  # its own words name the buffer, not the file
        return Broken(picture.path, "no picture in a format that can be read")
    except (OSError, SyntaxError, ValueError, Pictures.DecompressionBombError) as error:
        return Broken(picture.path, str(error) or type(error).__name__)
    if judge.size is not None and image.size != judge.size:
        width, height = judge.size
        return Broken(picture.path, f"it has {image.width} × {image.height} pixels; the judge reads {width} × {height}")
    return _Loaded(picture, digest, image)


def _judged(fresh: Sequence[_Loaded], judge: Judge) -> list[ResultRecord]:
    if not fresh:
        return []
    decisions = judge.judge([item.image for item in fresh], [item.picture.metadata for item in fresh])
    return [
        ResultRecord.of(str(item.picture.path), item.picture.metadata, decision)
        for item, decision in zip(fresh, decisions, strict=True)
    ]


def _batches(steps: Iterator[_Step], size: int) -> Iterator[list[_Step]]:
    while batch := list(islice(steps, size)):
        yield batch


def _ahead(batches: Iterator[list[_Step]]) -> Iterator[list[_Step]]:
    """Yield the batches, reading each from disk while the one before it is judged."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def _write(results: Path, records: Sequence[ResultRecord]) -> None:
    """Replace the result file in one step."""
    unfinished = results.with_name(f"{results.name}.unfinished")
    try:
        write_records(unfinished, records)
        os.replace(unfinished, results)
    except OSError as error:
        raise StorageError(f"{results} cannot be written ({error}); the same command continues.") from error
