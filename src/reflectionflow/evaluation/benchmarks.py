"""What is asked in an evaluation: the Scenes suites, GenEval, or a file of GenEval metadata."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path

from reflectionflow.errors import MisuseError
from reflectionflow.geneval import Metadata
from reflectionflow.geneval import suite as geneval_suite
from reflectionflow.scenes.splits import Split

SCENES, GENEVAL = "scenes", "geneval"
SHOWN = 5


@dataclass(frozen=True)
class Benchmark:
    """Prompts to be painted and judged.

    Attributes:
        name: `scenes test`, `geneval`, or the file's name.
        items: The prompts, each once, tag after tag.
        repeated: Lines of a file that repeated an earlier one and were left out.
    """

    name: str
    items: tuple[Metadata, ...]
    repeated: int = 0

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags in order of appearance."""
        return tuple(dict.fromkeys(item.tag for item in self.items))

    @property
    def digest(self) -> str:
        """Twelve hex digits over all metadata: the same prompts have the same."""
        lines = "\n".join(item.line() for item in self.items)
        return hashlib.sha256(lines.encode()).hexdigest()[:12]


def benchmark(name: str, split: str = "test", limit: int | None = None) -> Benchmark:
    """Return a benchmark by name or file.

    Args:
        name: `scenes`, `geneval`, or the path of a JSONL file with one object of GenEval metadata a line.
        split: Which part of Scenes: `test` or `validation`. Others have none.
        limit: Most prompts of one tag; all when none.

    Raises:
        MisuseError: if the file cannot be read, a line is no metadata (all such lines told), nothing is left, or the
            benchmark has no such part.
    """
    if limit is not None and limit < 1:
        raise MisuseError(f"The limit must be at least 1 prompt a tag, not {limit}.")
    if name == SCENES:
        return _scenes(split, limit)
    if split != Split.TEST.value:
        raise MisuseError(f"Only {SCENES} has a part {split!r}; leave it out for {name}.")
    if name == GENEVAL:
        return Benchmark(GENEVAL, _limited(geneval_suite(), limit))
    path = Path(name)
    items, problems = _read(path)
    if problems:
        more = [f"  … and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise MisuseError("\n".join([f"{path} is no file of GenEval metadata:", *problems[:SHOWN], *more]))
    if not items:
        raise MisuseError(f"{path} holds no prompt; write one object of GenEval metadata a line.")
    unique = tuple(dict.fromkeys(items))
    _require_one_meaning(path, unique)
    return Benchmark(path.name, _limited(unique, limit), len(items) - len(unique))


def _scenes(split: str, limit: int | None) -> Benchmark:
    from reflectionflow.scenes.prompts import PER_TAG, suite

    known = {part.value: part for part in (Split.TEST, Split.VALIDATION)}
    if split not in known:
        raise MisuseError(f"The splits to evaluate on are test and validation, not {split!r}.")
    return Benchmark(f"{SCENES} {split}", suite(known[split], min(limit or PER_TAG, PER_TAG)))


def _read(path: Path) -> tuple[list[Metadata], list[str]]:
    """Return the prompts of a file, and a sentence for each line that is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no text in UTF-8"
        raise MisuseError(
            f"There is no benchmark {str(path)!r} ({reason}); it is {SCENES!r}, {GENEVAL!r}, or a JSONL file of "
            "GenEval metadata."
        ) from error
    items, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = Metadata.from_json(json.loads(line))
        except KeyError as error:
            problems.append(f"  - line {number} lacks the key {error}")
        except JSONDecodeError as error:
            problems.append(f"  - line {number} is no JSON ({error.msg} at character {error.pos + 1})")
        except ValueError as error:
            problems.append(f"  - line {number}: {error}")
        else:
            items.append(item)
            problems += [f"  - line {number}: {fault}" for fault in _faults(item)]
    return items, problems


def _faults(item: Metadata) -> list[str]:
    """Return why an item cannot be painted or judged, although it is well-formed."""
    faults = [f"The {key} is empty." for key in ("tag", "prompt") if not getattr(item, key).strip()]
    if not item.include and not item.exclude:
        faults.append("It asks for nothing that could be judged; write the objects under include.")
    return faults


def _require_one_meaning(path: Path, items: Sequence[Metadata]) -> None:
    """Refuse prompts that ask for different things in the same words: their pictures would be the same."""
    twice = [prompt for prompt, count in Counter(item.prompt for item in items).items() if count > 1]
    if twice:
        raise MisuseError(f"{path} has the prompt {twice[0]!r} with different metadata; keep one of them.")


def _limited(items: Sequence[Metadata], limit: int | None) -> tuple[Metadata, ...]:
    by_tag: dict[str, list[Metadata]] = {}
    for item in items:
        by_tag.setdefault(item.tag, []).append(item)
    return tuple(item for group in by_tag.values() for item in group[:limit])
