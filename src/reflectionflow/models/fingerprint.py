"""The identity of a checkpoint that has no manifest, such as one from a hub: quick, and changed by any other training.

Hashing 24 GB at every start is too slow, so each safetensors file counts with its size, its header (names, types and
places of all tensors) and three samples of a mebibyte; other files count whole.
"""

from __future__ import annotations

import hashlib
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
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\n{size}\n".encode())
        with path.open("rb") as file:
            if size <= WHOLE:
                digest.update(file.read())
                continue
            for start in (0, size // 2, size - SAMPLE):
                file.seek(start)
                digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:12]
