"""Build GenRef: pool → pairs → shards, or edits of real pictures → teacher → shards.

The pool is a run, and a teacher's answers are kept, so a killed build goes on and pays for nothing twice. Its samples
are made again from the first one on: what failed in passing before may not fail again, and then other samples follow.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflectionflow.genref.card import card, card_of_drafts, card_of_edits
from reflectionflow.genref.pairs import Pair
from reflectionflow.genref.pool import Painter, Pool, prompts_a_round
from reflectionflow.genref.shards import PER_SHARD, Triplet, begin, require_own, sole_builder, write_shards
from reflectionflow.genref.sources import drafts, editing, edits, retouch, rule, scored
from reflectionflow.runs.storage import write_atomically

if TYPE_CHECKING:
    from reflectionflow.genref.teacher_vlm import VlmTeacher

CARD = "README.md"
SHARE = {"rule": 0.18, "reward": 0.14, "length": 0.09, "editing": 0.3, "retouch": 0.29}
"""How `all` divides the triplets: the paper's shares, its editing half rendered and half retouched."""


class Source(StrEnum):
    """Where pairs come from (ReflectionFlow section 4)."""

    RULE = "rule"
    REWARD = "reward"
    LENGTH = "length"
    EDITING = "editing"
    RETOUCH = "retouch"


class Kind(StrEnum):
    """How a data set is made; one of one kind never goes on with one of another."""

    POOL = "pool"
    EDITS = "edits"
    DRAFTS = "drafts"


def shares(sources: Sequence[Source], triplets: int) -> dict[Source, int]:
    """Return how many triplets each source is asked for; they add up to `triplets`."""
    total = sum(SHARE[source] for source in sources)
    counts = {source: int(triplets * SHARE[source] / total) for source in sources}
    for source in list(sources)[: triplets - sum(counts.values())]:
        counts[source] += 1
    return counts


def pairs_of(source: Source, pool: Pool, asked: Mapping[Source, int], seed: int, drops: Counter[str]) -> list[Pair]:
    """Return the pairs of one source, as many as are asked of it at most."""
    wanted = asked[source]
    size = prompts_a_round(max(asked.get(shared, 0) for shared in (Source.RULE, Source.RETOUCH)))
    if source is Source.RULE:
        return rule.pairs(pool, wanted, size, seed, drops)
    if source is Source.REWARD:
        return scored.reward_pairs(pool, wanted, seed, drops)
    if source is Source.LENGTH:
        return scored.length_pairs(pool, wanted, seed, drops)
    if source is Source.RETOUCH:
        return retouch.pairs(pool, wanted, size, seed, drops)
    return editing.pairs(wanted, seed, drops)


def _nobody(done: int, count: int) -> None:
    """Is told how far a build is, and does nothing."""


def build(
    sources: Sequence[Source],
    triplets: int,
    seed: int,
    folder: Path,
    paint: Painter,
    about: Mapping[str, Any],
    report: Callable[[int, int], None] = _nobody,
    per_shard: int = PER_SHARD,
) -> dict[str, Any]:
    """Build a data set and return its manifest; the same arguments give the same bytes, and leave finished ones alone.

    Args:
        sources: Where pairs come from.
        triplets: How many in all; a source that finds fewer gives fewer.
        seed: Of prompts, scenes and noise.
        folder: Where shards go; runs lie in its folder `runs`.
        paint: Paints the pool.
        about: What else decides the pictures, such as the stack, for the manifest.
        report: Told (written, all) triplets.
        per_shard: Triplets of a shard.

    Raises:
        MisuseError: if the folder holds what no build wrote, or another build, or another process builds there.
        StorageError: if the shards cannot be written.
    """
    require_own(folder)
    with sole_builder(folder):
        asked = shares(sources, triplets)
        identity = {
            **about,
            "kind": Kind.POOL.value,
            "seed": seed,
            "asked": {source.value: count for source, count in asked.items()},
        }
        finished = begin(folder, identity)
        if finished is not None:
            return _as_it_is(finished, folder, card)
        pool = Pool(paint, folder / "runs")
        found, dropped = dict[Source, list[Pair]](), {}
        for source in asked:
            drops: Counter[str] = Counter()
            found[source] = pairs_of(source, pool, asked, seed, drops)
            dropped[source.value] = dict(sorted(drops.items()))
        told = {"dropped": dropped, "sources": {source.value: _counted(some) for source, some in found.items()}}
        return _with_card(write_shards(_samples(found, report), folder, {**identity, **told}, per_shard), folder, card)


def _samples(found: Mapping[Source, Sequence[Pair]], report: Callable[[int, int], None]) -> Iterator[Triplet]:
    """Yield pairs as samples, and tell before each one how many there were."""
    numbered = [(source.value, number, pair) for source, some in found.items() for number, pair in enumerate(some)]
    for done, (source, number, pair) in enumerate(numbered):
        report(done, len(numbered))
        yield pair.triplet(source, number)
    report(len(numbered), len(numbered))


def _counted(pairs: Sequence[Pair]) -> dict[str, int]:
    """Return how many pairs there are, and how many of them have a prompt that leaves the edit open."""
    return {"samples": len(pairs), "open": sum(bool(pair.provenance.get("open")) for pair in pairs)}


def _with_card(manifest: dict[str, Any], folder: Path, write: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    """Return the manifest of a build that just ended, after writing its card."""
    write_atomically(folder / CARD, write(manifest).encode())
    return manifest


def _as_it_is(manifest: dict[str, Any], folder: Path, write: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    """Return the manifest of a build that had ended before; its card is written where it was killed before that."""
    return manifest if (folder / CARD).is_file() else _with_card(manifest, folder, write)


def build_from_edits(
    data: Path, triplets: int, seed: int, folder: Path, teacher: VlmTeacher | None, about: Mapping[str, Any],
    per_shard: int = PER_SHARD,
) -> dict[str, Any]:  # fmt: skip
    """Build the editing subset from instruction edits of real pictures; return its manifest.

    Args:
        data: A folder of parquet files or shards in OmniEdit's layout, or one file.
        triplets: How many samples at most; the first ones in the order of the files.
        seed: Of the order in which the teacher sees two pictures.
        folder: Where shards go.
        teacher: Writes captions and GenRef-CoT, or none.
        about: What else the manifest says, such as the stack.
        per_shard: Triplets of a shard.

    Raises:
        MisuseError: if there are no files, the folder holds what no build wrote, or another build, or another
            process builds there.
        ModelError: if the teacher's endpoint refuses for good.
        StorageError: if the shards cannot be written.
    """
    drops: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    require_own(folder)
    edits.files_of(data)
    with sole_builder(folder):
        identity = {
            **about,
            "kind": Kind.EDITS.value,
            "seed": seed,
            "asked": {Source.EDITING.value: triplets},
            "data": data.name,
            "files": edits.sizes_of(data),
            "teacher": None if teacher is None else teacher.name,
        }
        finished = begin(folder, identity)
        if finished is not None:
            return _as_it_is(finished, folder, card_of_edits)
        found = edits.triplets(edits.edits(data, drops, changed), triplets, seed, teacher, drops)
        told = {"dropped": {Source.EDITING.value: drops}, "converted": changed}
        return _with_card(write_shards(found, folder, {**identity, **told}, per_shard), folder, card_of_edits)


def build_from_drafts(
    asked: Mapping[Source, int], prompts: Sequence[str], seed: int, folder: Path, paint: Painter, teacher: VlmTeacher,
    passes: drafts.Passes, about: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Build rule, reward or length from drafts of any generator; return the manifest.

    Args:
        asked: The one source, and how many samples at most.
        prompts: What to paint, without doubles; for length the short and the detailed caption of each scene in turn.
        seed: Of the noise, and of the order in which the teacher sees two pictures.
        folder: Where shards go; runs lie in its folder `runs`.
        paint: Paints the pool.
        teacher: Writes GenRef-CoT.
        passes: Decides about pictures by GenEval's rules; asked for rule alone.
        about: What else decides the pictures, such as the stack, for the manifest.

    Raises:
        MisuseError: if the folder holds what no build wrote, or another build, or another process builds there.
        ModelError: if the teacher's endpoint refuses for good.
        StorageError: if the shards cannot be written.
    """
    ((source, wanted),) = asked.items()
    drops: Counter[str] = Counter()
    require_own(folder)
    with sole_builder(folder):
        identity = {
            **about,
            "kind": Kind.DRAFTS.value,
            "seed": seed,
            "asked": {source.value: wanted},
            "prompts": hashlib.sha256("\n".join(prompts).encode()).hexdigest(),
            "teacher": teacher.name,
        }
        finished = begin(folder, identity)
        if finished is not None:
            return _as_it_is(finished, folder, card_of_drafts)
        images = drafts.IMAGES_OF_CAPTIONS if source is Source.LENGTH else drafts.IMAGES
        shown = drafts.painted(paint, folder / "runs", prompts, images, seed)
        choices = {
            Source.RULE: lambda: drafts.rule_choices(shown, passes, drops),
            Source.REWARD: lambda: drafts.reward_choices(shown, drops),
            Source.LENGTH: lambda: drafts.length_choices(shown),
        }[source]()
        found = drafts.triplets(choices, wanted, seed, teacher, drops)
        manifest = write_shards(found, folder, {**identity, "dropped": {source.value: drops}})
        return _with_card(manifest, folder, card_of_drafts)
