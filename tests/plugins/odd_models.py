"""Models that test the edges of the plug-in contract, named in stacks by their dotted path."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from PIL import Image
from pydantic import AnyHttpUrl, Field

from reflectionflow.roles import Capabilities, Defaults, Painting, Worker
from reflectionflow.stack import LocalPath, ModelOptions, ModelSpec, Role
from reflectionflow.types import Failure


class CheckpointOptions(ModelOptions):
    checkpoint: LocalPath = Field(description="File with the weights.")


class RemoteOptions(ModelOptions):
    endpoint: AnyHttpUrl = Field(description="Address of the server.")


class Loaded:
    """Remembers the options it was loaded with, and claims to play nothing in particular."""

    def __init__(self, options: ModelOptions) -> None:
        self.options = options


def _missing_file(options: CheckpointOptions) -> list[str]:
    path: Path = options.checkpoint
    return [] if path.is_file() else [f"the file {path} does not exist; download it or correct `checkpoint`"]


class NoOptions(ModelOptions):
    pass


class Critic:
    """Judges and reflects."""

    name = "critic@1"
    worker = None
    batch_size = 1

    def __init__(self, options: NoOptions) -> None:
        pass

    def judge(self, questions):
        return []

    def reflect(self, items):
        return []


class Refusing:
    """A generator that can paint nothing, and says so."""

    name = "refusing@1"
    worker = Worker.LOCAL
    batch_size = 2
    capabilities = Capabilities()
    defaults = Defaults(width=64, height=64, steps=2, guidance=1.0)
    settings: ClassVar[dict] = {}

    def __init__(self, options: NoOptions) -> None:
        pass

    def layout(self, recipe):
        return recipe.width, recipe.height

    def generate(self, requests):
        return [Failure(request.id, "The paint has dried out.") for request in requests]


class Buggy(Refusing):
    """A generator with a programming error."""

    def generate(self, requests):
        return [1 / 0 for request in requests]


class SlowOptions(ModelOptions):
    port: int = Field(description="Where somebody listens who is to be asked before the second picture is painted.")


class Slow(Refusing):
    """A generator that paints one picture, and the next ones when whoever listens at the port hangs up."""

    batch_size = 1

    def __init__(self, options: SlowOptions) -> None:
        self.port = options.port
        self.painted = 0

    def generate(self, requests):
        self.painted += 1
        if self.painted == 2:
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port)) as line:
                line.recv(1)
        return [
            Painting(request.id, Image.new("RGB", (64, 64), (request.recipe.seed % 256, 128, 0)), request.recipe.steps)
            for request in requests
        ]


class Picky(Refusing):
    """A generator that understands few words."""

    capabilities = Capabilities(words=frozenset({"a", "red", "blue", "star"}), longest_prompt=5)


class Learnt(Refusing):
    """A generator that learnt from what labels training data, as the judge did."""

    name = "learnt@1"
    relatives = frozenset({"red"})
    capabilities = Capabilities(multiple=8, smallest=8)


WITH_FILE = ModelSpec((Role.GENERATOR,), CheckpointOptions, Loaded, needs=_missing_file)
VERIFIER_WITH_FILE = ModelSpec((Role.VERIFIER,), CheckpointOptions, Loaded, needs=_missing_file)
NOTHING = ModelSpec((Role.GENERATOR,), NoOptions, Loaded)
REMOTE = ModelSpec((Role.GENERATOR,), RemoteOptions, Loaded)
CRITIC = ModelSpec((Role.VERIFIER, Role.REFLECTOR), NoOptions, Critic)
REFUSING = ModelSpec((Role.GENERATOR,), NoOptions, Refusing)
BUGGY = ModelSpec((Role.GENERATOR,), NoOptions, Buggy)
SLOW = ModelSpec((Role.GENERATOR,), SlowOptions, Slow)
PICKY = ModelSpec((Role.GENERATOR,), NoOptions, Picky)
LEARNT = ModelSpec((Role.GENERATOR,), NoOptions, Learnt)
NO_SPEC = 3
