from __future__ import annotations

import base64
import html.parser
import json
import re
from io import BytesIO

import pytest
from PIL import Image
from stories import PROMPT, chain_story, failed_story, noise_story, png

from reflectionflow.report import best_picture, contact_sheet, html_page
from reflectionflow.types import Recipe


class Page(html.parser.HTMLParser):
    """Collects what a page is made of, and fails on tags that do not close."""

    VOID = frozenset({"meta", "img", "br", "circle", "polyline", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words).replace("\xa0", " "))


@pytest.mark.parametrize("story", [noise_story(), chain_story(), failed_story()], ids=["noise", "chain", "failed"])
def test_the_page_needs_nothing_from_elsewhere(story):
    page = Page(html_page(story))
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "img"})
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [{}]
    addresses = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert all(address.startswith(("data:image/", "#picture-", "#p", "images/")) for address in addresses)
    assert "url(" not in html_page(story)


def test_the_page_tells_the_whole_story():
    story = noise_story()
    page = Page(html_page(story))
    cards = [attrs for tag, attrs in page.tags if tag == "article"]
    assert len(cards) == 16
    assert sum("best" in attrs["class"] for attrs in cards) == 1
    for words in (
        PROMPT,
        "The budget was used up.",
        f"{story.result.best.verdict.score:.4f}",
        "The picture holds no finite numbers; try float32.",
        "The answer held no score: 'maybe'.",
        story.run,
        story.command,
        "flow-match-euler",
        f"seed {story.result.best.candidate.recipe.seed}",
    ):
        assert words in page.text, words
    assert re.search(r"Pictures painted 16 0", page.text)


def test_the_way_to_the_answer_shows_each_picture_and_what_was_said_of_it():
    text = Page(html_page(chain_story())).text
    way = text[text.index("From draft to answer") : text.index("All chains")]
    told = [
        "0.4500 draft No. 4",
        "Criticised Move the blue heart to the right of the star.",
        "0.7000 +0.2500 No. 5",
        "Criticised Make the star red.",
        "0.9300 +0.2300 best · No. 6",
    ]
    places = [way.index(words) for words in told]
    assert places == sorted(places)
    assert "0.9300 +0.4800 on its draft" in text
    assert "corrected from No. 5" in text
    assert "Round 2" in text


def test_a_search_without_a_picture_says_why():
    text = Page(html_page(failed_story())).text
    assert "No picture could be painted and judged; the failures say why." in text
    assert text.count("The endpoint answered 503 three times") == 3


def test_a_prompt_with_markup_is_shown_as_written():
    page = html_page(noise_story(2, prompt="</title><script>alert(1)</script> & co"))
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in page


@pytest.mark.parametrize("story", [noise_story(3), chain_story(), failed_story()], ids=["noise", "chain", "failed"])
def test_every_picture_is_in_the_page_once_however_often_it_is_shown(story):
    text = html_page(story)
    page = Page(text)
    painted = {step.candidate.image for step in story.result.steps if step.candidate}
    held = [f"#{attrs['id']}" for tag, attrs in page.tags if tag == "image"]
    shown = [attrs["href"] for tag, attrs in page.tags if tag == "use"]
    assert len(held) == len(set(held)) == text.count("data:image/") == len(painted)
    assert set(shown) == set(held)


def test_what_a_person_can_see_has_a_text_for_one_who_cannot():
    page = Page(html_page(chain_story()))
    drawings = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    named = [attrs["aria-label"] for attrs in drawings if attrs["aria-label"]]
    assert "Picture No. 5, score 0.7000, corrected from No. 4" in named
    sliders = [attrs["aria-label"] for tag, attrs in page.tags if tag == "input"]
    assert sliders[1:] == ["Slide from No. 4 (left) to No. 5 (right)", "Slide from No. 5 (left) to No. 6 (right)"]


def test_large_pictures_are_carried_small():
    story = noise_story(3, 1024, 640)
    page = Page(html_page(story))
    sizes = {}
    for attrs in (attrs for tag, attrs in page.tags if tag == "image"):
        with Image.open(BytesIO(base64.b64decode(attrs["href"].split(",")[1]))) as picture:
            sizes[attrs["id"]] = picture.size
        assert (attrs["width"], attrs["height"]) == ("1024", "640")
    assert sorted(sizes.values()) == [(512, 320)] * 3 + [(1024, 640)]


@pytest.mark.parametrize(("width", "height"), [(128, 128), (1024, 640), (64, 160)])
def test_the_contact_sheet_holds_every_picture_and_frames_the_best(width, height):
    story = noise_story(5, width, height)
    sheet = contact_sheet(story)
    tall = 256 if height >= width else round(256 * height / width)
    frame = sum(count for count, colour in sheet.getcolors(1 << 24) if colour == (15, 123, 95))
    assert sheet.size == (20 + 4 * 276, 84 + 2 * (tall + 58 + 20) + 20)
    assert frame > 2 * (tall + 100)


def test_sixteen_pictures_fill_a_square():
    assert contact_sheet(noise_story(14)).width == 20 + 4 * 276


def test_a_sheet_of_very_many_pictures_uses_small_cells():
    sheet = contact_sheet(noise_story(150))
    assert sheet.width <= 17 * (128 + 20) + 20


def test_a_sheet_of_failures_has_no_frame():
    assert (15, 123, 95) not in {colour for _, colour in contact_sheet(failed_story()).getcolors(1 << 24)}


def test_the_best_picture_carries_its_recipe_and_keeps_its_pixels():
    story = noise_story(prompt="ein roter Stern links von einem blauen Herzen – groß")
    data = best_picture(story)
    best = story.result.best.candidate
    with Image.open(BytesIO(data)) as picture, Image.open(BytesIO(png(best))) as plain:
        picture.load()
        assert picture.tobytes() == plain.tobytes()
        info = picture.info
    assert info["prompt"] == story.result.prompt
    assert Recipe.from_json(json.loads(info["recipe"])).id == info["candidate"] == best.id
    assert info["run"] == story.run
    assert info["Software"] == "reflectionflow 0.1.0"


def test_a_failed_search_has_no_best_picture():
    assert best_picture(failed_story()) is None
