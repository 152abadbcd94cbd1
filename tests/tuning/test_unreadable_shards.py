"""Shards of which nothing can be read: before a model is, and in the middle of a training."""

from __future__ import annotations

import io
import shutil
import tarfile

import pytest

from reflectionflow.errors import ConfigError, MisuseError
from reflectionflow.genref.index import index_of
from reflectionflow.genref.shards import shards_of
from reflectionflow.tuning import corrector
from reflectionflow.tuning.config import RunSection
from reflectionflow.tuning.loop import batches
from reflectionflow.tuning.triplets import TripletSection, check_readable
from tests.support.triplets import config, corpus, several


def strange(folder, subset):
    """Write samples whose members nobody knows, but for the subset."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{subset}.tar", "w") as archive:
        for number in range(4):
            for member, data in (("before.png", b"x"), ("after.png", b"x"), ("subset.txt", subset.encode())):
                entry = tarfile.TarInfo(f"{subset}-{number}.{member}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return folder


def test_shards_of_an_unknown_layout_are_refused_with_the_reason_before_the_base_is_read(tmp_path):
    shards = strange(tmp_path / "shards", "general")
    with pytest.raises(MisuseError) as caught:
        corrector.run(config(tmp_path, tmp_path / "no base", shards, 2, run={"workers": 1}))
    assert str(caught.value) == (
        f"No sample of general (the last that was tried, general-2 of {shards / 'general.tar'}: good_image is missing; "
        f"there are after.png, before.png, subset.txt) can be read; `reflectionflow genref check` tells what is wrong "
        f"with {shards}."
    )


def test_every_subset_that_is_drawn_and_cannot_be_read_is_told(tmp_path):
    several(tmp_path, names=("editing", "length"))
    index = index_of(shards_of(strange(strange(strange(tmp_path, "rule"), "general"), "cot")))
    section = TripletSection(shards=str(tmp_path), size=64, warmup=0)
    with pytest.raises(MisuseError, match=r"general \(the last .*\) or rule \(the last .*\) can be read") as caught:
        check_readable(section, index, 2)
    assert not any(f"{name} (" in str(caught.value) for name in ("editing", "length", "cot"))
    check_readable(section.model_copy(update={"mixture": {"length": (1, 1), "rule": (0, 0)}}), index, 2)


def zeroed(shard):
    shard.write_bytes(bytes(shard.stat().st_size))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            zeroed,
            "30 samples one after the other cannot be read (the last one: good_image cannot be decoded); "
            "`reflectionflow genref check` tells what is wrong with {folder}.",
        ),
        (
            lambda shard: shard.unlink(),
            "The shard {shard} cannot be read ([Errno 2] No such file or directory: '{shard}'); "
            "fetch or build it again.",
        ),
    ],
    ids=["zeroed", "deleted"],
)
def test_shards_that_turn_bad_end_a_training_in_one_sentence(shards, tmp_path, workers, spoil, told):
    folder = shutil.copytree(shards, tmp_path / "shards")
    (shard,) = shards_of(folder)
    asked = config(tmp_path, "none", folder, 40, run={"workers": workers})
    parts = batches(corpus(folder, asked), asked.run, 0, 0, 2)
    next(parts)
    spoil(shard)
    with pytest.raises(MisuseError) as caught:
        list(parts)
    assert str(caught.value) == told.format(folder=folder, shard=shard)


class Refusing:
    """Data of a configuration that has faults."""

    def batch(self, step, rng, share):
        raise ConfigError("a.toml", ["One is none.", "Two are many."])


def test_an_error_with_more_than_a_text_reaches_the_user_as_it_was(tmp_path):
    run = RunSection(steps=2, batch=1, output="", state="", workers=1)
    with pytest.raises(ConfigError) as caught:
        next(batches(Refusing(), run, 0, 0, 1))
    assert caught.value.problems == ("One is none.", "Two are many.")
