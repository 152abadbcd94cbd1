"""The identity of a checkpoint that has no manifest, such as one from a hub: quick, and changed by any other training.

Hashing 24 GB at every start is too slow, so each safetensors file counts with its size, its header (names, types and
places of all tensors) and three samples of a mebibyte; other files count whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

SAMPLE = 1 << 20
WHOLE = 4 * SAMPLE


def identity(folder: Path, hub: str | None = None) -> str:
    """Return `name@revision`: of a snapshot from the hub its own, of any other folder its name and fingerprint."""
    if hub is not None:
        return f"{hub.rsplit('/', 1)[-1]}@{folder.name[:12]}"
    return f"{folder.resolve().name}@{fingerprint(folder)}"


def fingerprint(folder: Path) -> str:
    """Return twelve hex digits over the files of a checkpoint folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix == ".md" or any(part.startswith(".") for part in path.parts[-2:]):
            continue
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        for part in _parts(path):
            digest.update(part)
    return digest.hexdigest()[:12]


def kinship(folder: Path, hub: str | None = None) -> frozenset[str]:
    """Return names that checkpoints with the same weights share, whatever their folders are called.

    Args:
        folder: The checkpoint.
        hub: Its name on the hub, if it came from there.

    Returns:
        `weights:` and twelve hex digits over the weight files alone, and `weights:` and the name on the hub. Weights
        that were saved again in another precision or format are known by the name on the hub only.
    """
    names = set() if hub is None else {f"weights:{hub}"}
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if files:
        digest = hashlib.sha256()
        for part in (part for path in files for part in _parts(path)):
            digest.update(part)
        names.add(f"weights:{digest.hexdigest()[:12]}")
    return frozenset(names)


def _parts(path: Path) -> Iterator[bytes]:
    """Yield a file's size and content: whole, or three samples of a large one."""
    size = path.stat().st_size
    yield f"{size}\n".encode()
    with path.open("rb") as file:
        if size <= WHOLE:
            yield file.read()
            return
        for start in (0, size // 2, size - SAMPLE):
            file.seek(start)
            yield file.read(SAMPLE)
