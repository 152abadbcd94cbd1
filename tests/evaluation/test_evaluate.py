"""Evaluations of the tiny world: shared drafts, nested budgets, what the tables say, and that all of it repeats."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from reflectionflow.errors import MisuseError, RunMismatchError
from reflectionflow.evaluation.arrays import Arrays
from reflectionflow.evaluation.benchmarks import Benchmark, benchmark
from reflectionflow.evaluation.comparing import compare
from reflectionflow.evaluation.judges import LABELS, ScenesJudge, objections
from reflectionflow.evaluation.pages.comparison import comparison_json, write_page
from reflectionflow.evaluation.pages.writing import write_all
from reflectionflow.evaluation.planning import budgets_to, plan
from reflectionflow.evaluation.rehearsal import forecast
from reflectionflow.evaluation.results import read_results
from reflectionflow.evaluation.running import AT_ONCE, Done, within
from reflectionflow.evaluation.shrinking import held_more
from reflectionflow.evaluation.statistics import best_of
from reflectionflow.evaluation.tables import tables
from reflectionflow.geneval import Clause, Metadata
from reflectionflow.roles import Capabilities
from reflectionflow.runs import RunDirectory, verify
from reflectionflow.runtime import drain_searches
from reflectionflow.search import registry
from reflectionflow.vocabulary import words_of
from tests.support.evaluating import CLIMBING, WIDE, Contrast, asked, evaluate, items
from tests.support.running import QUICK, SPEC, search
from tests.support.world import Brightness, Painter, stack

FILES = ("results.json", "results.csv", "report.md", "report.html")


@pytest.fixture(autouse=True)
def strategies(monkeypatch):
    monkeypatch.setattr(registry, "BUILT_IN", (*registry.BUILT_IN, CLIMBING, WIDE))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Evaluate noise, a nested and another method; return directory, paintings, plan and outcome."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "BUILT_IN", (*registry.BUILT_IN, CLIMBING, WIDE))
        painter = Painter(log=folder / "log")
        planned = plan(asked(stack=stack(generator=painter, corrector=painter)), Contrast())
        done = evaluate(folder / "out", planned)
    return folder / "out", (folder / "log").read_text().split(), planned, done


def outcomes(folder, method):
    results = read_results(folder)
    rows = [row for row in results.rows if row.method == method]
    return {(row.prompt, row.seed, item.budget): item for row in rows for item in row.outcomes}


def test_budgets_double_up_to_the_largest():
    assert budgets_to(1) == (1,)
    assert budgets_to(8) == (1, 2, 4, 8)
    assert budgets_to(6) == (1, 2, 4, 6)


def test_methods_share_their_drafts_and_are_charged_for_them(finished):
    _, painted, _, done = finished
    assert len(painted) == len(set(painted))
    charged = tables(done.results).charged
    searches = 9 * 2
    assert charged["noise"]["images"] == charged["climbing"]["images"] == searches * 4
    assert charged["wide"]["images"] == searches * (1 + 2 + 4)  # an independent run for each budget
    assert len(painted) < sum(spend["images"] for spend in charged.values())
    assert done.results.computed["draft"] == searches * 4  # noise's drafts are everybody's
    assert done.results.computed["draft"] + done.results.computed["correct"] == len(painted)


def test_the_first_picture_is_everybodys(finished):
    folder = finished[0]
    first = {method: outcomes(folder, method) for method in ("noise", "climbing", "wide")}
    for key in [key for key in first["noise"] if key[2] == 1]:
        assert len({first[method][key].candidate for method in first}) == 1


def test_a_nested_method_equals_its_own_run_at_a_smaller_budget(finished, tmp_path):
    folder = finished[0]
    evaluate(tmp_path, plan(asked(strategies=("noise", "climbing"), images=2), Contrast()))
    for method in ("noise", "climbing"):
        large, small = outcomes(folder, method), outcomes(tmp_path, method)
        assert small == {key: large[key] for key in small}


def test_every_budget_counts_drafts_and_corrections_alike(finished):
    for method in ("noise", "climbing", "wide"):
        for (_, _, budget), item in outcomes(finished[0], method).items():
            assert item.images == item.verifier_calls == budget
    found = outcomes(finished[0], "climbing")
    assert all(item.reflector_calls == budget for (_, _, budget), item in found.items())


def test_the_picks_and_shares_are_those_of_the_pictures(finished):
    results = read_results(finished[0])
    for row in results.rows:
        bits = [bit == "1" for bit in row.correct]
        for item in row.outcomes:
            here = slice(0, item.budget)
            assert item.correct == bits[int(np.argmax(row.scores[here]))]
            assert item.score == max(row.scores[here])
            assert item.base == pytest.approx(np.mean(bits[here]), abs=1e-6)
            assert (item.right is not None) == any(bits[here])
            assert item.correct != bool(item.reason)


def test_the_tables_agree_with_the_outcomes(finished):
    results = finished[3].results
    found = tables(results)
    arrays = Arrays(results)
    assert list(found.groups.values()) == [("single_object", "counting"), ("single_object", "counting", "composite")]
    for scores in found.scores:
        own = outcomes(finished[0], scores.method)
        for place, budget in enumerate(results.about.budgets):
            by_tag = [
                np.mean([i.correct for (p, _, b), i in own.items() if b == budget and p // 3 == t]) for t in range(3)
            ]
            assert [scores.tags[tag][place].value for tag in arrays.tags] == pytest.approx(by_tag)
            assert scores.groups["all tags"][place].value == pytest.approx(np.mean(by_tag))
            assert scores.groups["all tags"][place].low <= np.mean(by_tag) <= scores.groups["all tags"][place].high
    row = results.rows[0]
    expected = best_of(row.scores, [bit == "1" for bit in row.correct], [1, 2, 4])
    noise = arrays.expected(results.about.methods[0])[0]
    assert noise.shape == (9, 3)
    other = next(r for r in results.rows if r.method == "noise" and r.prompt == 0 and r.seed == 1)
    both = (expected + best_of(other.scores, [bit == "1" for bit in other.correct], [1, 2, 4])) / 2
    assert noise[0] == pytest.approx(both)
    assert found.gaps["noise"]["all tags"].picked.value == pytest.approx(found.scores[0].groups["all tags"][-1].value)
    assert sum(found.difficulty.units.values()) == 18
    assert found.difficulty.crossed
    assert found.grid == {}  # the two widths differ in more than the width


def test_repeating_pays_nothing_and_ends_with_the_same_bytes(finished, tmp_path):
    folder, _, planned, _ = finished
    before = {name: (folder / name).read_bytes() for name in FILES}
    events = []
    evaluate(folder, planned, events)
    assert events == []
    assert {name: (folder / name).read_bytes() for name in FILES} == before
    evaluate(tmp_path, planned)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before
    assert verify(tmp_path / "run").ok


def test_an_evaluation_grows(finished, tmp_path):
    painter = Painter(log=tmp_path / "log")
    models = stack(generator=painter, corrector=painter)
    evaluate(tmp_path / "out", plan(asked(2, strategies=("noise",), images=2, seeds=1, stack=models), Contrast()))
    evaluate(tmp_path / "out", plan(asked(stack=models), Contrast()))
    painted = (tmp_path / "log").read_text().split()
    assert sorted(painted) == sorted(finished[1])
    for name in ("results.json", "report.html"):
        assert (tmp_path / "out" / name).read_bytes() == (finished[0] / name).read_bytes()
    pages = {path.name for path in (finished[0] / "prompts").iterdir()}
    assert {path.name for path in (tmp_path / "out" / "prompts").iterdir()} == pages
    with pytest.raises(RunMismatchError, match="other values of steps"):
        evaluate(tmp_path / "out", plan(asked(stack=models, steps=3), Contrast()))


def test_what_a_directory_holds_beyond_a_smaller_request_is_told(tmp_path):
    painter = Painter(log=tmp_path / "log")
    models = stack(generator=painter, corrector=painter)
    whole, folder = plan(asked(2, images=2, stack=models), Contrast()), tmp_path / "out"
    assert held_more(whole, folder) == ""
    evaluate(folder, whole)
    assert held_more(whole, folder) == held_more(plan(asked(stack=models), Contrast()), folder) == ""
    painted = (tmp_path / "log").read_text()
    report = (folder / "report.html").read_bytes()
    fewer = plan(asked(1, images=1, seeds=1, strategies=("noise",), stack=models), Contrast())
    told = held_more(fewer, folder)
    assert "6 prompts (now 3), 2 pictures a prompt (now 1), seed 1, methods climbing and wide" in told
    assert "brings it back" in told
    evaluate(folder, fewer)
    assert held_more(whole, folder) == ""
    evaluate(folder, whole)
    assert (tmp_path / "log").read_text() == painted
    assert (folder / "report.html").read_bytes() == report
    assert "seeds 0 and 1;" in held_more(plan(asked(2, images=2, first_seed=5, stack=models), Contrast()), folder)


def test_the_forecast_is_what_is_needed(finished, tmp_path):
    _, _, planned, done = finished
    found = forecast(planned, tmp_path / "nothing", seconds_per_image=2.0, price_per_hour=3.6)
    assert {kind: count for kind, count in found.calls.items() if count} == done.results.computed
    assert found.seconds == found.pictures * 2.0
    assert found.money == pytest.approx(found.pictures * 2.0 / 1000)
    assert found.charged["wide"].images == 18 * 7
    assert not (tmp_path / "nothing").exists()
    unknown = forecast(planned, tmp_path / "nothing")
    assert unknown.seconds is None
    assert "pass --seconds-per-image" in unknown.pace
    left = forecast(planned, finished[0] / "run")
    assert (left.seconds, left.finished) == (0, left.searches)
    others = forecast(plan(asked(stack=planned.models, first_seed=7), Contrast()), finished[0] / "run")
    assert others.finished == 0
    assert others.seconds > 0


def test_the_forecast_counts_corrections_by_painters_that_know_few_words_only(tmp_path):
    knowing = frozenset(word for item in items(3) for word in words_of(item.prompt))
    limited = Painter(capabilities=Capabilities(corrects=True, multiple=8, smallest=8, words=knowing, longest_prompt=9))
    strategies = ("noise", "prompt", "reflection", "adaptive")
    few, any_text = (
        forecast(plan(asked(strategies=strategies, stack=models), Contrast()), tmp_path / "nothing")
        for models in (stack(generator=limited, corrector=limited), stack())
    )
    assert few.calls == any_text.calls
    assert few.calls["correct"] > 0


def test_methods_share_in_a_forecast_what_they_share_when_they_run(tmp_path):
    planned = plan(asked(strategies=("noise", "reflection", "adaptive"), images=12), Contrast())
    found = forecast(planned, tmp_path / "nothing")
    computed = evaluate(tmp_path / "out", planned).results.computed
    painted = computed["draft"] + computed["correct"]
    assert 0.9 * painted <= found.pictures <= found.most
    assert found.most == sum(spent.images for spent in found.charged.values()) == 18 * 3 * 12
    assert found.calls["reflect"] >= 0.9 * computed["reflect"]


def test_the_pictures_of_a_forecast_need_more_and_fewer_edits_as_those_of_models_do(tmp_path):
    found = forecast(plan(asked(strategies=("adaptive",), images=32), Contrast()), tmp_path / "nothing")
    assert found.calls["correct"] > found.calls["draft"]  # where all are alike, half of them are drafts


def test_a_forecast_in_the_directory_of_another_evaluation_is_refused(finished):
    other = plan(asked(stack=finished[2].models, steps=3), Contrast())
    with pytest.raises(RunMismatchError, match="other values of steps"):
        forecast(other, finished[0] / "run")


def test_few_searches_are_in_flight_at_once(tmp_path):
    flying, most = 0, 0

    def watch(event):
        nonlocal flying, most
        flying += {"search_started": 1, "stopped": -1}.get(event.kind, 0)
        most = max(most, flying)

    searches = [search(f"prompt {number}", images=2) for number in range(12)]
    with RunDirectory.open(tmp_path / "run", SPEC) as run:
        drain_searches(searches, stack(), run, watch, at_once=3, patience=QUICK)
        assert len(run.results()) == 12
    assert most == 3
    assert AT_ONCE > 64


def test_the_judge_is_not_asked_twice_about_a_picture(tmp_path):
    asked_about = []

    class Counting(Contrast):
        def decide(self, batch):
            asked_about.extend((image.tobytes(), metadata) for image, metadata in batch)
            return super().decide(batch)

    planned = plan(asked(1), Counting())
    evaluate(tmp_path, planned)
    evaluate(tmp_path, planned)
    assert len(asked_about) == len(set(asked_about)) > 0


def test_what_the_judge_raises_ends_the_evaluation_and_the_same_command_continues(tmp_path):
    class Failing(Contrast):
        def decide(self, batch):
            raise ValueError("the judge is out")

    with pytest.raises(ValueError, match="the judge is out"):
        evaluate(tmp_path, plan(asked(1), Failing()))
    assert not (tmp_path / "results.json").exists()
    evaluate(tmp_path, plan(asked(1), Contrast()))
    assert read_results(tmp_path).rows


def test_pictures_that_cannot_be_judged_are_never_picked(tmp_path):
    verifier = Brightness(fails=lambda question: "too dark to tell" if question.candidate.recipe.seed % 2 else None)
    done = evaluate(tmp_path, plan(asked(strategies=("noise",), stack=stack(verifier=verifier)), Contrast()))
    assert {reason for row in done.results.rows for reason in row.failures} == {"too dark to tell"}
    nothing = [row for row in done.results.rows if row.scores[0] is None]
    assert nothing
    for row in nothing:
        first = row.outcomes[0]
        assert (first.correct, first.picture, first.score) == (False, None, None)
        assert first.reason == "No picture was painted and judged."
    assert "too dark to tell" in (tmp_path / "report.html").read_text()


def test_an_oracle_says_so_in_every_table(tmp_path):
    related = Brightness()
    related.relatives = frozenset({"red"})
    models = stack(verifier=related)
    with pytest.raises(MisuseError, match=r"is related to red, as the judge is.*pass --oracle"):
        plan(asked(1, stack=models), Contrast())
    evaluate(tmp_path, plan(asked(1, stack=models, oracle=True), Contrast()))
    page, text = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert len(titles) > 5
    assert all(title.endswith("(oracle: verifier)") for title in titles)
    assert page.count("<table>") == page.count('<li class="warn">Oracle: the verifier is related')
    assert json.loads((tmp_path / "results.json").read_text())["about"]["related"]
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert costs["oracle"]
    assert list(costs["related"]) == ["verifier"]
    with (tmp_path / "costs.csv").open(newline="") as file:
        assert {line["oracle"] for line in csv.DictReader(file)} == {"verifier"}


def test_an_independent_verifier_is_no_oracles_even_when_one_is_allowed():
    assert plan(asked(1, oracle=True), Contrast()).related == {}


def test_the_judge_of_scenes_refuses_itself_and_the_labeller():
    from reflectionflow.models.detector import OracleVerifier

    judge = ScenesJudge()
    assert judge.relatives & OracleVerifier.relatives == {LABELS, "geneval-rules"}
    detector = Brightness(name="oracle:scenes-detector@1")
    detector.relatives = OracleVerifier.relatives
    assert "labelled training data" in objections(judge, detector)[0]
    assert "itself" in objections(judge, Brightness(name=judge.name))[0]
    assert objections(judge, Brightness()) == []


def test_the_page_stands_alone_and_its_links_lead_somewhere(finished):
    folder = finished[0]
    page = (folder / "report.html").read_text()
    assert not re.search(r"<script|https?://", page)
    assert all(source.startswith("data:") for source in re.findall(r'<img src="([^"]*)', page))
    links = set(re.findall(r'href="([^"#][^"]*)"', page))
    assert len(links) > 9
    assert all((folder / link).exists() for link in links)
    anchors = set(re.findall(r'href="#([^"]*)"', page))
    assert anchors
    assert all(f'id="{name}"' in page for name in anchors)
    numbers = re.findall(r"<td[^>]*>((?:(?!</td>).)*\d\.\d(?:(?!</td>).)*)</td>", page)
    assert len(numbers) > 100
    assert [cell for cell in numbers if 'href="' not in cell] == []
    shown = (folder / "prompts").glob("*.html")
    for path in shown:
        assert all(
            (path.parent / source).exists() for source in re.findall(r'(?:src|href)="([^"#]+)"', path.read_text())
        )


def test_the_csv_has_a_line_for_every_outcome(finished):
    with (finished[0] / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9 * 2 * 3 * 3
    first = outcomes(finished[0], "noise")[0, 0, 1]
    assert (lines[0]["method"], lines[0]["budget"], lines[0]["correct"]) == ("noise", "1", str(int(first.correct)))
    assert {line["oracle"] for line in lines} == {""}


def test_two_evaluations_are_paired(finished, tmp_path):
    other = stack(verifier=Brightness(name="other@1", fails=lambda question: None))
    evaluate(tmp_path / "b", plan(asked(strategies=("climbing",), stack=other), Contrast()))
    same = compare(finished[0], tmp_path / "b")
    assert len(same) == 1
    assert same[0].disagreements == ()
    assert all(point.difference.value == point.difference.high == 0 for point in same[0].points)
    assert all(point.p == point.p_exact == 1 for point in same[0].points)
    crossed = compare(finished[0], tmp_path / "b", ("noise", "climbing"))[0]
    noise, climbing = outcomes(finished[0], "noise"), outcomes(tmp_path / "b", "climbing")
    differing = [key for key in noise if key[2] == 4 and noise[key].correct != climbing[key].correct]
    assert len(crossed.disagreements) == len(differing)
    told = tables(finished[3].results).differences[0]
    wanted = told.groups["GenEval's tags"][-1]
    found = crossed.points[-1].difference
    assert [found.value, found.low, found.high] == pytest.approx([wanted.value, wanted.low, wanted.high])
    assert crossed.points[-1].p == told.p
    write_page([crossed], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count('<article class="case">') == len(differing)
    assert comparison_json([crossed])[0]["budgets"][-1]["better"] == crossed.points[-1].better


def test_what_cannot_be_compared_is_refused(finished, tmp_path):
    with pytest.raises(MisuseError, match="holds no finished evaluation"):
        compare(finished[0], tmp_path)
    evaluate(tmp_path / "judge", plan(asked(1), Contrast(name="contrast@2")))
    with pytest.raises(MisuseError, match=r"judged by contrast@1.*contrast@2"):
        compare(finished[0], tmp_path / "judge")
    with pytest.raises(MisuseError, match="has no method dreaming; it has noise, climbing, wide"):
        compare(finished[0], finished[0], ("noise", "dreaming"))
    evaluate(tmp_path / "seed", plan(asked(1, first_seed=7), Contrast()))
    with pytest.raises(MisuseError, match="no seed in common"):
        compare(finished[0], tmp_path / "seed")
    (tmp_path / "results.json").write_text('{"schema_version": 99}')
    with pytest.raises(MisuseError, match="schema version 99"):
        read_results(tmp_path)


def test_a_prefix_counts_distinct_pictures(finished):
    with RunDirectory.read(finished[0] / "run") as run:
        steps = run.results()[0].result.steps
    assert [len(within(steps * 2, size)) for size in (1, 2, len(steps))] == [1, 2, 2 * len(steps)]


def test_a_file_of_metadata_is_a_benchmark(tmp_path):
    path = tmp_path / "mine.jsonl"
    lines = [item.line() for item in items(3)]
    path.write_text("\n".join([*lines, "", lines[0]]))
    found = benchmark(str(path))
    assert found == Benchmark("mine.jsonl", items(3), repeated=1)
    assert benchmark(str(path), limit=2).items == items(2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"tag": "x"}', "line 1 lacks the key 'prompt'"),
        ("{", "line 1 is no JSON (Expecting property name"),
        ("[]", "line 1: [] is no JSON object"),
        ('{"tag": "x", "prompt": "p"}', "line 1: It asks for nothing"),
        ('{"tag": "x", "prompt": " ", "include": [{"class": "a", "count": 1}]}', "The prompt is empty"),
        ('{"tag": 1, "prompt": "p"}', "The tag is 1; write a text"),
        ('{"tag": "x", "prompt": "p", "includes": []}', "The key 'includes' is unknown"),
        ('{"tag": "x", "prompt": "p", "include": {}}', "The include is {}; write a list"),
        ('{"tag": "x", "prompt": "p", "include": [{"class": ["a"], "count": 1}]}', "The class is ['a']"),
        ('{"tag": "x", "prompt": "p", "include": [{"class": "a", "count": "2"}]}', "The count is '2'; write a whole"),
        ('{"tag": "x", "prompt": "p", "include": [{"class": "a", "count": true}]}', "The count is True; write a whole"),
        ('{"tag": "x", "prompt": "p", "include": [{"class": "a", "count": 1, "colour": "red"}]}', "The key 'colour'"),
        (
            '{"tag": "x", "prompt": "p", "include": [{"class": "a", "count": 1, "position": "above"}]}',
            "The position is 'above'",
        ),
        ('{"tag": "x", "prompt": "p", "include": [{"class": "a", "count": 0}]}', "asks for 0 of 'a'"),
        ("\n\n", "holds no prompt"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, text, said):
    path = tmp_path / "mine.jsonl"
    path.write_text(text)
    with pytest.raises(MisuseError, match=re.escape(said)):
        benchmark(str(path))


def test_one_prompt_with_two_meanings_is_refused(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(Metadata("x", "p", (Clause(name),)).line() for name in ("a", "b")))
    with pytest.raises(MisuseError, match="'p' with different metadata"):
        benchmark(str(path))
    with pytest.raises(MisuseError, match="no benchmark 'nowhere"):
        benchmark("nowhere.jsonl")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"images": 0}, "images must be at least 1, not 0"),
        ({"seeds": 0}, "seeds must be from 1 to 10000, not 0"),
        ({"seeds": 3_000_000_000}, "seeds must be from 1 to 10000, not 3000000000"),
        ({"first_seed": -1}, "first seed must be at least 0"),
        ({"strategies": ()}, "no strategy"),
        ({"strategies": ("noise", "noise")}, "named twice"),
        ({"strategies": ("dreaming",)}, "no strategy 'dreaming'"),
        ({"stack": stack(corrector=None)}, "needs a corrector"),
        ({"images": 0, "seeds": 0}, "2 things are wrong"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(fields, said):
    with pytest.raises(MisuseError, match=said):
        plan(asked(**fields), Contrast())


def test_results_survive_the_round_trip(finished, tmp_path):
    results = finished[3].results
    assert read_results(finished[0]) == results
    (tmp_path / "run").symlink_to(finished[0] / "run")
    write_all(Done(read_results(finished[0]), {}), tmp_path)
    assert (tmp_path / "results.json").read_bytes() == (finished[0] / "results.json").read_bytes()
