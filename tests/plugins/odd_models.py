"""Models that test the edges of the plug-in contract, named in stacks by their dotted path."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from reflectionflow.stack import LocalPath, ModelOptions, ModelSpec, Role


class CheckpointOptions(ModelOptions):
    checkpoint: LocalPath = Field(description="File with the weights.")


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


WITH_FILE = ModelSpec((Role.GENERATOR,), CheckpointOptions, Loaded, needs=_missing_file)
VERIFIER_WITH_FILE = ModelSpec((Role.VERIFIER,), CheckpointOptions, Loaded, needs=_missing_file)
NOTHING = ModelSpec((Role.GENERATOR,), NoOptions, Loaded)
CRITIC = ModelSpec((Role.VERIFIER, Role.REFLECTOR), NoOptions, Critic)
NO_SPEC = 3
