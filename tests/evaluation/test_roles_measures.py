"""The measures of single models: edits matched one to one, ensembles by rank, rates by prompt."""

import math

import numpy as np
import pytest
from benchmarks.roles_measures import mean_ranks, ordered_pairs, requirement_lost
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from reflectionflow.evaluation.intervals import wilson
from reflectionflow.evaluation.reflections import (
    PRECISION,
    RECALL,
    SAME,
    SILENT,
    Seen,
    compared,
    mean_change,
    named_faults,
    shares,
)
from reflectionflow.evaluation.statistics import rate
from reflectionflow.genref.graph import Node
from reflectionflow.genref.repair import repair
from reflectionflow.scenes.prompts import parse
from reflectionflow.types import Candidate, Recipe, Reflection

STARS = parse("a photo of three stars")
PAIR = parse("a photo of a red star left of a blue heart")
assert STARS is not None
assert PAIR is not None


@pytest.mark.parametrize(
    ("named", "wanted", "prompt", "found"),
    [
        (["add a red star above the ring"], ["add a green star at the top left"], STARS, ("add",)),
        (["add a red heart above the ring"], ["add a blue heart at the top left"], PAIR, ()),
        (["remove the red star"], ["remove the star"], PAIR, ("remove",)),
        (["remove the red star"], ["remove the blue star"], PAIR, ()),
        (["move the red star above the ring"], ["remove the red star"], PAIR, ()),
        (["remove the star", "remove the red star"], ["remove the red star"], PAIR, ("remove",)),
        (["remove the star", "remove the red star"], ["remove the red star", "remove the blue star"], PAIR,
         ("remove", "remove")),
        ([], ["remove the star"], PAIR, ()),
    ],
)  # fmt: skip
def test_an_edit_is_found_once_when_verb_and_object_agree(named, wanted, prompt, found):
    result = compared(named, wanted, prompt)
    assert result.found == found
    assert result.same == (len(named) == len(wanted) == len(found))


def test_words_of_another_form_are_named_but_never_found():
    result = compared(["make it nicer", "remove the star"], ["remove the star"], PAIR)
    assert result.named == ("unreadable", "remove")
    assert result.found == ("remove",)
    assert not result.same
    assert not result.same_words


def test_the_same_texts_in_another_order_are_the_same():
    edits = ["remove the ring", "change the color of the star from red to blue"]
    result = compared(edits[::-1], edits, PAIR)
    assert result.same
    assert result.same_words


def test_an_ensemble_is_the_mean_of_ranks_and_knows_nothing_of_scales():
    scores = [[0.1, 0.2, 0.3, 0.3], [0.9, 0.5, 0.5, 0.1]]
    assert mean_ranks(scores).tolist() == [0.625, 0.5625, 0.75, 0.5625]
    assert mean_ranks([np.exp(9 * np.array(scores[0])), scores[1]]).tolist() == mean_ranks(scores).tolist()
    assert mean_ranks(scores[::-1]).tolist() == mean_ranks(scores).tolist()


def test_what_one_verifier_could_not_score_has_no_rank_and_does_not_lower_the_others():
    ranks = mean_ranks([[math.nan, 0.2, 0.7], [0.4, 0.1, 0.9]])
    assert math.isnan(ranks[0])
    assert ranks[1:].tolist() == pytest.approx([(1 / 2 + 1 / 3) / 2, 1.0])


def test_only_pairs_of_a_right_and_a_wrong_picture_with_scores_count():
    assert ordered_pairs([0.9, 0.5, 0.5, math.nan], [1, 1, 0, 0]) == (1.5, 2)
    assert ordered_pairs([0.9, 0.5], [1, 1]) == (0.0, 0)


def test_a_rate_over_prompts_is_wider_than_over_pictures_when_prompts_differ():
    found = rate([(8, 8)] * 5 + [(0, 8)] * 5)
    low, high = wilson(40, 80)
    assert (found.value, found.trials) == (0.5, 80)
    assert found.low < low < high < found.high


def test_a_rate_that_does_not_vary_counts_prompts_not_pictures():
    found = rate([(4, 4)] * 10)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(wilson(10, 10, z=student.ppf(0.975, 9))[0])
    assert math.isnan(rate([(0, 0)]).value)


@given(st.lists(st.integers(0, 5).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=8))
def test_a_rate_lies_in_its_interval(counts):
    found = rate(counts)
    if sum(trials for _, trials in counts):
        assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("a photo of a red star at the left, a blue heart at the right", ""),
        ("a photo of a red star left of a blue heart", ""),
        ("a photo of a red star at the right, a blue heart at the left", "expected"),
        ("a photo of a red star left of a green heart", "states another"),
        ("a lovely star", "cannot be read"),
    ],
)
def test_a_refined_prompt_that_loses_something_says_what(text, lost):
    found = requirement_lost(PAIR, text)
    assert lost in found
    assert bool(found) == bool(lost)


def test_the_edits_that_lead_to_a_right_picture_are_all_that_is_wanted_and_others_are_none_of_it():
    recipe = Recipe("painter@1", PAIR.prompt, 1, 128, 128, 1, 1.0)
    draft = Candidate(recipe, "0" * 64, 128, 128)
    graphs = [
        (Node("star", "red", 0.2, 0.5, 0.3),),
        (Node("star", "blue", 0.8, 0.5, 0.3), Node("ring", "red", 0.2, 0.5, 0.3)),
    ]
    drafts = {(0, seed, slot): Seen(draft, False, graph) for seed in (0, 1) for slot, graph in enumerate(graphs)}
    perfect = {spot: repair(PAIR, seen.graph).edits for spot, seen in drafts.items()}
    assert all(perfect.values())

    def told(edits):
        words = {spot: Reflection(draft.id, "critic@1", ". ".join(some), some) for spot, some in edits.items()}
        return {name: share.value for name, share in named_faults([PAIR], drafts, words).items()}

    best = told(perfect)
    assert (best[PRECISION], best[RECALL], best[SAME], best[SILENT]) == (1, 1, 1, 0)
    wrong = told(dict.fromkeys(drafts, ("remove the moon",)))
    assert (wrong[PRECISION], wrong[RECALL], wrong[SAME], wrong[SILENT]) == (0, 0, 0, 0)
    silent = told(dict.fromkeys(drafts, ()))
    assert math.isnan(silent[PRECISION])
    assert (silent[RECALL], silent[SILENT]) == (0, 1)
    more = told({spot: (*edits, "remove the moon") for spot, edits in perfect.items()})
    assert (more[RECALL], more[SAME]) == (1, 0)
    assert 0 < more[PRECISION] < 1


def test_shares_and_changes_have_the_prompt_as_their_unit():
    values = {(0, seed, slot): True for seed in range(2) for slot in range(4)} | {(1, 0, 0): False}
    assert shares([STARS, PAIR], values)["all"].value == pytest.approx(8 / 9)
    assert shares([STARS, PAIR], values)[PAIR.tag].value == 0
    moved = mean_change([STARS, PAIR], {spot: 1 if value else -1 for spot, value in values.items()})
    assert moved.value == pytest.approx(7 / 9)
    assert moved.low < moved.value <= moved.high  # one prompt of each tag: they are resampled together
    alone = mean_change([STARS], {(0, 0, 0): 1})
    assert (alone.value, alone.low, alone.high) == (1, -1, 1)
