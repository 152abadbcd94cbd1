"""`reflectionflow doctor`: what this machine has, line by line, with a remedy for each thing that is not fine."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

MINIMUM_PYTHON = (3, 11)
ENDPOINT_SECONDS = 3.0  # how long an endpoint may take to accept a connection
_GIB = 2**30


class Status(Enum):
    """How one thing stands; only `MISSING` makes the command fail."""

    FINE = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, how it stands, what was found, and what to do when it is not fine."""

    name: str
    status: Status
    found: str
    remedy: str = ""


StackOption = Annotated[str, typer.Option("--stack", metavar="NAME|PATH", help="The stack that must be ready.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def doctor(stack: StackOption = "scenes", as_json: AsJson = False) -> None:
    """Look at this machine and say what is missing.

    Looks at Python, torch, the device, memory, disk, caches, the stack and its endpoints; each line that is not fine
    has a remedy. Exits with 1 if something required is missing.
    """
    from reflectionflow.types import to_json

    checks = list(examine(stack))
    failed = any(check.status is Status.MISSING for check in checks)
    if as_json:
        typer.echo(json.dumps({"ready": not failed, "checks": [to_json(check) for check in checks]}))
    else:
        for check in checks:
            typer.echo(f"{check.status.value:<8}{check.name:<14}{check.found}")
            if check.remedy:
                typer.echo(f"{'':<22}→ {check.remedy}")
    if failed:
        raise typer.Exit(1)


def examine(stack: str) -> Iterator[Check]:
    """Yield every check, cheap ones first."""
    yield _python()
    for package in ("torch", "diffusers", "transformers"):
        yield _package(package)
    yield _device()
    yield _memory()
    yield _disk(Path.cwd())
    yield _cache()
    yield from _stack(stack)
    yield from _endpoints(stack)


def _python() -> Check:
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info >= MINIMUM_PYTHON:
        return Check("Python", Status.FINE, found)
    needed = ".".join(str(part) for part in MINIMUM_PYTHON)
    return Check("Python", Status.MISSING, found, f"install Python {needed} or newer")


def _package(name: str) -> Check:
    try:
        return Check(name, Status.FINE, version(name))
    except PackageNotFoundError:
        return Check(name, Status.MISSING, "not installed", f"run `pip install {name}`")


def _device() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("device", Status.MISSING, f"torch cannot be imported: {error}", "reinstall torch for this machine")
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Check(
            "device", Status.FINE, f"{torch.cuda.get_device_name()}, {free / _GIB:.0f} of {total / _GIB:.0f} GiB free"
        )
    if torch.backends.mps.is_available():
        return Check("device", Status.FINE, "Apple GPU (mps)")
    remedy = "enough for Scenes; FLUX.1-dev needs a GPU, and torch built for it"
    return Check("device", Status.NOTE, f"CPU with {torch.get_num_threads()} threads, no GPU", remedy)


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"
    if memory.available >= 2 * _GIB:
        return Check("memory", Status.FINE, found)
    return Check("memory", Status.NOTE, found, "close other programs; Scenes wants 2 GiB, larger models more")


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    found = f"{free / _GIB:.1f} GiB free here"
    if free >= _GIB:
        return Check("disk", Status.FINE, found)
    return Check("disk", Status.NOTE, found, "free some space, or send runs elsewhere with --out")


def _cache() -> Check:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    if not folder.is_dir():
        return Check("model cache", Status.FINE, f"{folder} is empty; Scenes needs no downloads")
    models = sum(1 for path in folder.iterdir() if path.name.startswith("models--"))
    return Check("model cache", Status.FINE, f"{folder} holds {models} model{'' if models == 1 else 's'}")


def _stack(name: str) -> Iterator[Check]:
    from reflectionflow import stack

    described = stack.describe(name)
    if described.ready:
        yield Check("stack", Status.FINE, f"{name} is ready")
    for fault in described.faults:
        yield Check("stack", Status.MISSING, f"{name} is not ready", fault)


def _endpoints(name: str) -> Iterator[Check]:
    """Yield one check per different URL among the options of the stack's models."""
    from pydantic import AnyUrl

    from reflectionflow import stack

    values = (value for part in stack.examine(name).plan.parts for value in dict(part.options).values())
    found = {str(value): value for value in values if isinstance(value, AnyUrl)}
    for url, value in found.items():
        yield _endpoint(value.host or "", value.port or 80, url)
    if not found:
        yield Check("endpoints", Status.FINE, f"{name} uses none")


def _endpoint(host: str, port: int, url: str) -> Check:
    try:
        with socket.create_connection((host, port), timeout=ENDPOINT_SECONDS):
            return Check("endpoint", Status.FINE, f"{url} accepts connections")
    except OSError as error:
        remedy = "start its server, or correct the address in the stack file"
        return Check("endpoint", Status.MISSING, f"{url} cannot be reached: {error.strerror or error}", remedy)
