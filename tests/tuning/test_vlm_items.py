"""Questions about pictures have right answers, and packing several into one sequence changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from reflectionflow.geneval import decide
from reflectionflow.genref.graph import Node, found_in, graph_of
from reflectionflow.genref.listing import listing
from reflectionflow.genref.refine import explicit_prompt, keeps, read_explicit
from reflectionflow.genref.repair import SIDE, passes, repair
from reflectionflow.models.vision_language import Ask
from reflectionflow.prompts.vlm import FULL, NOTHING, SCENES, YES, parse_reflection
from reflectionflow.scenes.claims import detections
from reflectionflow.scenes.prompts import TAGS, belongs, parse, read, suite
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.words import known_words
from reflectionflow.scenes.world import UNIFORM, draw_scene
from reflectionflow.tuning.packing import IGNORED, STEP, collated, mask_of, packed
from reflectionflow.tuning.vlm_data import PictureSection, Rendered, covers, roughened
from reflectionflow.tuning.vlm_items import Known, QuestionSection, Shown, Task, judged, questions, tasks_of
from reflectionflow.tuning.vlm_model import EAGER, LossSection, ShapeSection, build, losses, reader

SECTION = QuestionSection()
IMAGE = Image.new("RGB", (128, 128))


def graphs(count, seed=0):
    rng = np.random.default_rng(seed)
    return [graph_of(detections(draw_scene(rng, UNIFORM)), SIDE) for _ in range(count)]


@pytest.fixture(scope="module")
def vl():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = build(ShapeSection(vision_width=32, vision_layers=1, width=64, layers=2, key_heads=1))
    found.model.eval()
    return found


def test_an_explicit_prompt_keeps_every_requirement():
    rng = np.random.default_rng(0)
    prompts = suite(Split.TRAIN, 30)
    explicit = 0
    for graph in graphs(60):
        metadata = prompts[int(rng.integers(len(prompts)))]
        text = explicit_prompt(metadata, repair(metadata, graph).graph)
        assert keeps(metadata, text), text
        assert set(text.replace(",", "").split()) <= known_words()
        explicit += read_explicit(text) is not None
    assert explicit > 48, "most can be said by places"


def test_a_prompt_that_loses_a_requirement_does_not_keep_it():
    metadata = parse("a photo of a red star left of a blue heart")
    assert keeps(metadata, "a photo of a red star at the left, a blue heart at the right")
    assert not keeps(metadata, "a photo of a red star at the right, a blue heart at the left")
    assert not keeps(metadata, "a photo of a red star at the left")
    assert not keeps(metadata, "a photo of a red star and a blue heart")
    assert not keeps(metadata, "something else")
    assert keeps(parse("a photo of a star left of a heart"), metadata.prompt)
    assert not keeps(parse("a photo of three stars"), "a photo of two stars")


def test_answers_are_true_of_the_picture():
    rng = np.random.default_rng(1)
    for graph in graphs(60, 1):
        asked = questions(rng, Known(IMAGE, graph), SECTION, SCENES)
        assert tasks_of(asked, Task.LIST)[0].answer == listing(graph)
        for item in tasks_of(asked, Task.JUDGE):
            metadata = parse(item.text.removesuffix(" ? yes or no"))
            assert decide(metadata, found_in(graph, SIDE)).correct == (item.answer == YES)
            assert belongs(read(metadata.prompt), Split.TRAIN)
        for item in tasks_of(asked, Task.REFLECT):
            metadata = parse(item.prompt)
            assert passes(metadata, graph) == item.answer.endswith(NOTHING)
            assert item.answer.startswith(f"{listing(graph)}. ")
            assert parse_reflection(item.answer) == repair(metadata, graph).edits[:8]
        for item in tasks_of(asked, Task.REFINE):
            assert keeps(parse(item.prompt), item.answer)
        texts = {item.answer for item in asked} | {item.text for item in asked}
        assert all(set(t.replace(",", "").replace(".", "").replace("?", "").split()) <= known_words() for t in texts)


def test_both_answers_are_asked_for_about_equally():
    rng = np.random.default_rng(2)
    told = [item.answer for g in graphs(80, 2) for item in judged(rng, Known(IMAGE, g), SECTION, SCENES, Split.TRAIN)]
    assert 0.4 < np.mean([answer == YES for answer in told]) < 0.6


def test_a_painted_picture_is_asked_about_its_own_prompt():
    star = (Node("star", "red", 0.3, 0.5, 0.3),)
    metadata = parse("a photo of two stars")
    known = Known(IMAGE, star, metadata, passed=False, sure=False)
    asked = questions(np.random.default_rng(0), known, QuestionSection(own=1.0), FULL)
    mine = [item for item in tasks_of(asked, Task.JUDGE) if metadata.prompt in item.text]
    assert [item.answer for item in mine] == ["no"]
    assert all(item.tag != "counting" for item in tasks_of(asked, Task.JUDGE) if item not in mine)
    assert tasks_of(asked, Task.REFLECT)[0].answer.startswith("a red star at the left. add a red star")
    contradicting = Known(IMAGE, star, parse("a photo of a star"), passed=False)
    told = questions(np.random.default_rng(0), contradicting, QuestionSection(own=1.0), FULL)
    assert "a photo of a star" not in {item.prompt for item in told}, "the rules and the graph disagree"


def test_an_empty_picture_is_asked_about_too():
    known = Known(IMAGE, (), parse("a photo of a red star"), passed=False)
    asked = questions(np.random.default_rng(0), known, SECTION, SCENES)
    assert [item.answer for item in asked[:2]] == ["nothing", "no"]
    assert tasks_of(asked, Task.REFLECT)[0].answer == "nothing. add a red star in the middle"
    assert len(questions(np.random.default_rng(0), Known(IMAGE, ()), SECTION, SCENES)) == 1


def shown_of(seed):
    return Rendered(PictureSection(), QuestionSection(true=1, near=1), SCENES).draw(np.random.default_rng(seed))


@pytest.mark.parametrize("attention", ["sdpa", EAGER])
def test_packed_questions_give_what_single_ones_do(vl, attention):
    vl.model.set_attn_implementation(attention)
    shown = [shown_of(seed) for seed in (1, 2, 3)]
    pixels, grid, places = vl.seen([item.image for item in shown])
    rows = [packed(vl, item, 8, 8, SCENES) for item in shown]
    batch = {**collated(rows), "pixels": pixels, "grid": grid}
    longest = max(len(row.ids) for row in rows)
    assert longest <= batch["ids"].shape[1] < longest + STEP
    assert batch["ids"].shape[1] % STEP == 0  # few lengths, because each costs memory
    module = reader(vl.model, False)
    with torch.no_grad():
        together = module(batch).logits
    place = 0
    for item, row in zip(shown, rows, strict=True):
        for asked in item.asked:
            question = vl.spelled(Ask(item.image, asked.text), places[0])
            answer = vl.answered(asked.answer)[: 1 if asked.task is Task.JUDGE else None]
            given = vl.inputs([Ask(item.image, asked.text)])
            ids = torch.tensor([question + answer])
            with torch.no_grad():
                alone = vl.model(
                    input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=given["pixel_values"],
                    mm_token_type_ids=(ids == vl.image_token).int(), image_grid_thw=given["image_grid_thw"],
                ).logits[0, len(question) - 1 : -1]  # fmt: skip
            assert torch.allclose(together[place : place + len(answer)], alone, atol=2e-5), asked
            place += len(answer)
        wanted = [token for token in row.targets if token != IGNORED]
        assert wanted == [t for a in item.asked for t in vl.answered(a.answer)[: 1 if a.task is Task.JUDGE else None]]
    assert place == len(together)


def test_packed_positions_are_those_of_the_model(vl):
    shown = shown_of(4)
    row = packed(vl, Shown(shown.image, shown.asked[:1]), 8, 8, SCENES)
    ids = torch.tensor([row.ids])
    grid = torch.tensor([[1, 16, 16]])
    expected, _ = vl.model.model.get_rope_index(ids, (ids == vl.image_token).int(), grid)
    assert torch.equal(torch.tensor(row.positions).T[:, None], expected)


def test_a_question_sees_neither_others_nor_padding():
    groups = torch.tensor([[0, 0, 1, 1, 2, -1]])
    seen = mask_of(groups)[0, 0]
    assert seen[3].tolist() == [True, True, True, True, False, False]
    assert seen[4].tolist() == [True, True, False, False, True, False]
    assert seen[5].tolist() == [False, False, False, False, False, True]


def test_a_template_with_the_question_first_is_refused(vl):
    class Backwards:
        image_token, answered = vl.image_token, staticmethod(vl.answered)

        def spelled(self, ask, places):
            return [*vl.words(ask.text).input_ids, *[vl.image_token] * places]

    with pytest.raises(ValueError, match="before the question"):
        packed(Backwards(), shown_of(1), 8, 8, SCENES)


def test_each_task_counts_by_its_own_mean(vl):
    shown = [shown_of(seed) for seed in (1, 2)]
    pixels, grid, _ = vl.seen([item.image for item in shown])
    known = torch.from_numpy(np.concatenate([covers(item.graph, 8, 8) for item in shown], axis=1))
    batch = {**collated([packed(vl, item, 8, 8, SCENES) for item in shown]), "pixels": pixels, "grid": grid}
    module = reader(vl.model, True)
    weights = LossSection(list=1.0, judge=2.0, reflect=0.0, refine=0.5, patches=0.25)
    total, parts = losses(module(batch | {"covers": known}), batch | {"covers": known}, weights)
    expected = parts["list"] + 2 * parts["judge"] + 0.5 * parts["refine"] + 0.25 * parts["patches"]
    assert float(total.detach()) == pytest.approx(float(expected), rel=1e-5)
    unknown = torch.full_like(known, IGNORED)
    total, parts = losses(module(batch | {"covers": unknown}), batch | {"covers": unknown}, weights)
    assert torch.isfinite(total.detach())
    assert float(parts["patches"]) == 0.0


def test_covers_name_the_object_over_each_merged_patch():
    nouns, colors = covers((Node("star", "red", 0.25, 0.25, 0.5),), 8, 8).reshape(2, 8, 8)
    assert (nouns[:4, :4] == 3).all()
    assert (colors[:4, :4] == 0).all()
    assert (nouns[4:] == 14).all()
    assert (covers(None, 8, 8) == IGNORED).all()


def test_roughened_pictures_are_the_same_for_the_same_seed():
    scene = draw_scene(np.random.default_rng(0), UNIFORM)
    before = torch.random.get_rng_state()
    first, again, other = (np.asarray(roughened([scene], PictureSection(), seed)[0]) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert torch.equal(before, torch.random.get_rng_state()), "nobody else's random numbers change"


def test_every_tag_can_be_judged():
    rng = np.random.default_rng(5)
    told = {item.tag for g in graphs(60, 5) for item in judged(rng, Known(IMAGE, g), SECTION, SCENES, Split.TRAIN)}
    assert told == set(TAGS)
