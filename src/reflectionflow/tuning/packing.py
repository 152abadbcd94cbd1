"""Several questions about one picture in one sequence, exactly as if each were asked alone.

A sequence is what all questions share (system message and picture), then each question with its answer. A token sees
the shared part and its own question, nothing of the others, and its positions go on from the shared part; so the vision
tower and the picture's tokens are computed once for all questions, and the answers cannot give each other away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reflectionflow.models.vision_language import Ask
from reflectionflow.prompts.vlm import Wording
from reflectionflow.tuning.vlm_items import Shown, Task

if TYPE_CHECKING:
    import torch

PADDING, SHARED = -1, 0
"""Groups of tokens: padding, the shared part; questions are numbered from 1."""
IGNORED = -100
STEP = 32
"""Lengths are multiples of it: every further shape costs memory that a CPU's kernels keep."""


@dataclass(frozen=True)
class Packed:
    """One packed sequence, lists of one length each.

    Attributes:
        ids: Tokens.
        positions: Place of each token in time, height and width.
        groups: Which question a token belongs to.
        targets: The token to predict at each place, `IGNORED` outside answers.
        tasks: Number of the task at each target, else 0.
    """

    ids: list[int]
    positions: list[tuple[int, int, int]]
    groups: list[int]
    targets: list[int]
    tasks: list[int]


def packed(vl: Any, shown: Shown, rows: int, columns: int, wording: Wording) -> Packed:
    """Return a picture's questions as one sequence; the picture takes `rows` · `columns` tokens.

    Args:
        vl: A `VisionLanguage`, or anything that spells as it does.
        shown: The picture and its questions.
        rows: Rows of merged patches.
        columns: Columns of merged patches.
        wording: Whose system message is used.

    Raises:
        ValueError: if the chat template puts something of the question before the picture.
    """
    places = rows * columns
    begun = [vl.spelled(Ask(shown.image, item.text, wording.system), places) for item in shown.asked]
    spelled = [[*row, *vl.answered(item.answer)] for row, item in zip(begun, shown.asked, strict=True)]
    first = spelled[0].index(vl.image_token)
    shared = first + places
    if any(row[:shared] != spelled[0][:shared] for row in spelled):
        raise ValueError("The chat template does not put the picture before the question; questions cannot be packed.")
    ids, groups = spelled[0][:shared], [SHARED] * shared
    positions = image_positions(first, rows, columns)
    targets, tasks = [IGNORED] * shared, [0] * shared
    next_place = max(max(place) for place in positions) + 1
    for number, (row, question, item) in enumerate(zip(spelled, begun, shown.asked, strict=True), 1):
        start = len(question)
        ids += row[shared:]
        groups += [number] * (len(row) - shared)
        positions += [(next_place + i,) * 3 for i in range(len(row) - shared)]
        stop = start + 1 if item.task is Task.JUDGE else len(row)
        for place in range(shared, len(row)):
            wanted = start <= place + 1 < stop
            targets.append(row[place + 1] if wanted else IGNORED)
            tasks.append(item.task.value if wanted else 0)
    return Packed(ids, positions, groups, targets, tasks)


def image_positions(first: int, rows: int, columns: int) -> list[tuple[int, int, int]]:
    """Return the positions of `first` text tokens and of an image after them, as `get_rope_index` gives them."""
    text = [(place, place, place) for place in range(first)]
    return text + [(first, first + row, first + column) for row in range(rows) for column in range(columns)]


def collated(sequences: Sequence[Packed]) -> dict[str, torch.Tensor]:
    """Return sequences as tensors padded on the right to a multiple of `STEP`.

    Returns:
        "ids", "groups", "targets" and "tasks" [n, length], "positions" [3, n, length].
    """
    import torch

    longest = math.ceil(max(len(sequence.ids) for sequence in sequences) / STEP) * STEP

    def padded(values: list[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([row + [filler] * (longest - len(row)) for row in values])

    places = [padded([[place[axis] for place in s.positions] for s in sequences], 0) for axis in range(3)]
    return {
        "ids": padded([s.ids for s in sequences], 0),
        "positions": torch.stack(places),
        "groups": padded([s.groups for s in sequences], PADDING),
        "targets": padded([s.targets for s in sequences], IGNORED),
        "tasks": padded([s.tasks for s in sequences], 0),
    }


def mask_of(groups: torch.Tensor) -> torch.Tensor:
    """Return who sees whom, boolean [n, 1, length, length]: the past of the own question and the shared part."""
    import torch

    length = groups.shape[1]
    past = torch.ones(length, length, dtype=torch.bool, device=groups.device).tril()
    mine = groups[:, :, None] == groups[:, None, :]
    shared = (groups == SHARED)[:, None, :] & (groups != PADDING)[:, :, None]
    return (past & (mine | shared))[:, None]
