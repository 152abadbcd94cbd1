"""Prompt-level and reflection-level scaling: what they do in which round, and what a failure costs them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from reflectionflow.errors import MisuseError
from reflectionflow.ranking import ranked
from reflectionflow.roles import Context
from reflectionflow.runs import RunDirectory, verify
from reflectionflow.runtime.events import Failed, Reflected
from reflectionflow.search.chains import Chain
from reflectionflow.search.prompt import PROMPT
from reflectionflow.search.reflection import REFLECTION
from reflectionflow.types import Failure, RefinedPrompt, Reflection, StopReason
from tests.support.running import run_all, search
from tests.support.world import Brightness, Critic, Painter, Reordered, Rewriter, stack


def run(path, strategy, models=None, events=None, **budget):
    return run_all(path, [search(strategy=strategy, **(budget or {"images": 12}))], models or stack(), events)[0]


def places(result):
    return [step.place for step in result.steps]


def parents(result):
    """The place of each corrected picture's parent, by its own place."""
    by_id = {step.candidate.id: step.place for step in result.steps if step.candidate}
    corrected = [step for step in result.steps if step.candidate and step.candidate.recipe.parent]
    return {step.place: by_id[step.candidate.recipe.parent] for step in corrected}


def score(result, place):
    return next(step.verdict.score for step in result.steps if step.place == place)


def test_reflection_drafts_then_corrects_the_best_in_chains(tmp_path):
    result = run(tmp_path, REFLECTION.configured(width=2, drafts=4), images=10)
    assert places(result) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    drafts = [step.place for step in ranked(result.steps[:4])]
    assert [parents(result)[1, slot] for slot in (0, 1)] == drafts[:2]
    assert result.stop is StopReason.BUDGET
    assert result.best == ranked(result.steps)[0]


def test_a_bad_round_never_becomes_the_next_condition_unless_the_latest_is_asked_for(tmp_path):
    best = run(tmp_path / "best", REFLECTION.configured(width=1, drafts=1), images=16)
    for place, parent in parents(best).items():
        earlier = [step for step in best.steps if step.place < place]
        assert parent == ranked(earlier)[0].place
    latest = run(tmp_path / "latest", REFLECTION.configured(width=1, drafts=1, parent="latest"), images=16)
    assert all(parent == (place[0] - 1, 0) for place, parent in parents(latest).items())
    worse = [place for place, parent in parents(best).items() if score(best, place) < score(best, parent)]
    assert worse, "the world has rounds that make a picture worse"


def test_prompt_rewrites_the_chains_last_prompt_and_paints_from_new_noise(tmp_path):
    result = run(tmp_path, PROMPT.configured(width=2), images=6)
    assert places(result) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert [step.candidate.recipe.prompt for step in result.steps[::2]] == [
        "a red star",
        "a red star, bright",
        "a red star, bright, bright",
    ]
    assert len({step.candidate.recipe.seed for step in result.steps}) == 6
    assert not parents(result)
    assert all(step.reflection is None for step in result.steps)
    assert result.charged.refiner_calls == 4
    assert result.charged.reflector_calls == 0


def test_prompt_tells_the_refiner_a_reflection_when_that_is_wanted(tmp_path):
    told = []
    refiner = Rewriter(before=lambda items: told.extend(item.reflection for item in items))
    result = run(tmp_path, PROMPT.configured(width=2, reflect=True), stack(refiner=refiner), images=6)
    assert result.charged.reflector_calls == 4
    assert all(text.startswith("make it brighter than") for text in told)


@pytest.mark.parametrize("refine", [True, False, None])
@pytest.mark.parametrize(
    ("reflect", "rank", "parent", "calls"),
    [
        (True, "score", "latest", 6),
        (True, "score", "best", 6),
        (True, "edits", "latest", 7),  # a draft that becomes no chain is looked at too
        (True, "edits", "best", 9),  # and every correction, to know which picture of a chain is its best
        (False, "score", "latest", 0),
        (False, "score", "best", 0),
    ],
)
@pytest.mark.parametrize("refiner", [Rewriter(), None], ids=["refiner", "no refiner"])
def test_every_combination_of_modes_runs(tmp_path, refine, reflect, rank, parent, calls, refiner):
    strategy = REFLECTION.configured(refine=refine, reflect=reflect, rank=rank, parent=parent, width=2, drafts=3)
    models = stack(refiner=refiner)
    if refine and refiner is None:
        with pytest.raises(MisuseError, match="The strategy reflection needs a refiner, and the stack tiny has none"):
            run(tmp_path, strategy, models)
        return
    result = run(tmp_path, strategy, models, images=9)
    refined = refine is not False and refiner is not None
    assert len(result.steps) == 9
    corrected = result.steps[3:]
    assert all(step.candidate.recipe.parent for step in corrected)
    assert all((step.refined is not None) == refined for step in corrected)
    assert all((step.reflection is not None) == reflect for step in corrected)
    assert all((step.candidate.recipe.reflection is not None) == reflect for step in corrected)
    assert result.charged.reflector_calls == calls
    assert (0 < result.charged.refiner_calls <= 6) == refined  # the same question of the same picture is asked once


@pytest.mark.parametrize("parent", ["latest", "best"])
@pytest.mark.parametrize("reflect", [True, False])
def test_every_combination_of_prompt_runs(tmp_path, parent, reflect):
    result = run(tmp_path, PROMPT.configured(parent=parent, reflect=reflect, width=3), images=9)
    assert len(result.steps) == 9
    assert result.stop is StopReason.BUDGET


@pytest.mark.parametrize(
    ("strategy", "role"),
    [
        (REFLECTION.configured(), "reflector"),
        (REFLECTION.configured(), "corrector"),
        (PROMPT.configured(), "refiner"),
        (PROMPT.configured(reflect=True), "reflector"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_missing_role_is_refused_with_a_sentence(tmp_path, strategy, role):
    with pytest.raises(MisuseError, match=f"needs a {role}, and the stack tiny has none"):
        run(tmp_path, strategy, stack(**{role: None}))


def test_reflection_off_needs_no_reflector(tmp_path):
    assert len(run(tmp_path, REFLECTION.configured(reflect=False), stack(reflector=None)).steps) == 12


def test_no_reflection_is_asked_for_a_picture_the_budget_cannot_paint(tmp_path):
    result = run(
        tmp_path, REFLECTION.configured(width=4, drafts=4, refine=True), images=10
    )  # 4 drafts, a round of 4, half a round
    assert places(result)[-2:] == [(2, 0), (2, 1)]
    assert result.charged.reflector_calls == result.charged.refiner_calls == 6
    assert result.stop is StopReason.BUDGET


def test_a_budget_in_denoiser_evaluations_ends_in_the_middle_of_a_round(tmp_path):
    result = run(tmp_path, REFLECTION.configured(width=2, drafts=2), denoiser_evaluations=27)
    assert len(result.steps) == 5  # five steps each
    assert result.charged.reflector_calls == 3
    assert result.stop is StopReason.BUDGET


def test_of_several_reflections_the_last_ones_are_told(tmp_path):
    asked = []
    critic = Critic(before=lambda items: asked.extend(items))
    strategy = REFLECTION.configured(width=1, drafts=1, rank="score", history=2)
    result = run(tmp_path, strategy, stack(reflector=critic), images=5)
    said = tuple(step.reflection.text for step in result.steps[1:])
    assert [item.history for item in asked] == [said[max(0, n - 2) : n] for n in range(4)]


def test_the_refiner_is_told_the_reflection_on_the_picture(tmp_path):
    asked = []
    refiner = Rewriter(before=lambda items: asked.extend(items))
    run(tmp_path, REFLECTION.configured(width=2, refine=True), stack(refiner=refiner), images=8)
    assert asked
    assert all(item.reflection.startswith("make it brighter than") for item in asked)


def test_a_chain_without_one_of_its_pictures_keeps_the_others(tmp_path):
    steps = run(tmp_path, REFLECTION.configured(), images=3).steps
    chain = Chain(0, steps)
    assert [chain.without(step).pictures for step in steps] == [steps[1:], (steps[0], steps[2]), steps[:2]]


def test_a_chain_rests_only_when_reflector_and_verifier_are_both_content(tmp_path):
    busy = run(tmp_path / "busy", REFLECTION.configured(sure=0.0), images=12)
    assert busy.stop is StopReason.BUDGET
    score = busy.steps[0].verdict.score
    content = stack(reflector=Critic(enough=0.0))
    strategy = REFLECTION.configured(width=1, drafts=1, sure=score)
    assert run(tmp_path / "content", strategy, content, images=3).stop is StopReason.NOTHING_TO_CORRECT


def test_accept_stops_after_the_round_that_reached_it(tmp_path):
    whole = run(tmp_path / "whole", REFLECTION.configured(width=2), images=16)
    threshold = sorted(step.verdict.score for step in whole.steps[4:])[6]
    first = next(step.place[0] for step in whole.steps if step.verdict.score >= threshold)
    stopped = run(tmp_path / "stopped", REFLECTION.configured(width=2, accept=threshold), images=16)
    assert stopped.stop is StopReason.ACCEPTED
    assert stopped.best.verdict.score >= threshold
    assert places(stopped) == [place for place in places(whole) if place[0] <= first]


def test_a_draft_can_be_accepted(tmp_path):
    result = run(tmp_path, REFLECTION.configured(accept=0.0), images=16)
    assert result.stop is StopReason.ACCEPTED
    assert len(result.steps) == 4


def test_when_neither_reflector_nor_verifier_wants_more_the_search_stops(tmp_path):
    satisfied = stack(reflector=Critic(enough=0.0))
    result = run(tmp_path, REFLECTION.configured(width=2, drafts=3, sure=0.0), satisfied, images=16)
    assert result.stop is StopReason.NOTHING_TO_CORRECT
    assert len(result.steps) == 3
    assert result.charged.reflector_calls == 3


def test_when_only_the_reflector_is_satisfied_the_budget_goes_to_fresh_drafts(tmp_path):
    satisfied = stack(reflector=Critic(enough=0.0))
    result = run(tmp_path, REFLECTION.configured(width=2, drafts=3, sure=1.0), satisfied, images=9)
    assert result.stop is StopReason.BUDGET
    assert places(result)[3:] == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert not parents(result)
    assert len({step.candidate.recipe.seed for step in result.steps}) == 9


def test_a_chain_goes_on_from_its_fresh_draft(tmp_path):
    drafts = run(tmp_path / "drafts", REFLECTION.configured(width=1, drafts=1), images=1)
    first = drafts.steps[0]

    class Once(Critic):
        def _reflect(self, item):
            if item.candidate.id == first.candidate.id:
                return Reflection(item.candidate.id, self.name)
            return super()._reflect(item)

    result = run(tmp_path / "all", REFLECTION.configured(width=1, drafts=1), stack(reflector=Once()), images=4)
    assert parents(result)[2, 0] == (1, 0)
    assert (1, 0) not in parents(result)


def test_what_the_reflector_is_told(tmp_path):
    asked = []
    critic = Critic(before=lambda items: asked.extend(items))
    strategy = REFLECTION.configured(width=1, drafts=1, rank="score", history=2)
    run(tmp_path / "all", strategy, stack(reflector=critic), images=6)
    assert [len(item.history) for item in asked] == [0, 1, 2, 2, 2]
    assert all(item.verdict is not None for item in asked)
    for before, after in itertools.pairwise(asked[:3]):
        assert after.history[: len(before.history)] == before.history
    asked.clear()
    strategy = REFLECTION.configured(width=1, drafts=1, rank="score", history=0, see_verdict=False)
    run(tmp_path / "none", strategy, stack(reflector=critic), images=6)
    assert {(item.history, item.verdict) for item in asked} == {((), None)}
    assert {item.prompt for item in asked} == {"a red star"}


# failures


def test_a_failed_picture_costs_that_picture_alone(tmp_path):
    whole = run(tmp_path / "whole", REFLECTION.configured(width=2, drafts=2), images=8)
    lost = next(step for step in whole.steps if step.place == (1, 1)).candidate.id
    painter = Painter(fails=lambda recipe: Failure(recipe.id, "The paint ran out.") if recipe.id == lost else None)
    models = stack(generator=painter, corrector=painter)
    result = run(tmp_path / "lost", REFLECTION.configured(width=2, drafts=2), models, images=8)
    assert [step.place for step in result.steps if step.failure] == [(1, 1)]
    chain = [step for step in result.steps if step.place[1] == 0]
    assert chain == [step for step in whole.steps if step.place[1] == 0]
    assert parents(result)[2, 1] == parents(whole)[1, 1]  # tried again from the same parent with other noise
    assert result.charged.images == 8


def test_failed_drafts_leave_their_chains_to_fresh_ones(tmp_path):
    def fails(recipe):
        return Failure(recipe.id, "The paint ran out.") if recipe.id in lost else None

    whole = run(tmp_path / "whole", REFLECTION.configured(width=2, drafts=2), images=2)
    lost = {whole.steps[0].candidate.id}
    painter = Painter(fails=fails)
    models = stack(generator=painter, corrector=painter)
    result = run(tmp_path / "lost", REFLECTION.configured(width=2, drafts=2), models, images=6)
    assert parents(result).keys() == {(1, 0), (2, 0), (2, 1)}
    assert parents(result)[2, 1] == (1, 1)


def test_a_failed_reflection_costs_the_chain_that_picture_and_a_fresh_draft_is_painted(tmp_path):
    strategy = REFLECTION.configured(width=1, drafts=1, parent="latest", rank="score")
    whole = run(tmp_path / "whole", strategy, images=5)
    lost = whole.steps[1].candidate.id

    class Speechless(Critic):
        def _reflect(self, item):
            if item.candidate.id == lost:
                return Reflection(item.candidate.id, self.name, failure="The answer held no reflection.")
            return super()._reflect(item)

    events = []
    result = run(tmp_path / "lost", strategy, stack(reflector=Speechless()), events, images=5)
    assert parents(result) == {(1, 0): (0, 0), (3, 0): (2, 0), (4, 0): (3, 0)}
    assert [event.failure.reason for event in events if isinstance(event, Failed)] == ["The answer held no reflection."]


@pytest.mark.parametrize("text", ["", " \n"], ids=["nothing", "blank"])
def test_a_refinement_that_cannot_be_painted_leaves_the_prompt_as_it_was(tmp_path, text):
    refiner = Reordered(Rewriter(), lambda answers: [replace(answer, text=text) for answer in answers])
    events = []
    result = run(tmp_path, REFLECTION.configured(width=2, refine=True), stack(refiner=refiner), events, images=8)
    assert {step.candidate.recipe.prompt for step in result.steps} == {"a red star"}
    assert all(step.refined is None for step in result.steps)
    assert {event.failure.reason for event in events if isinstance(event, Failed)} == {
        "rewriter@1 gave an empty prompt."
    }
    assert result.charged.refiner_calls == 4


def test_a_refined_prompt_with_a_word_the_painter_does_not_know_is_not_painted(tmp_path):
    words = frozenset({"a", "red", "star"})
    painter = Painter(capabilities=replace(Painter().capabilities, words=words))
    events = []
    models = stack(generator=painter, corrector=painter)
    result = run(tmp_path, PROMPT.configured(width=2), models, events, images=6)
    assert {step.candidate.recipe.prompt for step in result.steps} == {"a red star"}
    reasons = {event.failure.reason for event in events if isinstance(event, Failed)}
    assert any("does not know the word 'bright'" in reason for reason in reasons)


def test_a_reflection_with_a_word_the_corrector_does_not_know_is_a_failure_and_never_painted(tmp_path):
    sparkly = Reordered(Critic(), lambda said: [replace(one, text="make it bigger and sparkly") for one in said])
    can = replace(
        Painter().capabilities, words=frozenset(["a", "red", "star", "make", "it", "bigger", "and", "brighter", "than"])
    )
    models = stack(corrector=Painter(name="corrector@1", capabilities=can), reflector=sparkly)
    events = []
    result = run(tmp_path / "a", REFLECTION.configured(width=2), models, events, images=8)
    reason = (
        "corrector@1 does not know the word 'sparkly'; it knows a, and, bigger, brighter, it, make, red, star, than."
    )
    assert {event.failure.reason for event in events if isinstance(event, Failed)} == {reason}
    assert {(lost.call, lost.reason) for lost in result.failed_calls} == {("reflect", reason)}
    assert len(result.steps) == 8
    assert all(step.candidate.recipe.parent is None for step in result.steps), "fresh drafts in their place"
    again = run(tmp_path / "a", REFLECTION.configured(width=2), models, images=8)
    assert again.failed_calls == result.failed_calls
    assert again.paid.reflector_calls == 0


@pytest.mark.parametrize("rank", ["edits", "score"])
def test_what_a_reflector_does_not_read_is_no_part_of_its_question_and_changes_no_picture(tmp_path, rank):
    class Deaf(Critic):
        def _reflect(self, item):
            return super()._reflect(replace(item, history=()))

    class Told(Deaf):
        reads = frozenset()

    found, asked = {}, {}
    for kind in (Deaf, Told):
        path = tmp_path / kind.__name__
        found[kind] = run(path, REFLECTION.configured(width=2, rank=rank), stack(reflector=kind()), images=14)
        with RunDirectory.read(path) as directory:
            asked[kind] = [row.request for row in directory.calls() if row.role == "reflect"]
        assert verify(path).ok
    assert [(step.place, step.candidate) for step in found[Told].steps] == [
        (step.place, step.candidate) for step in found[Deaf].steps
    ]
    assert found[Told].best.candidate == found[Deaf].best.candidate
    assert all((request["verdict"], request["history"]) == (None, []) for request in asked[Told])
    pictures = [request["candidate"] for request in asked[Told]]
    assert len(set(pictures)) == len(pictures) == found[Told].charged.reflector_calls
    assert len(pictures) < len(asked[Deaf]), "the same picture was asked about again after each correction"


def test_what_a_reflector_reads_stays_in_its_question(tmp_path):
    class Half(Critic):
        reads = frozenset({Context.HISTORY})

    run(tmp_path, REFLECTION.configured(width=1, drafts=1), stack(reflector=Half()), images=5)
    with RunDirectory.read(tmp_path) as directory:
        asked = [row.request for row in directory.calls() if row.role == "reflect"]
    assert all(request["verdict"] is None for request in asked)
    assert any(request["history"] for request in asked)


def test_a_reflection_for_the_refiner_may_have_words_the_corrector_does_not_know(tmp_path):
    can = replace(Painter().capabilities, words=frozenset({"a", "red", "star"}))
    models = stack(corrector=Painter(name="corrector@1", capabilities=can), generator=Painter())
    events = []
    result = run(tmp_path, PROMPT.configured(width=2, reflect=True), models, events, images=6)
    told = [event.reflection.text for event in events if isinstance(event, Reflected)]
    assert len(told) == result.charged.reflector_calls > 0
    assert all(told)


@pytest.mark.parametrize("strategy", [REFLECTION.configured(), PROMPT.configured()], ids=lambda s: s.name)
@pytest.mark.parametrize("answer", ["refined", "reflected"])
def test_models_of_words_that_always_fail_leave_a_search_over_noise(tmp_path, strategy, answer):
    def fail(answers):
        return [
            type(found)(found.candidate, getattr(found, "refiner", None) or found.reflector, failure="No words.")
            for found in answers
        ]

    models = stack(refiner=Reordered(Rewriter(), fail), reflector=Reordered(Critic(), fail))
    result = run(tmp_path, strategy, models, images=10)
    assert len(result.steps) == 10
    assert not parents(result)
    assert result.stop is StopReason.BUDGET
    assert result.best is not None


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_search_gives_up_when_corrections_only_fail_and_keeps_the_best_so_far(tmp_path, width):
    def fails(recipe):
        return Failure(recipe.id, "The brush broke.") if recipe.parent else None

    corrector = Painter(fails=fails)
    strategy = REFLECTION.configured(width=width, drafts=5)
    result = run(tmp_path, strategy, stack(corrector=corrector), images=60)
    assert result.stop is StopReason.GAVE_UP
    failed = [step for step in result.steps if step.failure]
    assert len(failed) == {1: 3, 2: 4, 5: 5}[width]
    assert result.best == ranked(result.steps[:5])[0]


def test_a_search_goes_on_while_some_of_its_chains_succeed(tmp_path):
    strategy = REFLECTION.configured(width=5, drafts=5)
    hopeless = {step.candidate.id for step in ranked(run(tmp_path / "drafts", strategy, images=5).steps)[2:]}

    def fails(recipe):
        return Failure(recipe.id, "The brush broke.") if recipe.parent in hopeless else None

    result = run(tmp_path / "all", strategy, stack(corrector=Painter(fails=fails)), images=20)
    assert result.stop is StopReason.BUDGET
    assert sum(step.failure is not None for step in result.steps) == 9


def test_a_picture_that_could_not_be_judged_is_no_parent(tmp_path):
    strategy = REFLECTION.configured(width=1, drafts=1, parent="latest")
    lost = run(tmp_path / "whole", strategy, images=3).steps[1].candidate.id
    blind = Brightness(fails=lambda question: "The eye was closed." if question.candidate.id == lost else None)
    result = run(tmp_path / "lost", strategy, stack(verifier=blind), images=4)
    assert parents(result) == {(1, 0): (0, 0), (2, 0): (0, 0), (3, 0): (2, 0)}


@pytest.mark.parametrize("text", ["", " \n"], ids=["nothing", "blank"])
def test_a_reflection_without_words_is_not_painted_from(tmp_path, text):
    mute = Reordered(Critic(), lambda answers: [replace(answer, text=text, edits=()) for answer in answers])
    result = run(tmp_path, REFLECTION.configured(width=1, drafts=1), stack(reflector=mute), images=4)
    assert not parents(result)
    assert len(result.steps) == 4


@pytest.mark.parametrize("strategy", [REFLECTION.configured(drafts=1), PROMPT.configured()], ids=lambda s: s.name)
def test_a_search_in_which_nothing_can_be_painted_says_so(tmp_path, strategy):
    painter = Painter(fails=lambda recipe: Failure(recipe.id, "The paint ran out."))
    result = run(tmp_path, strategy, stack(generator=painter, corrector=painter), images=60)
    assert result.stop is StopReason.FAILED
    assert result.best is None
    assert 3 <= len(result.steps) <= 4


def test_a_verifier_that_fails_is_no_low_score(tmp_path):
    blind = Brightness(fails=lambda question: "The eye was closed.")
    result = run(tmp_path, REFLECTION.configured(), stack(verifier=blind), images=60)
    assert result.stop is StopReason.FAILED
    assert result.best is None
    assert len(result.steps) == 4  # the first drafts


def test_a_refined_prompt_is_kept_with_the_picture(tmp_path):
    result = run(tmp_path, REFLECTION.configured(width=1, drafts=1, refine=True), images=2)
    corrected = result.steps[1]
    assert isinstance(corrected.refined, RefinedPrompt)
    assert corrected.refined.candidate == corrected.reflection.candidate == result.steps[0].candidate.id
    assert corrected.candidate.recipe.prompt == corrected.refined.text


class Picky(Critic):
    """Asks for the more edits the brighter a picture is: the verifier's favourite is the farthest from done."""

    def _reflect(self, item):
        edits = tuple(f"edit {number}" for number in range(1 + int(np.asarray(item.image).mean() / 25)))
        return Reflection(item.candidate.id, self.name, ". ".join(edits), edits, "", tokens=5)


def test_ranked_by_edits_the_picture_that_needs_the_fewest_is_corrected(tmp_path):
    models = stack(reflector=Picky())
    result = run(tmp_path, REFLECTION.configured(width=2, drafts=4, rank="edits", history=0), models, images=10)
    needed = {step.place: int(step.verdict.score * 255 / 25) for step in result.steps}
    order = sorted(((0, slot) for slot in range(4)), key=lambda place: (needed[place], -score(result, place)))
    for slot in (0, 1):
        chain = [order[slot]]
        for number in (1, 2, 3):
            fewest = min(chain, key=lambda place: (needed[place], -score(result, place), place))
            assert parents(result)[number, slot] == fewest
            chain.append((number, slot))
    assert order[0] != ranked(result.steps[:4])[0].place, "score and edits disagree here"
    assert result.charged.reflector_calls == 4 + 4, "every picture is looked at once, the last ones never"


def test_ranked_by_edits_a_smaller_search_is_the_beginning_of_a_larger_one(tmp_path):
    options = {"width": 2, "drafts": 4, "rank": "edits"}
    small, large = (
        run(tmp_path / str(images), REFLECTION.configured(**options), stack(reflector=Picky()), images=images)
        for images in (7, 12)
    )
    assert [step.candidate.id for step in small.steps] == [step.candidate.id for step in large.steps][:7]


def test_ranked_by_edits_a_picture_whose_critique_failed_comes_last(tmp_path):
    reflector = Reordered(Critic(), lambda said: [replace(said[0], text="", edits=(), failure="no"), *said[1:]])
    result = run(tmp_path, REFLECTION.configured(width=1, drafts=3, rank="edits"), stack(reflector=reflector), images=4)
    assert result.stop is StopReason.BUDGET
    assert len(parents(result)) == 1


def test_counting_edits_needs_a_reflector():
    with pytest.raises(MisuseError, match="rank edits counts what the reflector asks for"):
        REFLECTION.configured(rank="edits", reflect=False)


def test_ranked_by_edits_an_accepted_draft_ends_the_search_before_anything_is_reflected_on(tmp_path):
    options = {"width": 2, "drafts": 4, "rank": "edits", "accept": 0.01}
    result = run(tmp_path, REFLECTION.configured(**options), images=10, reflector_calls=2)
    assert result.stop is StopReason.ACCEPTED
    assert result.charged.reflector_calls == 0


def test_ranked_by_edits_the_reflector_is_told_what_was_tried_on_the_same_picture(tmp_path):
    told = []
    reflector = Critic(before=lambda items: told.extend(item.history for item in items))
    run(tmp_path, REFLECTION.configured(width=1, drafts=1, rank="edits"), stack(reflector=reflector), images=5)
    assert max(map(len, told)) == 3
