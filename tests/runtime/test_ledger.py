"""Two ledgers: charged as if the search ran alone, paid as this process computed."""

from __future__ import annotations

from itertools import permutations

import pytest

from reflectionflow.errors import ContractError
from reflectionflow.roles import Capabilities
from reflectionflow.runtime.ledger import Ledger
from reflectionflow.types import Budget, Spend
from tests.support.running import run_all, search
from tests.support.world import Painter, stack

PICTURE = Spend(images=1, denoiser_evaluations=20)


def test_reservations_count_until_they_are_settled_or_released():
    ledger = Ledger(Budget(images=2))
    assert ledger.reserve("a", PICTURE)
    assert ledger.reserve("b", PICTURE)
    assert not ledger.reserve("c", PICTURE)
    ledger.release("b")
    assert ledger.reserve("c", PICTURE)
    ledger.settle("a", PICTURE, computed=True)
    ledger.settle("c", PICTURE, computed=False)
    assert ledger.charged == Spend(images=2, denoiser_evaluations=40)
    assert ledger.paid == PICTURE


def test_the_same_call_is_charged_once():
    ledger = Ledger(Budget(images=1))
    assert ledger.reserve("a", PICTURE)
    assert ledger.reserve("a", PICTURE)
    ledger.release("a")
    assert ledger.charged.images == 1  # the other asker still waits
    ledger.settle("a", PICTURE, computed=True)
    assert ledger.reserve("a", PICTURE)
    ledger.settle("a", PICTURE, computed=True)
    assert ledger.charged == PICTURE == ledger.paid


def test_seconds_and_tokens_stop_a_search_once_they_are_reached():
    ledger = Ledger(Budget(images=9, tokens=10, seconds=5.0))
    assert ledger.reserve("a", Spend(verifier_calls=1))
    ledger.settle("a", Spend(verifier_calls=1, tokens=9, seconds=4.9), computed=True)
    assert ledger.reserve("b", PICTURE)
    ledger.settle("b", Spend(images=1, seconds=0.2), computed=True)
    assert not ledger.reserve("c", PICTURE)


def test_seconds_add_up_to_the_same_sum_in_any_order():
    seconds = [0.1, 0.2, 0.3, 1e-9, 7.7]
    sums = set()
    for order in permutations(seconds):
        ledger = Ledger(Budget(images=9))
        for number, value in enumerate(order):
            ledger.settle(str(number), Spend(seconds=value), computed=True)
        sums.add(ledger.charged.seconds)
    assert len(sums) == 1


def test_only_what_the_budget_limits_has_to_wait_for_its_turn():
    assert Ledger(Budget(images=1)).is_limited(PICTURE)
    assert not Ledger(Budget(images=1)).is_limited(Spend(verifier_calls=1))
    assert Ledger(Budget(images=1, tokens=5)).is_limited(Spend(verifier_calls=1))
    assert not Ledger(Budget(seconds=1.0)).is_limited(PICTURE)


def test_a_picture_of_several_evaluations_a_step_is_reserved_in_full(tmp_path):
    class Guided(Painter):
        def _paint(self, request):
            from dataclasses import replace

            return replace(super()._paint(request), denoiser_evaluations=2 * request.recipe.steps)

    honest = Guided(capabilities=Capabilities(evaluations_per_step=2))
    result = run_all(tmp_path / "a", [search(denoiser_evaluations=34)], stack(generator=honest))[0]
    assert result.charged.denoiser_evaluations == 30
    with pytest.raises(ContractError, match="evaluations_per_step"):
        run_all(tmp_path / "b", [search(denoiser_evaluations=34)], stack(generator=Guided()))


def test_a_search_limited_by_seconds_ends(tmp_path):
    result = run_all(tmp_path, [search(seconds=1e-9)], stack())[0]
    assert 0 < result.charged.images <= 16
    assert result.stop.name == "BUDGET"
