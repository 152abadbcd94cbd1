from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.support import world

import reflectionflow as rf
from reflectionflow import stack
from reflectionflow.errors import MisuseError, RunMismatchError
from reflectionflow.runtime import events
from reflectionflow.search.reflection import REFLECTION


@pytest.fixture
def models(example_stack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return stack.load(example_stack)


def test_generate_returns_the_best_picture_and_the_whole_search(models):
    result = rf.generate("a disc", images=4, stack=models)
    assert len(result.steps) == 4
    assert result.best.score == max(step.verdict.score for step in result.steps)
    assert result.best.image.size == (64, 64)
    assert result.best.path == result.run / "best.png"
    assert result.spend.images == result.paid.images == 4
    assert result.stop in (rf.StopReason.BUDGET, rf.StopReason.COMPLETE)
    assert result.failures == ()


def test_a_stack_is_a_name_a_path_or_the_models_themselves(models, example_stack):
    by_path = rf.generate("a disc", images=2, stack=example_stack)
    again = rf.generate("a disc", images=2, stack=models)
    assert again.run == by_path.run
    assert again.best.candidate == by_path.best.candidate
    assert again.paid.images == 0


def test_a_role_the_strategy_does_not_use_makes_no_other_run(tmp_path):
    other = dataclasses.replace(world.Critic(), name="critic@2")
    first, second = (
        rf.generate("a disc", images=2, size=(32, 32), stack=models, out=tmp_path / "noise")
        for models in (world.stack(), world.stack(reflector=other))
    )
    assert (first.paid.images, second.paid.images) == (2, 0)
    how = {"strategy": "reflection", "images": 2, "size": (32, 32), "out": tmp_path / "chains"}
    rf.generate("a disc", stack=world.stack(), **how)
    with pytest.raises(RunMismatchError, match=r'reflector \("critic@1" there, "critic@2" now\)'):
        rf.generate("a disc", stack=world.stack(reflector=other), **how)


def test_a_role_the_strategy_only_welcomes_is_used_where_it_is_there(tmp_path):
    strategy = REFLECTION.configured(width=1, drafts=1, refine=None)
    how = {"strategy": strategy, "images": 2, "size": (32, 32)}
    with_one = rf.generate("a disc", stack=world.stack(), out=tmp_path / "with", **how)
    without = rf.generate("a disc", stack=world.stack(refiner=None), out=tmp_path / "without", **how)
    assert [result.spend.refiner_calls for result in (with_one, without)] == [1, 0]


def test_a_result_is_frozen(models):
    result = rf.generate("a disc", images=1, stack=models)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.best = None


async def test_agenerate_gives_the_same_result(models):
    result = await rf.agenerate("a disc", images=2, stack=models, out="there")
    assert result.run == Path("there")
    assert result.spend.images == 2


async def test_generate_works_inside_a_running_loop_as_in_a_notebook(models):
    result = rf.generate("a disc", images=2, stack=models)
    assert result.spend.images == 2
    assert result._repr_png_() == result.best.path.read_bytes()


def test_every_event_reaches_the_caller(models):
    seen = []
    rf.generate("a disc", images=3, stack=models, on_event=seen.append)
    kinds = [type(event) for event in seen]
    assert kinds.count(events.Drafted) == kinds.count(events.Judged) == 3
    assert kinds[-1] is events.Stopped


def test_a_mistake_is_raised_before_anything_is_written(models):
    with pytest.raises(MisuseError, match="images must be at least 1, not 0"):
        rf.generate("a disc", images=0, stack=models)
    assert not Path("runs").exists()


def test_a_search_without_a_picture_returns_no_best_and_the_reasons(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "plugins"))
    path = tmp_path / "broken.toml"
    path.write_text(
        'name = "broken"\ndescription = "fails"\n[generator]\nmodel = "odd_models:REFUSING"\n'
        '[verifier]\nmodel = "example-brightness"\n'
    )
    result = rf.generate("a disc", images=2, stack=path)
    assert result.best is None
    assert result.stop is rf.StopReason.FAILED
    assert result.failures == ("The paint has dried out.",)
    assert result._repr_png_() is None
