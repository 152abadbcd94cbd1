from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw
from stories import PROMPT, candidate, chain_story, failed_story, judged, noise_story, png
from test_reports import Page

from reflectionflow.cli.story import tell_story
from reflectionflow.report import Story, Way, chain_sheet, contact_sheet, html_page, path_sheet
from reflectionflow.report.files import Chapter
from reflectionflow.report.lettering import shortened, width_of, wrapped, write
from reflectionflow.report.strip import MOST_ROWS
from reflectionflow.report.wording import Kind, Piece, changes, plain
from reflectionflow.types import RefinedPrompt, Reflection, SearchResult, StopReason

ODD = st.text(st.characters(), max_size=60)
"""Any characters at all: halves of surrogate pairs, controls, marks of direction, signs no font has."""


def odd_story(prompt: str, edit: str, rewritten: str, reason: str) -> Story:
    """Return a draft and its correction with the given words in every place that takes words."""
    draft = judged((0, 0), candidate(1, 16, 16), 0.4, reason)
    better = candidate(2, 16, 16, draft.candidate.id, edit or "x")
    better = replace(better, recipe=replace(better.recipe, prompt=rewritten))
    step = judged((1, 0), better, 0.6, reason)
    parent = draft.candidate.id
    words = Reflection(parent, "critic@1", edit or "x", (edit or "x",) * 2), RefinedPrompt(parent, "r@1", rewritten)
    step = replace(step, reflection=words[0], refined=words[1])
    result = SearchResult(prompt, "reflection", step, (draft, step), StopReason.COMPLETE)
    return Story(result, "rf1:" + "cd" * 32, "scenes", "0.1.0", f"reflectionflow generate {prompt}", png)


def many_chains(count: int) -> Story:
    """Return so many chains of a draft and a correction each."""
    drafts = [judged((0, n), candidate(n), 0.3) for n in range(count)]
    fixed = [candidate(100 + n, parent=draft.candidate.id, text="Do it.") for n, draft in enumerate(drafts)]
    steps = (*drafts, *(judged((1, n), item, 0.5 + n / 1000) for n, item in enumerate(fixed)))
    result = SearchResult(PROMPT, "reflection", steps[-1], steps, StopReason.BUDGET)
    return Story(result, "rf1:0", "scenes", "0.1.0", "reflectionflow", png)


@given(ODD, ODD)
@example("a red star", "a big red star")
@example("红色的星星", "红色的大星星")
def test_changes_join_to_both_texts(before, after):
    pieces = changes(before, after)
    assert "".join(piece.text for piece in pieces if piece.kind is not Kind.DROPPED) == after
    assert "".join(piece.text for piece in pieces if piece.kind is not Kind.ADDED) == before
    assert all(piece.before + piece.core + piece.after == piece.text for piece in pieces)


def test_changes_are_told_word_by_word():
    told = [(piece.kind.value, piece.text) for piece in changes("a photo of a star", "a photo of a red star")]
    assert told == [("kept", "a photo of a "), ("added", "red "), ("kept", "star")]


def test_a_text_with_nothing_in_common_is_told_as_one_change():
    told = [piece.kind.value for piece in changes("a red star", "two big blue fish, under water")]
    assert told == ["dropped", "added"]


@given(ODD)
@example("\x1b[31mred\x07\u202eder\ud800")
def test_plain_text_commands_nobody(text):
    shown = plain(text)
    shown.encode()
    assert len(shown) == len(text)
    assert not any(sign in shown for sign in "\x00\x07\x08\x1b\x7f\x9b\u202e\n\r")


@settings(max_examples=12, deadline=None)
@given(ODD, ODD, ODD, ODD)
@example("</script><b>&amp;", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }} <!-- ", "]]> \x00 \ud83d [red]x[/red]")
def test_any_words_are_shown_as_written(prompt, edit, rewritten, reason):
    story = odd_story(prompt, edit, rewritten, reason)
    text = html_page(story)
    page = Page(text)
    text.encode()
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "img" not in {tag for tag, _ in page.tags}
    words = " ".join(page.text.split())
    for said in (prompt, edit, reason):
        assert " ".join(plain(said).split()) in words
    sheet = chain_sheet(story)
    assert sheet.width == 2 * 256 + 248 + 4 * 28


@settings(max_examples=12, deadline=None)
@given(ODD, ODD, ODD, ODD)
@example("\x1b]0;title\x07", "[bold]x[/bold]", ":smile: \x9b31m", "\r\n\n")
def test_no_words_command_the_terminal(tmp_path_factory, prompt, edit, rewritten, reason):
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, record=True, width=100, file=_Nowhere())
    tell_story(console, Chapter(odd_story(prompt, edit, rewritten, reason), tmp_path_factory.getbasetemp()))
    shown = console.export_text()
    shown.encode()
    assert not any(sign in shown for sign in "\x00\x07\x08\x1b\x7f\x9b\u202e")


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, text):
        return len(text)

    def flush(self):
        return None


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200), st.integers(60, 300), st.integers(1, 6))
@example("word " * 100, 120, 3)
@example("x" * 200, 100, 4)
def test_wrapped_lines_fit_and_lose_nothing_but_the_end(text, width, most):
    lines = wrapped((Piece(Kind.KEPT, text),), 17, width, most)
    shown = ["".join(words for _, words in line) for line in lines]
    assert len(shown) <= most
    assert all(width_of(line.rstrip(), 17) <= width + 17 for line in shown)
    if not any(line.endswith("…") for line in shown):
        assert "".join(shown) == plain(text)


@given(st.text(max_size=80), st.integers(20, 200))
def test_shortened_text_fits(text, width):
    assert width_of(shortened(text, 16, width), 16) <= max(width, width_of("…", 16))


@pytest.mark.parametrize("text", ["ein großer Stern", "красная звезда", "красная star 星"])
def test_letters_that_the_default_font_lacks_are_drawn(text):
    def drawn(words):
        picture = Image.new("L", (400, 40))
        write(ImageDraw.Draw(picture), (5, 5), words, 20, "white")
        return picture

    assert drawn(text).getbbox() is not None
    assert drawn(text).tobytes() != drawn("").tobytes()


def test_the_sheet_has_a_row_for_each_chain_and_stops_at_many():
    few, many, more = (chain_sheet(many_chains(count)) for count in (2, MOST_ROWS, MOST_ROWS + 5))
    row = 44 + 256 + 66 + 26
    assert few.size == (2 * 256 + 248 + 4 * 28, 100 + 2 * row)
    assert many.height == 100 + MOST_ROWS * row
    assert more.height == many.height + 44


def test_a_long_chain_goes_on_below():
    steps = [judged((0, 0), candidate(0), 0.1)]
    for n in range(1, 7):
        parent = steps[-1].candidate.id
        steps.append(judged((n, 0), candidate(n, parent=parent, text="Do it."), 0.1 + n / 10))
    result = SearchResult(PROMPT, "reflection", steps[-1], tuple(steps), StopReason.COMPLETE)
    sheet = chain_sheet(Story(result, "rf1:0", "scenes", "0.1.0", "reflectionflow", png))
    assert sheet.size == (4 * 256 + 3 * (248 + 2 * 28) + 2 * 28, 100 + 44 + 2 * (256 + 66 + 26))


def test_long_reflections_make_a_row_higher_up_to_a_bound():
    def height(words):
        return chain_sheet(odd_story("p", words, "p", "")).height

    assert height("word " * 20) < height("word " * 60) <= height("word " * 5000)
    assert height("word " * 5000) < 1000


@pytest.mark.parametrize("story", [noise_story(3), failed_story()], ids=["noise", "failed"])
def test_without_chains_there_is_no_sheet_of_them(story):
    assert chain_sheet(story) is None
    assert "All chains" not in html_page(story)


def test_the_best_of_a_chain_is_framed():
    assert (15, 123, 95) in {colour for _, colour in chain_sheet(chain_story()).getcolors(1 << 24)}
    assert contact_sheet(chain_story()).width == 20 + 3 * 276


def test_the_ways_of_several_searches_stand_below_each_other_each_from_draft_to_answer():
    chains, noise, failed = chain_story(), noise_story(), failed_story()
    title = "a prompt far too long for its row " * 20
    one, two = (path_sheet([Way(chains, title, "seed 1")] * count) for count in (1, 2))
    assert len(chains.path) > 1
    assert one.width == two.width
    assert two.height > 1.9 * one.height
    assert path_sheet([]) is None
    assert path_sheet([Way(failed, "nothing was painted")]) is None
    mixed = path_sheet([Way(chains, "chains"), Way(failed, "nothing"), Way(noise, "a draft alone")])
    assert one.height < mixed.height <= two.height
    with_two = ImageChops.difference(one, two.crop((0, 0, one.width, one.height)))
    assert with_two.getbbox() is None
