"""A finished search told in a terminal: the answer, how it came about chain by chain, what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from reflectionflow.report.chains import Chain
    from reflectionflow.report.files import Chapter
    from reflectionflow.report.story import Turn
    from reflectionflow.types import Spend

_BEST, _QUIET, _WARN = "bold green", "dim", "yellow"


def tell_story(console: Console, chapter: Chapter) -> None:
    """Print one search of a run."""
    from reflectionflow.report.chains import chains_of, single_drafts
    from reflectionflow.report.files import PAGE
    from reflectionflow.report.wording import plain

    story = chapter.story
    outcome = chapter.json()["best"]
    console.print()
    console.print(Text(plain(story.result.prompt), style="bold"))
    console.print(Text(f"  {story.result.stop.value}"))
    if chapter.method:
        _line(console, "method", chapter.method)
    if outcome is not None:
        _line(console, "best", f"{outcome['path']} (score {outcome['score']:.4f})", _BEST)
    if (chapter.folder / PAGE).exists():
        _line(console, "report", str(chapter.folder / PAGE))
    _line(console, "spent", _spent(story.result.charged))
    if story.result.paid != story.result.charged:
        _line(console, "paid", _spent(story.result.paid))
    _line(console, "run", story.run)
    for reason in (*story.failures, *(short.sentence for short in story.shortfalls)):
        _line(console, "failed", plain(reason), _WARN)
    chains = chains_of(story)
    for chain in chains:
        _tell_chain(console, chain)
    singles = single_drafts(story)
    if singles:
        console.print()
        heading = "Nothing came of the drafts" if chains else "Pictures"
        console.print(Padding(_listed(heading, singles), (0, 0, 0, 2), expand=False))


def _line(console: Console, name: str, value: str, style: str = "") -> None:
    """Print a name and its value on one line of any length, so that paths can be copied."""
    console.print(Text.assemble(f"  {name:<7}", (value, style)), soft_wrap=True)


def _spent(spend: Spend) -> str:
    """Return a spend in words, without the roles that took no part."""
    amounts = (
        (spend.images, "pictures"),
        (spend.denoiser_evaluations, "denoiser evaluations"),
        (spend.verifier_calls, "verifier calls"),
        (spend.reflector_calls, "reflector calls"),
        (spend.refiner_calls, "refiner calls"),
        (spend.tokens, "tokens"),
    )
    told = [f"{amount:,} {name}" for amount, name in amounts if amount] or ["nothing"]
    return ", ".join([*told, f"{spend.seconds:.1f} model seconds"] if spend.seconds else told)


def _tell_chain(console: Console, chain: Chain) -> None:
    title = Text(f"Chain {chain.number}", style="bold")
    if chain.holds_answer:
        title.append(", with the answer", style=_BEST)
    console.print()
    console.print(Padding(title, (0, 0, 0, 2), expand=False))
    for row in chain.rows:
        left = 4 if row.branch_of is None else 6
        if row.branch_of is not None:
            console.print(
                Padding(Text(f"Branch from No. {row.branch_of.number}", style=_QUIET), (0, 0, 0, 4), expand=False)
            )
        console.print(Padding(_told(row.turns), (0, 0, 0, left), expand=False))


def _told(turns: Sequence[Turn]) -> Table:
    """Return a row of a chain as a table: what led to each picture, then the picture."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for turn in turns:
        for name, words in _causes(turn):
            table.add_row(Text(f"  {name}", style=_QUIET), words)
        table.add_row(Text(f"No. {turn.number}", style=_BEST if turn.best else "bold"), _outcome(turn))
    return table


def _causes(turn: Turn) -> list[tuple[str, Text]]:
    """Return what led to a picture: what was criticised, edit by edit, and the prompt with its changes."""
    from reflectionflow.report.wording import Kind

    styles = {Kind.KEPT: "", Kind.ADDED: "green"}
    names = ["criticised", *[""] * (len(turn.edits) - 1)]
    lost = (" (left out)", _WARN)
    causes = [
        (name, Text.assemble(edit, lost) if edit in turn.left_out else Text(edit))
        for name, edit in zip(names, turn.edits, strict=False)
    ]
    if turn.left_out:
        causes.append(("", Text("Left out: more than the corrector reads at once.", style=_QUIET)))
    if turn.rewritten:
        told = [piece for piece in turn.rewritten if piece.kind is not Kind.DROPPED]
        causes.append(("rewritten", Text.assemble(*((piece.text, styles[piece.kind]) for piece in told))))
    return causes


def _outcome(turn: Turn) -> Text:
    """Return what came of a step: its score, the gain on the picture it came of, what else was said of it."""
    text = Text(turn.said, style=_BEST if turn.best else "")
    if turn.gained or not turn.origin:
        text.append(f"  {turn.gained or 'draft'}", style=_QUIET)
    if turn.best:
        text.append("  best")
    for remark in (turn.why_not, *turn.remarks):
        if remark:
            text.append(f"\n{remark}", style=_WARN if remark == turn.why_not else _QUIET)
    return text


def _listed(heading: str, turns: Sequence[Turn]) -> Text:
    """Return the numbers and scores of several pictures as running text."""
    text = Text(f"{heading}: ")
    for turn in turns:
        text.append(f"No. {turn.number} ", style=_QUIET)
        text.append(turn.said, style=_BEST if turn.best else "")
        text.append(", " if turn is not turns[-1] else ".")
    return text
