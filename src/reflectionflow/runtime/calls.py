"""One model call as a value: what is asked of whom, its id, its price, and how its answer stands in the journal.

Everything that differs between drafting, judging, reflecting and refining is in this file; what batches, retries and
journals calls treats them alike.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from PIL import Image

from reflectionflow.errors import ContractError
from reflectionflow.roles import (
    Context,
    Generator,
    Painting,
    PaintRequest,
    Question,
    Refiner,
    RefineRequest,
    Reflector,
    ReflectRequest,
    Verifier,
    question_id,
    read_by,
)
from reflectionflow.runs.images import ImageStore
from reflectionflow.runs.journal import Row
from reflectionflow.types import (
    Candidate,
    Failure,
    Recipe,
    RefinedPrompt,
    Reflection,
    Spend,
    Verdict,
    to_json,
)

Model = Generator | Verifier | Reflector | Refiner
Request = PaintRequest | Question | ReflectRequest | RefineRequest
Words = Verdict | Reflection | RefinedPrompt
Reply = Painting | Words | Failure
"""What a model gives back."""
Answer = Candidate | Words | Failure
"""What a search gets: paintings have become candidates."""

UNLOADED = Image.new("RGB", (1, 1))
"""Stands in a request for the pixels, which are read from the store only when the model is called."""


class CallKind(Enum):
    """The kinds of call, in the order in which they can follow each other within one round of a search."""

    DRAFT = "draft"
    CORRECT = "correct"
    JUDGE = "judge"
    REFLECT = "reflect"
    REFINE = "refine"

    @property
    def stage(self) -> int:
        """Position within a round: painting, judging, reflecting, refining."""
        return _STAGES[self]

    @property
    def paints(self) -> bool:
        """True for the two kinds whose answer is a picture."""
        return self in (CallKind.DRAFT, CallKind.CORRECT)


_STAGES = {
    CallKind.DRAFT: 0,
    CallKind.CORRECT: 0,
    CallKind.JUDGE: 1,
    CallKind.REFLECT: 2,
    CallKind.REFINE: 3,
}


@dataclass(frozen=True)
class Call:
    """One call to be made.

    Attributes:
        id: Content id: the recipe's id for pictures, `roles.question_id` otherwise.
        kind: What is asked.
        model: Who is asked.
        request: What is asked for, with `UNLOADED` in place of pixels.
        image: Hash of the picture the request is about, or none for a draft.
        price: The most it can cost, as far as that is known beforehand (not tokens, not seconds).
    """

    id: str
    kind: CallKind
    model: Model
    request: Request
    image: str | None
    price: Spend

    @property
    def group(self) -> Hashable:
        """Calls of one model share a batch only if their groups are equal."""
        if isinstance(self.request, PaintRequest):
            generator: Any = self.model
            return ("paint", generator.layout(self.request.recipe))
        return (self.kind.value,)

    def with_pixels(self, images: ImageStore) -> Request:
        """Return the request with its picture read from the store."""
        if self.image is None:
            return self.request
        pixels = images.load(self.image)
        if isinstance(self.request, PaintRequest):
            return replace(self.request, parent=pixels)
        return replace(self.request, image=pixels)


def paint_call(generator: Generator, recipe: Recipe, parent: Candidate | None) -> Call:
    """Return the call that paints `recipe`, from `parent` when it is a correction."""
    kind = CallKind.DRAFT if parent is None else CallKind.CORRECT
    evaluations = recipe.steps * generator.capabilities.evaluations_per_step
    price = Spend(images=1, denoiser_evaluations=evaluations)
    return Call(recipe.id, kind, generator, PaintRequest(recipe), None if parent is None else parent.image, price)


def judge_call(verifier: Verifier, candidate: Candidate, prompt: str) -> Call:
    """Return the call that judges a picture against the user's own prompt."""
    request = Question(candidate, UNLOADED, prompt)
    id = question_id("judge", verifier.name, request)
    return Call(id, CallKind.JUDGE, verifier, request, candidate.image, Spend(verifier_calls=1))


def reflect_call(
    reflector: Reflector, candidate: Candidate, prompt: str, verdict: Verdict | None, history: Sequence[str]
) -> Call:
    """Return the call that criticises a picture; what the reflector does not read is left out of the question."""
    reads = read_by(reflector)
    seen = verdict if Context.VERDICT in reads else None
    told = tuple(history) if Context.HISTORY in reads else ()
    request = ReflectRequest(candidate, UNLOADED, prompt, seen, told)
    id = question_id("reflect", reflector.name, request)
    return Call(id, CallKind.REFLECT, reflector, request, candidate.image, Spend(reflector_calls=1))


def refine_call(
    refiner: Refiner, candidate: Candidate, prompt: str, current: str, verdict: Verdict | None, reflection: str | None
) -> Call:
    """Return the call that rewrites a prompt."""
    request = RefineRequest(candidate, UNLOADED, prompt, current, verdict, reflection)
    id = question_id("refine", refiner.name, request)
    return Call(id, CallKind.REFINE, refiner, request, candidate.image, Spend(refiner_calls=1))


def perform(calls: Sequence[Call], images: ImageStore) -> Sequence[Reply]:
    """Ask one model all of `calls` (of one group) at once; runs on the model's own thread."""
    model: Any = calls[0].model
    requests = [call.with_pixels(images) for call in calls]
    match calls[0].kind:
        case CallKind.DRAFT | CallKind.CORRECT:
            replies: Sequence[Reply] = model.generate(requests)
        case CallKind.JUDGE:
            replies = model.judge(requests)
        case CallKind.REFLECT:
            replies = model.reflect(requests)
        case CallKind.REFINE:
            replies = model.refine(requests)
    return replies


def match(calls: Sequence[Call], replies: Sequence[Reply]) -> list[Reply]:
    """Return the replies in the order of the calls, paired by id and never by position.

    Raises:
        ContractError: if a reply is missing, comes twice, was not asked for, or is not what the role promises.
    """
    name = calls[0].model.name
    asked = {call.request.id: call for call in calls}
    answered: dict[str, Reply] = {}
    for reply in replies:
        item = _item_of(name, calls[0].kind, reply)
        if item not in asked:
            raise ContractError(f"{name} answered {item}, which it was not asked; {_FIX}")
        if item in answered:
            raise ContractError(f"{name} answered {item} twice in one call; {_FIX}")
        if isinstance(reply, Painting):
            _check_painting(name, asked[item], reply)
        answered[item] = reply
    missing = [item for item in asked if item not in answered]
    if missing:
        raise ContractError(
            f"{name} was asked {len(asked)} items and answered {len(answered)} (no answer for {missing[0]}); {_FIX}"
        )
    return [answered[call.request.id] for call in calls]


_FIX = "the adapter must give exactly one answer per item, with the item's id."
_REPLIES: dict[CallKind, type[Any]] = {
    CallKind.DRAFT: Painting,
    CallKind.CORRECT: Painting,
    CallKind.JUDGE: Verdict,
    CallKind.REFLECT: Reflection,
    CallKind.REFINE: RefinedPrompt,
}


def _item_of(name: str, kind: CallKind, reply: Reply) -> str:
    if isinstance(reply, Failure):
        return reply.id
    wanted = _REPLIES[kind]
    if not isinstance(reply, wanted):
        raise ContractError(
            f"{name} answered a {type(reply).__name__} where a {wanted.__name__} or a Failure is due; {_FIX}"
        )
    return reply.id if isinstance(reply, Painting) else reply.candidate


def _check_painting(name: str, call: Call, painting: Painting) -> None:
    if painting.image.mode != "RGB":
        raise ContractError(f"{name} painted a picture of mode {painting.image.mode}; the adapter must convert to RGB.")
    if painting.denoiser_evaluations > call.price.denoiser_evaluations:
        raise ContractError(
            f"{name} took {painting.denoiser_evaluations} denoiser evaluations where at most "
            f"{call.price.denoiser_evaluations} were reserved; its capabilities must say how many evaluations a step "
            "takes (`evaluations_per_step`)."
        )


@dataclass(frozen=True)
class Finished:
    """One call that needs no further attempt: its reply, and this call's share of the model's time in seconds."""

    call: Call
    reply: Reply
    seconds: float


def rows_of(finished: Sequence[Finished], batch: int, images: ImageStore) -> list[Row]:
    """Return the journal rows of finished calls, after storing their pictures.

    Raises:
        StorageError: if a picture cannot be stored.
    """
    painted = [item.reply.image for item in finished if isinstance(item.reply, Painting)]
    hashes = iter(images.add(painted))
    return [_row(item, batch, next(hashes) if isinstance(item.reply, Painting) else None) for item in finished]


def _row(finished: Finished, batch: int, image: str | None) -> Row:
    call, reply = finished.call, finished.reply
    row = Row(
        id=call.id,
        role=call.kind.value,
        model=call.model.name,
        request=request_json(call),
        seconds=finished.seconds,
        batch=batch,
    )
    if isinstance(reply, Failure):  # a failed picture counts in full: how far the model got is not known
        evaluations = call.price.denoiser_evaluations
        return replace(row, failure=reply.reason, transient=reply.transient, denoiser_evaluations=evaluations)
    if isinstance(reply, Painting):
        answer: dict[str, Any] = {"image": image, "width": reply.image.width, "height": reply.image.height}
        if reply.left_out:
            answer["left_out"] = list(reply.left_out)
        return replace(row, answer=answer, denoiser_evaluations=reply.denoiser_evaluations)
    return replace(row, answer=to_json(reply), tokens=reply.tokens)


def request_json(call: Call) -> Any:
    """Return what was asked as JSON data; the call's id can be derived from it and the model's name."""
    if isinstance(call.request, PaintRequest):
        return to_json(call.request.recipe)
    fields = {name: to_json(value) for name, value in vars(call.request).items() if name not in ("image", "candidate")}
    return {"candidate": call.request.candidate.id, **fields}


def answer_of(call: Call, row: Row) -> Answer:
    """Return what a journal row says to the search that asked `call`."""
    if isinstance(call.request, PaintRequest):
        if row.answer is None:
            return Failure(call.id, row.failure or "", row.transient)
        return Candidate.from_json({"recipe": row.request, **row.answer})
    if row.answer is not None:
        answer: Words = _REPLIES[call.kind].from_json(row.answer)
        return answer
    candidate = call.request.candidate.id
    failed: Words = _REPLIES[call.kind](candidate, call.model.name, failure=row.failure)
    return failed


def spend_of(row: Row) -> Spend:
    """Return what a finished call has cost."""
    kind = CallKind(row.role)
    return Spend(
        images=int(kind.paints),
        denoiser_evaluations=row.denoiser_evaluations,
        verifier_calls=int(kind is CallKind.JUDGE),
        reflector_calls=int(kind is CallKind.REFLECT),
        refiner_calls=int(kind is CallKind.REFINE),
        tokens=row.tokens,
        seconds=row.seconds,
    )
