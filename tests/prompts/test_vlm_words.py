"""What vision-language models are asked, and how untidy answers are read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectionflow.genref.graph import Node
from reflectionflow.genref.teacher import edits_of
from reflectionflow.prompts import vlm
from reflectionflow.scenes.words import COLORS, OBJECTS, known_words

PROMPT = "a photo of a red star left of a blue heart"
share = st.floats(0.05, 0.95)
graphs = st.lists(
    st.builds(Node, st.sampled_from(OBJECTS), st.sampled_from(COLORS), share, share, st.just(0.3)), max_size=4
).map(tuple)
edits = st.builds(edits_of, graphs, graphs).filter(bool)


def read(parser, *arguments):
    """Return what a parser reads, and the sentence with which it refuses."""
    try:
        return parser(*arguments), ""
    except ValueError as error:
        return None, str(error)


def words_of(text):
    return {word for word in text.replace("?", " ").replace(".", " ").split() if word}


@pytest.mark.parametrize(
    "text",
    [
        vlm.list_instruction(vlm.SCENES),
        vlm.judge_instruction("star", vlm.SCENES),
        vlm.score_instruction("star", vlm.SCENES),
        vlm.reflect_instruction("star", "seen", ("add a star",), vlm.SCENES),
        vlm.refine_instruction("star", "heart", "add a star", "seen", vlm.SCENES),
        vlm.NOTHING,
    ],
)
def test_the_wording_of_scenes_has_known_words_only(text):
    assert words_of(text) <= known_words()


def test_everything_asked_is_told_in_full_english():
    for braces in ("a {b} c", PROMPT):
        told = vlm.refine_instruction(braces, "current words", "edit words", "verdict words")
        assert all(part in told for part in (braces, "current words", "edit words", "verdict words"))
        assert braces in vlm.judge_instruction(braces)
        told = vlm.reflect_instruction(braces, "verdict words", ("one edit", "another edit"))
        assert all(part in told for part in (braces, "verdict words", "one edit. another edit", vlm.NOTHING))
    assert "judge" not in vlm.reflect_instruction(PROMPT)


@settings(deadline=None, max_examples=40)
@given(edits)
def test_edits_of_the_teacher_are_read_back_as_they_were_written(written):
    expected = written[: vlm.MOST_EDITS]
    assert vlm.parse_reflection(vlm.JOIN.join(written)) == expected
    assert vlm.parse_reflection("\n".join(f"- {edit.capitalize()}." for edit in written)) == expected
    numbered = [f"{number}. **{edit}**" for number, edit in enumerate(written, 1)]
    assert vlm.parse_reflection("Here is what to do:\n\n" + "\n".join(numbered)) == expected
    assert vlm.parse_reflection(f"<think>add a cat?</think>```text\n{vlm.JOIN.join(written)}\n```") == expected


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=400))
def test_any_answer_gives_clean_edits_or_a_sentence(raw):
    found, refused = read(vlm.parse_reflection, raw)
    assert (found is None) == refused.startswith("The reflector's answer")
    assert len(refused) < 200
    if found is None:
        return
    assert len(found) <= vlm.MOST_EDITS
    assert all(edit == edit.strip() and "\n" not in edit and len(edit) <= vlm.LONGEST_EDIT for edit in found)
    if found:
        assert vlm.parse_reflection(vlm.JOIN.join(found)) == found


@pytest.mark.parametrize(
    "raw",
    [
        "nothing to correct", "Nothing to correct.", "No changes needed!", "No further edits are required.", "None.",
        "The image already matches the prompt.", "- No corrections are necessary", "n/a", "Everything is correct.",
        "The picture fully matches the description, nothing to change.", "Nothing needs to be changed.", "None needed.",
        "Nothing is wrong with this image.", "It matches the prompt perfectly.", "Everything looks good.",
        "Nothing else.", "It is already correct.", "Looks good!", "There is nothing to correct.",
    ],
)  # fmt: skip
def test_many_ways_to_find_no_fault(raw):
    assert vlm.parse_reflection(raw) == ()


@pytest.mark.parametrize(
    "raw", ["", "  \n", "```\n```", "<think>never ends", PROMPT, "把星星变成红色", '{"a": 1}', "Edits:"]
)
def test_what_names_no_edit_is_refused(raw):
    with pytest.raises(ValueError, match="answer"):
        vlm.parse_reflection(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "It is missing a red star.", "Nothing in the image shows the star.", "None of the objects are red.",
        "Everything is wrong.", "The image matches only partly.", "The image matches neither object.",
        "It looks nothing like a star.", "It is not correct.", "The image does not match the prompt.",
    ],
)  # fmt: skip
def test_a_complaint_without_an_edit_is_no_praise(raw):
    with pytest.raises(ValueError, match="names no edit"):
        vlm.parse_reflection(raw)


def test_an_endless_answer_gives_each_edit_once_and_not_too_many():
    assert vlm.parse_reflection("add a red star. " * 500) == ("add a red star",)
    many = vlm.parse_reflection(" ".join(f"Remove the cat number {number}." for number in range(99)))
    assert len(many) == vlm.MOST_EDITS
    with pytest.raises(ValueError, match="names no edit"):
        vlm.parse_reflection("add a red " * 500)


def test_descriptions_between_edits_are_left_out():
    raw = "The image shows two cats. Remove the left cat. The background is fine. The dog should be brown."
    assert vlm.parse_reflection(raw) == ("remove the left cat", "the dog should be brown")
    assert vlm.parse_reflection("No changes to the color are needed. Move the star up.") == ("move the star up",)


@pytest.mark.parametrize(
    ("raw", "edits"),
    [
        ("Make these changes:\n- Remove the cat.", ("remove the cat",)),
        ("Remove the cat. remove the cat. REMOVE the dog.", ("remove the cat", "rEMOVE the dog")),
        ("The dog has to be brown. It must sit.", ("the dog has to be brown", "it must sit")),
    ],
)
def test_announcements_are_no_edits_and_each_edit_counts_once(raw, edits):
    assert vlm.parse_reflection(raw) == edits


def test_a_prompt_is_spelled_as_the_wording_wants_it():
    assert vlm.spelled(" A Photo of a  Star.", vlm.SCENES) == "a photo of a star"
    assert vlm.spelled(" A Photo of a  Star.", vlm.FULL) == " A Photo of a  Star."


@pytest.mark.parametrize(
    "idle",
    [
        "change the color of the star from red to red",
        "move the red star above the red star",
        "move the star to the left of the star",
    ],
)
def test_edits_that_change_nothing_are_left_out(idle):
    assert vlm.parse_reflection(f"a red star at the left. {idle}. add a blue moon") == ("add a blue moon",)
    with pytest.raises(ValueError, match="names no edit"):
        vlm.parse_reflection(idle)


def test_a_cut_answer_ends_with_its_last_whole_sentence():
    assert vlm.whole_sentences("Add a star. Remove the hea") == "Add a star."
    assert vlm.whole_sentences("add a star\nremove the hea") == "add a star"
    assert vlm.whole_sentences("Add a st") == ""


@pytest.mark.parametrize(
    "raw",
    [
        "a red star, on the left of a blue heart",
        'Refined prompt: "a red star, on the left of a blue heart"',
        "Here is a better prompt:\n\n**a red star, on the left of a blue heart**",
        "```\na red star, on the left of a blue heart\n```",
        "Of course.\nPrompt: a red star, on the left of a blue heart",
        "Prompt: a red star, on the left of a blue heart\n\nThis names the place of each object.",
        "<think>hm, a star</think>\na red star,  on the left\tof a blue heart",
    ],
)
def test_a_refined_prompt_is_found_in_its_answer(raw):
    assert vlm.parse_refined(raw, PROMPT) == "a red star, on the left of a blue heart"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "empty"),
        ("``` ```", "empty"),
        ("I'm sorry, I cannot help with a photo of that.", "refused"),
        ("I’m sorry, a photo of that I cannot make.", "refused"),
        ("a red star " * 400, "characters"),
        ("一颗红色的星星", "no word"),
    ],
)
def test_what_is_no_prompt_is_refused(raw, reason):
    with pytest.raises(ValueError, match=reason):
        vlm.parse_refined(raw, PROMPT)


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=400))
def test_any_answer_gives_one_line_or_a_sentence(raw):
    found, refused = read(vlm.parse_refined, raw, PROMPT)
    assert (found is None) == refused.startswith("The refiner")
    if found is not None:
        assert found
        assert found == " ".join(found.split())
