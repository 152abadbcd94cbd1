"""The pictures of a run: PNG files named by the SHA-256 of their bytes, each stored once."""

from __future__ import annotations

import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock

from PIL import Image

from reflectionflow.errors import StorageError
from reflectionflow.runs.storage import TEMPORARY, storage_errors, sync_directory, sync_file

COMPRESS_LEVEL = 1
"""zlib level of the PNG files: the fastest, a tenth larger than the default."""


def encode(image: Image.Image) -> bytes:
    """Return an RGB picture as PNG bytes that depend on its pixels only (no metadata)."""
    bare = Image.frombytes("RGB", image.size, image.convert("RGB").tobytes())
    buffer = io.BytesIO()
    bare.save(buffer, "PNG", compress_level=COMPRESS_LEVEL)
    return buffer.getvalue()


class ImageStore:
    """The `images` folder of a run: `images/<first two hex digits>/<sha256>.png`.

    Args:
        root: The folder.
        keep: Decoded pictures kept in memory, the last used ones.
    """

    def __init__(self, root: Path, keep: int = 64) -> None:
        self.root = root
        self._keep = keep
        self._recent: OrderedDict[str, Image.Image] = OrderedDict()
        self._lock = Lock()

    def path(self, sha256: str) -> Path:
        """Return where the picture with this hash is stored, whether or not it exists."""
        return self.root / sha256[:2] / f"{sha256}.png"

    def add(self, images: Iterable[Image.Image]) -> list[str]:
        """Store pictures durably and return their hashes; the names are on disk before this returns.

        Raises:
            StorageError: if a picture cannot be written.
        """
        pictures = [image.convert("RGB") for image in images]
        encoded = [encode(picture) for picture in pictures]
        hashes = [hashlib.sha256(data).hexdigest() for data in encoded]
        with storage_errors(self.root.parent, "storing a picture"):
            self._write_all(dict(zip(hashes, encoded, strict=True)))
        for sha256, picture in zip(hashes, pictures, strict=True):
            self._remember(sha256, picture)
        return hashes

    def load(self, sha256: str) -> Image.Image:
        """Return the picture with this hash (RGB), a copy that the caller may change.

        Raises:
            StorageError: if it is missing or cannot be decoded.
        """
        with self._lock:
            known = self._recent.get(sha256)
        if known is None:
            try:
                with Image.open(self.path(sha256)) as file:
                    known = file.convert("RGB")
            except OSError as error:  # Pillow's UnidentifiedImageError is one
                raise StorageError(
                    f"the picture {self.path(sha256)} cannot be read ({error}); copy it back or start a new run."
                ) from error
            self._remember(sha256, known)
        return known.copy()

    def hashes(self) -> Iterator[str]:
        """Yield the hashes that the file names claim, sorted."""
        for path in sorted(self.root.glob("*/*.png")):
            if not path.name.startswith("."):
                yield path.stem

    def temporaries(self) -> list[Path]:
        """Return the temporary files a killed process has left, sorted."""
        return sorted(path for path in self.root.glob("*/.*") if path.name.endswith(TEMPORARY))

    def _write_all(self, contents: Mapping[str, bytes]) -> None:
        """Write files under temporary names, sync them, give them their names, and sync those.

        Writing all before syncing any lets the file system commit them together.
        """
        new = {self.path(sha256): data for sha256, data in contents.items() if not self.path(sha256).exists()}
        folders = {path.parent for path in new}
        fresh = [folder for folder in folders if not folder.exists()]
        for folder in fresh:
            folder.mkdir(parents=True, exist_ok=True)
        temporaries = {path: path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}") for path in new}
        for path, data in new.items():
            temporaries[path].write_bytes(data)
        for path in new:
            sync_file(temporaries[path])
        for path in new:
            temporaries[path].replace(path)
        for folder in sorted(folders):
            sync_directory(folder)
        if fresh:
            sync_directory(self.root)
            sync_directory(self.root.parent)

    def _remember(self, sha256: str, image: Image.Image) -> None:
        with self._lock:
            self._recent[sha256] = image
            self._recent.move_to_end(sha256)
            while len(self._recent) > self._keep:
                self._recent.popitem(last=False)
