"""GenEval's folder of pictures, read and written.

    FOLDER/00000/metadata.jsonl        one JSON object: the prompt and its clauses
    FOLDER/00000/samples/00000.png     its pictures; any number of them, PNG, JPEG or WebP
    FOLDER/00000/grid.png              the same side by side, for people; never judged

Sub-folders and pictures are known by their digits, so that other files may lie there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from reflectionflow.errors import ConfigError, MisuseError
from reflectionflow.geneval import Metadata

if TYPE_CHECKING:
    from PIL.Image import Image

METADATA = "metadata.jsonl"
SAMPLES = "samples"
GRID = "grid.png"
DIGITS = 5
PICTURE = re.compile(r"(\d+)\.(png|jpg|jpeg|webp)", re.IGNORECASE)
MOST_PROBLEMS = 10
"""Faults of a folder that are told one by one; more are counted."""


@dataclass(frozen=True)
class Picture:
    """One picture of a folder, and what it must show."""

    path: Path
    metadata: Metadata

    @property
    def key(self) -> str:
        """Its name inside the folder, as in 00000/samples/00003.png."""
        return "/".join(self.path.parts[-3:])


@dataclass(frozen=True)
class Folder:
    """What a folder holds.

    Attributes:
        pictures: Ordered by prompt, then by number.
        without: Names of sub-folders that have a prompt but no picture yet.
        ignored: Files among the samples that are no numbered pictures.
    """

    pictures: tuple[Picture, ...]
    without: tuple[str, ...]
    ignored: tuple[Path, ...]


def read_folder(folder: Path) -> Folder:
    """Return the pictures of a folder in GenEval's layout; pictures are not opened.

    Raises:
        MisuseError: if there is no such folder, or no sub-folder or picture in it.
        ConfigError: if prompts cannot be read, or two pictures have one number; all faults at once.
    """
    if not folder.is_dir():
        raise MisuseError(f"there is no folder {folder}; `reflectionflow geneval prompts --folders` makes one")
    numbered = sorted((path for path in folder.iterdir() if path.is_dir() and _is_number(path.name)), key=_order)
    if not numbered:
        raise MisuseError(
            f"{folder} has no sub-folders with numbers for names; GenEval's layout is "
            f"00000/{METADATA} and 00000/{SAMPLES}/00000.png for each prompt"
        )
    pictures: list[Picture] = []
    without: list[str] = []
    ignored: list[Path] = []
    problems: list[str] = []
    for home in numbered:
        found = sorted((home / SAMPLES).iterdir(), key=_order) if (home / SAMPLES).is_dir() else []
        samples = [path for path in found if PICTURE.fullmatch(path.name) and path.is_file()]
        ignored += [path for path in found if path not in samples]
        problems += _duplicates(samples)
        try:
            metadata = read_metadata(home / METADATA)
        except ValueError as error:
            problems.append(str(error))
            continue
        pictures += [Picture(path, metadata) for path in samples]
        without += [] if samples else [home.name]
    _refuse(folder, problems)
    if not pictures:
        raise MisuseError(f"{folder} has no pictures; put them in {numbered[0].name}/{SAMPLES}/00000.png and so on")
    return Folder(tuple(pictures), tuple(without), tuple(ignored))


def read_metadata(path: Path) -> Metadata:
    """Return the prompt of a sub-folder.

    Raises:
        ValueError: if the file is missing or no prompt with clauses.
    """
    try:
        return Metadata.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; write the prompt's line of evaluation_metadata.jsonl to it") from None
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}; it must hold one line of evaluation_metadata.jsonl") from None
    except (OSError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} holds no prompt with clauses ({error}); write it again") from None


def write_prompts(folder: Path, prompts: Sequence[Metadata]) -> None:
    """Make a sub-folder for each prompt, for pictures to be put in; pictures already there stay.

    Raises:
        ConfigError: if sub-folders belong to other prompts.
    """
    homes = [(folder / f"{index:0{DIGITS}d}", prompt) for index, prompt in enumerate(prompts)]
    _refuse(folder, [fault for home, prompt in homes if (fault := _other_prompt(home / METADATA, prompt))])
    for home, prompt in homes:
        (home / SAMPLES).mkdir(parents=True, exist_ok=True)
        (home / METADATA).write_text(f"{prompt.line()}\n", encoding="utf-8")


def write_sample(folder: Path, index: int, number: int, image: Image) -> Path:
    """Save picture `number` of prompt `index` as PNG and return its path."""
    path = folder / f"{index:0{DIGITS}d}" / SAMPLES / f"{number:0{DIGITS}d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "PNG")
    return path


def write_grid(folder: Path, index: int, images: Sequence[Image]) -> Path:
    """Save the pictures of prompt `index` side by side, two in a row, for people to look at; return the path."""
    from PIL import Image as Pictures

    width, height = max(image.width for image in images), max(image.height for image in images)
    grid = Pictures.new("RGB", (width * min(2, len(images)), height * -(-len(images) // 2)))
    for place, image in enumerate(images):
        grid.paste(image.convert("RGB"), (place % 2 * width, place // 2 * height))
    path = folder / f"{index:0{DIGITS}d}" / GRID
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.save(path, "PNG")
    return path


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _order(path: Path) -> tuple[int, str]:
    digits = re.match(r"\d+", path.name, re.ASCII)
    return int(digits[0]) if digits else -1, path.name


def _duplicates(samples: Sequence[Path]) -> list[str]:
    """Return a sentence for each picture that has the number of the one before it, as 00000.png and 00000.jpg."""
    return [
        f"{first} and {second} have one number; remove one, or give it another number"
        for first, second in pairwise(samples)
        if _order(first)[0] == _order(second)[0]
    ]


def _other_prompt(path: Path, prompt: Metadata) -> str:
    try:
        same = not path.exists() or read_metadata(path) == prompt
    except ValueError as error:
        return str(error)
    return "" if same else f"{path} is of another prompt than {prompt.prompt!r}; choose an empty folder"


def _refuse(folder: Path, problems: list[str]) -> None:
    if len(problems) > MOST_PROBLEMS:
        problems = [*problems[:MOST_PROBLEMS], f"and {len(problems) - MOST_PROBLEMS} more of this kind"]
    if problems:
        raise ConfigError(str(folder), problems)
