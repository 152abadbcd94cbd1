"""What is asked of a picture, what was seen in it, and what was decided.

`Metadata` and `Clause` read and write the lines of GenEval's `evaluation_metadata.jsonl`: same keys, same order, same
spelling (`color`), so that a line survives the round trip byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
RELATIONS = ("left of", "right of", "above", "below")
T = TypeVar("T")
COUNTING = "counting"
"""The one tag with its own, higher score threshold."""


@dataclass(frozen=True)
class Options:
    """The evaluator's settings; the defaults are the official ones.

    Attributes:
        threshold: A detection counts when its score is strictly greater than this.
        counting_threshold: The same for prompts tagged `counting`.
        max_objects: Most detections kept per class.
        max_overlap: Detections overlapping a better one by this much (intersection over union) or more are dropped;
            1.0 drops none.
        position_threshold: Share of the two objects' summed sizes that an offset must exceed to count.
    """

    threshold: float = 0.3
    counting_threshold: float = 0.9
    max_objects: int = 16
    max_overlap: float = 1.0
    position_threshold: float = 0.1


@dataclass(frozen=True)
class Detection:
    """One object seen in a picture.

    Attributes:
        box: x1, y1, x2, y2 in pixels, y growing downwards.
        score: Confidence in [0, 1].
        colour: Its colour, when the detector names one; else a colour classifier is asked.
        mask: Boolean (height, width) silhouette, when the detector gives one; not part of equality.
    """

    box: tuple[float, float, float, float]
    score: float
    colour: str | None = None
    mask: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)

    @property
    def row(self) -> tuple[float, float, float, float, float]:
        """Box and score in single precision, as detectors give them and as result files hold them."""
        x1, y1, x2, y2, score = np.asarray([*self.box, self.score], dtype=np.float32).tolist()
        return x1, y1, x2, y2, score


@dataclass(frozen=True)
class Position:
    """Where an object must be: `relation` (of `RELATIONS`) to the objects of the include clause number `target`."""

    relation: str
    target: int

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ValueError(f"The relation is {self.relation!r}; use one of {', '.join(RELATIONS)}.")
        if self.target < 0:
            raise ValueError(f"The target clause is number {self.target}; count the include clauses from 0.")


@dataclass(frozen=True)
class Clause:
    """`count` objects of a class, of one colour if `color` is given, placed as `position` says if it is given.

    As an exclude clause: fewer than `count` objects of the class; colour and position mean nothing there.
    """

    class_name: str
    count: int = 1
    color: str | None = None
    position: Position | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"The clause asks for {self.count} of {self.class_name!r}; ask for at least 1.")
        if self.color is not None and self.color not in COLORS:
            raise ValueError(f"The clause asks for the colour {self.color!r}; use one of {', '.join(COLORS)}.")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read one element of `include` or `exclude`.

        Raises:
            ValueError: for an unknown key, colour or relation, a value of another type, or a count below 1.
            KeyError: if `class` or `count` is missing.
        """
        _refuse_unknown(data, ("class", "count", "color", "position"))
        position = data.get("position")
        return cls(
            class_name=_typed(data, "class", str),
            count=_typed(data, "count", int),
            color=data.get("color"),
            position=None if position is None else _position(position),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the clause with the official keys, in the official order."""
        data: dict[str, Any] = {"class": self.class_name, "count": self.count}
        if self.color is not None:
            data["color"] = self.color
        if self.position is not None:
            data["position"] = [self.position.relation, self.position.target]
        return data


@dataclass(frozen=True)
class Metadata:
    """One prompt of the suite and what a picture of it must and must not show.

    Attributes:
        tag: The task: single_object, two_object, counting, colors, position, color_attr, or one of your own.
        prompt: The text.
        include: All of these must hold.
        exclude: None of these may hold (only counting prompts have any).
    """

    tag: str
    prompt: str
    include: tuple[Clause, ...]
    exclude: tuple[Clause, ...] = ()

    def __post_init__(self) -> None:
        for index, clause in enumerate(self.include):
            if clause.position is not None and clause.position.target >= index:
                raise ValueError(
                    f"Clause {index} of {self.prompt!r} is placed relative to clause {clause.position.target}; "
                    "list the target before the clauses that refer to it."
                )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read one object of `evaluation_metadata.jsonl`.

        Raises:
            ValueError: for an unknown key, colour or relation, a value of another type, a count below 1, or a target
                that comes too late.
            KeyError: if a required key is missing.
        """
        _refuse_unknown(data, ("tag", "prompt", "include", "exclude"))
        return cls(
            tag=_typed(data, "tag", str),
            prompt=_typed(data, "prompt", str),
            include=_clauses(data, "include"),
            exclude=_clauses(data, "exclude"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the prompt with the official keys, in the official order; `exclude` only if there is any."""
        data: dict[str, Any] = {"tag": self.tag, "include": [clause.to_json() for clause in self.include]}
        if self.exclude:
            data["exclude"] = [clause.to_json() for clause in self.exclude]
        return {**data, "prompt": self.prompt}

    def line(self) -> str:
        """Return the prompt as a line of the official file, without the line's end."""
        return json.dumps(self.to_json())


@dataclass(frozen=True)
class Decision:
    """Whether a picture satisfies its prompt.

    Attributes:
        correct: Every clause holds.
        reason: The clauses that fail, one a line, in GenEval's words; empty when correct.
        kept: The detections that counted, per class, most confident first; classes without any are absent.
    """

    correct: bool
    reason: str
    kept: Mapping[str, tuple[Detection, ...]]

    @property
    def details(self) -> dict[str, list[list[float]]]:
        """The kept detections as result files hold them: class → [x1, y1, x2, y2, score] in single precision."""
        return {name: [list(item.row) for item in items] for name, items in self.kept.items()}


_KINDS = {str: "a text", int: "a whole number", list: "a list"}


def _clauses(data: Mapping[str, Any], key: str) -> tuple[Clause, ...]:
    return tuple(Clause.from_json(item) for item in _typed(data, key, list)) if key in data else ()


def _position(value: Any) -> Position:
    match value:
        case [str(relation), int(target)]:
            return Position(relation, target)
    raise ValueError(f'The position is {value!r}; write a relation and the number of a clause, as in ["left of", 0].')


def _typed(data: Mapping[str, Any], key: str, kind: type[T]) -> T:
    value = data[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"The {key} is {value!r}; write {_KINDS[kind]}.")
    return value


def _refuse_unknown(data: Any, known: Sequence[str]) -> None:
    """Refuse what is no object, and keys that would be passed over in silence."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{data!r} is no JSON object.")
    unknown = [key for key in data if key not in known]
    if unknown:
        raise ValueError(f"The key {unknown[0]!r} is unknown; known are {', '.join(known)}.")
