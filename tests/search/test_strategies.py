"""Seeds, selection, best-of-N and finding strategies by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectionflow.errors import MisuseError
from reflectionflow.runtime import Strategy
from reflectionflow.search import strategy, strategy_names
from reflectionflow.search.noise import NOISE
from reflectionflow.search.seeds import derive
from reflectionflow.search.selection import best, ranked, top
from reflectionflow.types import Candidate, Failure, Recipe, Step, StopReason, Verdict
from tests.support.running import run_all, search
from tests.support.world import Painter, stack


def step(place, score, failure=None) -> Step:
    candidate = Candidate(Recipe("g@1", "a star", place[1], 16, 16, 5, 3.5), "ab" * 32, 16, 16)
    if failure:
        return Step(place, None, failure=Failure(candidate.id, failure))
    return Step(place, candidate, None if score is None else Verdict(candidate.id, "v@1", score))


@given(st.integers(0, 2**63 - 1), st.text(), st.tuples(st.integers(0, 99), st.integers(0, 9999)))
def test_a_seed_has_63_bits_and_depends_on_run_prompt_and_place(seed, prompt, place):
    found = derive(seed, prompt, place)
    assert 0 <= found < 2**63
    assert found == derive(seed, prompt, place)
    assert found != derive(seed + 1, prompt, place)
    assert found != derive(seed, prompt + "x", place)
    assert found != derive(seed, prompt, (place[0], place[1] + 1))


def test_seeds_never_change_between_versions():
    assert derive(0, "a photo of a red star", (0, 0)) == 0x7BB4AD9BD528DF6
    assert derive(7, "a photo of a red star", (2, 5)) == 0x493C9374BF3E0591


def test_the_best_is_the_highest_score_and_ties_go_by_place():
    steps = [step((1, 0), 0.5), step((0, 3), 0.7), step((0, 1), 0.70001), step((0, 0), None), step((0, 2), 0, "no")]
    assert best(steps).place == (0, 1)  # 0.70001 is 0.7 once rounded
    assert [found.place for found in ranked(steps)] == [(0, 1), (0, 3), (1, 0)]
    assert [found.place for found in top(steps, 2)] == [(0, 1), (0, 3)]
    assert best([step((0, 0), None)]) is None


def test_a_score_of_zero_is_better_than_none():
    assert best([step((0, 0), None), step((0, 1), 0.0)]).place == (0, 1)


def test_noise_paints_what_the_denoiser_evaluations_allow(tmp_path):
    result = run_all(tmp_path, [search(denoiser_evaluations=104)], stack())[0]
    assert [found.place for found in result.steps] == [(0, slot) for slot in range(20)]
    assert result.stop is StopReason.BUDGET


def test_noise_gives_up_when_a_whole_wave_fails(tmp_path):
    painter = Painter(fails=lambda recipe: Failure(recipe.id, "The paint ran out."))
    result = run_all(tmp_path, [search(denoiser_evaluations=500)], stack(generator=painter))[0]
    assert result.stop is StopReason.FAILED
    assert result.charged.images == 16


def test_an_unknown_strategy_is_refused_naming_the_known_ones():
    assert strategy("noise") is NOISE
    assert "noise" in strategy_names()
    with pytest.raises(MisuseError, match=r"no strategy 'nosie' \(did you mean 'noise'\?\); the strategies are noise"):
        strategy("nosie")


PLUGIN = """[reflectionflow.strategies]
mine = mine_search:MINE
broken = mine_search:ABSENT
odd = mine_search:ODD
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A real installed package, as far as Python can tell, that offers strategies."""
    info = tmp_path / "mine_search-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-search\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(PLUGIN)
    (tmp_path / "mine_search.py").write_text(
        "from reflectionflow.runtime import Strategy\n"
        "async def mine(task, tools): ...\n"
        "MINE = Strategy('mine', mine, nested=False)\n"
        "ODD = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("package")
def test_another_packages_strategy_is_found_by_name():
    found = strategy("mine")
    assert isinstance(found, Strategy)
    assert found.name == "mine"
    assert {"mine", "noise"} <= set(strategy_names())
    with pytest.raises(MisuseError, match=r"'broken'.*cannot be loaded"):
        strategy("broken")
    with pytest.raises(MisuseError, match=r"'odd'.*is of type int"):
        strategy("odd")


def test_searching_needs_no_torch_and_no_models():
    code = (
        "import sys, reflectionflow.search, reflectionflow.runtime, reflectionflow.runs\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'reflectionflow.models'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
