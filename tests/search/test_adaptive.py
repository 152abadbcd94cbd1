"""Best-first search: which picture is corrected next, when a fresh draft is painted, and what ends the search."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectionflow.errors import MisuseError
from reflectionflow.ranking import ranked
from reflectionflow.roles import Context
from reflectionflow.search.adaptive import ADAPTIVE, Node, counted, planned
from reflectionflow.search.selection import edits_asked
from reflectionflow.types import Candidate, Failure, Recipe, Reflection, Step, StopReason, Verdict
from tests.support.running import run_all, search
from tests.support.world import Critic, Painter, Rewriter, stack


@dataclass
class Strict(Critic):
    """Asks for as many edits as a tenth of brightness is missing."""

    enough: float = 0.6

    def _reflect(self, item):
        mean = float(np.asarray(item.image).mean()) / 255
        edits = tuple(f"lighten part {n}" for n in range(math.ceil(max(0.0, self.enough - mean) * 10)))
        return Reflection(item.candidate.id, self.name, ", ".join(edits), edits, ", ".join(edits), tokens=5)


def run(path, strategy, models=None, events=None, **budget):
    models = models or stack(reflector=Strict())
    return run_all(path, [search(strategy=strategy, **(budget or {"images": 16}))], models, events)[0]


def parents(result):
    """The place of each corrected picture's parent, by its own place."""
    by_id = {step.candidate.id: step.place for step in result.steps if step.candidate}
    corrected = [step for step in result.steps if step.candidate and step.candidate.recipe.parent]
    return {step.place: by_id[step.candidate.recipe.parent] for step in corrected}


def asked(step):
    """How many edits `Strict` asks for."""
    return math.ceil(max(0.0, 0.6 - step.verdict.score) * 10)


def node(place, edits, score=0.5, parent=None, tries=0):
    candidate = Candidate(Recipe("painter@1", "a red star", place[1], 16, 16, 5, 3.5), "0" * 64, 16, 16)
    text = None if edits is None else Reflection("", "critic", "x" * edits, ("x",) * edits)
    verdict = Verdict(candidate.id, "judge", score)
    said = text or Reflection("", "critic", failure="Lost for words.")
    return Node(Step(place, candidate, verdict), parent=parent, critique=said, tried=("x",) * tries, tries=tries)


def nodes(*found):
    return {one.step.place: one for one in found}


def test_what_needs_the_fewest_edits_is_corrected_first_and_of_equal_ones_the_best():
    many, dull, few = node((0, 0), 4), node((0, 1), 1, 0.2), node((0, 2), 1, 0.9)
    assert planned(nodes(many, few, dull), 1, 0.5) == [(0, 2)]
    assert planned(nodes(many, few, dull), 2, 0.5) == [(0, 2), (0, 1)]  # none twice while others are as near
    assert planned(nodes(many, few, dull), 2, 0.0) == [(0, 2), (0, 2)]
    assert planned(nodes(many, few), 2, 0.5) == [(0, 2), (0, 2)]


def test_corrections_count_until_a_fresh_draft_is_worth_more():
    kept = node((0, 1), 4)
    assert planned(nodes(node((0, 0), 1, tries=2), kept), 1, 0.5) == [(0, 0)]  # 1 + 2 · 0.5 = 2 of 2.5 that drafts need
    assert planned(nodes(node((0, 0), 1, tries=4), kept), 1, 0.5) == [None]
    child = node((1, 0), 2, parent=(0, 0))
    assert planned(nodes(node((0, 0), 1, tries=4), kept, child), 1, 0.5) == [(1, 0)]
    near = node((1, 0), 1, parent=(0, 0), tries=2)  # drafts need 2, it does too; corrections tell nothing of drafts
    assert planned(nodes(node((0, 0), 2, tries=4), near), 1, 0.5) == [(1, 0)]


@pytest.mark.parametrize(
    ("reflection", "edits"),
    [
        (Reflection("", "critic", "a, b, c", ("a", "b", "c")), 3),
        (Reflection("", "critic", "it is all wrong"), 1),
        (Reflection("", "critic"), 0),
        (Reflection("", "critic", " "), 0),
        (Reflection("", "critic", failure="Lost for words."), math.inf),
    ],
)
def test_words_without_a_list_are_one_edit_and_no_words_none(reflection, edits):
    assert edits_asked(reflection) == edits


def test_what_needs_nothing_or_of_which_nothing_was_said_is_left_alone():
    assert planned(nodes(node((0, 0), 0), node((0, 1), None)), 2, 0.5) == [None, None]
    assert planned({}, 2, 0.5) == [None, None]
    assert planned(nodes(node((0, 0), 0), node((0, 1), 3)), 1, 0.5) == [None]  # drafts need 1.5 on average
    assert planned(nodes(node((0, 1), 3), node((0, 0), None)), 1, 0.5) == [(0, 1)]


def test_each_correction_counts_and_what_one_in_vain_led_to_begins_with_the_count_of_its_line():
    first, second = replace(node((0, 0), 3), tried=("x",) * 3), replace(node((0, 1), 2), tried=("x",))
    better, alike, worse = (node((1, slot), edits, parent=(0, 0)) for slot, edits in enumerate((2, 3, 5)))
    again, mended = node((2, 0), 5, parent=(1, 2)), node((2, 1), 1, parent=(1, 2))
    worse = replace(worse, tried=("x", "x"))
    found = counted(nodes(again, mended, first, second, better, alike, worse))
    assert [found[0, slot].tries for slot in (0, 1)] == [3, 1]  # one of the first one's corrections helped
    assert [found[1, slot].tries for slot in (0, 1, 2)] == [0, 1, 1 + 2]
    assert [found[2, slot].tries for slot in (0, 1)] == [2, 0]


FEW = st.integers(0, 6)


@given(st.lists(st.tuples(FEW, FEW, st.floats(0, 1)), max_size=6), st.integers(1, 6), st.floats(0, 2))
def test_a_smaller_round_is_the_beginning_of_a_larger_one(found, turns, patience):
    pictures = nodes(*(node((0, slot), edits, score, tries=tries) for slot, (edits, tries, score) in enumerate(found)))
    moves = planned(pictures, turns, patience)
    assert moves[:-1] == planned(pictures, turns - 1, patience)
    assert planned(dict(reversed(pictures.items())), turns, patience) == moves
    for place in moves:
        assert place is None or pictures[place].correctable


def test_a_search_corrects_what_needs_least_and_drafts_when_that_is_worn_out(tmp_path):
    result = run(tmp_path, ADAPTIVE.configured(growth=64, patience=2.0), images=24)
    assert [step.place for step in result.steps] == [(0, 0), (0, 1), *((number, 0) for number in range(1, 23))]
    family = parents(result)
    assert 0 < len(family) < 22, "the world has drafts that are worn out"
    for step in result.steps[2:]:
        earlier = [other for other in result.steps if other.place < step.place]
        drafts = [asked(other) for other in earlier if other.place not in family]
        if step.place not in family:
            continue
        parent = next(other for other in earlier if other.place == family[step.place])
        assert 0 < asked(parent) <= sum(drafts) / len(drafts)
    assert result.best == ranked(result.steps)[0]
    assert result.stop is StopReason.BUDGET


@pytest.mark.parametrize(
    ("growth", "rounds"), [(4, [2, 1, 1, 1, 1, 1, 1, 2, 2, 3]), (1, [2, 2, 4, 7]), (64, [2] + [1] * 13)]
)
def test_rounds_grow_with_the_search(tmp_path, growth, rounds):
    result = run(tmp_path, ADAPTIVE.configured(growth=growth), images=15)
    numbers = [step.place[0] for step in result.steps]
    assert [numbers.count(number) for number in dict.fromkeys(numbers)] == rounds


@pytest.mark.parametrize(
    ("enough", "sure", "pictures"),
    [(0.0, 0.0, 2), (0.0, 1.0, 24), (0.0, None, 24), (1.0, 0.0, 24)],
    ids=["content", "content, not sure", "never asked", "sure, not content"],
)
def test_only_a_picture_that_needs_nothing_and_of_which_the_verifier_is_sure_ends_it(tmp_path, enough, sure, pictures):
    models = stack(reflector=Strict(enough=enough))
    result = run(tmp_path, ADAPTIVE.configured(sure=sure), models, images=24)
    assert len(result.steps) == pictures
    assert result.stop is (StopReason.NOTHING_TO_CORRECT if pictures == 2 else StopReason.BUDGET)


def test_an_accepted_picture_ends_the_search(tmp_path):
    result = run(tmp_path, ADAPTIVE.configured(accept=0.3), images=64)
    assert result.stop is StopReason.ACCEPTED
    assert result.best.verdict.score >= 0.3


def test_the_reflector_is_told_what_a_picture_came_of_and_what_was_tried(tmp_path):
    told = {}
    critic = Strict(before=lambda items: [told.setdefault(item.candidate.id, item.history) for item in items])
    result = run(tmp_path / "all", ADAPTIVE.configured(history=64, growth=64), stack(reflector=critic), images=16)
    family, line = parents(result), {}
    for step in result.steps:
        parent = family.get(step.place)
        line[step.place] = () if parent is None else (*line[parent], step.reflection.text)
        assert told.get(step.candidate.id, line[step.place]) == line[step.place]  # the last picture is not looked at
    assert max(map(len, line.values())) > 1
    told.clear()
    run(tmp_path / "none", ADAPTIVE.configured(history=0), stack(reflector=critic), images=12)
    assert set(told.values()) == {()}


@pytest.mark.parametrize(("images", "looked_at"), [(9, 8), (12, 8), (17, 16)])
def test_no_reflection_is_asked_for_a_picture_the_budget_cannot_paint(tmp_path, images, looked_at):
    result = run(tmp_path, ADAPTIVE.configured(growth=1, patience=0.25), images=images)  # 2, 2, 4, 8 and 16 a round
    family, again = parents(result), set()
    for place, parent in family.items():
        tried = sum(other == parent and earlier[0] < place[0] for earlier, other in family.items())
        again |= {(parent, tried)} if tried else set()
    assert result.charged.reflector_calls == looked_at + len(again)


class Once(Strict):
    """Has words for a picture only while nothing was tried."""

    def _reflect(self, item):
        if item.history:
            return Reflection(item.candidate.id, self.name)
        return super()._reflect(item)


def test_a_picture_of_which_nothing_more_is_said_gives_way_to_others(tmp_path):
    result = run(tmp_path, ADAPTIVE.configured(growth=64, patience=0.0), stack(reflector=Once()), images=24)
    family = parents(result)
    assert len(set(family.values())) == len(family)  # nothing is corrected twice
    assert len(result.steps) == 24
    silent = [place for place in dict.fromkeys(family.values()) if place[0] < 8]
    assert len(silent) > 1
    assert any(place[0] > 12 for place in family), "corrections go on"


def test_what_a_reflector_does_not_read_is_asked_once(tmp_path):
    blind = Strict()
    blind.reads = frozenset({Context.VERDICT})
    result = run(tmp_path, ADAPTIVE.configured(), stack(reflector=blind), images=12)
    assert result.charged.reflector_calls <= 11  # every picture but the last ones


def test_failures_cost_a_picture_each_and_only_failures_end_it(tmp_path):
    slips = Painter(fails=lambda recipe: Failure(recipe.id, "It slipped.") if recipe.seed % 2 else None)
    models = stack(generator=slips, corrector=slips, reflector=Strict())
    result = run(tmp_path / "some", ADAPTIVE.configured(growth=64), models, images=16)
    failed = [step.failure is not None for step in result.steps]
    assert 0 < sum(failed) < 16
    assert result.best is not None
    broken = Painter(fails=lambda recipe: Failure(recipe.id, "It slipped."))
    for name, generator, painted in (("corrector", Painter(), 5), ("both", broken, 3)):
        models = stack(generator=generator, corrector=broken, reflector=Strict())
        result = run(tmp_path / name, ADAPTIVE.configured(growth=64), models, images=16)
        assert result.stop is (StopReason.FAILED if name == "both" else StopReason.GAVE_UP)
        assert len(result.steps) == painted
        assert (result.best is None) == (name == "both")


@pytest.mark.parametrize("refine", [True, None])
def test_prompts_are_rewritten_where_that_is_wanted(tmp_path, refine):
    models = stack(reflector=Strict(), refiner=Rewriter())
    result = run(tmp_path, ADAPTIVE.configured(refine=refine), models)
    assert all(step.refined is not None for step in result.steps if step.candidate.recipe.parent)
    assert result.charged.refiner_calls > 0


@pytest.mark.parametrize("role", ["reflector", "corrector", "refiner"])
def test_a_missing_role_is_refused_with_a_sentence(tmp_path, role):
    with pytest.raises(MisuseError, match=f"The strategy adaptive needs a {role}, and the stack tiny has none"):
        run(tmp_path, ADAPTIVE.configured(refine=True), stack(**{role: None}))
