"""The disk below a run: which file systems are trusted, and how its errors become sentences.

A journal needs locks and `fsync` that keep their promise, so a run lives on a local disk. Network file systems are
refused before anything is written.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from reflectionflow.errors import MisuseError, StorageError

NETWORK_PREFIXES = ("nfs", "cifs", "smb", "afs", "afpfs", "9p", "ceph", "gluster", "lustre", "beegfs", "gpfs", "webdav")
NETWORK_FUSE_PREFIXES = ("sshfs", "s3fs", "gcsfuse", "rclone", "gluster", "ceph", "juicefs", "davfs", "goofys")
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def file_system_of(path: Path, partitions: Iterable[Any] | None = None) -> str:
    """Return the type of the file system that holds `path` (`ext4`, `nfs4`), empty when unknown.

    Args:
        path: Any path; it need not exist.
        partitions: Mounted partitions as `psutil.disk_partitions(all=True)` gives them, which is the default.
    """
    mounted = psutil.disk_partitions(all=True) if partitions is None else partitions
    resolved = path.resolve()
    holding = [part for part in mounted if resolved.is_relative_to(part.mountpoint)]
    if not holding:
        return ""
    return str(max(enumerate(holding), key=lambda item: (len(item[1].mountpoint), item[0]))[1].fstype).lower()


def is_network(file_system: str) -> bool:
    """Return whether a file system type is one of the network kinds."""
    name = file_system.lower()
    if name.startswith("fuse."):
        return name.removeprefix("fuse.").startswith(NETWORK_FUSE_PREFIXES)
    return name.startswith(NETWORK_PREFIXES)


def require_local_disk(path: Path, partitions: Iterable[Any] | None = None) -> None:
    """Refuse a path on a network file system.

    Raises:
        MisuseError: naming the file system.
    """
    kind = file_system_of(path, partitions)
    if is_network(kind):
        raise MisuseError(
            f"{path} lies on a network file system ({kind}), where a journal's locks and writes are not safe; "
            "choose a directory on a local disk and copy the finished run afterwards."
        )


@contextmanager
def storage_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn errors of the disk and of SQLite inside the block into `StorageError`.

    Args:
        path: The run's directory, for the sentence.
        doing: What was being done, for the sentence: `writing the journal`.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(_sentence(path, doing, error)) from error
    except sqlite3.Error as error:
        raise StorageError(_database_sentence(path, doing, error)) from error


def _sentence(path: Path, doing: str, error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return f"{doing} in {path} failed because the disk is full ({reason}); {_FREE}"
    if error.errno in FORBIDDEN:
        return f"{doing} in {path} is not permitted ({reason}); make the directory writable or choose another one."
    return f"{doing} in {path} failed: {reason}; check the disk, then run the same command again to continue."


def _database_sentence(path: Path, doing: str, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return f"{doing} in {path} failed because the disk is full ({error}); {_FREE}"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"{doing} in {path} is not permitted ({error}); make the directory writable or choose another one."
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return (
            f"{doing} in {path} failed because the journal is damaged ({error}); the pictures in `images` are whole: "
            "keep them, and start a new run in another directory."
        )
    return (
        f"{doing} in {path} failed ({error}); check that the disk is not full, then run the same command again to "
        "continue: everything journaled is kept."
    )


_FREE = "free some space, then run the same command again to continue: everything journaled is kept."


def sync_directory(path: Path) -> None:
    """Make renames and new names inside a directory durable."""
    if os.name == "nt":
        return  # directories cannot be opened there; NTFS journals its own metadata
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part: temporary, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


TEMPORARY = ".tmp"
