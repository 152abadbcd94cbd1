"""Everything that can be known to go wrong is said before the first call, all at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reflectionflow.errors import MisuseError
from reflectionflow.roles import Capabilities
from reflectionflow.runtime import Search, Task, check_task
from reflectionflow.search.noise import NOISE
from reflectionflow.types import Budget
from tests.support.running import run_all, search, task
from tests.support.strategies import CHAINS_STRATEGY
from tests.support.world import Painter, stack

WORDS = frozenset(["a", "red", "blue", "star", "moon", "left", "of", "and", "photo"])
LIMITED = Capabilities(corrects=True, multiple=16, smallest=16, largest=64, words=WORDS, longest_prompt=6)


def problems(wanted: Task, strategy=NOISE, **parts) -> list[str]:
    return check_task(wanted, stack(**parts), strategy)


def test_a_task_that_can_be_done_has_no_problems():
    assert problems(task("a red star", images=1), generator=Painter(capabilities=LIMITED)) == []


def test_an_unknown_word_is_named_with_what_is_known_and_where_to_go():
    (sentence,) = problems(task("A red Zebra, and a star!", images=1), generator=Painter(capabilities=LIMITED))
    assert "does not know the word 'zebra'" in sentence
    assert "it knows a, and, blue, left" in sentence
    assert "A stack such as flux-dev paints anything." in sentence


def test_known_words_are_shortened_to_a_dozen():
    many = replace(LIMITED, words=frozenset(f"word{number:03}" for number in range(100)), longest_prompt=None)
    (sentence,) = problems(task("zebra", images=1), generator=Painter(capabilities=many))
    assert "word011 … (100 words)" in sentence
    assert "word012" not in sentence


def test_what_a_painter_paints_is_told_instead_of_its_words():
    can = replace(LIMITED, paints="stars and moons")
    (sentence,) = problems(task("a zebra", images=1), generator=Painter(capabilities=can))
    assert sentence.startswith("painter@1 does not know the word 'zebra'; it paints stars and moons. A stack")


def test_what_generator_and_corrector_both_lack_is_said_once():
    both = {"generator": Painter("one@1", capabilities=LIMITED), "corrector": Painter("two@1", capabilities=LIMITED)}
    asked = replace(task("a very very very very big zebra", images=1), width=100, height=100)
    size, length, words = problems(asked, CHAINS_STRATEGY, **both)
    assert size == "one@1 and two@1 paint a width and a height of 16 to 64 pixels, not 100."
    assert length == "one@1 and two@1 read at most 6 words, and the prompt has 7; shorten it."
    assert words.startswith("one@1 and two@1 do not know the words 'very', 'big', 'zebra'; they know a, and,")
    knowing = replace(LIMITED, words=WORDS | {"zebra"})
    (words,) = problems(
        task("a zebra", images=1), CHAINS_STRATEGY, **{**both, "corrector": Painter("two@1", capabilities=knowing)}
    )
    assert words.startswith("one@1 does not know the word 'zebra'; it knows")


def test_of_a_painter_of_one_size_that_size_is_told():
    only = Painter(capabilities=replace(LIMITED, smallest=64))
    (found,) = problems(replace(task(images=1), width=100, height=100), generator=only)
    assert found == "painter@1 paints 64 × 64 pixels, not 100 × 100."
    (found,) = problems(replace(task(images=1), width=64, height=48), generator=only)
    assert found == "painter@1 paints 64 × 64 pixels, not 64 × 48."


def test_a_compound_of_known_words_is_known():
    assert problems(task("a red-blue star", images=1), generator=Painter(capabilities=LIMITED)) == []


@pytest.mark.parametrize("side", ["width", "height"])
def test_sizes_are_checked(side):
    painter = Painter(capabilities=LIMITED)
    for pixels, sentence in [(8, "16 to 64 pixels, not 8"), (80, "not 80"), (40, "a multiple of 16, not 40; try 32")]:
        (found,) = problems(replace(task(images=1), **{side: pixels}), generator=painter)
        assert side in found
        assert sentence in found


def test_every_problem_is_told_at_once(tmp_path):
    wanted = replace(task("a zebra and a very very very red star", images=1), width=40, seed=-1, steps=0)
    models = stack(generator=Painter(capabilities=LIMITED), reflector=None)
    found = check_task(wanted, models, CHAINS_STRATEGY)
    told = "\n".join(found)
    for part in (
        "zebra",
        "very",
        "at most 6 words",
        "multiple of 16",
        "seed -1",
        "0 denoiser steps",
        "needs a reflector",
    ):
        assert part in told
    with pytest.raises(MisuseError) as caught:
        run_all(tmp_path, [Search(wanted, CHAINS_STRATEGY)], models)
    assert str(caught.value) == told


def test_of_several_prompts_the_faulty_one_is_named(tmp_path):
    models = stack(generator=Painter(capabilities=LIMITED))
    with pytest.raises(MisuseError, match=r"^'a zebra': .*zebra"):
        run_all(tmp_path, [search("a star", images=1), search("a zebra", images=1)], models)


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused(prompt):
    assert problems(task(prompt, images=1)) == ["The prompt is empty; say what to paint."]


def test_a_prompt_that_is_no_text_is_refused():
    (sentence,) = problems(task("a star \udcff", images=1))
    assert "no valid text at position 7" in sentence


def test_a_corrector_must_be_able_to_correct():
    (sentence,) = problems(task(images=1), CHAINS_STRATEGY, corrector=Painter("plain@1", capabilities=Capabilities()))
    assert "plain@1 stands as corrector" in sentence


def test_nothing_is_called_when_something_is_wrong(tmp_path):
    def before(requests):
        raise AssertionError("the model was called")

    painter = Painter(before=before, capabilities=LIMITED)
    with pytest.raises(MisuseError):
        run_all(tmp_path, [search("a star", images=1), search("zebra", images=1)], stack(generator=painter))


def test_a_task_takes_what_is_not_given_from_the_generator():
    found = Task.for_generator(Painter(), "a star", Budget(images=2), seed=3, steps=9)
    assert found == Task("a star", Budget(images=2), 3, 16, 16, 9, 3.5)
