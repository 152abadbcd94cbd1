"""What tunings of a corrector start from."""

from __future__ import annotations

import pytest

from tests.support.tiny import tiny_generator
from tests.support.triplets import edited


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return edited(tmp_path_factory.mktemp("genref"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("base") / "tiny")
