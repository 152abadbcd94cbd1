from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
from tests.support.running import run_all, search
from tests.support.strategies import CHAINS_STRATEGY
from tests.support.world import Critic, Painter, Reordered, Rewriter, shuffled, stack
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.report import Story, chain_sheet, html_page
from reflectionflow.report.chains import chains_of, single_drafts
from reflectionflow.report.files import CHAINS, book_of
from reflectionflow.runs import RunDirectory
from reflectionflow.runtime import Role, Strategy
from reflectionflow.search.noise import NOISE
from reflectionflow.types import Candidate, Failure, StopReason

NEEDS = frozenset({Role.CORRECTOR, Role.REFLECTOR})


async def _draft(task, tools, place):
    candidate = await tools.draft(task.prompt, task.seed + place[1], place)
    return candidate, await tools.judge(candidate)


async def _correct(task, tools, candidate, verdict, place):
    reflection = await tools.reflect(candidate, verdict)
    better = await tools.correct(candidate, reflection, task.prompt, task.seed + 100 * place[0] + place[1], place)
    return better, await tools.judge(better) if isinstance(better, Candidate) else None


async def crossed(task, tools):
    """Three chains that change their slots in every round."""
    current = await tools.gather(*(_draft(task, tools, (0, slot)) for slot in range(3)))
    for turn in (1, 2):
        work = (_correct(task, tools, *current[(slot + turn) % 3], (turn, slot)) for slot in range(3))
        current = await tools.gather(*work)
    return StopReason.COMPLETE


async def branching(task, tools):
    """One draft, corrected three times; each correction is corrected again."""
    draft = await _draft(task, tools, (0, 0))
    await _draft(task, tools, (0, 1))
    first = await tools.gather(*(_correct(task, tools, *draft, (1, slot)) for slot in range(3)))
    await tools.gather(*(_correct(task, tools, *first[slot], (2, slot)) for slot in range(3)))
    return StopReason.COMPLETE


async def rewriting(task, tools):
    """A draft, and drafts from the prompt as it is rewritten."""
    current, verdict = await _draft(task, tools, (0, 0))
    for turn in (1, 2):
        refined = await tools.refine(current, verdict)
        current = await tools.draft(refined, task.seed + turn, (turn, 0))
        verdict = await tools.judge(current)
    return StopReason.COMPLETE


async def once(task, tools):
    """A draft and its correction, if there is anything to correct."""
    draft, verdict = await _draft(task, tools, (0, 0))
    reflection = await tools.reflect(draft, verdict)
    if reflection.failure:
        return StopReason.FAILED
    if reflection.nothing_to_correct:
        return StopReason.NOTHING_TO_CORRECT
    await tools.correct(draft, reflection, task.prompt, 5, (1, 0))
    return StopReason.COMPLETE


def strategy(run, needs=NEEDS):
    return Strategy(run.__name__, run, nested=False, needs=needs)


@pytest.fixture
def told(tmp_path):
    """Return a function that runs a strategy in the tiny world and returns its chapter, read from the run alone."""

    def tell(method, models=None, images=12, name="run"):
        run_all(tmp_path / name, [search(strategy=method, images=images)], models or stack())
        with RunDirectory.read(tmp_path / name) as run:
            return book_of(run).chapters[0]

    return tell


def numbers(row):
    return [turn.number for turn in row.turns]


def timeless(story: Story) -> Story:
    """Return a story without what a clock measured."""
    result = story.result
    spent = {name: replace(getattr(result, name), seconds=0.0) for name in ("charged", "paid")}
    return replace(story, result=replace(result, **spent))


def test_chains_follow_parents_where_every_round_changes_the_slots(told):
    story = told(strategy(crossed)).story
    rows = sorted(numbers(row) for chain in chains_of(story) for row in chain.rows)
    # places (0, s) are No. 1 to 3; (1, s) corrects slot s + 1 of round 0, (2, s) slot s + 2 of round 1
    assert rows == [[1, 6, 7], [2, 4, 8], [3, 5, 9]]
    for turn in story.turns.values():
        parent = turn.step.candidate.recipe.parent
        assert parent == (story.turns[turn.origin].step.candidate.id if turn.origin else None)


def test_the_path_leads_from_a_draft_to_the_answer(told):
    story = told(CHAINS_STRATEGY).story
    path = story.path
    assert path[-1].best
    assert path[0].origin is None
    assert all(after.origin == before.number for before, after in itertools.pairwise(path))
    assert chains_of(story)[0].holds_answer


def test_a_chain_with_branches_has_a_row_for_each(told):
    story = told(strategy(branching)).story
    (chain,) = chains_of(story)
    assert len(chain.rows) == 3
    assert [row.branch_of and row.branch_of.number for row in chain.rows] == [None, 1, 1]
    assert sorted(n for row in chain.rows for n in numbers(row)) == [1, 3, 4, 5, 6, 7, 8]
    assert chain.best in chain.rows[0].turns
    assert [turn.number for turn in single_drafts(story)] == [2]
    page = html_page(story)
    assert page.count('Branch from <a href="#picture-1">') == 2
    assert re.search(r"Nothing came of this draft:\s*<a href=\"#picture-2\">", page)


def test_a_rewritten_prompt_makes_a_chain_without_a_parent(told):
    story = told(strategy(rewriting, frozenset({Role.REFINER}))).story
    ((row,),) = (chain.rows for chain in chains_of(story))
    assert numbers(row) == [1, 2, 3]
    assert [turn.prompt for turn in row.turns] == ["a red star", "a red star, bright", "a red star, bright, bright"]
    assert "a red star<ins>, bright</ins>" in html_page(story)
    assert chain_sheet(story) is not None


def test_a_correction_that_failed_is_told_where_it_was_tried(told):
    def fails(recipe):
        return Failure(recipe.id, "The corrector ran dry.") if recipe.parent else None

    story = told(strategy(once), stack(corrector=Painter(name="corrector@1", fails=fails))).story
    ((row,),) = (chain.rows for chain in chains_of(story))
    assert numbers(row) == [1, 2]
    assert row.turns[1].why_not == "The corrector ran dry."
    assert row.turns[1].edits[0].startswith("make it brighter than")
    assert html_page(story).count("The corrector ran dry.") == 2  # in its chain and among all pictures


def test_nothing_to_correct_is_told_of_the_picture(told):
    chapter = told(strategy(once), stack(reflector=Critic(enough=0.0)))
    assert chapter.story.turns[1].remarks == ("The reflector found nothing to correct.",)
    assert chains_of(chapter.story) == ()
    page = html_page(chapter.story)
    assert "The reflector found nothing left to correct." in page
    assert "The reflector found nothing to correct." in page


def test_a_reflection_that_failed_is_told_of_the_picture(told):
    def failing(answers):
        return [replace(answer, text="", edits=(), failure="The answer was empty.") for answer in answers]

    story = told(strategy(once), stack(reflector=Reordered(Critic(), failing))).story
    assert story.turns[1].remarks == ("The reflector failed: The answer was empty.",)
    assert "The reflector failed: The answer was empty." in html_page(story)


def test_a_prompt_that_could_not_be_rewritten_is_told_of_the_picture(told):
    async def trying(task, tools):
        draft, verdict = await _draft(task, tools, (0, 0))
        await tools.refine(draft, verdict)
        return StopReason.COMPLETE

    def failing(answers):
        return [replace(answer, text="", failure="It spoke in tongues.") for answer in answers]

    needs = frozenset({Role.REFINER})
    story = told(strategy(trying, needs), stack(refiner=Reordered(Rewriter(), failing))).story
    assert story.turns[1].remarks == ("The prompt could not be rewritten: It spoke in tongues.",)


def test_links_that_run_in_a_circle_are_cut(told):
    story = told(strategy(rewriting, frozenset({Role.REFINER}))).story
    first, second, third = story.result.steps
    back = replace(second.refined, candidate=third.candidate.id)
    circle = replace(story, result=replace(story.result, steps=(replace(first, refined=back), second, third)))
    assert sorted(n for chain in chains_of(circle) for row in chain.rows for n in numbers(row)) == [1, 2, 3]
    assert len(circle.origins) == 2


def test_the_report_does_not_depend_on_the_order_of_answers(told):
    orderly = told(CHAINS_STRATEGY, name="orderly").story
    models = stack()
    parts = {name: Reordered(getattr(models, name), shuffled(3)) for name in ("verifier", "reflector", "refiner")}
    painter = Reordered(models.generator, shuffled(4))
    mixed = told(CHAINS_STRATEGY, stack(generator=painter, corrector=painter, **parts), name="mixed").story
    assert html_page(timeless(orderly)) == html_page(timeless(mixed))
    assert chain_sheet(orderly).tobytes() == chain_sheet(mixed).tobytes()


def test_chains_are_drawn_again_to_the_byte_and_only_where_there_are_any(told, tmp_path):
    chapter = told(CHAINS_STRATEGY)
    chapter.write()
    drawn = (chapter.folder / CHAINS).read_bytes()
    chapter.write()
    assert (chapter.folder / CHAINS).read_bytes() == drawn
    without = told(NOISE, name="noise")
    (without.folder / CHAINS).write_bytes(drawn)
    without.write()
    assert not (without.folder / CHAINS).exists()


def test_the_page_links_to_the_files_of_the_run(told):
    chapter = told(CHAINS_STRATEGY)
    chapter.write()
    links = set(re.findall(r'href="(images/[^"]+)"', html_page(chapter.story)))
    painted = {turn.step.candidate.image for turn in chapter.story.turns.values()}
    assert {link.rsplit("/", 1)[1] for link in links} == {f"{image}.png" for image in painted}
    assert all((chapter.folder / link).is_file() for link in links)


def test_the_way_to_the_answer_is_told_as_data(told):
    chapter = told(CHAINS_STRATEGY)
    data = chapter.told()
    assert list(data) == [*chapter.json(), "path", "pictures"]
    assert data["path"][-1]["candidate"] == data["best"]["candidate"]
    assert data["path"][-1]["score"] == data["best"]["score"]
    assert data["path"][0]["criticised"] == []
    assert all(step["criticised"] for step in data["path"][1:])


def test_the_terminal_tells_each_chain(told):
    chapter = told(CHAINS_STRATEGY)
    done = CliRunner().invoke(app, ["runs", "show", str(chapter.folder)], catch_exceptions=False)
    assert done.exit_code == 0
    shown = " ".join(done.stdout.split())
    assert f"best {chapter.folder}/best.png (score {chapter.json()['best']['score']:.4f})" in shown
    assert "12 pictures, 60 denoiser evaluations" in shown
    for chain in chains_of(chapter.story):
        assert f"Chain {chain.number}" in shown
    before, answer = chapter.story.path[-2:]
    assert f"No. {answer.number} {answer.said} {answer.gained} best" in shown
    assert f"criticised {answer.edits[0]} rewritten {answer.prompt} No. {answer.number}" in shown
    assert f"No. {before.number} {before.said}" in shown


def test_the_terminal_lists_the_pictures_of_a_search_without_chains(told):
    chapter = told(NOISE, images=3)
    done = CliRunner().invoke(app, ["runs", "show", str(chapter.folder)], catch_exceptions=False)
    listed = ", ".join(f"No. {turn.number} {turn.said}" for turn in chapter.story.turns.values())
    assert f"Pictures: {listed}." in " ".join(done.stdout.split())
    assert "Chain" not in done.stdout
