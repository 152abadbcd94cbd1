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
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from reflectionflow.errors import MisuseError, StorageError

MANIFEST = "manifest.json"
PER_SHARD = 1000
QUALITY = 95
GOOD = ("good_image", "edited_img", "edited_image", "enhanced_image", "target_image")
BAD = ("bad_image", "src_img", "source_image", "flawed_image", "original_image")
REFLECTION = ("reflection", "instruction", "reflection_prompt", "edit_instruction")
PROMPT = ("prompt", "caption", "text")
SUBSET = ("subset", "source", "task")
"""Names under which published and earlier layouts keep a member, ours first."""


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


def write_shards(
    triplets: Iterable[Triplet], folder: Path, about: Mapping[str, Any], per_shard: int = PER_SHARD
) -> dict[str, Any]:
    """Write shards as samples come, then the manifest; return it. What lies there already is replaced shard by shard.

    Args:
        triplets: The samples in their order.
        folder: Where to write.
        about: How they were made, for the manifest; JSON-safe.
        per_shard: Samples of a shard.

    Raises:
        StorageError: if the folder cannot be written.
    """
    counts: Counter[str] = Counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        for old in folder.glob("genref_*.tar"):
            old.unlink()
        rest, shards = iter(triplets), list[dict[str, Any]]()
        while (first := next(rest, None)) is not None:
            chosen = chain([first], islice(rest, per_shard - 1))
            shards.append(_write_shard(chosen, folder / f"genref_{len(shards)}.tar", counts))
        told = {"samples": counts.total(), "subsets": dict(sorted(counts.items())), "shards": shards}
        manifest = {"format": 1, **told, **about}
        draft = folder / f"{MANIFEST}.writing"
        draft.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", "utf-8")
        os.replace(draft, folder / MANIFEST)
    except OSError as error:
        raise StorageError(f"The shards cannot be written to {folder}: {error}.") from error
    return manifest


def _write_shard(triplets: Iterable[Triplet], path: Path, counts: Counter[str]) -> dict[str, Any]:
    draft, number = path.with_suffix(".writing"), 0
    with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as archive:
        for triplet in triplets:
            number += 1
            counts[triplet.subset] += 1
            for name, data in _members(triplet):
                entry = tarfile.TarInfo(f"{triplet.key}.{name}")
                entry.size, entry.mtime, entry.mode = len(data), 0, 0o644
                archive.addfile(entry, io.BytesIO(data))
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    os.replace(draft, path)
    return {"name": path.name, "samples": number, "sha256": digest}


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
    return found


def shards_of(folder: Path) -> tuple[Path, ...]:
    """Return the shards of a folder by number: those of the manifest, or all tar files of a published data set.

    Raises:
        MisuseError: if there are none.
    """
    if folder.is_file():
        return (folder,)
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
                name, _, member = Path(entry.name).name.partition(".")
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


def read_triplets(paths: Sequence[Path], skipped: Counter[str]) -> Iterator[Triplet]:
    """Yield the samples of shards, ours or published ones; broken ones are left out and counted by reason.

    Pictures are turned upright and made RGB; grey, palette, alpha (on white) and CMYK ones too.
    """
    for path in paths:
        for key, members in samples(path, skipped):
            try:
                yield triplet_of(key, members)
            except BrokenSampleError as error:
                skipped[str(error)] += 1


class BrokenSampleError(Exception):
    """Why a sample is left out."""


def triplet_of(key: str, members: Mapping[str, bytes]) -> Triplet:
    """Return a sample from its members.

    Raises:
        BrokenSampleError: if one is missing, empty or cannot be decoded.
    """
    good, bad = (_picture(members, names) for names in (GOOD, BAD))
    if good.size != bad.size:
        bad = bad.resize(good.size, Image.Resampling.LANCZOS)
    reflection, prompt = (_text(members, names) for names in (REFLECTION, PROMPT))
    subset = _text(members, SUBSET) if _find(members, SUBSET) else "general"
    raw = members.get("provenance.json", b"{}")
    try:
        provenance = json.loads(raw)
    except ValueError:
        raise BrokenSampleError("provenance.json is no JSON") from None
    return Triplet(key, good, bad, reflection, prompt, subset, provenance)


def _find(members: Mapping[str, bytes], names: Sequence[str]) -> str | None:
    """Return the member that one of the names stands for, whatever its ending."""
    return next((member for name in names for member in members if member.split(".")[0] == name), None)


def _need(members: Mapping[str, bytes], names: Sequence[str]) -> bytes:
    member = _find(members, names)
    if member is None:
        raise BrokenSampleError(f"{names[0]} is missing; there are {', '.join(sorted(members))}")
    if not members[member]:
        raise BrokenSampleError(f"{names[0]} is empty")
    return members[member]


def _picture(members: Mapping[str, bytes], names: Sequence[str]) -> Image.Image:
    data = _need(members, names)
    try:
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                clear = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
            return upright.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise BrokenSampleError(f"{names[0]} cannot be decoded") from None


def _text(members: Mapping[str, bytes], names: Sequence[str]) -> str:
    try:
        text = _need(members, names).decode("utf-8").strip()
    except UnicodeDecodeError:
        raise BrokenSampleError(f"{names[0]} is not UTF-8") from None
    if not text:
        raise BrokenSampleError(f"{names[0]} is empty")
    return text


def check(folder: Path) -> list[str]:
    """Return what is wrong with a build, one sentence each: hashes, counts, members, pictures, texts."""
    manifest = read_manifest(folder)
    problems = []
    listed = {shard["name"]: shard for shard in manifest["shards"]}
    for name, shard in listed.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing.")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != shard["sha256"]:
            problems.append(f"{name} is not what was written: its SHA-256 differs from the manifest's.")
    problems += [f"{path.name} is not in the manifest." for path in folder.glob("*.tar") if path.name not in listed]
    skipped: Counter[str] = Counter()
    paths = [folder / name for name in listed if (folder / name).is_file()]
    counts = Counter(triplet.subset for triplet in read_triplets(paths, skipped))
    problems += [f"{number} samples are broken: {reason}." for reason, number in sorted(skipped.items())]
    if dict(counts) != manifest["subsets"]:
        problems.append(f"The shards hold {dict(sorted(counts.items()))}, the manifest says {manifest['subsets']}.")
    return problems
