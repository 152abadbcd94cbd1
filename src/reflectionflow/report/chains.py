"""Chains: what came of each draft, as rows of pictures.

A chain is a draft and everything that came of it. Its first row follows the way to its best picture and goes on from
there as long as there is more; every other picture begins, or goes on, a row of its own that branches off.
"""

from __future__ import annotations

from dataclasses import dataclass

from reflectionflow.report.story import Story, Turn

_Worth = tuple[bool, float, int]
"""What decides which branch a row follows: whether it leads to the answer, its best score, the smaller number."""


@dataclass(frozen=True)
class Row:
    """Turns of which each came of the one before; the first of `branch_of`, or of noise when that is none."""

    branch_of: Turn | None
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Chain:
    """A draft and what came of it.

    Attributes:
        number: Counted from 1 in the order of the drafts' places, among the chains of more than one picture.
        rows: The first one from the draft; then those that branch off, in the order of their first pictures.
    """

    number: int
    rows: tuple[Row, ...]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Every turn of the chain, in the order of place."""
        return tuple(sorted((turn for row in self.rows for turn in row.turns), key=lambda turn: turn.number))

    @property
    def draft(self) -> Turn:
        """What it began with."""
        return self.rows[0].turns[0]

    @property
    def best(self) -> Turn | None:
        """Its best judged picture, the first one of equals; none when no picture was judged."""
        judged = [turn for turn in self.turns if turn.score is not None]
        return max(judged, key=lambda turn: (turn.score or 0.0, -turn.number), default=None)

    @property
    def holds_answer(self) -> bool:
        """Whether the chosen picture is one of its own."""
        return any(turn.best for turn in self.turns)


def chains_of(story: Story) -> tuple[Chain, ...]:
    """Return the chains of more than one picture: the one with the answer first, then those with better pictures."""
    children: dict[int, list[int]] = {}
    for number, origin in story.origins.items():
        children.setdefault(origin, []).append(number)
    worth = _worths(story)
    drafts = [n for n in story.turns if n not in story.origins and n in children]
    chains = (Chain(place, _rows(story, draft, children, worth)) for place, draft in enumerate(sorted(drafts), start=1))
    return tuple(sorted(chains, key=lambda chain: worth[chain.draft.number], reverse=True))


def single_drafts(story: Story) -> tuple[Turn, ...]:
    """Return the drafts that nothing came of, in the order of place."""
    parents = set(story.origins.values())
    return tuple(turn for n, turn in story.turns.items() if n not in story.origins and n not in parents)


def _worths(story: Story) -> dict[int, _Worth]:
    """Return, for each step, the worth of the best among itself and what came of it."""
    worths: dict[int, _Worth] = {}
    for number, turn in story.turns.items():
        own = (turn.best, -1.0 if turn.score is None else turn.score, -number)
        at: int | None = number
        while at is not None and (at not in worths or worths[at] < own):
            worths[at] = own
            at = story.origins.get(at)
    return worths


def _rows(story: Story, draft: int, children: dict[int, list[int]], worth: dict[int, _Worth]) -> tuple[Row, ...]:
    rows: list[Row] = []
    starts = [draft]
    while starts:
        numbers = [starts.pop(0)]
        while following := children.get(numbers[-1]):
            onward = max(following, key=lambda n: worth[n])
            starts += [n for n in following if n != onward]
            numbers.append(onward)
        branch_of = story.origins.get(numbers[0])
        turns = tuple(story.turns[n] for n in numbers)
        rows.append(Row(None if branch_of is None else story.turns[branch_of], turns))
    return (rows[0], *sorted(rows[1:], key=lambda row: row.turns[0].number))
