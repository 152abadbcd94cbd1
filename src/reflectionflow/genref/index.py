"""Random access to shards: where each sample's members lie, found once by reading tar headers alone.

So a training step draws the samples it wants from the subset it wants, as a pure function of the step, on any number of
processes; a stream that is filtered afterwards cannot promise a mixture.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reflectionflow.errors import MisuseError
from reflectionflow.genref.members import SUBSET, BrokenSampleError, find, is_comparison, split_name
from reflectionflow.genref.shards import COT, Triplet, triplet_of
from reflectionflow.runs.storage import write_atomically


@dataclass(frozen=True)
class Entry:
    """Where a sample lies: its shard, its key, and offset and length of every member."""

    shard: Path
    key: str
    subset: str
    members: tuple[tuple[str, int, int], ...]

    def read(self) -> Triplet:
        """Return the sample.

        Raises:
            BrokenSampleError: if a member is missing or cannot be decoded.
            MisuseError: if the shard cannot be read.
        """
        found = {}
        try:
            with self.shard.open("rb") as file:
                for name, offset, length in self.members:
                    file.seek(offset)
                    found[name] = file.read(length)
        except OSError as error:
            raise _cannot_be_read(self.shard, error) from error
        return triplet_of(self.key, found)


@dataclass(frozen=True)
class Index:
    """All samples of a data set by subset, in the order of the shards."""

    subsets: dict[str, tuple[Entry, ...]]

    def __len__(self) -> int:
        return sum(len(entries) for entries in self.subsets.values())


def _nobody(_done: int, _count: int) -> None:
    """Tell nobody."""


def index_of(shards: Sequence[Path], report: Callable[[int, int], None] = _nobody) -> Index:
    """Read the headers of all shards.

    Args:
        shards: Some may hold no sample.
        report: Told (done, all) after each shard.

    Raises:
        MisuseError: if a shard cannot be read, or there is no sample.
    """
    entries: list[Entry] = []
    for number, shard in enumerate(shards, 1):
        entries += _entries(shard)
        report(number, len(shards))
    index = _by_subset(entries)
    if not len(index):
        raise MisuseError(f"There is no sample in {', '.join(map(str, shards)) or 'no shards at all'}.")
    return index


def _by_subset(entries: Iterable[Entry]) -> Index:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.subset, []).append(entry)
    return Index({name: tuple(some) for name, some in sorted(found.items())})


def _entries(shard: Path) -> list[Entry]:
    """Return the samples of a shard, in its order; none of a shard that holds none."""
    members: dict[str, list[tuple[str, int, int]]] = {}
    try:
        with tarfile.open(shard) as archive:
            for item in archive:
                key, member = split_name(item.name)
                if item.isfile():
                    members.setdefault(key, []).append((member, item.offset_data, item.size))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _cannot_be_read(shard, error) from error
    return [Entry(shard, key, _subset(shard, parts), tuple(parts)) for key, parts in members.items()]


def _cannot_be_read(shard: Path, error: Exception) -> MisuseError:
    return MisuseError(f"The shard {shard} cannot be read ({error}); fetch or build it again.")


def _subset(shard: Path, members: Sequence[tuple[str, int, int]]) -> str:
    """Return the subset a sample says it belongs to; general where it says nothing readable."""
    names = [member for member, _, _ in members]
    if is_comparison(names):
        return COT
    told = find(dict.fromkeys(names, b""), SUBSET)
    for member, offset, length in members:
        if member == told:
            with shard.open("rb") as file:
                file.seek(offset)
                return file.read(length).decode("utf-8", "replace").strip() or "general"
    return "general"


def state_of(shard: Path) -> str:
    """Return what tells a shard from a later one of the same name, which may well be of the same size."""
    found = shard.stat()
    return f"{shard} {found.st_size} {found.st_mtime_ns}"


def readable(
    shards: Sequence[Path], broken: Counter[str], kept: Path | None = None,
    report: Callable[[int, int], None] = _nobody,
) -> Index:  # fmt: skip
    """Return the samples that can be read; each is read once to find out.

    Args:
        shards: Some may hold no sample.
        broken: Counts the others by reason.
        kept: A file that remembers what could not be read, so that a shard that did not change is not read again.
        report: Told (done, all) after each shard.

    Raises:
        MisuseError: if a shard cannot be read.
    """
    before, known = _remembered(kept), {}
    found: list[Entry] = []
    for number, shard in enumerate(shards, 1):
        entries, state = _entries(shard), state_of(shard)
        known[state] = before[state] if state in before else _unreadable(entries)
        broken.update(known[state].values())
        found += [entry for entry in entries if entry.key not in known[state]]
        if kept and state not in before:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, json.dumps(before | known).encode())
        report(number, len(shards))
    if kept and before.keys() - known.keys():  # shards that are not there any more
        write_atomically(kept, json.dumps(known).encode())
    return _by_subset(found)


def _remembered(kept: Path | None) -> dict[str, dict[str, str]]:
    """Return what earlier readings left; nothing where the file is damaged, since it only saves time."""
    try:
        found = json.loads(kept.read_text("utf-8")) if kept else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _unreadable(entries: Sequence[Entry]) -> dict[str, str]:
    """Return why samples cannot be read, by key."""
    found = {}
    for entry in entries:
        try:
            entry.read()
        except BrokenSampleError as error:
            found[entry.key] = str(error)
    return found
