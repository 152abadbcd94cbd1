"""The contracts of the models a search calls: one method each, synchronous and batched.

A role takes a sequence and returns one answer per item, each carrying the item's id; the runtime matches answers by id
and raises `ContractError` for a missing, unknown or duplicated one. Nobody inherits to take part: any object with the
attributes and the method below plays the role. Adapters own device placement, parsing and the mapping to [0, 1].

What an adapter may raise: `TransientError` (tried again), an out-of-memory error (the batch is halved), `ModelError`
(the whole run stops with its sentence). For a single item that cannot be done it returns a `Failure`, or the answer
type with `failure` set.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from reflectionflow.types import (
    Candidate,
    Failure,
    Recipe,
    RefinedPrompt,
    Reflection,
    Scalar,
    Verdict,
    content_id,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL.Image import Image


class Role(Enum):
    """The parts a model can play; each value is its table in a stack file and its attribute of `Stack`."""

    GENERATOR = "generator"
    VERIFIER = "verifier"
    CORRECTOR = "corrector"
    REFLECTOR = "reflector"
    REFINER = "refiner"


class Context(Enum):
    """What a reflector may be told besides picture and prompt; each value is its field of `ReflectRequest`."""

    VERDICT = "verdict"
    HISTORY = "history"


class Worker(Enum):
    """Where a model's calls run; models that share a worker never run at the same time."""

    LOCAL = "local"
    REMOTE = "remote"


@dataclass(frozen=True)
class Capabilities:
    """What a generator can do, checked before its first call.

    Attributes:
        corrects: Accepts a parent picture and a reflection (a corrector).
        multiple: Width and height must be multiples of this many pixels.
        smallest: Smallest allowed width and height in pixels.
        largest: Largest allowed width and height in pixels.
        words: The words it understands, lower case; none means any text.
        paints: What it paints, to be read behind "it paints", for people who used other words; empty: its words.
        longest_prompt: Longest prompt in words; none means no limit of its own.
        evaluations_per_step: Most denoiser evaluations one step of one picture takes: 1 for a guidance-distilled model,
            2 with classifier-free guidance. A search reserves `steps` times this before it paints.
    """

    corrects: bool = False
    multiple: int = 16
    smallest: int = 16
    largest: int = 4096
    words: frozenset[str] | None = None
    paints: str = ""
    longest_prompt: int | None = None
    evaluations_per_step: int = 1


@dataclass(frozen=True)
class Defaults:
    """What a generator is asked for when the user says nothing: pixels, denoiser steps, guidance scale."""

    width: int
    height: int
    steps: int
    guidance: float


@dataclass(frozen=True)
class PaintRequest:
    """One picture to paint: the recipe, and the parent's pixels when the recipe has a parent."""

    recipe: Recipe
    parent: Image | None = None

    @property
    def id(self) -> str:
        """The recipe's id."""
        return self.recipe.id


@dataclass(frozen=True)
class Painting:
    """One painted picture.

    Attributes:
        id: The recipe's id.
        image: RGB.
        denoiser_evaluations: Forward passes of the denoiser it took.
        left_out: Edits of the recipe's reflection that the painter did not read, because its text does not hold them;
            reports mark them.
    """

    id: str
    image: Image
    denoiser_evaluations: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """One picture to judge against the user's own prompt (never a rewritten one)."""

    candidate: Candidate
    image: Image
    prompt: str

    @property
    def id(self) -> str:
        """Id of the judged candidate."""
        return self.candidate.id


@dataclass(frozen=True)
class ReflectRequest:
    """One picture to criticise.

    Attributes:
        candidate: The picture's recipe and file.
        image: Its pixels.
        prompt: The user's own prompt.
        verdict: What the verifier said of it, or none when the reflector is not to see it.
        history: Earlier reflections of the same chain, oldest first.
    """

    candidate: Candidate
    image: Image
    prompt: str
    verdict: Verdict | None = None
    history: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Id of the criticised candidate."""
        return self.candidate.id


@dataclass(frozen=True)
class RefineRequest:
    """One prompt to rewrite.

    Attributes:
        candidate: The last picture painted from `current`.
        image: Its pixels.
        prompt: The user's own prompt.
        current: The prompt it was painted from.
        verdict: What the verifier said of it, or none.
        reflection: What is wrong with it, or none.
    """

    candidate: Candidate
    image: Image
    prompt: str
    current: str
    verdict: Verdict | None = None
    reflection: str | None = None

    @property
    def id(self) -> str:
        """Id of the candidate."""
        return self.candidate.id


@runtime_checkable
class Generator(Protocol):
    """Paints pictures. A corrector is a generator whose capabilities say `corrects`."""

    name: str
    """Name and revision, `name@revision`; part of every recipe."""
    worker: Worker
    batch_size: int
    """Most pictures in one call."""
    capabilities: Capabilities
    defaults: Defaults
    settings: Mapping[str, Scalar]
    """What else decides pixels, put into every recipe: hash of the weights, dtype, scheduler."""

    def layout(self, recipe: Recipe) -> Hashable:
        """Return the token layout; only recipes of one layout share a call."""

    def generate(self, requests: Sequence[PaintRequest]) -> Sequence[Painting | Failure]:
        """Paint each request; the noise of an item depends on its own seed only."""


@runtime_checkable
class Verifier(Protocol):
    """Judges pictures."""

    name: str
    worker: Worker
    batch_size: int

    def judge(self, questions: Sequence[Question]) -> Sequence[Verdict | Failure]:
        """Give each picture a score in [0, 1], or say why there is none; a `Failure` that may pass is tried again."""


@runtime_checkable
class Reflector(Protocol):
    """Says what is wrong with pictures.

    One that does not read all of `Context` says so in an attribute `reads`, a set of what it reads: the rest is then no
    part of its questions, so that the same question about a picture is not asked and paid for again.
    """

    name: str
    worker: Worker
    batch_size: int

    def reflect(self, items: Sequence[ReflectRequest]) -> Sequence[Reflection | Failure]:
        """Criticise each picture; an empty text means nothing to correct. Failures as in `Verifier`."""


@runtime_checkable
class Refiner(Protocol):
    """Rewrites prompts."""

    name: str
    worker: Worker
    batch_size: int

    def refine(self, items: Sequence[RefineRequest]) -> Sequence[RefinedPrompt | Failure]:
        """Rewrite each prompt, keeping what the user asked for. Failures as in `Verifier`."""


@dataclass(frozen=True)
class Stack:
    """The models that play the roles of one search; reflector and refiner may be absent.

    Attributes:
        name: The stack's name, as the user typed it.
        generator: Paints the drafts.
        verifier: Judges every picture.
        corrector: Paints corrections; none when the stack has no corrector.
        reflector: Says what is wrong.
        refiner: Rewrites prompts.
        defaults: What is painted when the user says nothing; none leaves it to the generator.
        strategy: Name of the search method when the user names none; none for noise.
    """

    name: str
    generator: Generator
    verifier: Verifier
    corrector: Generator | None = None
    reflector: Reflector | None = None
    refiner: Refiner | None = None
    defaults: Defaults | None = None
    strategy: str | None = None


def read_by(reflector: Reflector) -> frozenset[Context]:
    """Return what a reflector reads besides picture and prompt; all there is, unless it says otherwise."""
    return frozenset(getattr(reflector, "reads", Context))


def question_id(role: str, model: str, request: Question | ReflectRequest | RefineRequest) -> str:
    """Return the content id of one call: role, model and everything asked, pixels by their hash."""
    fields = {name: to_json(value) for name, value in vars(request).items() if name not in ("image", "candidate")}
    return content_id(f"call/{role}", {"model": model, "candidate": request.candidate.id, **fields})
