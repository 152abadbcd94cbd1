"""The facts a report is drawn from, and the questions every drawing asks of them: what came of what, and why.

Pictures hang together by links, never by their place in the search: a correction by its recipe's parent, a picture from
a rewritten prompt by the picture that prompted the rewriting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

from reflectionflow.prompts.vlm import JOIN
from reflectionflow.report.wording import Piece, changes, plain
from reflectionflow.types import Candidate, RefinedPrompt, Reflection, SearchResult, Step

if TYPE_CHECKING:
    from PIL.Image import Image

Remarks = Mapping[str, tuple[Reflection | RefinedPrompt, ...]]
"""What reflector and refiner said of each candidate, by its id, whether or not a picture came of it."""


@dataclass(frozen=True)
class Turn:
    """One step as a story tells it: what led to it, and what came of that.

    Attributes:
        number: Counted from 1 in the order of place.
        step: The step.
        origin: Number of the picture it came of; none for a draft, or when that picture is not in this search.
        edits: What was criticised in the origin, one edit each; empty for a draft.
        left_out: Those of the edits that the painter did not read, because its text does not hold them.
        prompt: The text it was painted from.
        rewritten: How that text became of the origin's (of the user's own for a draft); empty when they are the same.
        gain: Its score minus its origin's, or none where one of them has none.
        remarks: What else was said of it, in sentences: that there is nothing to correct, that a reflection failed.
        best: Whether it was chosen.
    """

    number: int
    step: Step
    origin: int | None
    edits: tuple[str, ...]
    left_out: tuple[str, ...]
    prompt: str
    rewritten: tuple[Piece, ...]
    gain: float | None
    remarks: tuple[str, ...]
    best: bool

    @property
    def score(self) -> float | None:
        """The verifier's score in [0, 1], or none."""
        return None if self.step.verdict is None else self.step.verdict.score

    @property
    def said(self) -> str:
        """The score, or why there is none, in a few words."""
        return said_of(self.step)

    @property
    def gained(self) -> str:
        """The gain with its sign; empty where there is none."""
        return "" if self.gain is None else f"{self.gain:+.4f}"

    @property
    def why_not(self) -> str:
        """Why there is no picture or no score; empty when there are both."""
        return plain(why_not(self.step))

    @property
    def rationale(self) -> str:
        """The verifier's words."""
        return "" if self.step.verdict is None else plain(self.step.verdict.rationale)


@dataclass(frozen=True)
class Shortfall:
    """Answers of one kind that a search asked for and did not get.

    Attributes:
        what: `reflections` or `refinements`.
        failed: How many failed.
        asked: How many were asked for, each question counted once.
        reason: Why, as most of them say.
        alike: Whether all of them say so.
    """

    what: str
    failed: int
    asked: int
    reason: str
    alike: bool

    @property
    def sentence(self) -> str:
        """All of it in words."""
        return f"{self.failed} of {self.asked} {self.what} failed{'' if self.alike else ', most often'}: {self.reason}"


@dataclass(frozen=True)
class Story:
    """One search as a report tells it.

    Attributes:
        result: The search: every step in its place, the best, the spend, why it stopped.
        run: Id of the run.
        stack: Name of the stack that ran it.
        version: Package version that ran it.
        command: The command line that repeats it.
        png: Returns the PNG file of a candidate.
        link: Returns where that file is, as seen from the report; empty when it cannot be linked to.
        remarks: What reflector and refiner said of the candidates.
    """

    result: SearchResult
    run: str
    stack: str
    version: str
    command: str
    png: Callable[[Candidate], bytes] = field(repr=False)
    link: Callable[[Candidate], str] = field(repr=False, default=lambda candidate: "")
    remarks: Remarks = field(repr=False, default_factory=dict)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each painted candidate, by id; its first one where it was painted twice."""
        numbers: dict[str, int] = {}
        for number, step in self.numbered:
            if step.candidate:
                numbers.setdefault(step.candidate.id, number)
        return numbers

    @cached_property
    def numbered(self) -> list[tuple[int, Step]]:
        """Every step with its number, counted from 1 in the order of place."""
        return list(enumerate(sorted(self.result.steps, key=lambda step: step.place), start=1))

    @cached_property
    def origins(self) -> dict[int, int]:
        """The number of the picture each step came of; without those that came of none, and without circles."""
        origins: dict[int, int] = {}
        for number, step in self.numbered:
            source = source_of(step)
            origin = None if source is None else self.numbers.get(source)
            if origin is not None and number not in _upwards(origins, origin):
                origins[number] = origin
        return origins

    @cached_property
    def turns(self) -> dict[int, Turn]:
        """Every step as the story tells it, by its number."""
        return {number: self._turn(number, step) for number, step in self.numbered}

    @property
    def path(self) -> tuple[Turn, ...]:
        """The way to the chosen picture, from its draft; empty when none was chosen."""
        chosen = next((number for number, step in self.numbered if self.is_best(step)), None)
        return () if chosen is None else tuple(self.turns[n] for n in reversed(_upwards(self.origins, chosen)))

    def is_best(self, step: Step) -> bool:
        """Return whether this step was chosen."""
        best = self.result.best
        return best is not None and step.place == best.place

    @property
    def failures(self) -> tuple[str, ...]:
        """The distinct reasons why pictures could not be painted or judged, in the order of place."""
        reasons = [why_not(step) for _, step in self.numbered]
        return tuple(dict.fromkeys(reason for reason in reasons if reason))

    @property
    def shortfalls(self) -> tuple[Shortfall, ...]:
        """How many reflections and refinements failed, and why; empty where none did."""
        charged = self.result.charged
        kinds = (("reflect", "reflections", charged.reflector_calls), ("refine", "refinements", charged.refiner_calls))
        found = []
        for call, what, asked in kinds:
            reasons = Counter(failed.reason for failed in self.result.failed_calls if failed.call == call)
            if reasons:
                found.append(Shortfall(what, reasons.total(), asked, reasons.most_common(1)[0][0], len(reasons) == 1))
        return tuple(found)

    def open(self, candidate: Candidate) -> Image:
        """Return the pixels of a candidate (RGB)."""
        from PIL import Image

        with Image.open(BytesIO(self.png(candidate))) as picture:
            return picture.convert("RGB")

    def _turn(self, number: int, step: Step) -> Turn:
        origin = self.origins.get(number)
        source = None if origin is None else self._steps[origin]
        before = (_painted_from(source) if source else "") or self.result.prompt
        prompt = plain(_painted_from(step) or before)
        return Turn(
            number=number,
            step=step,
            origin=origin,
            edits=tuple(plain(edit) for edit in _edits(step)),
            left_out=tuple(plain(edit) for edit in _left_out(step)),
            prompt=prompt,
            rewritten=() if prompt == plain(before) else changes(plain(before), prompt),
            gain=_gain(source, step) if source else None,
            remarks=self._remarks_on(number, step),
            best=self.is_best(step),
        )

    def _remarks_on(self, number: int, step: Step) -> tuple[str, ...]:
        """Return what was said of a picture besides the reflections its corrections were painted from."""
        if step.candidate is None or self.numbers[step.candidate.id] != number:
            return ()
        used = self._used.get(number, set())
        said = [_sentence(remark, used) for remark in self.remarks.get(step.candidate.id, ())]
        lost = [call for call in self.result.failed_calls if call.candidate == step.candidate.id]
        said += [_FAILED[call.call] + call.reason for call in lost]
        return tuple(plain(sentence) for sentence in dict.fromkeys(said) if sentence)

    @cached_property
    def _steps(self) -> dict[int, Step]:
        return dict(self.numbered)

    @cached_property
    def _used(self) -> dict[int, set[str]]:
        """The texts of the reflections that were painted from, by the number of the criticised picture."""
        used: dict[int, set[str]] = {}
        for number, step in self.numbered:
            if number in self.origins:
                used.setdefault(self.origins[number], set()).add(_reflection(step))
        return used


def source_of(step: Step) -> str | None:
    """Return the id of the candidate a step came of, or none for a draft from the user's own prompt.

    A correction came of its parent, whether or not it could be painted; a draft from a rewritten prompt of the picture
    that prompted the rewriting.
    """
    if step.candidate is not None and step.candidate.recipe.parent is not None:
        return step.candidate.recipe.parent
    words = step.reflection or step.refined
    return None if words is None else words.candidate


def said_of(step: Step) -> str:
    """Return the score of a step, or why it has none, in a few words."""
    if step.failure is not None:
        return "not painted"
    if step.verdict is None or step.verdict.score is None:
        return "not judged"
    return f"{step.verdict.score:.4f}"


def why_not(step: Step) -> str:
    """Return why a step has no picture or no score; empty when it has both."""
    if step.failure is not None:
        return step.failure.reason
    if step.verdict is None:
        return "The search ended before this picture was judged."
    return step.verdict.failure or ""


def _upwards(origins: Mapping[int, int], number: int) -> list[int]:
    """Return a step's number and those of the pictures it came of, up to the draft."""
    found = [number]
    while found[-1] in origins:
        found.append(origins[found[-1]])
    return found


def _painted_from(step: Step) -> str:
    if step.candidate is not None:
        return step.candidate.recipe.prompt
    return "" if step.refined is None else step.refined.text


def _reflection(step: Step) -> str:
    if step.reflection is not None:
        return step.reflection.text
    return (step.candidate.recipe.reflection or "") if step.candidate is not None else ""


def _edits(step: Step) -> tuple[str, ...]:
    edits = () if step.reflection is None else step.reflection.edits
    text = _reflection(step)
    if not set(_left_out(step)) <= set(edits):
        return tuple(text.split(JOIN))  # one by one, so that those that were left out can be told
    return edits or ((text,) if text else ())


def _left_out(step: Step) -> tuple[str, ...]:
    return () if step.candidate is None else step.candidate.left_out


def _gain(before: Step, after: Step) -> float | None:
    old, new = (None if step.verdict is None else step.verdict.score for step in (before, after))
    return None if old is None or new is None else new - old


_FAILED = {"reflect": "The reflector failed: ", "refine": "The prompt could not be rewritten: "}


def _sentence(remark: Reflection | RefinedPrompt, used: set[str]) -> str:
    if isinstance(remark, RefinedPrompt):
        return "" if remark.failure is None else _FAILED["refine"] + remark.failure
    if remark.failure is not None:
        return _FAILED["reflect"] + remark.failure
    if remark.nothing_to_correct:
        return "The reflector found nothing to correct."
    return "" if remark.text in used else f"The reflector said: {remark.text}"
