"""Shards: what is written is read back, and everything broken is counted by its reason."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.errors import MisuseError
from reflectionflow.genref.shards import Triplet, check, jpeg, read_manifest, read_triplets, shards_of, write_shards


def picture(seed, size=(32, 24)):
    values = np.random.default_rng(seed).integers(0, 256, 3, dtype=np.uint8)
    return Image.fromarray(np.broadcast_to(values, (size[1], size[0], 3)).copy())


def triplet(number, subset="rule"):
    return Triplet(
        f"{number:06}", picture(number), picture(number + 50), f"add a star {number}", "a photo of a star", subset,
        {"seed": number},
    )  # fmt: skip


TRIPLETS = [triplet(number, subset) for number, subset in enumerate(["rule", "length", "rule", "editing", "general"])]


def shard(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def encoded(image, kind="PNG", **more):
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def test_what_is_written_is_read_back_and_the_same_bytes_every_time(tmp_path):
    manifest = write_shards(TRIPLETS, tmp_path / "a", {"seed": 1}, per_shard=2)
    assert manifest == write_shards(TRIPLETS, tmp_path / "b", {"seed": 1}, per_shard=2)
    assert manifest["subsets"] == {"editing": 1, "general": 1, "length": 1, "rule": 2}
    skipped = Counter()
    found = list(read_triplets(shards_of(tmp_path / "a"), skipped))
    assert not skipped
    assert [(t.key, t.reflection, t.subset, t.provenance) for t in found] == [
        (t.key, t.reflection, t.subset, t.provenance) for t in TRIPLETS
    ]
    for mine, theirs in zip(found, TRIPLETS, strict=True):
        assert np.abs(np.asarray(mine.good, int) - np.asarray(theirs.good, int)).max() <= 3
    assert check(tmp_path / "a") == []


def test_flat_colours_survive_the_jpeg_of_the_shards():
    image = Image.new("RGB", (64, 64), (219, 44, 48))
    image.paste((44, 102, 220), (21, 21, 43, 43))
    back = np.asarray(Image.open(io.BytesIO(jpeg(image))), float)
    usual = np.asarray(Image.open(io.BytesIO(encoded(image, "JPEG"))), float)
    truth = np.asarray(image, float)
    assert ((back - truth) ** 2).mean() * 10 < ((usual - truth) ** 2).mean()


def test_published_member_names_are_understood(tmp_path):
    good, bad = encoded(picture(1)), encoded(picture(2), "WEBP")
    members = {
        "7.edited_img.png": good,
        "7.src_img.webp": bad,
        "7.instruction.txt": b"add a star",
        "7.caption.txt": b"x",
    }
    found = list(read_triplets([shard(tmp_path / "x.tar", members)], Counter()))
    assert [(t.key, t.reflection, t.prompt, t.subset) for t in found] == [("7", "add a star", "x", "general")]


GOOD = {
    "0.good_image.jpg": jpeg(picture(1)), "0.bad_image.jpg": jpeg(picture(2)), "0.reflection.txt": b"add a star",
    "0.prompt.txt": b"a star", "0.subset.txt": b"rule",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"0.good_image.jpg": None}, "good_image is missing; there are bad_image.jpg, prompt.txt"),
        ({"0.good_image.jpg": b""}, "good_image is empty"),
        ({"0.bad_image.jpg": jpeg(picture(2))[:150]}, "bad_image cannot be decoded"),
        ({"0.bad_image.jpg": b"no picture"}, "bad_image cannot be decoded"),
        ({"0.reflection.txt": b"\xff\xfe\x00"}, "reflection is not UTF-8"),
        ({"0.prompt.txt": b"  \n"}, "prompt is empty"),
        ({"0.provenance.json": b"{"}, "provenance.json is no JSON"),
    ],
)
def test_a_broken_sample_is_left_out_and_counted_by_its_reason(tmp_path, change, reason):
    members = {name: data for name, data in {**GOOD, **change}.items() if data is not None}
    members |= {f"1{name[1:]}": data for name, data in GOOD.items()}
    skipped = Counter()
    found = list(read_triplets([shard(tmp_path / "x.tar", members)], skipped))
    assert [t.key for t in found] == ["1"]
    assert len(skipped) == 1
    assert next(iter(skipped)).startswith(reason)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "LA", "1"])
def test_every_mode_becomes_rgb_and_sizes_are_made_equal(tmp_path, mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    odd = encoded(picture(3, (33, 17)).convert(mode), kind)
    members = {**GOOD, "0.bad_image.jpg": odd}
    found = list(read_triplets([shard(tmp_path / "x.tar", members)], Counter()))
    assert found[0].bad.mode == "RGB"
    assert found[0].bad.size == found[0].good.size


def test_a_picture_with_an_orientation_is_turned_upright(tmp_path):
    image = Image.new("RGB", (40, 20), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    members = {**GOOD, "0.good_image.jpg": encoded(image, "JPEG", exif=exif)}
    assert next(read_triplets([shard(tmp_path / "x.tar", members)], Counter())).good.size == (20, 40)


def test_a_torn_shard_gives_what_is_whole_and_is_counted(tmp_path):
    write_shards(TRIPLETS, tmp_path, {})
    path = tmp_path / "genref_0.tar"
    path.write_bytes(path.read_bytes()[:9000])
    skipped = Counter()
    assert len(list(read_triplets([path], skipped))) < len(TRIPLETS)
    assert any("torn" in reason or "missing" in reason for reason in skipped)
    assert any("SHA-256" in problem for problem in check(tmp_path))


def test_a_build_without_a_manifest_is_not_finished(tmp_path):
    write_shards(TRIPLETS, tmp_path, {})
    (tmp_path / "genref_9.tar").write_bytes(b"")
    assert "genref_9.tar is not in the manifest." in check(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(MisuseError, match="repeat its build"):
        read_manifest(tmp_path)
    for torn in ("[", "[]", "{}"):
        (tmp_path / "manifest.json").write_text(torn)
        with pytest.raises(MisuseError, match=r"cannot be read .* repeat the build"):
            read_manifest(tmp_path)


def test_shards_of_others_are_not_replaced_and_a_killed_build_is(tmp_path):
    (tmp_path / "genref_0.tar").write_bytes(b"published")
    with pytest.raises(MisuseError, match="were not built here; choose another folder"):
        write_shards(TRIPLETS, tmp_path, {})
    assert (tmp_path / "genref_0.tar").read_bytes() == b"published"

    def killed():
        yield from TRIPLETS[:2]
        raise KeyboardInterrupt

    own = tmp_path / "own"
    with pytest.raises(KeyboardInterrupt):
        write_shards(killed(), own, {}, per_shard=1)
    (own / "genref_2.writing").write_bytes(b"torn")
    assert list(own.glob("genref_*.tar"))
    assert write_shards(TRIPLETS, own, {})["samples"] == len(TRIPLETS)
    assert check(own) == []
    assert {path.name for path in own.iterdir()} == {"genref_0.tar", "manifest.json"}, "nothing torn stays behind"


def test_only_one_build_at_a_time_writes_a_folder(tmp_path):
    code = (
        "import sys; from pathlib import Path; from reflectionflow.genref.shards import sole_builder\n"
        "with sole_builder(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    out = tmp_path / "genref"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        arguments = ["genref", "build", "--source", "editing", "--triplets", "1", "--out", str(out)]
        refused = CliRunner().invoke(app, arguments)
        assert refused.exit_code == 2
        assert "is being built by another process" in refused.stderr
        other.communicate("")
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert check(out) == []
