"""What takes part in the paper's exhibits, who may be named beside, and what the pages say of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from PIL import Image

from reflectionflow.cli.paper_besides import Wanted
from reflectionflow.errors import MisuseError
from reflectionflow.evaluation.benchmarks import Benchmark
from reflectionflow.evaluation.judges import ScenesJudge
from reflectionflow.evaluation.paper import Beside, chosen, lineup, make
from reflectionflow.evaluation.paper.control import control_of
from reflectionflow.evaluation.paper.criticism import criticism
from reflectionflow.evaluation.paper.methods import BY_SCORE, FLOW, LATEST, MAIN, PROMPT, SILENT, TITLES, Part
from reflectionflow.evaluation.paper.picking import pickers
from reflectionflow.evaluation.paper.provenance import command_line
from reflectionflow.evaluation.paper.reflecting import Criticised, Told, critics
from reflectionflow.evaluation.paper.speaking import ELSEWHERE, Swapped, speakers
from reflectionflow.evaluation.planning import Asked, plan
from reflectionflow.geneval import Clause, Metadata
from reflectionflow.roles import Context, ReflectRequest, read_by
from reflectionflow.scenes.words import known_words
from reflectionflow.types import Candidate, Failure, Recipe, Reflection, to_json
from tests.support.evaluating import Contrast, items
from tests.support.papers import planned
from tests.support.running import QUICK
from tests.support.world import Critic, Painter, stack


class Silent(Critic):
    """Finds a fault in nothing, or fails."""

    def reflect(self, items):
        return [
            Failure(item.id, "down") if item.prompt == "broken" else Reflection(item.id, self.name) for item in items
        ]


def test_swapped_words_keep_silence_and_failures_and_never_say_the_same():
    def asked(candidate, prompt="one"):
        recipe = Recipe("painter@1", prompt, candidate, 16, 16, 5, 3.5)
        return ReflectRequest(Candidate(recipe, "0" * 64, 16, 16), Image.new("RGB", (16, 16)), prompt)

    def words(*pairs):
        return tuple(Reflection(candidate, "critic@1", text, (text,)) for candidate, text in pairs)

    first, broken = asked(1), asked(2, "broken")
    heard = {"one": words((first.id, "brighter"), ("other", "darker")), "two": words(("third", "bluer"))}
    silent = Swapped(Silent(), heard)
    assert [getattr(answer, "text", answer) for answer in silent.reflect([first, broken])] == [
        "",
        Failure(broken.id, "down"),
    ]
    [said] = Swapped(Critic(), heard).reflect([first])
    assert (said.candidate, said.text, said.edits) == (first.id, "darker", ("darker",))
    own = Critic().reflect([first])[0].text
    [said] = Swapped(Critic(), {"one": words(("other", own)), "two": words(("third", "bluer"))}).reflect([first])
    assert said.text == "bluer"
    [said] = Swapped(Critic(), {"one": words((first.id, own))}).reflect([first])
    assert said.failure == "Nothing else was said of any other picture."
    assert Swapped(Critic(), heard).name != Swapped(Critic(), {}).name


def test_who_swaps_words_reads_what_its_reflector_reads():
    """Told of more, it would be asked about the same picture anew in every round, and charged for it."""
    blind = Silent()
    blind.reads = frozenset({Context.HISTORY})
    assert read_by(Swapped(blind, {})) == {Context.HISTORY}
    assert read_by(Swapped(Silent(), {})) == read_by(Silent())


@pytest.mark.parametrize("name", ["scenes-vlm", "critic"])
def test_why_no_untuned_reflector_stands_beside_the_tuned_one_is_said(name):
    draft = Candidate(Recipe("painter@1", "a photo of a star", 1, 16, 16, 5, 3.5), "0" * 64, 16, 16)
    spot = (0, 0, 0)
    found = Criticised({spot: draft}, {}, {spot: False}, {name: {spot: Told(None, None, False)}}, frozenset())
    notes = " ".join(criticism(found, [Metadata("single_object", "a photo of a star", (Clause("star"),))]).notes)
    assert ("comparison of tuned and untuned has no row here" in notes) == (name == "scenes-vlm")


def test_a_command_is_told_as_it_is_typed():
    passed = {"command": "paper", "per_tag": 2, "pick_by": ["a", "b c.toml"], "reflect_by": [], "genref": None}
    told = "reflectionflow paper --per-tag 2 --pick-by 'a,b c.toml' --reflect-by '' --oracle"
    assert command_line({**passed, "oracle": True, "quiet": False}) == told


def test_the_command_that_pages_show_leaves_out_what_was_left_out():
    wanted = Wanted([], None, [], frozenset({Part.CHOICES, Part.REFLECTIONS}), None, None)
    said = command_line({"command": "paper", **json.loads(json.dumps(to_json(wanted.passed)))})
    assert said == "reflectionflow paper --without choices,figure-2"


def test_levels_told_by_the_pictures_that_are_scored_say_so(tmp_path):
    models = stack(refiner=None, corrector=None, reflector=None)
    compared = lineup(models, 2)
    for seeds, said in ((1, "the very pictures that are scored"), (2, "of the other seeds")):
        found = plan(Asked(Benchmark("tiny", items(1)), compared.methods, 2, seeds, stack=models), Contrast())
        make(found, compared, Beside(), tmp_path, {}, lambda event: None, patience=QUICK)
        exhibits = json.loads((tmp_path / "paper.json").read_text())["exhibits"]
        notes = next(item["notes"] for item in exhibits if item["id"] == "figure-4-right")
        assert said in notes[0]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nobody"], "--told-by nobody: no model is called 'nobody'"),
        (["scenes-clip"], "--told-by scenes-clip: it plays verifier, not reflector"),
        (["another-picture"] * 2, "names another-picture twice"),
        (["nobody", "another-picture", "another-picture"], "nobody.*\n.*another-picture twice"),
    ],
)
def test_speakers_that_cannot_speak_are_refused(names, said):
    with pytest.raises(MisuseError, match=said):
        speakers(names, planned(stack())[0])


def test_nobody_speaks_where_nothing_can_be_corrected():
    found = planned(stack(corrector=None))[0]
    assert speakers([], found) == ()
    with pytest.raises(MisuseError, match="tiny cannot play ReflectionFlow"):
        speakers([ELSEWHERE], found)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "--control nobody: no model is called 'nobody'"),
        ("scenes-clip", "--control scenes-clip: it plays verifier, not generator"),
        ("scenes-flux", "--control scenes-flux: .*16"),
        ("tests.plugins.odd_models:LEARNT", "learnt@1 is related to red, as the judge is. Name a generator that"),
    ],
)
def test_controls_that_cannot_paint_are_refused(name, said):
    with pytest.raises(MisuseError, match=said):
        control_of(name, planned(stack())[0])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nobody"], "--reflect-by nobody: no model is called 'nobody'"),
        (["scenes-clip"], "--reflect-by scenes-clip: it plays verifier, not reflector"),
        (["scenes-teacher"] * 2, "names scenes-teacher twice"),
    ],
)
def test_reflectors_that_cannot_be_asked_are_refused(names, said):
    with pytest.raises(MisuseError, match=said):
        critics(names, planned(stack())[0])


def test_teacher_and_vision_language_model_are_asked_on_scenes_alone_and_the_teacher_is_called_an_oracle():
    painter = Painter(defaults=replace(Painter().defaults, width=128, height=128))
    painter.capabilities = replace(painter.capabilities, words=known_words())
    one = Metadata("single_object", "a photo of a star", (Clause("star"),))
    found = plan(Asked(Benchmark("one", (one,)), stack=stack(generator=painter)), ScenesJudge())
    assert [critic.told for critic in critics(None, found)] == ["critic", "scenes-vlm", "scenes-teacher (oracle)"]
    own = replace(found.models, reflector=critics(None, found)[1].model)
    again = replace(found, models=own)
    assert [critic.told for critic in critics(None, again)] == ["scenes-vlm", "scenes-teacher (oracle)"]
    assert [critic.told for critic in critics([], found)] == ["critic"]
    assert [critic.told for critic in critics(None, planned(stack())[0])] == ["critic"]
    assert critics(None, planned(stack(corrector=None))[0]) == ()
    with pytest.raises(MisuseError, match="tiny has no corrector"):
        critics(["scenes-teacher"], planned(stack(corrector=None))[0])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nobody"], "--pick-by nobody: no model is called 'nobody'"),
        (["scenes-flux"], "--pick-by scenes-flux: it plays generator, not verifier"),
        (["scenes-clip", "scenes-clip"], "names scenes-clip twice"),
        (["scenes-oracle"], "labelled training data.*pass --oracle"),
        (["nowhere.toml"], "--pick-by nowhere.toml: there is no stack file"),
        (["nobody", "scenes-flux"], "nobody.*\n.*scenes-flux"),
    ],
)
def test_verifiers_that_cannot_pick_are_refused(names, said):
    one = Metadata("single_object", "a photo of a star", (Clause("star"),))
    models = stack(generator=Painter(defaults=replace(Painter().defaults, width=128, height=128)))
    found = plan(Asked(Benchmark("one", (one,)), stack=models), ScenesJudge())
    with pytest.raises(MisuseError, match=said):
        pickers(names, found)


def test_all_of_the_papers_methods_take_part_where_the_stack_can_play_them():
    compared = lineup(stack(), 16)
    assert [method.name for method in compared.methods[:7]] == [*MAIN, LATEST, BY_SCORE, SILENT]
    assert dict(compared.widths) == {1: "width 1", 2: FLOW, 4: "width 4"}  # width 8 would paint drafts alone
    assert compared.left_out == ()
    options = {method.name: dict(method.strategy.options) for method in compared.methods}
    assert (options[LATEST]["parent"], options[SILENT]["reflect"], options["width 4"]["drafts"]) == ("latest", False, 8)


def test_methods_that_are_compared_differ_in_one_choice_alone():
    options = {method.name: dict(method.strategy.options) for method in lineup(stack(), 16).methods}

    def differing(one, other):
        return {name for name in options[one] if options[one][name] != options[other][name]}

    assert differing(FLOW, LATEST) == {"parent"}
    assert differing(FLOW, BY_SCORE) == {"rank"}
    assert differing(BY_SCORE, SILENT) == {"reflect"}


@pytest.mark.parametrize(
    ("part", "methods", "gone"),
    [
        (Part.WIDTHS, [*MAIN, LATEST, BY_SCORE, SILENT], {"width-depth"}),
        (Part.CHOICES, [*MAIN, "width 1"], {"choices"}),
        (Part.REFLECTIONS, [*MAIN, LATEST, BY_SCORE, SILENT, "width 1"], {"figure-2"}),
    ],
)
def test_parts_that_nobody_wants_are_neither_painted_nor_shown(part, methods, gone, tmp_path):
    compared = lineup(stack(), 6, {part})
    assert [method.name for method in compared.methods] == methods
    found = plan(Asked(Benchmark("tiny", items(1)), compared.methods, 6, 1, stack=stack()), Contrast())
    beside = Beside(critics=() if part is Part.REFLECTIONS else critics(None, found))
    made = make(found, compared, beside, tmp_path, {}, lambda event: None, patience=QUICK)
    shown = {exhibit.id.removesuffix("-composite") for exhibit in made.exhibits}
    assert {"figure-2", "width-depth", "choices"} - shown == gone
    assert [note for note in made.left_out if part.value in note] == [
        f"{TITLES[part]} is left out, as asked by --without {part.value}."
    ]
    assert not any("needs a corrector" in note for note in made.left_out)


def test_without_a_refiner_reflection_stays():
    compared = lineup(stack(refiner=None), 8)
    assert PROMPT not in compared
    assert FLOW in compared


def test_prompts_are_chosen_by_tag():
    every = Benchmark("tiny", items(5))
    kept = chosen(every, 2, 4)
    assert [item.tag for item in kept.items] == ["single_object"] * 2 + ["counting"] * 2 + ["composite"] * 4
    assert chosen(every, 9, 0).tags == ("single_object", "counting")
