"""What a finished run leaves for people in its directory, written from the run alone.

One prompt: `best.png`, `contact-sheet.png`, `report.html`, `result.json` beside the journal, and `chains.png` where
pictures came of pictures. Several prompts: the same files in one numbered folder per prompt, and a `result.json` over
all of them beside the journal.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflectionflow.report.page import html_page
from reflectionflow.report.picture import best_picture
from reflectionflow.report.sheet import contact_sheet
from reflectionflow.report.story import Remarks, Story, Turn
from reflectionflow.report.strip import chain_sheet
from reflectionflow.runs import RunReader
from reflectionflow.runs.images import ImageStore
from reflectionflow.runs.storage import storage_errors, write_atomically
from reflectionflow.types import Candidate, RefinedPrompt, Reflection, content_id, to_json

if TYPE_CHECKING:
    from PIL.Image import Image

BEST, SHEET, CHAINS, PAGE, RESULT = "best.png", "contact-sheet.png", "chains.png", "report.html", "result.json"
_SLUG = 40  # characters of a prompt in a folder's name


@dataclass(frozen=True)
class Chapter:
    """One search of a run.

    Attributes:
        story: What happened in it.
        folder: Where its files belong.
        method: What an evaluation calls its method; empty where the run is no evaluation's. Searches of an evaluation
            have no files of their own: its report shows them.
    """

    story: Story
    folder: Path
    method: str = ""

    def json(self) -> dict[str, Any]:
        """Return the outcome as JSON data, the form `--json` prints and `result.json` holds."""
        result = self.story.result
        return {
            "best": self._best(),
            "spend": to_json(result.charged),
            "paid": to_json(result.paid),
            "stop": to_json(result.stop),
            "failed": {
                short.what: {"failed": short.failed, "asked": short.asked, "reason": short.reason}
                for short in self.story.shortfalls
            },
            "run": str(self.folder),
        }

    def told(self) -> dict[str, Any]:
        """Return the outcome, every picture in its place as `pictures`, and as `path` those from draft to best."""
        story = self.story
        return {
            **self.json(),
            "path": [self._picture(turn) for turn in story.path],
            "pictures": [self._picture(turn) for turn in story.turns.values()],
        }

    def _picture(self, turn: Turn) -> dict[str, Any]:
        candidate = turn.step.candidate
        return {
            "number": turn.number,
            "origin": turn.origin,
            "candidate": None if candidate is None else candidate.id,
            "image": None if candidate is None else self._stored(candidate),
            "score": turn.score,
            "criticised": list(turn.edits),
            "left_out": list(turn.left_out),
            "prompt": turn.prompt,
            "problem": turn.why_not,
        }

    @property
    def best_path(self) -> Path:
        """Where the best picture is, if there is one."""
        return self.folder / BEST

    def _best(self) -> dict[str, Any] | None:
        best = self.story.result.best
        if best is None or best.candidate is None or best.verdict is None:
            return None
        path = self._stored(best.candidate) if self.method else str(self.best_path)
        return {"path": path, "candidate": best.candidate.id, "score": best.verdict.score}

    def _stored(self, candidate: Candidate) -> str:
        """Return where a run keeps the picture itself."""
        return os.path.normpath(self.folder / self.story.link(candidate))

    def write(self) -> None:
        """Write the picture, the contact sheet, the chains, the page and the outcome.

        Raises:
            StorageError: if they cannot be written.
        """
        with storage_errors(self.folder, "writing the report"):
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_or_remove(self.best_path, best_picture(self.story))
            chains = chain_sheet(self.story)
            _write_or_remove(self.folder / CHAINS, None if chains is None else _png(chains))
            write_atomically(self.folder / SHEET, _png(contact_sheet(self.story)))
            write_atomically(self.folder / PAGE, html_page(self.story).encode())
            write_atomically(self.folder / RESULT, _lines(self.json()))


@dataclass(frozen=True)
class Book:
    """Every finished search of a run, in the order they were asked for.

    Attributes:
        folder: The run directory.
        chapters: One per finished search.
        prompts: The prompts as they were given, repeated ones repeated.
        several: Whether a list of prompts was given; each distinct one then has a folder of its own.
        command: The verb that made the run where it was no `generate`: `evaluate` or `paper`.
    """

    folder: Path
    chapters: tuple[Chapter, ...]
    prompts: tuple[str, ...]
    several: bool
    command: str = ""

    def write(self) -> None:
        """Write every chapter's files, and one outcome over all where there are several prompts.

        Raises:
            StorageError: if they cannot be written.
        """
        for chapter in self.chapters:
            chapter.write()
        if self.several:
            with storage_errors(self.folder, "writing the report"):
                write_atomically(self.folder / RESULT, _lines(self.json()))

    def json(self) -> dict[str, Any]:
        """Return the outcome as JSON data: that of the one search, or `{"results": [...]}` for several prompts."""
        return self._gathered(Chapter.json)

    def told(self) -> dict[str, Any]:
        """Return the outcome as JSON data, each with the way from the draft to the best picture."""
        return self._gathered(Chapter.told)

    def _gathered(self, form: Callable[[Chapter], dict[str, Any]]) -> dict[str, Any]:
        if self.command:
            results = [
                {"prompt": item.story.result.prompt, "method": item.method, **form(item)} for item in self.chapters
            ]
            return {"results": results}
        if not self.several:
            return form(self.chapters[0])
        told = {chapter.story.result.prompt: form(chapter) for chapter in self.chapters}
        return {"results": [{"prompt": prompt, **told[prompt]} for prompt in self.prompts if prompt in told]}


def book_of(run: RunReader) -> Book:
    """Return what a run's directory has to tell; the run may be closed afterwards.

    Raises:
        StorageError: if the run cannot be read.
    """
    passed = run.spec.passed
    prompts = tuple(passed.get("prompts", ()))
    several = len(prompts) > 1 or passed.get("prompts_file") is not None
    command = str(passed.get("command", ""))
    images = run.images
    remarks = _remarks(run)
    chapters = []
    for item in sorted(run.results(), key=lambda item: (item.position, item.label)):
        folder = run.path / f"{item.position + 1:03d}-{slug(item.result.prompt)}" if several else run.path
        story = Story(
            result=item.result,
            run=run_id(run.spec.resolved),
            stack=str(passed.get("stack", "")),
            version=str(run.header["packages"].get("reflectionflow") or "unknown"),
            command=command_line(passed),
            png=lambda candidate: images.path(candidate.image).read_bytes(),
            link=_links(images, folder),
            remarks=remarks,
        )
        chapters.append(Chapter(story, folder, (item.label or item.result.strategy) if command else ""))
    return Book(run.path, tuple(chapters), prompts, several, command)


def _links(images: ImageStore, folder: Path) -> Callable[[Candidate], str]:
    """Return a function from a candidate to the address of its file, as seen from a page in `folder`."""
    return lambda candidate: Path(os.path.relpath(images.path(candidate.image), folder)).as_posix()


def _remarks(run: RunReader) -> Remarks:
    """Return what reflector and refiner said in a run, by candidate, in the order of the calls' ids."""
    final = {row.id: row for row in run.calls() if row.role in _WORDS}  # a later attempt replaces a failed one
    remarks: dict[str, tuple[Reflection | RefinedPrompt, ...]] = {}
    for _, row in sorted(final.items()):
        words = _WORDS[row.role]
        candidate = row.request["candidate"]
        remark = words(candidate, row.model, failure=row.failure) if row.answer is None else words.from_json(row.answer)
        remarks[candidate] = (*remarks.get(candidate, ()), remark)
    return remarks


_WORDS: dict[str, type[Reflection] | type[RefinedPrompt]] = {"reflect": Reflection, "refine": RefinedPrompt}


def run_id(resolved: Mapping[str, Any]) -> str:
    """Return the content id of a run: the hash of everything asked for except the budget, which may grow."""
    return content_id("run", {key: value for key, value in resolved.items() if key != "budget"})


def slug(text: str) -> str:
    """Return a text as a short name for a folder: ASCII letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return words[:_SLUG].rstrip("-") or "prompt"


def command_line(passed: Mapping[str, Any]) -> str:
    """Return the command that repeats a run, from what was passed to it."""
    if passed.get("by_hand"):
        return "This run was started from Python with a stack built by hand; the same call repeats it."
    prompts = passed.get("prompts_file") or passed.get("prompts", [])
    named = ["--prompts", prompts] if isinstance(prompts, str) else list(prompts)
    size = passed.get("size")
    given = {**passed, "size": None if size is None else "x".join(map(str, size))}
    options = [
        part
        for name in ("strategy", "images", "seed", "size", "steps", "guidance", "stack", "out")
        if given.get(name) is not None
        for part in (f"--{name}", str(given[name]))
    ]
    options += [part for name, value in passed.get("options", {}).items() for part in _flag(name, value)]
    options += ["--ask"] if passed.get("ask") else []
    if any(prompt.startswith("-") for prompt in named) and named[0] != "--prompts":
        return shlex.join(["reflectionflow", "generate", *options, "--", *named])
    return shlex.join(["reflectionflow", "generate", *named, *options])


def _write_or_remove(path: Path, data: bytes | None) -> None:
    """Write a file, or remove an earlier one where there is nothing to write."""
    if data is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, data)


def _flag(name: str, value: Any) -> list[str]:
    """Return an option of a strategy as it is written on the command line."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", str(value)]


def _png(picture: Image) -> bytes:
    out = BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()


def _lines(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=2, ensure_ascii=False).encode() + b"\n"
