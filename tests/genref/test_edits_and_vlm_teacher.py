"""Edits of real pictures become GenRef; a vision-language model behind a real server teaches."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections import Counter

import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.errors import MisuseError, ModelError
from reflectionflow.genref.build import build_from_edits
from reflectionflow.genref.members import expanded
from reflectionflow.genref.memo import RememberedEndpoint
from reflectionflow.genref.shards import check, read_manifest, read_triplets, shards_of
from reflectionflow.genref.sources.edits import edits
from reflectionflow.genref.teacher_vlm import VlmTeacher
from reflectionflow.models.endpoint import Endpoint, EndpointOptions
from reflectionflow.prompts.teacher import exchanged, parse_comparison
from tests.genref.test_shards import encoded, shard
from tests.support.chat_server import Answer, completion, serving

GREY, RED = (120, 120, 120), (200, 30, 30)


def row(number, **more):
    before, after = (encoded(Image.new("RGB", (32, 24), color)) for color in (GREY, (200, 30, number)))
    told = {
        "omni_edit_id": f"task_{number}", "task": "attribute_modification",
        "src_img": {"bytes": before, "path": None}, "edited_img": {"bytes": after, "path": "x.jpg"},
        "edited_prompt_list": ["Make it red.", "change the color of the car to red"], "o_score": 9.5, "height": 24,
    }  # fmt: skip
    return {**told, **more}


@pytest.fixture
def omniedit(tmp_path):
    """Six rows in the published layout, without captions; one has an empty picture."""
    data = tmp_path / "data"
    data.mkdir()
    rows = [row(number) for number in range(6)]
    rows[2]["src_img"] = {"bytes": b"", "path": None}
    parquet.write_table(pyarrow.Table.from_pylist(rows[:4]), data / "train-00000-of-00002.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows[4:]), data / "train-00001-of-00002.parquet")
    return data


def sample(number, caption=None):
    told = row(number)
    members = {
        f"{number}.src_img.jpg": told["src_img"]["bytes"], f"{number}.edited_img.jpg": told["edited_img"]["bytes"],
        f"{number}.edited_prompt_list.json": json.dumps(told["edited_prompt_list"]).encode(),
        f"{number}.task.txt": b"addition", f"{number}.o_score.txt": b"8",
    }  # fmt: skip
    return members if caption is None else {**members, f"{number}.caption.txt": caption}


def shown(body):
    """Return the pixels at a corner of each picture of a request."""
    parts = [part["image_url"]["url"] for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).getpixel((0, 0)) for url in parts]


def answer(body, prefers=lambda pictures: "A" if pictures[1] == GREY else "B"):
    """Caption one picture; of two prefer, as a careful observer would, the one that is not grey."""
    pictures = shown(body)
    if len(pictures) == 1:
        return completion("A red car on a street.")
    better = prefers(pictures)
    other = "B" if better == "A" else "A"
    told = {
        "differences": [f"The car is red in image {better} and grey in image {other}.", f"{better} shows a red car."],
        "better": better,
        "instructions": ["Paint the car red."],
    }
    return completion(json.dumps(told))


def teacher(chat, folder, **options):
    asked = EndpointOptions(base_url=chat.url, served="tiny/vlm", **options)
    return VlmTeacher(RememberedEndpoint(Endpoint(asked), folder / "teacher.jsonl", wait=lambda seconds: None))


def test_of_several_spellings_of_an_instruction_the_last_one_is_taken_wherever_they_stand():
    told = sample(0)
    members = {name.removeprefix("0."): data for name, data in told.items()}
    spellings = json.loads(members.pop("edited_prompt_list.json"))
    members["json"] = json.dumps({"edited_prompt_list": spellings, "instructions": ["no", "edit"]}).encode()
    assert expanded(members)["edited_prompt_list.txt"].decode() == spellings[-1]
    assert expanded(members)["instructions.txt"] == b"no. edit"


def test_rows_of_parquet_files_become_edits_and_a_broken_one_is_counted(omniedit):
    skipped = Counter()
    found = list(edits(omniedit, skipped, Counter()))
    assert skipped == {"bad_image is empty": 1}
    assert len(found) == 5
    assert {edit.instruction for edit in found} == {"change the color of the car to red"}
    assert all(edit.caption is None for edit in found)
    assert found[0].about == {
        "row": "train-00000-of-00002.parquet:0", "o_score": "9.5", "omni_edit_id": "task_0",
        "task": "attribute_modification",
    }  # fmt: skip
    assert found[0].flawed.image().getpixel((0, 0)) == GREY


def test_a_file_that_is_no_parquet_is_counted_and_the_others_are_read(omniedit):
    (omniedit / "a.parquet").write_bytes(b"PAR1 nothing else")
    skipped = Counter()
    assert len(list(edits(omniedit, skipped, Counter()))) == 5
    assert any(reason.startswith("a.parquet cannot be read") for reason in skipped)


def test_shards_with_captions_need_no_teacher(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    shard(data / "0.tar", {**sample(1, b"a red car"), **sample(2), **sample(3, b"a car, red")})
    manifest = build_from_edits(data, 9, 0, tmp_path / "out", None, {"stack": None})
    assert manifest["subsets"] == {"editing": 2}
    assert manifest["dropped"] == {"editing": {"the edited picture has no caption": 1}}
    first, second = read_triplets(shards_of(tmp_path / "out"), Counter())
    assert (first.prompt, second.prompt) == ("a red car", "a car, red")
    assert first.reflection == "change the color of the car to red"
    assert first.provenance["cot"] is None
    assert first.bad.getpixel((5, 5)) == pytest.approx(GREY, abs=3)
    assert check(tmp_path / "out") == []
    assert "no caption" in (tmp_path / "out" / "README.md").read_text()


def test_a_caption_of_the_picture_before_the_edit_is_no_prompt(tmp_path):
    shard(tmp_path / "0.tar", {**sample(1), "1.source_caption.txt": b"a grey car"})
    (edit,) = edits(tmp_path / "0.tar", Counter(), Counter())
    assert edit.caption is None


def test_the_teacher_writes_captions_and_comparisons_in_an_order_of_the_seed(omniedit, tmp_path):
    with serving(answer) as chat:
        manifest = build_from_edits(omniedit, 99, 3, tmp_path / "out", teacher(chat, tmp_path), {"stack": "s"})
    assert manifest["subsets"] == {"editing": 5}
    assert manifest["teacher"] == "tiny/vlm@served"
    compared = [shown(body) for body in chat.requests if len(shown(body)) == 2]
    assert {pictures[0] == GREY for pictures in compared} == {True, False}
    assert not any(word in json.dumps(body).lower() for body in chat.requests for word in ("flawed", "enhanced"))
    found = list(read_triplets(shards_of(tmp_path / "out"), Counter()))
    for triplet in found:
        assert triplet.prompt == "A red car on a street."
        assert triplet.provenance["cot"]["differences"] == [
            "The car is red in the second picture and grey in the first picture.",
            "The second picture shows a red car.",
        ]
        assert triplet.provenance["cot"]["edits"] == ["paint the car red"]
        assert triplet.provenance["recaptioned"] is True
    assert {triplet.provenance["cot"]["swapped"] for triplet in found} == {True, False}


def test_a_teacher_that_always_likes_the_first_picture_keeps_only_pairs_shown_in_that_order(omniedit, tmp_path):
    with serving(lambda body: answer(body, lambda pictures: "A")) as chat:
        manifest = build_from_edits(omniedit, 99, 3, tmp_path / "out", teacher(chat, tmp_path), {})
    drops = manifest["dropped"]["editing"]
    assert 0 < drops["the teacher prefers the flawed picture or neither"] < 5
    assert manifest["samples"] + drops["the teacher prefers the flawed picture or neither"] == 5


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (completion("I like them both."), "the teacher's answer cannot be read"),
        (completion('{"better": "B"}'), "the teacher's answer cannot be read"),
        (completion('{"differences": [', finish="length"), "the teacher's answer was cut off at max_tokens"),
        (Answer(b"{"), "the teacher did not answer"),
        (Answer({}, 503), "the teacher did not answer"),
    ],
)
def test_an_answer_that_is_no_comparison_drops_its_pair_and_is_counted(omniedit, tmp_path, said, reason):
    def odd(body):
        return answer(body) if len(shown(body)) == 1 or shown(body).count((200, 30, 1)) == 0 else said

    with serving(odd) as chat:
        manifest = build_from_edits(omniedit, 99, 3, tmp_path / "out", teacher(chat, tmp_path), {})
    assert manifest["dropped"]["editing"][reason] == 1
    assert manifest["samples"] == 4


def test_no_more_is_asked_than_is_wanted(omniedit, tmp_path):
    with serving(answer) as chat:
        manifest = build_from_edits(omniedit, 2, 3, tmp_path / "out", teacher(chat, tmp_path), {})
    assert manifest["samples"] == 2
    assert len(chat.requests) == 4


def test_an_interrupted_build_asks_nothing_twice_and_ends_with_the_same_bytes(omniedit, tmp_path):
    lock, comparisons = threading.Lock(), []

    def refuses_later(body):
        with lock:
            comparisons.append(body)
            return Answer({"message": "no key"}, 401) if len(comparisons) > 5 else answer(body)

    with serving(refuses_later) as chat, pytest.raises(ModelError):
        build_from_edits(omniedit, 99, 3, tmp_path / "out", teacher(chat, tmp_path, concurrency=1), {})
    assert not (tmp_path / "out" / "manifest.json").exists()
    with (tmp_path / "teacher.jsonl").open("a") as file:
        file.write('\n{"key": "torn')
    with serving(answer) as chat:
        first = build_from_edits(omniedit, 99, 3, tmp_path / "out", teacher(chat, tmp_path, concurrency=1), {})
    assert len(chat.requests) < 10
    with serving(answer) as chat:
        again = build_from_edits(omniedit, 99, 3, tmp_path / "out", teacher(chat, tmp_path, concurrency=1), {})
    assert chat.requests == []
    assert again == first
    with serving(answer) as chat:
        anew = build_from_edits(omniedit, 99, 3, tmp_path / "new", teacher(chat, tmp_path / "new"), {})
    assert anew["shards"] == first["shards"]


def test_what_may_pass_is_asked_again(omniedit, tmp_path):
    refused, waits = set(), []

    def once(body):
        key = json.dumps(body)
        if key not in refused:
            refused.add(key)
            return Answer({}, 503)
        return answer(body)

    with serving(once) as chat:
        patient = teacher(chat, tmp_path)
        patient._endpoint._wait = waits.append
        manifest = build_from_edits(omniedit, 99, 3, tmp_path / "out", patient, {})
    assert manifest["samples"] == 5
    assert waits == [1.0, 1.0]


@pytest.mark.parametrize(
    ("told", "better"),
    [
        ({"better": "A", "instructions": "add a dog\nremove the cat"}, 1),
        ({"better": "Image B", "instructions": ["add a dog", "remove the cat"]}, 2),
        ({"better": 2, "instructions": ["1. add a dog.", "2. remove the cat."], "differences": "B has a dog."}, 2),
    ],
)
def test_untidy_comparisons_are_read(told, better):
    found = parse_comparison(f"<think>A or B?</think> Here: {json.dumps(told)} Done.")
    assert (found.better, found.edits) == (better, ("add a dog", "remove the cat"))


def test_neither_better_needs_no_instruction():
    assert parse_comparison('{"better": "same", "differences": [], "instructions": []}').edits == ()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Image A shows a dog, image B does not.", "The first picture shows a dog, the second picture does not."),
        ("A dog is only in B.", "A dog is only in the second picture."),
        ("A has a dog, a big one.", "The first picture has a dog, a big one."),
        ("The image B's sky is blue.", "The second picture's sky is blue."),
    ],
)
def test_letters_become_places_and_articles_stay(line, told):
    raw = json.dumps({"better": "A", "differences": [line], "instructions": ["add a dog"]})
    (found,) = parse_comparison(raw).differences
    assert found == told
    assert exchanged(exchanged((found,))) == (found,)


def stack_of(tmp_path, url, more=""):
    vlm = f'model = "openai-vlm"\nbase_url = "{url}"\nserved = "tiny/vlm"\n{more}'
    path = tmp_path / "mine.toml"
    head = 'name = "mine"\ndescription = "a test"\n[generator]\nmodel = "scenes-flux"\n'
    path.write_text(f"{head}[verifier]\n{vlm}[reflector]\n{vlm}")
    return str(path)


def call(*arguments):
    return CliRunner().invoke(app, ["genref", "build", *map(str, arguments)], prog_name="reflectionflow")


def test_the_command_builds_from_edits_with_the_reflector_of_a_stack(omniedit, tmp_path):
    with serving(answer) as chat:
        done = call(
            "--source", "editing", "--data", omniedit, "--teacher", "vlm", "--stack", stack_of(tmp_path, chat.url),
            "--out", tmp_path / "out", "--triplets", 3,
        )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "3 triplets" in done.output
    assert read_manifest(tmp_path / "out")["teacher"] == "tiny/vlm@served"
    assert (tmp_path / "out" / "teacher.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--source", "rule"), "add --source editing"),
        (("--source", "editing", "--teacher", "vlm"), "not served over HTTP"),
    ],
)
def test_what_cannot_be_built_is_said_before_anything_is_read(omniedit, tmp_path, arguments, said):
    done = call("--data", omniedit, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_a_folder_without_data_says_where_some_is(tmp_path):
    with pytest.raises(MisuseError, match="hf download TIGER-Lab/OmniEdit"):
        build_from_edits(tmp_path, 1, 0, tmp_path / "out", None, {})
