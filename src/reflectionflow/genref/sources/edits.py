"""Editing at full size: instruction edits of real pictures, in the layout of TIGER-Lab/OmniEdit-Filtered-1.2M.

The source is the flawed picture, the edited one the enhanced, the instruction the reflection, the caption of the edited
picture the prompt. OmniEdit's rows have `src_img`, `edited_img` (structs with `bytes`), `edited_prompt_list` (spellings
of one instruction, of which the release takes the last), `task`, sizes and scores, in parquet files or as members of
WebDataset shards; captions it has none, so a teacher writes them. Rows are read one at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflectionflow.errors import MisuseError
from reflectionflow.genref.members import BAD, GOOD, REFLECTION, BrokenSampleError, expanded, find, picture, text
from reflectionflow.genref.shards import Triplet, samples
from reflectionflow.genref.teaching import PREFERS_FLAWED, Comparison, Untaught, flawed_first

if TYPE_CHECKING:
    from PIL import Image

    from reflectionflow.genref.teacher_vlm import VlmTeacher

CAPTION = ("target_caption", "edited_caption", "caption", "target_prompt", "edited_prompt", "prompt")
OF_THE_SOURCE = ("src", "source", "original", "input")
"""How members begin that tell of the picture before the edit."""
NO_CAPTION = "the edited picture has no caption"
ROWS = 16
"""Rows of a parquet file that are held at a time."""
CHUNK = 32


@dataclass(frozen=True)
class View:
    """One picture of an edit."""

    pixels: Image.Image

    def image(self) -> Image.Image:
        """Return its pixels, RGB."""
        return self.pixels


@dataclass(frozen=True)
class Edit:
    """One row.

    Attributes:
        flawed: The picture before the edit.
        enhanced: The picture after it.
        instruction: What was edited.
        caption: What the edited picture shows, or none.
        about: Where it comes from, its scores and its kind of edit. JSON-safe.
    """

    flawed: View
    enhanced: View
    instruction: str
    caption: str | None
    about: Mapping[str, Any]


def files_of(data: Path) -> tuple[Path, ...]:
    """Return the parquet files and shards of a folder in their order, or the one file given.

    Raises:
        MisuseError: if there are none.
    """
    found = [data] if data.is_file() else sorted((*data.rglob("*.parquet"), *data.rglob("*.tar")))
    if not found:
        raise MisuseError(
            f"{data} holds no parquet files and no shards (*.tar); "
            "`hf download TIGER-Lab/OmniEdit-Filtered-1.2M --repo-type dataset --local-dir DIR` fetches some"
        )
    return tuple(found)


def sizes_of(data: Path) -> dict[str, Any]:
    """Return how many files there are, their bytes, and a digest of their names and sizes; JSON-safe.

    Names are those inside the folder, so that it may be moved. A file that cannot be read counts without a size.

    Raises:
        MisuseError: if there are no files.
    """
    root = data.parent if data.is_file() else data
    sizes = [
        (file.relative_to(root).as_posix(), file.stat().st_size if file.is_file() else 0) for file in files_of(data)
    ]
    digest = hashlib.sha256(json.dumps(sizes).encode()).hexdigest()
    return {"number": len(sizes), "bytes": sum(size for _, size in sizes), "digest": digest}


def rows(files: Sequence[Path], skipped: Counter[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, members by name) of every row; a file that cannot be read ends early and is counted."""
    for file in files:
        found = samples(file, skipped) if file.suffix == ".tar" else _parquet_rows(file, skipped)
        for key, members in found:
            yield f"{file.name}:{key}", members


def _parquet_rows(file: Path, skipped: Counter[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MisuseError(
            'reading parquet files needs pyarrow; install it with `pip install "reflectionflow[train]"`'
        ) from error
    number = 0
    try:
        with ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=ROWS):
                for row in batch.to_pylist():
                    yield str(number), _members(row)
                    number += 1
    except (pyarrow.ArrowException, OSError) as error:
        skipped[f"{file.name} cannot be read: {type(error).__name__}"] += 1


def _members(row: Mapping[str, Any]) -> dict[str, bytes]:
    """Return a row as a sample's members: pictures and texts as they are, the rest as JSON."""
    found = {}
    for name, value in row.items():
        if isinstance(value, Mapping) and "bytes" in value:
            found[name] = value["bytes"] or b""
        elif isinstance(value, bytes):
            found[name] = value
        elif isinstance(value, str):
            found[f"{name}.txt"] = value.encode()
        elif value is not None:
            found[f"{name}.json"] = json.dumps(value, default=str).encode()
    return found


def edit_of(key: str, members: Mapping[str, bytes], changed: Counter[str]) -> Edit:
    """Return a row.

    Raises:
        BrokenSampleError: if a picture or the instruction is missing or cannot be decoded.
    """
    members = expanded(members)
    enhanced, flawed = (picture(members, names, changed) for names in (GOOD, BAD))
    if flawed.size != enhanced.size:
        changed["the flawed picture was resized to the enhanced one"] += 1
        flawed = flawed.resize(enhanced.size)
    told = {name: data for name, data in members.items() if not name.lower().startswith(OF_THE_SOURCE)}
    caption = text(told, CAPTION) if find(told, CAPTION) else None
    about = {"row": key, **_notes(members)}
    return Edit(View(flawed), View(enhanced), text(members, REFLECTION), caption, about)


def _notes(members: Mapping[str, bytes]) -> dict[str, str]:
    """Return a row's id, kind of edit and scores, where it has them."""
    told = {name.rsplit(".", 1)[0]: data for name, data in members.items()}
    wanted = [name for name in told if name.endswith(("_id", "task")) or "score" in name]
    return {name: told[name].decode("utf-8", "replace").strip() for name in sorted(wanted)}


def edits(data: Path, skipped: Counter[str], changed: Counter[str]) -> Iterator[Edit]:
    """Yield the rows of a folder; broken ones are left out and counted by reason.

    Raises:
        MisuseError: if there are no files, or none can be read for want of a package.
    """
    for key, members in rows(files_of(data), skipped):
        try:
            yield edit_of(key, members, changed)
        except BrokenSampleError as error:
            skipped[str(error)] += 1


def triplets(
    found: Iterable[Edit], wanted: int, seed: int, teacher: VlmTeacher | None, drops: Counter[str]
) -> Iterator[Triplet]:
    """Yield at most `wanted` samples; with a teacher, those whose edited picture it prefers, with its thoughts.

    Args:
        found: Rows in their order.
        wanted: How many samples.
        seed: Of the order in which the teacher sees two pictures.
        teacher: Writes missing captions and GenRef-CoT; without one, rows without a caption are dropped.
        drops: Counts what is left out, by reason.

    Raises:
        ModelError: if the teacher's endpoint refuses for good.
    """
    remaining, made, seen = iter(found), 0, 0
    while made < wanted:
        chunk = list(islice(remaining, min(wanted - made, teacher.most if teacher else CHUNK)))
        if not chunk:
            return
        swaps = [bool(np.random.default_rng([seed, seen + place, 12]).integers(2)) for place in range(len(chunk))]
        seen += len(chunk)
        captioned = list(zip(_captions(chunk, teacher), chunk, swaps, strict=True))
        kept = [(caption, edit, swapped) for caption, edit, swapped in captioned if isinstance(caption, str)]
        drops.update(caption.reason for caption, _, _ in captioned if isinstance(caption, Untaught))
        for triplet in _taught(kept, teacher, drops):
            yield Triplet(f"editing-{made:06}", *triplet)
            made += 1


def _captions(chunk: Sequence[Edit], teacher: VlmTeacher | None) -> list[str | Untaught]:
    if teacher is None:
        return [Untaught(NO_CAPTION) if edit.caption is None else edit.caption for edit in chunk]
    bare = [edit for edit in chunk if edit.caption is None]
    written = iter(teacher.captions([edit.enhanced.pixels for edit in bare]))
    return [next(written) if edit.caption is None else edit.caption for edit in chunk]


Parts = tuple["Image.Image", "Image.Image", str, str, str, Mapping[str, Any]]
"""A triplet without its key."""


def _taught(
    chunk: Sequence[tuple[str, Edit, bool]], teacher: VlmTeacher | None, drops: Counter[str]
) -> Iterator[Parts]:
    if teacher is None:
        for caption, edit, _ in chunk:
            yield _parts(caption, edit, None)
        return
    asked = [
        Comparison(caption, *((edit.enhanced, edit.flawed) if swapped else (edit.flawed, edit.enhanced)))
        for caption, edit, swapped in chunk
    ]
    for (caption, edit, swapped), item, thought in zip(chunk, asked, teacher.compare(asked), strict=True):
        if isinstance(thought, Untaught):
            drops[thought.reason] += 1
            continue
        told = flawed_first(teacher, item, swapped, thought)
        if told is None:
            drops[PREFERS_FLAWED] += 1
            continue
        cot = {"differences": told.differences, "edits": told.edits, "teacher": teacher.name, "swapped": swapped}
        yield _parts(caption, edit, cot)


def _parts(caption: str, edit: Edit, cot: Mapping[str, Any] | None) -> Parts:
    about = {**edit.about, "edits": [edit.instruction], "cot": cot, "recaptioned": edit.caption is None}
    return edit.enhanced.pixels, edit.flawed.pixels, edit.instruction, caption, "editing", about
