"""The options by which a user says where a checkpoint is."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from reflectionflow.plugins import LocalPath, ModelOptions


class Source(ModelOptions):
    """Where a checkpoint of one's own is: exactly one of `checkpoint` and `hub` is given."""

    checkpoint: LocalPath | None = Field(default=None, description="Folder of the checkpoint.")
    hub: str | None = Field(default=None, description="Its name on the Hugging Face hub, instead of a folder.")
    revision: str = Field(default="main", description="Branch, tag or commit on the hub.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.checkpoint is None) == (self.hub is None):
            raise ValueError("give either a checkpoint (a folder) or a hub name, not both")
        return self
