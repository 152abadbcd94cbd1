"""Rule, reward and length for stacks that do not paint Scenes: drafts, and a teacher that looks at both.

No scene graph is known of such pictures, so the nearest picture is the one whose pixels differ least, and reflections
are the teacher's. Pairs that it does not prefer as they were meant are dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reflectionflow.genref.pool import MOST_PROMPTS, Draft, Painter, drafts
from reflectionflow.genref.shards import Triplet
from reflectionflow.genref.sources.scored import MARGIN
from reflectionflow.genref.teaching import PREFERS_FLAWED, Comparison, Untaught, flawed_first
from reflectionflow.prompts.vlm import JOIN

if TYPE_CHECKING:
    from PIL.Image import Image

    from reflectionflow.genref.teacher_vlm import VlmTeacher

IMAGES = 8
IMAGES_OF_CAPTIONS = 2
"""Of each caption of a scene, since every one of them makes a pair."""
MOST = 3
"""Pairs of a prompt judged by rules."""
Passes = Callable[[Sequence[tuple[str, "Image"]]], Sequence[bool]]
"""Decides about pictures of prompts by GenEval's rules."""


@dataclass(frozen=True)
class Choice:
    """Two drafts, before the teacher has seen them.

    Attributes:
        flawed: The worse one, whose prompt is the sample's.
        enhanced: The better one.
        subset: As published: rule, general or length.
        wanted: What the teacher compares them by.
    """

    flawed: Draft
    enhanced: Draft
    subset: str
    wanted: str


def rule_choices(
    painted: Iterable[tuple[str, Sequence[Draft]]], passes: Passes, drops: Counter[str]
) -> Iterator[Choice]:
    """Yield each failing draft with the nearest passing one; prompts that always or never pass are dropped.

    Args:
        painted: Prompts with their drafts.
        passes: Decides.
        drops: Counts what is left out, by reason.
    """
    for prompt, pictures in painted:
        images = [picture.image() for picture in pictures]
        right = passes([(prompt, image) for image in images])
        good, bad = ([place for place, holds in enumerate(right) if holds is wanted] for wanted in (True, False))
        if not good or not bad:
            drops["the prompt always passes" if good else "the prompt never passes"] += 1
            continue
        ways = [min((_apart(images[one], images[other]), one, other) for other in good) for one in bad]
        drops["enough pairs of the prompt"] += max(0, len(ways) - MOST)
        for _, one, other in sorted(ways)[:MOST]:
            yield Choice(pictures[one], pictures[other], "rule", prompt)


def reward_choices(painted: Iterable[tuple[str, Sequence[Draft]]], drops: Counter[str]) -> Iterator[Choice]:
    """Yield the worst draft of a prompt by the verifier's score with the nearer of its two best ones.

    Drafts of a prompt are ranked; a better one is so by at least `MARGIN` of their number, with ties in between.
    """
    from scipy.stats import rankdata

    for prompt, pictures in painted:
        scored = [picture for picture in pictures if picture.score is not None]
        if len(scored) < 2:
            drops["too few pictures have a score"] += 1
            continue
        ranks = rankdata([picture.score for picture in scored])
        order = np.argsort(ranks, kind="stable")
        worst = scored[int(order[0])]
        best = [scored[int(at)] for at in order[-2:] if ranks[at] - ranks[order[0]] >= MARGIN * len(scored)]
        if not best:
            drops["the verifier sees no clear difference"] += 1
            continue
        flawed = worst.image()
        yield Choice(worst, min(best, key=lambda picture: _apart(flawed, picture.image())), "general", prompt)


def length_choices(painted: Iterable[tuple[str, Sequence[Draft]]]) -> Iterator[Choice]:
    """Yield each draft of a scene's short caption with one of its detailed caption, by which the teacher compares them.

    Args:
        painted: The short and the detailed caption of each scene in turn, with their drafts.
    """
    captions = iter(painted)
    for (_, of_short), (detailed, of_detailed) in zip(captions, captions, strict=True):
        for flawed, enhanced in zip(of_short, of_detailed, strict=False):  # of failed ones there are fewer
            yield Choice(flawed, enhanced, "length", detailed)


def _apart(first: Image, second: Image) -> float:
    """Return the root mean squared difference of two pictures of one size."""
    pixels = np.asarray(first, dtype=np.float32), np.asarray(second, dtype=np.float32)
    return float(np.sqrt(np.mean((pixels[0] - pixels[1]) ** 2)))


def painted(
    paint: Painter, folder: Path, prompts: Sequence[str], images: int, seed: int
) -> Iterator[tuple[str, Sequence[Draft]]]:
    """Yield prompts with their drafts, painted in rounds as they are wanted; a run that is there is not painted again.

    Args:
        paint: Paints.
        folder: Where runs lie.
        prompts: What to paint, without doubles.
        images: Drafts of each.
        seed: Of the noise.
    """
    for start in range(0, len(prompts), MOST_PROMPTS):
        some = prompts[start : start + MOST_PROMPTS]
        found: dict[str, list[Draft]] = {prompt: [] for prompt in some}
        for draft in drafts(paint, folder / f"drafts-{start // MOST_PROMPTS}", some, images, seed):
            found[draft.prompt].append(draft)
        yield from found.items()


def triplets(
    choices: Iterable[Choice], wanted: int, seed: int, teacher: VlmTeacher, drops: Counter[str]
) -> Iterator[Triplet]:
    """Yield at most `wanted` samples: the choices whose enhanced picture the teacher prefers, with its instructions.

    Args:
        choices: Pairs in their order.
        wanted: How many samples.
        seed: Of the order in which the teacher sees two pictures.
        teacher: Compares, without being told which picture is meant to be better.
        drops: Counts what is left out, by reason.

    Raises:
        ModelError: if the teacher's endpoint refuses for good.
    """
    remaining, made, seen = iter(choices), 0, 0
    while made < wanted and (chunk := list(islice(remaining, min(wanted - made, teacher.most)))):
        swaps = [bool(np.random.default_rng([seed, seen + at, 14]).integers(2)) for at in range(len(chunk))]
        seen += len(chunk)
        asked = [_comparison(choice, swapped) for choice, swapped in zip(chunk, swaps, strict=True)]
        answers = teacher.compare(asked)
        for choice, swapped, item, thought in zip(chunk, swaps, asked, answers, strict=True):
            if isinstance(thought, Untaught):
                drops[thought.reason] += 1
                continue
            told = flawed_first(teacher, item, swapped, thought)
            if told is None or not told.edits:
                drops[PREFERS_FLAWED if told is None else "nothing that matters differs"] += 1
                continue
            cot = {"differences": told.differences, "edits": told.edits, "teacher": teacher.name, "swapped": swapped}
            yield _triplet(choice, made, told.edits, cot)
            made += 1


def _comparison(choice: Choice, swapped: bool) -> Comparison[Draft]:
    shown = (choice.enhanced, choice.flawed) if swapped else (choice.flawed, choice.enhanced)
    return Comparison(choice.wanted, *shown)


def _triplet(choice: Choice, number: int, edits: tuple[str, ...], cot: Mapping[str, object]) -> Triplet:
    sides = {"flawed": choice.flawed, "enhanced": choice.enhanced}
    about = {
        side: {"candidate": draft.candidate, "seed": draft.seed, "score": draft.score} for side, draft in sides.items()
    }
    key = f"{choice.subset}-{number:06}"
    return Triplet(
        key, choice.enhanced.image(), choice.flawed.image(), JOIN.join(edits), choice.flawed.prompt, choice.subset,
        {**about, "edits": edits, "cot": cot},
    )  # fmt: skip
