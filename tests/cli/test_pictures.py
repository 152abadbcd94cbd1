"""Pictures of all kinds are read as people see them, from files and from shards alike."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from reflectionflow.cli.pictures import read_picture
from reflectionflow.errors import MisuseError
from reflectionflow.genref.members import GOOD, BrokenSampleError, picture

RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
CLEAR = Image.fromarray(np.dstack([np.full((8, 8), 255), *[np.zeros((8, 8))] * 2, np.eye(8) * 255]).astype(np.uint8))


def from_file(data: bytes, folder):
    (folder / "picture").write_bytes(data)
    return read_picture(folder / "picture")


def from_shard(data: bytes, folder):
    return picture({"good_image.png": data}, GOOD, Counter())


def encoded(image: Image.Image, kind: str, **more) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


READERS = pytest.mark.parametrize("read", [from_file, from_shard])


@READERS
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_is_scaled_to_8(tmp_path, read, kind):
    found = np.asarray(read(encoded(Image.fromarray(RAMP), kind), tmp_path)).astype(float)
    assert np.abs(found - RAMP[..., None] / 257).max() <= 0.5


@READERS
@pytest.mark.parametrize(("dtype", "said"), [(np.float32, "floating-point"), (np.int32, "32-bit")])
def test_numbers_without_a_known_white_are_refused_with_a_sentence(tmp_path, read, dtype, said):
    data = encoded(Image.fromarray(RAMP.astype(dtype)), "TIFF")
    with pytest.raises((MisuseError, BrokenSampleError), match=f"its pixels are {said} numbers without a known white"):
        read(data, tmp_path)


@READERS
def test_what_is_transparent_is_white(tmp_path, read):
    found = np.asarray(read(encoded(CLEAR, "PNG"), tmp_path))
    assert found[0, 1].tolist() == [255, 255, 255]
    assert found[3, 3].tolist() == [255, 0, 0]
    blue = Image.new("P", (8, 8), 0)
    blue.putpalette([0, 0, 255])
    assert (np.asarray(read(encoded(blue, "PNG", transparency=0), tmp_path)) == 255).all()


@READERS
def test_a_transparent_value_of_16_bit_grey_is_white(tmp_path, read):
    data = encoded(Image.fromarray(RAMP), "PNG", transparency=0)
    found = np.asarray(read(data, tmp_path))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[0, 1].tolist() == [4, 4, 4]
