"""A larger budget's search begins with the smaller one's: the same calls, the same pictures, never a worse answer."""

from __future__ import annotations

import itertools

import pytest

from reflectionflow.runs import RunDirectory
from reflectionflow.search import strategy
from reflectionflow.search.adaptive import ADAPTIVE
from reflectionflow.search.noise import NOISE
from reflectionflow.search.prompt import PROMPT
from reflectionflow.search.reflection import REFLECTION
from reflectionflow.types import Failure, Reflection, StopReason
from tests.support.running import run_all, search
from tests.support.world import Critic, Painter, stack

STRATEGIES = {
    "noise": NOISE,
    "prompt": PROMPT.configured(width=3),
    "prompt of the best": PROMPT.configured(parent="best", reflect=True),
    "reflection": REFLECTION.configured(),
    "one deep chain": REFLECTION.configured(width=1, drafts=1, parent="latest"),
    "wide": REFLECTION.configured(width=4, drafts=5, refine=False, history=0),
    "trusting": REFLECTION.configured(width=3, sure=0.0),
    "release": strategy("release", {"drafts": 6}),
    "adaptive": ADAPTIVE.configured(),
    "adaptive in large rounds": ADAPTIVE.configured(drafts=3, growth=1, patience=0.0, refine=True, sure=0.5),
}


class Moody(Critic):
    """Has nothing to say of some pictures, and fails on others; which ones depends on the picture alone."""

    def _reflect(self, item):
        mood = int(item.candidate.id[-2:], 16) % 5
        if mood == 0:
            return Reflection(item.candidate.id, self.name)
        if mood == 1:
            return Reflection(item.candidate.id, self.name, failure="Lost for words.")
        return super()._reflect(item)


def clumsy(recipe):
    return Failure(recipe.id, "The brush slipped.") if recipe.seed % 5 == 0 else None


def world(moody):
    painter = Painter(fails=clumsy) if moody else Painter()
    return stack(generator=painter, corrector=painter, reflector=Moody() if moody else Critic())


def calls(path):
    with RunDirectory.read(path) as run:
        return {row.id for row in run.calls()}


@pytest.mark.parametrize("moody", [False, True], ids=["smooth", "with failures"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_one_run_contains_every_smaller_budget(tmp_path, name, moody):
    chosen = STRATEGIES[name]
    assert chosen.nested
    budgets = (1, 3, 6, 7, 10, 13)
    results = [run_all(tmp_path / str(n), [search(strategy=chosen, images=n)], world(moody))[0] for n in budgets]
    for (small, smaller), (large, larger) in itertools.pairwise(zip(budgets, results, strict=True)):
        assert larger.steps[: len(smaller.steps)] == smaller.steps
        assert calls(tmp_path / str(small)) <= calls(tmp_path / str(large))
        if smaller.best is not None:
            assert larger.best.verdict.score >= smaller.best.verdict.score
        if smaller.stop is StopReason.BUDGET:
            assert len(smaller.steps) == small
    continued = run_all(tmp_path / "3", [search(strategy=chosen, images=10)], world(moody))[0]
    assert continued.steps == results[4].steps
    assert continued.paid.images == len(continued.steps) - len(results[1].steps)


def test_methods_share_their_first_drafts(tmp_path):
    results = [
        run_all(tmp_path, [search(strategy=chosen, images=4)], stack())[0]
        for chosen in (NOISE, REFLECTION.configured(drafts=4), PROMPT.configured(width=4))
    ]
    assert results[0].steps == results[1].steps == results[2].steps
    assert [result.paid.images for result in results] == [4, 0, 0]


def test_one_deep_chain_and_many_short_ones_spend_the_same(tmp_path):
    deep = REFLECTION.configured(width=1, drafts=4)
    wide = REFLECTION.configured(width=4, drafts=4)
    for name, chosen in (("deep", deep), ("wide", wide)):
        result = run_all(tmp_path / name, [search(strategy=chosen, images=12)], stack())[0]
        assert result.charged.images == 12
        assert result.charged.verifier_calls == 12
