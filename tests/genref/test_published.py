"""Published layouts: members with prefixes and other endings, GenRef-CoT, and what had to be converted."""

from __future__ import annotations

import io
import json
from collections import Counter

import pytest
from PIL import Image
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.errors import MisuseError
from reflectionflow.genref.index import index_of
from reflectionflow.genref.members import split_name
from reflectionflow.genref.shards import check, jpeg, read_triplets
from reflectionflow.genref.stats import BINS, statistics
from tests.genref.test_shards import encoded, picture, shard

TEXTS = {"reflection.txt": b"add a star", "prompt.txt": b"a star", "subset.txt": b"rule"}
COT = {
    "left_image.jpg": jpeg(picture(1)), "right_image.jpg": jpeg(picture(2)), "prompt.txt": b"a star",
    "analysis.txt": b"Only the right one shows a star.", "instructions.txt": b"add a star", "result.txt": b"right",
}  # fmt: skip


def named(members, template="{key}.{member}", key="7"):
    return {template.format(key=key, member=member): data for member, data in members.items()}


def read(tmp_path, members):
    skipped, changed = Counter(), Counter()
    found = list(read_triplets([shard(tmp_path / "x.tar", members)], skipped, changed))
    return found, skipped, changed


@pytest.mark.parametrize("template", ["{key}.{member}", "{key}_{member}", "x/{key}.{member}", "x/{key}/{member}"])
@pytest.mark.parametrize("endings", [("png", "jpeg"), ("webp", "png")])
def test_members_are_found_whatever_their_prefix_and_ending(tmp_path, template, endings):
    kinds = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}
    good, bad = (encoded(picture(n), kinds[ending]) for n, ending in enumerate(endings))
    members = {f"good_image.{endings[0]}": good, f"bad_image.{endings[1]}": bad, **TEXTS}
    path = shard(tmp_path / "x.tar", {**named(members, template), **named(members, template, "8")})
    found = list(read_triplets([path], skipped := Counter()))
    assert not skipped
    assert [triplet.reflection for triplet in found] == ["add a star"] * 2
    assert len({triplet.key for triplet in found}) == 2
    index = index_of([path])
    assert {name: len(entries) for name, entries in index.subsets.items()} == {"rule": 2}
    assert index.subsets["rule"][1].read().good.tobytes() == found[1].good.tobytes()


def test_longer_names_stand_for_a_member_by_their_end_and_never_for_another_ones(tmp_path):
    members = {
        "train_good_image.png": encoded(picture(1)), "train_bad_image.png": encoded(picture(2)),
        "reflection_prompt.txt": b"add a star", "flux_prompt.txt": b"a star",
    }  # fmt: skip
    ((triplet,), _, _) = read(tmp_path, named(members))
    assert (triplet.reflection, triplet.prompt) == ("add a star", "a star")
    del members["flux_prompt.txt"]
    found, skipped, _ = read(tmp_path, named(members))
    assert not found
    assert next(iter(skipped)) == (
        "prompt is missing; there are reflection_prompt.txt, train_bad_image.png, train_good_image.png"
    )


def test_texts_may_lie_in_one_json_member(tmp_path):
    told = json.dumps({"prompt": "a star", "reflection": ["add a star", "remove the moon"], "score": 3}).encode()
    members = {"good_image.png": encoded(picture(1)), "bad_image.png": encoded(picture(2)), "json": told}
    ((triplet,), _, _) = read(tmp_path, named(members))
    assert (triplet.reflection, triplet.prompt) == ("add a star. remove the moon", "a star")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("rule-000001.good_image.jpg", ("rule-000001", "good_image.jpg")),
        ("my_prompt.good_image.jpg", ("my_prompt", "good_image.jpg")),
        ("./a/3_bad_image.png", ("a/3", "bad_image.png")),
        ("3-caption.txt", ("3", "caption.txt")),
    ],
)
def test_a_files_name_says_its_sample_and_its_member(path, told):
    assert split_name(path) == told


@pytest.mark.parametrize(
    ("result", "better"),
    [(b"right", 2), (b"Left", 1), (b"The right image is better.", 2), (b"B", 2), (b"1", 1), (b"'left'", 1)],
)
def test_a_comparison_becomes_a_triplet_with_the_preferred_picture_as_the_enhanced_one(tmp_path, result, better):
    ((triplet,), _, _) = read(tmp_path, named({**COT, "result.txt": result}))
    sides = [COT["left_image.jpg"], COT["right_image.jpg"]]
    good = Image.open(io.BytesIO(sides[better - 1])).convert("RGB")
    assert triplet.good.tobytes() == good.tobytes()
    assert (triplet.subset, triplet.reflection, triplet.prompt) == ("cot", "add a star", "a star")
    assert triplet.provenance["cot"]["differences"] == ["Only the right one shows a star."]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"result.txt": b"both"}, "result names neither picture"),
        ({"result.txt": b"left or right"}, "result names both pictures"),
        (
            {"result.txt": None},
            "result is missing; there are analysis.txt, instructions.txt, left_image.jpg, prompt.txt",
        ),
        ({"analysis.txt": None}, "analysis is missing; there are"),
        ({"left_image.jpg": b""}, "left_image is empty"),
        ({"right_image.jpg": jpeg(picture(2))[:99]}, "right_image cannot be decoded"),
    ],
)
def test_a_comparison_that_lacks_something_is_left_out_with_the_keys_it_has(tmp_path, change, reason):
    members = {name: data for name, data in {**COT, **change}.items() if data is not None}
    found, skipped, _ = read(tmp_path, named(members))
    assert not found
    assert next(iter(skipped)).startswith(reason)


def test_names_of_a_comparison_may_be_prefixed(tmp_path):
    members = {f"cot_{name}": data for name, data in COT.items()}
    ((triplet,), _, _) = read(tmp_path, named(members))
    assert triplet.subset == "cot"
    assert list(index_of([tmp_path / "x.tar"]).subsets) == ["cot"]


def sideways():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.new("RGB", (24, 32)), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (encoded(picture(2).convert("L")), "bad_image was L"),
        (encoded(picture(2).convert("RGBA")), "bad_image was RGBA"),
        (encoded(picture(2).convert("CMYK"), "JPEG"), "bad_image was CMYK"),
        (encoded(picture(2).convert("P")), "bad_image was P"),
        (sideways(), "bad_image was turned upright"),
        (encoded(picture(2, (33, 17))), "the flawed picture was resized to the enhanced one"),
    ],
)
def test_what_had_to_be_converted_is_counted(tmp_path, bad, told):
    members = {"good_image.png": encoded(picture(1)), "bad_image.jpg": bad, **TEXTS}
    ((triplet,), skipped, changed) = read(tmp_path, named(members))
    assert not skipped
    assert changed == {told: 1}
    assert (triplet.bad.mode, triplet.bad.size) == ("RGB", triplet.good.size)


@pytest.fixture
def published(tmp_path):
    good = {"good_image.png": encoded(picture(1)), "bad_image.png": encoded(picture(2).convert("L")), **TEXTS}
    shard(tmp_path / "a.tar", {**named(good), **named({**good, "prompt.txt": b""}, key="8")})
    shard(tmp_path / "b.tar", named(COT))
    return tmp_path


def test_statistics_of_published_data_count_everything(published):
    found = statistics(published)
    assert found.subsets == {"cot": 1, "rule": 1}
    assert found.together == {"cot": {1: 1}, "rule": {1: 1}}
    assert found.skipped == {"prompt is empty": 1}
    assert found.converted == {"bad_image was L": 2}
    assert {name: sum(counts) for name, counts in found.histogram.items()} == found.subsets
    assert all(len(counts) == BINS for counts in found.histogram.values())
    assert found.apart == {}


def test_stats_view_and_check_work_on_published_data(published):
    def call(*arguments):
        return CliRunner().invoke(app, ["genref", *arguments], prog_name="reflectionflow")

    done = call("stats", str(published))
    assert done.exit_code == 0
    assert "converted: 2, bad_image was L" in done.output
    assert "of 255 (medians)" in done.output
    assert call("view", str(published)).exit_code == 0
    page = (published / "view.html").read_text()
    assert page.count("<figure>") == 4  # two histograms and two samples
    assert page.count('<rect class="verb-add"') == 2
    assert "<title>0–8: " in page
    assert "converted" in page
    done = call("check", str(published))
    assert done.exit_code == 1
    assert "1 samples are broken: prompt is empty." in done.output


def test_whole_published_data_is_said_to_be_readable_and_an_unfinished_build_is_not(tmp_path):
    shard(tmp_path / "b.tar", named(COT))
    done = CliRunner().invoke(app, ["genref", "check", str(tmp_path)], prog_name="reflectionflow")
    assert done.exit_code == 0
    assert "has no manifest" in done.output
    (tmp_path / "runs").mkdir()
    with pytest.raises(MisuseError, match="unfinished build"):
        check(tmp_path)
