"""What happens in a run, as a stream of typed values.

Progress bars, reports, the web page, the server and tests are consumers of this one stream; a consumer is any callable
that takes an event. Consumers are called one event at a time, on the thread of the run's event loop. `event_json` gives
the form that stands in `events.jsonl`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from reflectionflow.types import Candidate, Failure, RefinedPrompt, Reflection, Spend, StopReason, Verdict, to_json


@dataclass(frozen=True)
class RunStarted:
    """All checks passed and the searches begin.

    Attributes:
        stack: Name of the stack.
        searches: Number of searches.
        journaled: Calls the journal already holds.
    """

    kind: ClassVar[str] = "run_started"
    stack: str
    searches: int
    journaled: int


@dataclass(frozen=True)
class SearchStarted:
    """One search begins; `search` is its index in the run, `id` its content id."""

    kind: ClassVar[str] = "search_started"
    search: int
    id: str
    prompt: str
    strategy: str
    label: str


@dataclass(frozen=True)
class BatchStarted:
    """A model is about to be called.

    Attributes:
        batch: Number of the batch in the run directory, from 1.
        call: `draft`, `correct`, `judge`, `reflect` or `refine`; of the first item when drafts and corrections mix.
        model: Name of the model.
        ids: Content ids of the calls.
    """

    kind: ClassVar[str] = "batch_started"
    batch: int
    call: str
    model: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class BatchEnded:
    """A model has answered; the answers named by `ids` are in the journal.

    Attributes:
        batch: As in `BatchStarted`.
        call: As in `BatchStarted`.
        model: Name of the model.
        ids: The calls of the batch that are finished (the others are tried again).
        seconds: Duration of the model call.
    """

    kind: ClassVar[str] = "batch_ended"
    batch: int
    call: str
    model: str
    ids: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Retrying:
    """Calls failed for a reason that may pass and are tried again.

    Attributes:
        call: As in `BatchStarted`.
        model: Name of the model.
        ids: The calls.
        attempt: Number of the attempt that failed, from 1.
        reason: Why, as a sentence.
        delay: Seconds until the next attempt.
    """

    kind: ClassVar[str] = "retrying"
    call: str
    model: str
    ids: tuple[str, ...]
    attempt: int
    reason: str
    delay: float


@dataclass(frozen=True)
class Drafted:
    """A picture was painted from noise. `cached` is true when this search did not have to wait for the model."""

    kind: ClassVar[str] = "drafted"
    search: int
    place: tuple[int, int]
    candidate: Candidate
    cached: bool


@dataclass(frozen=True)
class Corrected:
    """A picture was painted from a flawed one and a reflection (both in the candidate's recipe)."""

    kind: ClassVar[str] = "corrected"
    search: int
    place: tuple[int, int]
    candidate: Candidate
    cached: bool


@dataclass(frozen=True)
class Judged:
    """A picture has a score. `place` is the picture's; a picture that could not be judged is told by `Failed`."""

    kind: ClassVar[str] = "judged"
    search: int
    place: tuple[int, int]
    verdict: Verdict
    cached: bool


@dataclass(frozen=True)
class Reflected:
    """A picture was criticised. `place` is the picture's."""

    kind: ClassVar[str] = "reflected"
    search: int
    place: tuple[int, int]
    reflection: Reflection
    cached: bool


@dataclass(frozen=True)
class Refined:
    """A prompt was rewritten. `place` is that of the picture which prompted it."""

    kind: ClassVar[str] = "refined"
    search: int
    place: tuple[int, int]
    refined: RefinedPrompt
    cached: bool


@dataclass(frozen=True)
class Failed:
    """One call could not be done; the search goes on. `call` is as in `BatchStarted`."""

    kind: ClassVar[str] = "failed"
    search: int
    place: tuple[int, int]
    call: str
    failure: Failure
    cached: bool


@dataclass(frozen=True)
class Selected:
    """A picture is the best of its search so far."""

    kind: ClassVar[str] = "selected"
    search: int
    place: tuple[int, int]
    candidate: Candidate
    score: float


@dataclass(frozen=True)
class Stopped:
    """A search ended.

    Attributes:
        search: Index of the search in the run.
        id: Content id of the search.
        reason: Why it ended.
        best: Id of the chosen candidate, or none.
        score: Its score, or none.
        charged: Spend as if the search had run alone.
        paid: What this process computed for it.
    """

    kind: ClassVar[str] = "stopped"
    search: int
    id: str
    reason: StopReason
    best: str | None
    score: float | None
    charged: Spend
    paid: Spend


Event = (
    RunStarted
    | SearchStarted
    | BatchStarted
    | BatchEnded
    | Retrying
    | Drafted
    | Corrected
    | Judged
    | Reflected
    | Refined
    | Failed
    | Selected
    | Stopped
)


def event_json(event: Event) -> dict[str, Any]:
    """Return an event as plain JSON data, its kind first."""
    return {"kind": event.kind, **to_json(event)}


def ignore(event: Event) -> None:
    """Consume an event without doing anything."""
