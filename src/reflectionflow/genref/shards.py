"""GenRef on disk: tar shards in the published WebDataset layout, and a manifest written last.

A sample is `KEY.good_image.jpg`, `KEY.bad_image.jpg`, `KEY.reflection.txt`, `KEY.prompt.txt` and `KEY.subset.txt`, as
in GenRef-wds, plus `KEY.provenance.json` of ours. Pictures are JPEG of quality 95 without chroma subsampling: the usual
subsampling costs flat colours 12 dB. Shards are the same bytes for the same triplets; the standard library's tarfile
writes and reads them, because every broken sample is to be counted with its reason, which streaming readers do not say.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image

from reflectionflow.errors import MisuseError, StorageError
from reflectionflow.genref.members import (
    ANALYSIS,
    BAD,
    GOOD,
    INSTRUCTIONS,
    LEFT,
    PROMPT,
    REFLECTION,
    RIGHT,
    SUBSET,
    BrokenSampleError,
    expanded,
    find,
    is_comparison,
    picture,
    preferred,
    split_name,
    text,
)
from reflectionflow.runs.storage import TEMPORARY, write_atomically

MANIFEST = "manifest.json"
DRAFT = f"{MANIFEST}.writing"
"""What the manifest is called until all shards are there."""
SHARDS = "genref_*.tar"
TORN = "genref_*.writing"
"""Shards that were being written when a build was killed."""
DIGEST = re.compile("[0-9a-f]{64}")
RUNS = ("runs", "teacher.jsonl")
"""What a build of ours keeps beside its shards."""
LOCK = "building.lock"
PER_SHARD = 1000
QUALITY = 95
COT = "cot"
"""The subset of samples of GenRef-CoT."""


@dataclass(frozen=True)
class Triplet:
    """One sample.

    Attributes:
        key: Its name in the shard, without dots.
        good: The enhanced picture, RGB.
        bad: The flawed picture, RGB.
        reflection: What leads from the flawed to the enhanced one.
        prompt: What both were painted for.
        subset: rule, general, length or editing.
        provenance: Where it comes from: candidates, seeds, verdicts, edits, chain of thought. JSON-safe.
    """

    key: str
    good: Image.Image
    bad: Image.Image
    reflection: str
    prompt: str
    subset: str
    provenance: Mapping[str, Any]


def jpeg(image: Image.Image) -> bytes:
    """Return a picture as the shards keep it."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def _members(triplet: Triplet) -> Iterator[tuple[str, bytes]]:
    yield "good_image.jpg", jpeg(triplet.good)
    yield "bad_image.jpg", jpeg(triplet.bad)
    yield "reflection.txt", triplet.reflection.encode()
    yield "prompt.txt", triplet.prompt.encode()
    yield "subset.txt", triplet.subset.encode()
    yield "provenance.json", json.dumps(triplet.provenance, sort_keys=True).encode()


def require_own(folder: Path) -> None:
    """Refuse a folder that has content and is no build of ours: a build would replace shards, or a README.md, there.

    Raises:
        MisuseError: if it is a file, holds shards that no build wrote, or anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise MisuseError(f"{folder} is a file; a build needs a folder: choose another --out.")
    if not folder.is_dir() or (folder / DRAFT).exists():
        return
    shards = any(folder.glob(SHARDS))
    if (folder / MANIFEST).exists() and (shards or _is_manifest(_noted(folder / MANIFEST))):
        return  # a manifest beside shards may be damaged; others call files of theirs manifest.json, too
    if shards:
        raise MisuseError(f"{folder} holds shards that were not built here; choose another folder for the new ones.")
    names = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in names if name not in RUNS and not name.endswith(TEMPORARY)]
    if foreign and LOCK not in names:  # a build that lost manifest and shards goes on with its pictures and answers
        shown = ", ".join(foreign[:3]) + (" …" if len(foreign) > 3 else "")
        raise MisuseError(f"{folder} is no build and not empty (it has {shown}); choose a new or an empty folder.")


@contextmanager
def sole_builder(folder: Path) -> Iterator[None]:
    """Hold a folder for one build: two at once would replace each other's shards.

    Raises:
        MisuseError: if another process builds there.
        StorageError: if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise MisuseError(
            f"{folder} is being built by another process; wait for it, or choose another --out."
        ) from None
    except OSError as error:
        raise StorageError(f"The shards cannot be written to {folder}: {error}.") from error
    try:
        yield
    finally:
        lock.release()


CALLED = {"asked": "triplets", "files": "files of the data"}
"""What people call parts of a manifest."""


def begin(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Begin or continue a build: what it asks for is written down, and another build's data are left as they are.

    Args:
        folder: Where shards go; the caller holds it (`sole_builder`).
        asked: The `kind` of build, and everything else that decides the shards; JSON-safe.

    Returns:
        The manifest of the same build where it is finished and all its shards are whole, none where there is work left.

    Raises:
        MisuseError: if the folder holds another build, or what no build wrote.
        StorageError: if the folder cannot be written.
    """
    require_own(folder)
    wanted = json.loads(json.dumps(asked))
    finished = _noted(folder / MANIFEST)
    if differing := _differing(finished or _noted(folder / DRAFT), wanted):
        told = "; ".join(differing)
        raise MisuseError(f"{folder} holds another build ({told}); choose another --out, or remove the folder.")
    if _is_manifest(finished) and all(_is_whole(folder, shard) for shard in finished["shards"]):
        return finished
    try:
        _note(folder / DRAFT, wanted)
        (folder / MANIFEST).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"The shards cannot be written to {folder}: {error}.") from error
    return None


def _differing(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return by what a build differs from the one that a folder holds, in words; nothing where they are the same.

    A name that is not there says as much as none. Manifests of earlier versions, which name no kind of build, are
    compared by the names alone that they have. Names that one side lacks are told only where nothing else differs.
    """
    known = [name for name in wanted if name in there]
    lacking = [name for name in wanted if name not in there and "kind" in there]
    for names in (known, lacking):
        pairs = {name: _apart(there.get(name), wanted[name]) for name in names}
        if told := [_contrast(name, *pair) for name, pair in pairs.items() if pair[0] != pair[1]]:
            return told
    return []


def _apart(there: Any, wanted: Any) -> tuple[Any, Any]:
    """Return two values, of two tables what differs alone; a key that is not there says as much as none."""
    if not (isinstance(there, Mapping) and isinstance(wanted, Mapping)):
        return there, wanted
    keys = [key for key in {**there, **wanted} if there.get(key) != wanted.get(key)]
    return {key: there.get(key) for key in keys}, {key: wanted.get(key) for key in keys}


def _contrast(name: str, there: Any, wanted: Any) -> str:
    told = _counted if name == "asked" else _spelled
    return f"{CALLED.get(name, name)}: {told(there)} there, {told(wanted)} asked for"


def _counted(asked: Mapping[str, int | None]) -> str:
    return ", ".join(f"{number} of {source}" for source, number in asked.items() if number is not None) or "nothing"


def _spelled(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_spelled(item)}" for key, item in value.items()) or "nothing"
    if isinstance(value, str) and DIGEST.fullmatch(value):
        return f"{value[:12]}…"
    return "none" if value is None else str(value)


def _noted(path: Path) -> dict[str, Any]:
    """Return what a manifest or its draft says; nothing where there is none, or it cannot be read."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _note(path: Path, data: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode())


def _is_manifest(found: object) -> bool:
    """Return whether what was read is the manifest of a finished build, and no torn or foreign file."""
    return isinstance(found, dict) and found.keys() >= {"samples", "subsets", "shards"}


def _is_whole(folder: Path, shard: Mapping[str, Any]) -> bool:
    path = folder / shard["name"]
    return path.is_file() and _digest(path) == str(shard["sha256"])


def write_shards(
    triplets: Iterable[Triplet], folder: Path, about: Mapping[str, Any], per_shard: int = PER_SHARD
) -> dict[str, Any]:
    """Write shards, then the manifest; return it. A shard that is there with the same bytes stays untouched.

    Args:
        triplets: All samples in their order, those of an interrupted build too; one at a time is held.
        folder: Where to write.
        about: How they were made, for the manifest; JSON-safe, and read when all samples are written.
        per_shard: Samples of a shard.

    Raises:
        MisuseError: if the folder holds what no build wrote, such as published shards.
        StorageError: if the folder cannot be written.
    """
    require_own(folder)
    draft, shards = folder / DRAFT, list[dict[str, Any]]()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.touch()  # tells that the shards are a build's, should it be killed
        (folder / MANIFEST).unlink(missing_ok=True)
        remaining = iter(triplets)
        while (first := next(remaining, None)) is not None:
            chosen = chain([first], islice(remaining, per_shard - 1))
            shards.append(_write_shard(chosen, folder / f"genref_{len(shards)}.tar"))
        for path in {*folder.glob(SHARDS), *folder.glob(TORN)} - {folder / shard["name"] for shard in shards}:
            path.unlink()
        counts = sum((Counter(shard["subsets"]) for shard in shards), Counter[str]())
        manifest = {"format": 1, "samples": counts.total(), "subsets": dict(counts), "shards": shards, **about}
        _note(draft, manifest)
        os.replace(draft, folder / MANIFEST)
    except OSError as error:
        raise StorageError(f"The shards cannot be written to {folder}: {error}.") from error
    return manifest


def _write_shard(triplets: Iterable[Triplet], path: Path) -> dict[str, Any]:
    draft, counts = path.with_suffix(".writing"), Counter[str]()
    with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as archive:
        for triplet in triplets:
            counts[triplet.subset] += 1
            for name, data in _members(triplet):
                entry = tarfile.TarInfo(f"{triplet.key}.{name}")
                entry.size, entry.mtime, entry.mode = len(data), 0, 0o644
                archive.addfile(entry, io.BytesIO(data))
    digest = _digest(draft)
    if path.is_file() and _digest(path) == digest:
        draft.unlink()  # who has read the shard need not read it again
    else:
        os.replace(draft, path)
    return {"name": path.name, "samples": counts.total(), "sha256": digest, "subsets": dict(sorted(counts.items()))}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished build.

    Raises:
        MisuseError: if there is none, or it is damaged.
    """
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        raise MisuseError(f"{folder} holds no finished GenRef: {MANIFEST} is missing; repeat its build.") from None
    except (OSError, ValueError) as error:
        raise MisuseError(f"{folder / MANIFEST} cannot be read ({error}); repeat the build.") from error
    if not _is_manifest(found):
        raise MisuseError(f"{folder / MANIFEST} cannot be read (it names no samples and shards); repeat the build.")
    return found


def shards_of(folder: Path) -> tuple[Path, ...]:
    """Return the shards of a folder by number: those of the manifest, or all tar files of a published data set.

    Raises:
        MisuseError: if there are none, or a file is named that is no tar.
    """
    if folder.is_file():
        if folder.suffix != ".tar":
            raise MisuseError(f"{folder} is no shard (*.tar); name one, or the folder it lies in.")
        return (folder,)
    if not folder.exists():
        raise MisuseError(
            f"{folder} does not exist; name shards (*.tar), or a folder of them; `genref build` makes one."
        )
    found = sorted(folder.glob("*.tar"), key=lambda path: (len(path.name), path.name))
    if not found:
        raise MisuseError(f"{folder} holds no shards (*.tar); `reflectionflow genref build` makes some.")
    return tuple(found)


def samples(shard: Path, skipped: Counter[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, members by name) of a shard; a torn archive ends early and is counted."""
    key, members = None, dict[str, bytes]()
    try:
        with tarfile.open(shard) as archive:
            for entry in archive:
                if not entry.isfile():
                    continue
                name, member = split_name(entry.name)
                if key is not None and name != key:
                    yield key, members
                    members = {}
                key = name
                stream = archive.extractfile(entry)
                members[member] = stream.read() if stream else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        skipped[f"{shard.name} is torn: {type(error).__name__}"] += 1
        return
    if key is not None:
        yield key, members


def read_triplets(
    paths: Sequence[Path], skipped: Counter[str], changed: Counter[str] | None = None
) -> Iterator[Triplet]:
    """Yield the samples of shards, ours or published ones; broken ones are left out and counted by reason.

    Pictures are turned upright and made RGB; grey, palette, alpha (on white) and CMYK ones too. What had to be
    converted is counted in `changed`.
    """
    for path in paths:
        for key, members in samples(path, skipped):
            try:
                yield triplet_of(key, members, changed)
            except BrokenSampleError as error:
                skipped[str(error)] += 1


def triplet_of(key: str, members: Mapping[str, bytes], changed: Counter[str] | None = None) -> Triplet:
    """Return a sample from its members, those of GenRef-wds or of GenRef-CoT.

    Args:
        key: Its name.
        members: Bytes by name.
        changed: Counts what had to be converted.

    Raises:
        BrokenSampleError: if one is missing, empty or cannot be decoded.
    """
    changed = Counter() if changed is None else changed
    members = expanded(members)
    if is_comparison(list(members)):
        return _comparison(key, members, changed)
    good, bad = (picture(members, names, changed) for names in (GOOD, BAD))
    reflection, prompt = (text(members, names) for names in (REFLECTION, PROMPT))
    subset = text(members, SUBSET) if find(members, SUBSET) else "general"
    raw = members.get("provenance.json", b"{}")
    try:
        provenance = json.loads(raw)
    except ValueError:
        raise BrokenSampleError("provenance.json is no JSON") from None
    return Triplet(key, good, _same_size(bad, good, changed), reflection, prompt, subset, provenance)


def _comparison(key: str, members: Mapping[str, bytes], changed: Counter[str]) -> Triplet:
    """Return a sample of GenRef-CoT: the preferred picture is the enhanced one, the instructions its reflection."""
    sides = {side: picture(members, names, changed) for side, names in (("left", LEFT), ("right", RIGHT))}
    better = preferred(members)
    good, bad = sides[better], sides["left" if better == "right" else "right"]
    reflection, prompt = (text(members, names) for names in (INSTRUCTIONS, PROMPT))
    analysis = text(members, ANALYSIS)
    about = {"cot": {"differences": [analysis], "edits": [reflection]}, "preferred": better}
    return Triplet(key, good, _same_size(bad, good, changed), reflection, prompt, COT, about)


def _same_size(bad: Image.Image, good: Image.Image, changed: Counter[str]) -> Image.Image:
    if bad.size == good.size:
        return bad
    changed["the flawed picture was resized to the enhanced one"] += 1
    return bad.resize(good.size, Image.Resampling.LANCZOS)


def check(folder: Path) -> list[str]:
    """Return what is wrong with a data set, one sentence each: members, pictures, texts; of a build hashes and counts.

    Raises:
        MisuseError: if there are no shards, or a build of ours is not finished.
    """
    if folder.is_file() or not (folder / MANIFEST).exists():
        return _check_foreign(folder)
    manifest = read_manifest(folder)
    problems = []
    listed = {shard["name"]: shard for shard in manifest["shards"]}
    for name, shard in listed.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing.")
        elif _digest(path) != shard["sha256"]:
            problems.append(f"{name} is not what was written: its SHA-256 differs from the manifest's.")
    problems += [f"{path.name} is not in the manifest." for path in folder.glob("*.tar") if path.name not in listed]
    skipped: Counter[str] = Counter()
    paths = [folder / name for name in listed if (folder / name).is_file()]
    counts = Counter(triplet.subset for triplet in read_triplets(paths, skipped))
    problems += [f"{number} samples are broken: {reason}." for reason, number in sorted(skipped.items())]
    if dict(counts) != manifest["subsets"]:
        problems.append(f"The shards hold {dict(sorted(counts.items()))}, the manifest says {manifest['subsets']}.")
    return problems


def _check_foreign(folder: Path) -> list[str]:
    """Return what is wrong with a data set that has no manifest, such as a published one."""
    if any((folder / name).exists() for name in RUNS) or list(folder.glob("*.writing")):
        raise MisuseError(f"{folder} holds an unfinished build; repeat it, then check.")
    skipped: Counter[str] = Counter()
    for _ in read_triplets(shards_of(folder), skipped):
        pass
    return [f"{number} samples are broken: {reason}." for reason, number in sorted(skipped.items())]
