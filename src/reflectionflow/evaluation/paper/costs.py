"""What the paper's exhibits need besides the searches of the evaluation, at most and by kind of call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reflectionflow.evaluation.paper.reflecting import FIRST
from reflectionflow.evaluation.planning import Plan


@dataclass(frozen=True)
class Further:
    """What one option asks for.

    Attributes:
        what: The option or the exhibit.
        calls: How often each kind of call is made at most, as `rehearsal.forecast` counts them.
    """

    what: str
    calls: Mapping[str, int]

    @property
    def told(self) -> str:
        """The same as a sentence; the estimate of time and money holds it."""
        pictures = self.calls.get("draft", 0) + self.calls.get("correct", 0)
        numbers = {
            "pictures": pictures,
            "verifier calls": self.calls.get("judge", 0),
            "reflector calls": self.calls.get("reflect", 0),
        }
        listed = " and ".join(f"{number:,} {name}" for name, number in numbers.items() if number)
        without = "" if pictures else "; it paints nothing, so a pace given per picture leaves it out"
        return f"Counted in, {self.what}: at most {listed}{without}."


def further(
    planned: Plan, pick_by: Sequence[str], critics: int, control: str | None, told_by: Sequence[str]
) -> Iterator[Further]:
    """Yield what is needed besides the evaluation itself.

    Args:
        planned: The evaluation.
        pick_by: Verifiers that pick from the pictures of one method.
        critics: Reflectors of Figure 2, the stack's own among them; counted as if every first draft failed.
        control: The generator of the control.
        told_by: Who speaks in the reflector's place; their searches share the first drafts.
    """
    asked = planned.asked
    searches = asked.seeds * len(asked.benchmark.items)
    drafts = min(FIRST, asked.images) * searches
    every, corrections = asked.images * searches, asked.images * searches - drafts
    for name in pick_by:
        yield Further(f"--pick-by {name}", {"judge": every})
    if critics:
        calls = {"draft": drafts, "correct": critics * drafts, "reflect": critics * drafts}
        yield Further(
            f"Figure 2 with {critics} reflector{'s' if critics > 1 else ''}, as if every first draft failed", calls
        )
    if control is not None:
        yield Further(f"--control {control}", {"draft": every, "judge": every})
    for name in told_by:
        yield Further(f"--told-by {name}", dict.fromkeys(("correct", "judge", "reflect"), corrections))


def together(parts: Iterable[Further]) -> Mapping[str, int]:
    """Return all calls of several parts by kind."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part.calls)
    return total
