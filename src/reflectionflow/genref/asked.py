"""The file of prompts that drafts are painted for: a prompt, metadata of GenEval, or two captions of a scene a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from reflectionflow.errors import MisuseError
from reflectionflow.geneval import Metadata

Read = TypeVar("Read")
SHORT, DETAILED = "short", "detailed"


@dataclass(frozen=True)
class Asked:
    """What a file asks for.

    Attributes:
        prompts: What to paint, without doubles; of two captions of a scene the short one, then the detailed one.
        rules: What GenEval's rules ask of a prompt; empty where nothing is judged by rules.
    """

    prompts: tuple[str, ...]
    rules: Mapping[str, Metadata] = field(default_factory=dict)


def prompts_in(file: Path) -> Asked:
    """Return prompts, one a line; of metadata of GenEval the prompt.

    Raises:
        MisuseError: if the file cannot be read or has no lines, or a line in braces is no metadata of GenEval.
    """
    found = (_metadata(file, *line).prompt if line[1].startswith("{") else line[1] for line in _lines(file))
    return Asked(tuple(dict.fromkeys(found)))


def rules_in(file: Path) -> Asked:
    """Return prompts with what GenEval's rules ask of them, one JSON object of its metadata a line.

    Raises:
        MisuseError: if the file cannot be read or has no lines, or a line is no metadata of GenEval.
    """
    rules = {item.prompt: item for item in (_metadata(file, *line) for line in _lines(file))}
    return Asked(tuple(rules), rules)


def captions_in(file: Path) -> Asked:
    """Return two captions of each scene, one JSON object with the texts `short` and `detailed` a line.

    Raises:
        MisuseError: if the file cannot be read or has no lines, a line is something else, or a text stands twice: its
            pictures would belong to two scenes.
    """
    found: dict[str, int] = {}
    for number, line in _lines(file):
        for text in _read(file, number, line, "no two captions of a scene", _captions):
            if text in found:
                raise MisuseError(
                    f"{file}, prompts {found[text]} and {number} hold the same caption; each is painted for one scene "
                    f"alone: {text[:80]}"
                )
            found[text] = number
    return Asked(tuple(found))


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return what stands in a file, numbered from 1 without empty lines."""
    try:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise MisuseError(f"--prompts {file} cannot be read: {error}.") from error
    if not lines:
        raise MisuseError(f"--prompts {file} is empty; write a prompt into each line.")
    return list(enumerate(lines, 1))


def _metadata(file: Path, number: int, line: str) -> Metadata:
    return _read(file, number, line, "no metadata of GenEval", Metadata.from_json)


def _read(file: Path, number: int, line: str, not_so: str, convert: Callable[[Any], Read]) -> Read:
    try:
        return convert(json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise MisuseError(f"{file}, prompt {number} is {not_so} ({error}): {line[:80]}") from error


def _captions(data: Any) -> tuple[str, str]:
    wanted = f'{{"{SHORT}": "…", "{DETAILED}": "…"}}'
    if not isinstance(data, dict) or set(data) != {SHORT, DETAILED}:
        raise ValueError(f"write {wanted}")
    texts = [data[name].strip() if isinstance(data[name], str) else "" for name in (SHORT, DETAILED)]
    if not all(texts):
        raise ValueError(f"both must be texts: {wanted}")
    return texts[0], texts[1]
