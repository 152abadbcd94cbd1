"""The person at the terminal: shows a picture's path and a reflection, and reads what to make of it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import typer

from reflectionflow.cli.group import tell
from reflectionflow.errors import ModelError

if TYPE_CHECKING:
    from reflectionflow.models.person import Review

HELP = "Enter: accept · e: edit · s: skip, nothing to correct · any other text replaces it"
ALONE = "Write what to change · Enter: skip, nothing to correct"


class Terminal:
    """Asks on stderr and reads answers from stdin, line by line."""

    def __init__(self) -> None:
        self._folder = Path()
        self._paused: Callable[[], AbstractContextManager[None]] = nullcontext
        self._read = b""

    def begin(self, folder: Path, paused: Callable[[], AbstractContextManager[None]]) -> None:
        """Say where the run is, and how to clear the screen of its progress."""
        self._folder, self._paused = folder, paused

    def review(self, item: Review) -> str:
        """Return what the person says of a picture.

        Raises:
            ModelError: if the input has ended.
        """
        from reflectionflow.runs.images import ImageStore

        suggestion = "" if item.suggestion is None else item.suggestion.text
        with self._paused():
            if item.problem:
                tell(f"\nThat cannot be used: {item.problem}")
            score = "" if item.score is None else f" (score {item.score:.4f})"
            tell(f"\nPicture: {ImageStore(self._folder / 'images').path(item.candidate.image)}{score}")
            tell(f"Prompt: {item.prompt}")
            if item.suggestion is not None:
                tell(f"Reflection: {item.suggestion.failure or suggestion or 'nothing to correct'}")
            tell(HELP if suggestion else ALONE)
            return self._answer(suggestion)

    def _answer(self, suggestion: str) -> str:
        while True:
            typer.echo("> ", nl=False, err=True)
            line = self._line().strip()
            if line == "e":
                edited = _edited(suggestion)
                if edited is not None:
                    return edited
            elif line == "s":
                return ""
            else:
                return line or suggestion

    def _line(self) -> str:
        """Return the next line of stdin, read from its descriptor: a daemon thread must not hold the stream's lock."""
        while b"\n" not in self._read:
            part = os.read(sys.stdin.fileno(), 4096)
            if not part:
                raise ModelError(
                    "The input ended before every reflection had an answer; the same command goes on in a terminal, "
                    "or leave --ask out."
                )
            self._read += part
        line, self._read = self._read.split(b"\n", 1)
        return line.decode(errors="replace")


def _edited(text: str) -> str | None:
    """Return the text as it is after an editor, in one line; none when there is no editor."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "reflection.txt"
        path.write_text(text, encoding="utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(path)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            tell(f"The editor {editor!r} did not work ({error}); set EDITOR, or write the whole text here.")
            return None
        return " ".join(path.read_text(encoding="utf-8").split())
