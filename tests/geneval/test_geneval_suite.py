"""GenEval's prompts are drawn again, byte for byte as published."""

import hashlib
from collections import Counter

import pytest

from reflectionflow.geneval import METADATA_SHA256, OBJECTS, PROMPTS_SHA256, metadata_text, prompts_text, suite
from reflectionflow.geneval.vocabulary import plural, with_article

FIRST = {
    "single_object": "a photo of a bench",
    "two_object": "a photo of a bench and a sports ball",
    "counting": "a photo of two clocks",
    "colors": "a photo of a blue fire hydrant",
    "position": "a photo of a dog right of a teddy bear",
    "color_attr": "a photo of a purple wine glass and a black apple",
}


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_files_are_the_published_ones_byte_for_byte():
    prompts = suite()
    assert len(prompts) == 553
    assert sha256(metadata_text(prompts)) == METADATA_SHA256
    assert sha256(prompts_text(prompts)) == PROMPTS_SHA256


def test_the_object_names_are_the_published_ones_byte_for_byte():
    published = "608f6a0e5c8ca1c7a92b818430141fe268c85b7930b50f4160f1d65893b5bacd"
    assert sha256("".join(f"{name}\n" for name in OBJECTS)) == published


def test_tags_come_in_blocks_of_the_published_sizes_and_begin_as_published():
    prompts = suite()
    sizes = Counter(prompt.tag for prompt in prompts)
    assert list(sizes.items()) == list(
        zip(FIRST, (80, 99, 80, 94, 100, 100), strict=True)  # in order of first appearance
    )
    firsts = {}
    for prompt in prompts:
        firsts.setdefault(prompt.tag, prompt.prompt)
    assert firsts == FIRST


def test_counts_and_relations_occur_as_often_as_published():
    counts = Counter(prompt.include[0].count for prompt in suite() if prompt.tag == "counting")
    places = Counter(prompt.include[1].position.relation for prompt in suite() if prompt.tag == "position")
    assert counts == {2: 26, 3: 28, 4: 26}
    assert places == {"left of": 19, "right of": 27, "above": 26, "below": 28}


@pytest.mark.parametrize("seed", [0, 1, 43, 77])
def test_prompts_of_any_seed_are_all_different_and_within_the_known_totals(seed):
    prompts = suite(seed)
    assert len(set(prompts)) == len(prompts)
    assert 544 <= len(prompts) <= 565


def test_a_smaller_suite_has_fewer_prompts_but_all_single_objects():
    sizes = Counter(prompt.tag for prompt in suite(per_tag=3))
    assert sizes.pop("single_object") == 80
    assert set(sizes.values()) == {3}


def test_words_are_spelt_as_in_the_original_wrong_ones_included():
    assert [plural(name) for name in ("bench", "scissors", "toothbrush", "person")] == [
        "benchs", "scissorses", "toothbrushs", "persons",
    ]  # fmt: skip
    assert [with_article(name) for name in ("orange", "umbrella", "hot dog")] == [
        "an orange", "an umbrella", "a hot dog",
    ]  # fmt: skip
