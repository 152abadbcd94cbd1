"""Rule, reward and length for stacks that do not paint Scenes: a toy generator, a real server as the teacher."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.genref.pool import Draft
from reflectionflow.genref.shards import check, read_manifest, read_triplets, shards_of
from reflectionflow.genref.sources.drafts import MOST, length_choices, reward_choices, rule_choices
from tests.support.chat_server import completion, serving
from tests.support.geneval import tiny_clip, tiny_mask2former
from tests.support.judged_by_geneval import own_prompts, painting_stack
from tests.support.stacks import PLUGINS

LENGTH = ("--source", "length", "--teacher", "vlm")


def brightness(picture: Image.Image) -> float:
    return float(np.asarray(picture, float).mean())


def answer(body):
    """Prefer the brighter picture, and say so."""
    parts = [part["image_url"]["url"] for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
    one, other = (brightness(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))) for url in parts)
    told = {
        "differences": ["One is brighter."],
        "better": "A" if one > other else "B",
        "instructions": ["Make it brighter."],
    }
    return completion(json.dumps(told))


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.chdir(tmp_path)

    def build(chat, *arguments):
        file = painting_stack(tmp_path / "mine.toml", tmp_path / "painted.log")
        text = file.read_text().replace(
            'model = "tiny_world:CRITIC"', f'model = "openai-vlm"\nbase_url = "{chat.url}"\nserved = "tiny/vlm"'
        )
        file.write_text(text)
        asked = ["genref", "build", "--stack", str(file), "--prompts", "prompts.txt", "--out", "out", *arguments]
        return CliRunner().invoke(app, asked)

    return build


def test_reward_joins_drafts_by_the_verifiers_score_and_lets_a_teacher_write(world, tmp_path):
    (tmp_path / "prompts.txt").write_text("a street at night\n\na quiet lake\na street at night\n")
    asked = ("--source", "reward", "--teacher", "vlm", "--triplets", "9", "--seed", "3")
    with serving(answer) as chat:
        done = world(chat, *asked)
        assert done.exit_code == 0, done.output
        questions, painted = len(chat.requests), (tmp_path / "painted.log").read_text()
        found = list(read_triplets(shards_of(tmp_path / "out"), Counter()))
        (tmp_path / "out" / "manifest.json").unlink()
        (tmp_path / "out" / "genref_0.tar").unlink()
        assert world(chat, *asked).exit_code == 0, "a build that lost its shards goes on"
        assert (len(chat.requests), (tmp_path / "painted.log").read_text()) == (questions, painted), (
            "nothing is paid twice"
        )
    assert [triplet.prompt for triplet in found] == ["a street at night", "a quiet lake"]
    assert {triplet.subset for triplet in found} == {"general"}
    for triplet in found:
        assert brightness(triplet.good) > brightness(triplet.bad)
        assert triplet.reflection.lower() == "make it brighter"
        assert triplet.provenance["enhanced"]["score"] > triplet.provenance["flawed"]["score"]
        assert triplet.provenance["cot"]["teacher"] == "tiny/vlm@served"
    manifest = read_manifest(tmp_path / "out")
    assert manifest["generator"]
    assert check(tmp_path / "out") == []
    assert "brightness@1" in (tmp_path / "out" / "README.md").read_text()


def test_a_teacher_that_contradicts_the_score_drops_the_pair(world, tmp_path):
    (tmp_path / "prompts.txt").write_text("a street at night\n")
    with serving(
        lambda body: completion(json.dumps({"differences": [], "better": "same", "instructions": []}))
    ) as chat:
        done = world(chat, "--source", "reward", "--teacher", "vlm", "--triplets", "2")
    assert done.exit_code == 0, done.output
    assert read_manifest(tmp_path / "out")["samples"] == 0
    (reason,) = read_manifest(tmp_path / "out")["dropped"]["reward"]
    assert "prefers" in reason


def test_length_joins_drafts_of_two_captions_that_the_teacher_compares_by_the_detailed_one(world, tmp_path):
    captions = [("a lake", "a lake under a pale sky, no wind"), ("a street", "a street at night, one lamp")]
    lines = [json.dumps({"short": short, "detailed": detailed}) for short, detailed in captions]
    (tmp_path / "prompts.txt").write_text("\n\n".join(lines))
    with serving(answer) as chat:
        done = world(chat, *LENGTH, "--triplets", "9")
        assert done.exit_code == 0, done.output
        asked = [json.dumps(request["messages"]) for request in chat.requests]
    assert all(any(detailed in text for _, detailed in captions) for text in asked)
    assert len(asked) == 4, "two pairs of each scene"
    found = list(read_triplets(shards_of(tmp_path / "out"), Counter()))
    manifest = read_manifest(tmp_path / "out")
    assert len(found) + sum(manifest["dropped"]["length"].values()) == 4
    assert found
    for triplet in found:
        assert triplet.subset == "length"
        assert triplet.prompt in {short for short, _ in captions}
        assert brightness(triplet.good) > brightness(triplet.bad)
    assert "short caption, which is the prompt" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.filterwarnings("default")
def test_rule_is_judged_by_genevals_own_networks(world, tmp_path):
    own_prompts(tmp_path / "prompts.txt")
    networks = ("--detector", str(tiny_mask2former(tmp_path / "m")), "--clip", str(tiny_clip(tmp_path / "c")))
    with serving(answer) as chat:
        done = world(chat, "--source", "rule", "--teacher", "vlm", "--triplets", "4", *networks)
    assert done.exit_code == 0, done.output
    manifest = read_manifest(tmp_path / "out")
    assert manifest["samples"] + sum(manifest["dropped"]["rule"].values()) >= 3, "every prompt is accounted for"
    assert "judge" in manifest


@pytest.mark.parametrize(
    ("lines", "arguments", "said"),
    [
        ("a lake", ("--source", "rule", "--teacher", "vlm"), "prompt 1 is no metadata of GenEval"),
        ("a lake", ("--source", "reward"), "add --teacher vlm"),
        ("a lake", ("--source", "editing", "--teacher", "vlm"), "--source is editing; add --source rule, reward or"),
        ("a lake", LENGTH, "prompt 1 is no two captions of a scene"),
        ('["a", "b"]', LENGTH, 'write {"short": "…", "detailed": "…"}'),
        ('{"short": "a lake"}', LENGTH, 'write {"short": "…", "detailed": "…"}'),
        ('{"short": "a lake", "detailed": " "}', LENGTH, "both must be texts"),
        ('{"short": "a lake", "detailed": "a lake"}', LENGTH, "prompts 1 and 1 hold the same caption"),
        (" \n", ("--source", "reward", "--teacher", "vlm"), "is empty"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(world, tmp_path, lines, arguments, said):
    (tmp_path / "prompts.txt").write_text(lines)
    with serving(answer) as chat:
        done = world(chat, *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


@pytest.fixture
def grey(tmp_path):
    def make(place, value, score=None):
        path = tmp_path / f"{place}.png"
        Image.new("RGB", (4, 4), (value, value, value)).save(path)
        return Draft("p", place, str(place), place, score, path)

    return make


def bright(pictures):
    return [brightness(picture) > 100 for _, picture in pictures]


def test_failures_are_joined_with_the_nearest_passing_draft_and_limited_for_each_prompt(grey):
    drops = Counter()
    shown = [grey(place, value) for place, value in enumerate((250, 110, 10, 20, 30, 90))]
    found = list(rule_choices([("p", shown)], bright, drops))
    assert [(choice.flawed.place, choice.enhanced.place) for choice in found] == [(5, 1), (4, 1), (3, 1)]
    assert len(found) == MOST
    assert drops == {"enough pairs of the prompt": 1}
    assert list(rule_choices([("p", shown[:2]), ("p", shown[2:])], bright, drops)) == []
    assert drops["the prompt always passes"] == drops["the prompt never passes"] == 1


def test_the_worst_draft_is_joined_with_the_nearer_of_the_two_best_where_scores_differ(grey):
    drops = Counter()
    shown = [
        grey(place, value, score) for place, (value, score) in enumerate([(10, 0.1), (99, 0.5), (200, 0.9), (20, 0.8)])
    ]
    (choice,) = reward_choices([("p", shown)], drops)
    assert (choice.flawed.place, choice.enhanced.place) == (0, 3)
    assert list(reward_choices([("p", [grey(4, 1, 0.5), grey(5, 2, 0.5)]), ("p", [grey(6, 1, 0.5)])], drops)) == []
    assert drops == {"the verifier sees no clear difference": 1, "too few pictures have a score": 1}


def test_captions_of_a_scene_are_joined_draft_by_draft_and_failed_drafts_have_no_partner(grey):
    shown = [("s", [grey(0, 1), grey(1, 2)]), ("d", [grey(2, 3)]), ("t", []), ("e", [grey(3, 4)])]
    (choice,) = length_choices(shown)
    assert (choice.flawed.place, choice.enhanced.place) == (0, 2)
    assert (choice.subset, choice.wanted) == ("length", "d")
