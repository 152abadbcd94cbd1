"""The scores of a judged suite (`summary_scores.py` in djghosh13/geneval)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reflectionflow.geneval.records import ResultRecord


@dataclass(frozen=True)
class TagScore:
    """The pictures of one task: how many, and how many of them are correct."""

    tag: str
    correct: int
    images: int

    @property
    def share(self) -> float:
        """Share of correct pictures, in [0, 1]."""
        return self.correct / self.images


@dataclass(frozen=True)
class Summary:
    """The scores of a suite; all shares in [0, 1].

    Attributes:
        images: Number of pictures.
        prompts: Number of different prompts.
        correct_images: Share of correct pictures.
        correct_prompts: Share of prompts with at least one correct picture: the best possible choice among the
            pictures of a prompt, which is what the official "% correct prompts" means.
        prompt_average: Mean over prompts of the share of correct pictures; equals `correct_images` when all prompts
            have equally many.
        tags: One score per task, in order of appearance.
    """

    images: int
    prompts: int
    correct_images: float
    correct_prompts: float
    prompt_average: float
    tags: tuple[TagScore, ...]

    @property
    def overall(self) -> float:
        """The headline number: the unweighted mean of the tasks' shares of correct pictures."""
        return _mean([tag.share for tag in self.tags])

    def text(self) -> str:
        """Return the lines that the official program prints."""
        head = [
            "Summary",
            "=======",
            f"Total images: {self.images}",
            f"Total prompts: {self.prompts}",
            f"% correct images: {self.correct_images:.2%}",
            f"% correct prompts: {self.correct_prompts:.2%}",
            "",
            "Task breakdown",
            "==============",
        ]
        tags = [f"{tag.tag:<16} = {tag.share:.2%} ({tag.correct} / {tag.images})" for tag in self.tags]
        return "\n".join([*head, *tags, "", f"Overall score (avg. over tasks): {self.overall:.5f}"])


def summarise(records: Iterable[ResultRecord]) -> Summary:
    """Return the scores of judged pictures.

    Raises:
        ValueError: if there are none.
    """
    by_prompt: dict[str, list[bool]] = defaultdict(list)
    by_tag: dict[str, list[bool]] = defaultdict(list)
    for record in records:
        by_prompt[record.metadata].append(record.correct)
        by_tag[record.tag].append(record.correct)
    if not by_tag:
        raise ValueError("There are no judged pictures to summarise; judge at least one.")
    everything = [correct for group in by_tag.values() for correct in group]
    return Summary(
        images=len(everything),
        prompts=len(by_prompt),
        correct_images=_mean(everything),
        correct_prompts=_mean([any(group) for group in by_prompt.values()]),
        prompt_average=_mean([_mean(group) for group in by_prompt.values()]),
        tags=tuple(TagScore(tag, sum(group), len(group)) for tag, group in by_tag.items()),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
