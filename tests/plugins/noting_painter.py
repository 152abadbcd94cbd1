"""The painter of the tiny world with a file to note in what it was asked for."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from tests.support.world import Painter

from reflectionflow.stack import ModelOptions, ModelSpec, Role


class Options(ModelOptions):
    log: Path = Field(description="Gets a line for every recipe that is asked for.")


SPEC = ModelSpec((Role.GENERATOR, Role.CORRECTOR), Options, lambda options: Painter(log=options.log))
