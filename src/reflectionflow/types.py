"""The nouns of a search: what is asked for, what comes back, what it costs, why it stopped.

All are frozen dataclasses without torch. `to_json` gives the plain-JSON form, `canonical_json` the one spelling that is
hashed. A call is identified by its content: a candidate's id is the hash of its recipe, known before a pixel exists.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Self

Scalar = str | int | float | bool | None
Settings = tuple[tuple[str, Scalar], ...]
ID_SCHEME = "rf1"
SCORE_DIGITS = 4


def settings(values: Mapping[str, Scalar]) -> Settings:
    """Return named values as sorted pairs, the hashable form a recipe carries."""
    return tuple(sorted(values.items()))


def to_json(value: Any) -> Any:
    """Return `value` (dataclasses, enums, tuples, settings) as plain JSON data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    return value


def canonical_json(value: Any) -> str:
    """Return the one JSON spelling of `value`: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: if a number is NaN or infinite.
    """
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_id(kind: str, value: Any) -> str:
    """Return `rf1:<sha256>` over the kind and the canonical JSON of `value`."""
    digest = hashlib.sha256(f"{ID_SCHEME}\n{kind}\n{canonical_json(value)}".encode()).hexdigest()
    return f"{ID_SCHEME}:{digest}"


def round_score(score: float) -> float:
    """Return a score as it is compared and stored: rounded to 1e-4, inside [0, 1]."""
    return round(min(1.0, max(0.0, float(score))), SCORE_DIGITS)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the pixels of one picture.

    Attributes:
        generator: Name and revision of the model that paints, `name@revision`.
        prompt: The text it paints (a refined prompt differs from the user's own).
        seed: Seed of the initial noise, 0 ≤ seed < 2**63.
        width: Pixels.
        height: Pixels.
        steps: Denoiser steps, ≥ 1.
        guidance: Guidance scale.
        parent: Candidate id of the flawed picture a corrector starts from, or none for a draft.
        reflection: Text of the critique a corrector reads, or none.
        settings: What else decides pixels: hash of the weights, dtype, scheduler, batch size, LoRA and its scale.
    """

    generator: str
    prompt: str
    seed: int
    width: int
    height: int
    steps: int
    guidance: float
    parent: str | None = None
    reflection: str | None = None
    settings: Settings = ()

    @cached_property
    def id(self) -> str:
        """Hash of the recipe: the id of the candidate it makes."""
        return content_id("recipe", self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a recipe from its `to_json` form."""
        known = {**data, "settings": tuple((str(key), value) for key, value in data["settings"])}
        return cls(**known)


@dataclass(frozen=True)
class Candidate:
    """A picture that was painted: its recipe, and the content of its PNG file.

    Attributes:
        recipe: What made it.
        image: SHA-256 (hex) of the PNG file in the run's image store.
        width: Pixels of the picture as painted.
        height: Pixels of the picture as painted.
        left_out: Edits of the recipe's reflection that its painter did not read, because its text does not hold them.
    """

    recipe: Recipe
    image: str
    width: int
    height: int
    left_out: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The recipe's id."""
        return self.recipe.id

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a candidate from its `to_json` form."""
        left_out = tuple(data.get("left_out", ()))  # absent from older runs
        return cls(Recipe.from_json(data["recipe"]), data["image"], data["width"], data["height"], left_out)


@dataclass(frozen=True)
class Failure:
    """One item that could not be done: a value with a reason, never a low score and never a silence.

    Attributes:
        id: Id of the item (a candidate id for pictures, a question id otherwise).
        reason: A sentence.
        transient: True when trying again may help (a time-out); such a failure is not replayed by a later run.
    """

    id: str
    reason: str
    transient: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of one picture: exactly one of `score` and `failure` is set.

    Attributes:
        candidate: Id of the judged candidate.
        verifier: Name and revision of the verifier.
        score: In [0, 1], larger is better, rounded to 1e-4.
        aspects: Named partial scores in [0, 1].
        rationale: Why, in words, when the verifier gives words.
        failure: Why there is no score.
        tokens: Tokens read and written by the verifier for this answer, 0 where it has none.

    A score or an aspect that is NaN or infinite, as a model in half precision may give for one picture, makes the
    verdict a failure that says so.
    """

    candidate: str
    verifier: str
    score: float | None = None
    aspects: tuple[tuple[str, float], ...] = ()
    rationale: str = ""
    failure: str | None = None
    tokens: int = 0

    def __post_init__(self) -> None:
        """Refuse a verdict with both or neither of score and failure, or a finite score outside [0, 1]."""
        if (self.score is None) == (self.failure is None):
            raise ValueError("a verdict has exactly one of score and failure")
        told = [("score", self.score or 0.0), *((f"aspect {name!r}", value) for name, value in self.aspects)]
        wrong = next(((what, float(value)) for what, value in told if not math.isfinite(value)), None)
        if wrong is not None:
            what, value = wrong
            object.__setattr__(self, "score", None)
            object.__setattr__(self, "aspects", ())
            reason = f"{self.verifier} gave the {what} {value}, which is no finite number."
            object.__setattr__(self, "failure", self.failure or reason)
        elif self.score is not None:
            if not 0.0 <= self.score <= 1.0:
                raise ValueError(f"a verdict's score lies in [0, 1], not {self.score}")
            object.__setattr__(self, "score", round_score(self.score))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a verdict from its `to_json` form."""
        return cls(**{**data, "aspects": tuple((str(name), float(value)) for name, value in data["aspects"])})


@dataclass(frozen=True)
class Reflection:
    """What a reflector says is wrong with one picture.

    Attributes:
        candidate: Id of the criticised candidate.
        reflector: Name and revision of the reflector.
        text: The reflection as the corrector reads it; empty when there is nothing to correct.
        edits: The separate edits that `text` joins.
        raw: The model's own words.
        failure: Why there is no reflection.
        tokens: Tokens read and written.
    """

    candidate: str
    reflector: str
    text: str = ""
    edits: tuple[str, ...] = ()
    raw: str = ""
    failure: str | None = None
    tokens: int = 0

    @property
    def nothing_to_correct(self) -> bool:
        """True when the reflector looked and found no fault."""
        return self.failure is None and not self.text

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a reflection from its `to_json` form."""
        return cls(**{**data, "edits": tuple(data["edits"])})


@dataclass(frozen=True)
class RefinedPrompt:
    """A rewritten prompt.

    Attributes:
        candidate: Id of the candidate whose picture prompted the rewriting.
        refiner: Name and revision of the refiner.
        text: The new prompt.
        failure: Why there is none.
        tokens: Tokens read and written.
    """

    candidate: str
    refiner: str
    text: str = ""
    failure: str | None = None
    tokens: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a refined prompt from its `to_json` form."""
        return cls(**data)


@dataclass(frozen=True)
class Spend:
    """What was spent. Failed pictures count.

    Attributes:
        images: Pictures painted, drafts and corrections alike.
        denoiser_evaluations: Forward passes of the denoiser, per picture (a batch of 4 for 20 steps is 80).
        verifier_calls: Pictures judged.
        reflector_calls: Reflections written.
        refiner_calls: Prompts rewritten.
        tokens: Tokens read and written by language models.
        seconds: Model time: each call's share of the duration of the batch it ran in.
    """

    images: int = 0
    denoiser_evaluations: int = 0
    verifier_calls: int = 0
    reflector_calls: int = 0
    refiner_calls: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Spend) -> Spend:
        """Return the sum, field by field."""
        return Spend(*(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)))


@dataclass(frozen=True)
class Budget:
    """Upper limits on a search's *charged* spend (see `Spend` for the units); none means unlimited.

    Raises:
        ValueError: from `__post_init__` if a limit is not positive, or if no limit bounds the pictures.
    """

    images: int | None = None
    denoiser_evaluations: int | None = None
    verifier_calls: int | None = None
    reflector_calls: int | None = None
    refiner_calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits that are zero, negative, or absent where they bound the pictures."""
        for item in dataclasses.fields(self):
            limit = getattr(self, item.name)
            if limit is not None and not limit > 0:
                raise ValueError(f"the budget's {item.name} must be positive, not {limit}")
        if self.images is None and self.denoiser_evaluations is None and self.seconds is None:
            raise ValueError("a budget limits images, denoiser evaluations or seconds")


class StopReason(Enum):
    """Why a search ended; each value is the sentence a user reads."""

    BUDGET = "The budget was used up."
    COMPLETE = "The strategy finished all its rounds."
    ACCEPTED = "The verifier accepted a picture."
    NOTHING_TO_CORRECT = "The reflector found nothing left to correct."
    FAILED = "No picture could be painted and judged; the failures say why."
    GAVE_UP = "Picture after picture failed, so the search gave up; the failures say why."
    CANCELLED = "The search was cancelled."


@dataclass(frozen=True)
class Step:
    """One candidate in the story of a search, in its place, with what was said of it.

    Attributes:
        place: (round, slot) in the search; ties in score go to the smaller place.
        candidate: The picture, or none when painting it failed.
        verdict: What the verifier said, or none when it was not judged.
        reflection: The critique the picture was corrected from, or none for a draft.
        refined: The rewritten prompt it was painted from, or none.
        failure: Why there is no picture.
    """

    place: tuple[int, int]
    candidate: Candidate | None
    verdict: Verdict | None = None
    reflection: Reflection | None = None
    refined: RefinedPrompt | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class FailedCall:
    """A reflection or a rewritten prompt that a search asked for and did not get.

    Attributes:
        call: `reflect` or `refine`.
        candidate: Id of the picture it was to be about.
        reason: A sentence.
    """

    call: str
    candidate: str
    reason: str


@dataclass(frozen=True)
class SearchResult:
    """The outcome of one search over one prompt.

    Attributes:
        prompt: The user's own prompt.
        strategy: Name of the search method.
        best: The chosen step, or none when nothing was painted and judged.
        steps: Every step, ordered by place.
        stop: Why the search ended.
        charged: Spend as if this search had run alone (cache hits and shared drafts included).
        paid: What this process really computed for it.
        failed_calls: Reflections and rewritten prompts that failed, ordered by the place of the picture they were to be
            about; a picture or a verdict that failed stands in its step.
    """

    prompt: str
    strategy: str
    best: Step | None
    steps: tuple[Step, ...]
    stop: StopReason
    charged: Spend = field(default_factory=Spend)
    paid: Spend = field(default_factory=Spend)
    failed_calls: tuple[FailedCall, ...] = ()
