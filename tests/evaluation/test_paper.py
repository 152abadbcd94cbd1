"""The paper's tables and figures on the tiny world: what they hold, whose numbers are whose, and that they repeat."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from reflectionflow.evaluation.pages.grids import grids
from reflectionflow.evaluation.paper import Beside, make, published
from reflectionflow.evaluation.paper.methods import ADAPTIVE, BY_SCORE, FLOW, LATEST, MAIN, NOISE, PROMPT, SILENT
from reflectionflow.evaluation.paper.named import Named
from reflectionflow.evaluation.paper.speaking import ELSEWHERE
from reflectionflow.evaluation.results import read_results
from reflectionflow.evaluation.running import distinct
from reflectionflow.evaluation.tables import tables
from reflectionflow.genref.shards import Triplet, write_shards
from reflectionflow.genref.stats import statistics
from reflectionflow.runs import RunDirectory, verify
from tests.support.evaluating import Contrast
from tests.support.papers import Dark, paper, planned
from tests.support.running import QUICK
from tests.support.world import Brightness, Critic, Painter, stack

FILES = ("paper.md", "paper.html", "paper.json", "figure-5.png", "figure-4-middle.svg", "results.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Make the tables once; return directory, recipes painted, and the other verifier."""
    folder, dark = tmp_path_factory.mktemp("paper"), Dark()
    painter = Painter(log=folder / "log")
    paper(folder / "out", stack(generator=painter, corrector=painter), [Named("dark", dark)])
    return folder / "out", (folder / "log").read_text().split(), dark


@pytest.fixture(scope="module")
def data(finished):
    return json.loads((finished[0] / "paper.json").read_text())


def ours(data, exhibit):
    """Return an exhibit's own records by line and column."""
    found = next(item for item in data["exhibits"] if item["id"] == exhibit)
    return {(item["line"], item["column"]): item for item in found["ours"]}


def theirs(data, exhibit):
    found = next(item for item in data["exhibits"] if item["id"] == exhibit)
    return {(item["line"], item["column"]): item["value"] for item in found["paper"]}


def share(folder, method, budget, tags, value=lambda item: item.correct):
    """Return the mean over tags of a method's outcomes, slowly."""
    results = read_results(folder)
    by_tag = {tag: [] for tag in tags}
    for row in results.rows:
        tag = results.prompts[row.prompt].tag
        if row.method == method and tag in by_tag:
            by_tag[tag] += [value(item) for item in row.outcomes if item.budget == budget]
    return np.mean([np.mean(values) for values in by_tag.values()])


def test_what_the_stack_cannot_play_is_left_out_with_a_sentence(tmp_path):
    models = stack(refiner=None, corrector=None, reflector=None)
    found, compared = planned(models, each=2, images=2)
    assert [method.name for method in compared.methods] == [NOISE]
    assert "noise + prompt is left out: the stack tiny has no refiner." in compared.left_out
    assert "ReflectionFlow is left out: the stack tiny has no corrector and no reflector." in compared.left_out
    make(found, compared, Beside((Named("dark", Dark()),)), tmp_path, {}, lambda event: None, patience=QUICK)
    text, page = ((tmp_path / name).read_text() for name in ("paper.md", "paper.html"))
    assert all(sentence in text and sentence in page for sentence in compared.left_out)
    for number in (1, 2, 5):
        assert f"Figure {number} is left out: " in text
        assert f"Figure {number} is left out: " in page
    shown = [item["id"] for item in json.loads((tmp_path / "paper.json").read_text())["exhibits"]]
    curves = [f"figure-4-{side}{mark}" for side in ("left", "middle") for mark in ("", "-composite")]
    assert shown == ["table-1", *curves, "figure-4-right"]
    assert "who picks from the pictures of noise" in text


def both(exhibit):
    """Return the ids of an exhibit about the declared score and about the tag that this leaves out."""
    return exhibit, f"{exhibit}-composite"


def test_every_exhibit_is_there(data):
    assert [item["id"] for item in data["exhibits"]] == [
        "figure-2",
        "table-1",
        *both("figure-4-left"),
        *both("figure-4-middle"),
        *both("efficiency"),
        "figure-4-right",
        *both("width-depth"),
        *both("choices"),
    ]


def test_table_one_is_that_of_the_outcomes(finished, data):
    folder, found = finished[0], ours(data, "table-1")
    six = ("single_object", "counting")
    rows = {"base, 1 picture": (NOISE, 1)} | {f"{name}, 6 pictures": (name, 6) for name in MAIN}
    for line, (method, budget) in rows.items():
        assert found[line, "GenEval's tags"]["value"] == pytest.approx(share(folder, method, budget, six), abs=1e-6)
        for tag in (*six, "composite"):
            assert found[line, tag]["value"] == pytest.approx(share(folder, method, budget, [tag]), abs=1e-6)
    gain = found[f"{FLOW} − {NOISE}", "composite"]
    assert gain["difference"]
    wanted = found[f"{FLOW}, 6 pictures", "composite"]["value"] - found[f"{NOISE}, 6 pictures", "composite"]["value"]
    assert gain["value"] == pytest.approx(wanted, abs=1e-5)


def test_what_the_declared_score_leaves_out_has_exhibits_of_its_own(finished, data):
    folder, found = finished[0], ours(data, "figure-4-middle-composite")
    for budget in read_results(folder).about.budgets:
        scores = {name: found[name, str(budget)]["value"] for name in MAIN}
        for name, score in scores.items():
            assert score == pytest.approx(share(folder, name, budget, ["composite"]), abs=1e-6)
            assert found[name, str(budget)]["prompts"] == 3
        for name, other in ((PROMPT, NOISE), (FLOW, NOISE), (ADAPTIVE, NOISE), (ADAPTIVE, FLOW)):
            gain = found[f"{name} − {other}", str(budget)]
            assert gain["difference"]
            assert gain["value"] == pytest.approx(scores[name] - scores[other], abs=1e-5)
        for name in (FLOW, ADAPTIVE):
            gain = found[f"{name} − {NOISE} with 6 pictures", str(budget)]["value"]
            assert gain == pytest.approx(scores[name] - found[NOISE, "6"]["value"], abs=1e-5)
    for exhibit in ("figure-4-left", "efficiency", "width-depth", "choices"):
        own = {cell: item["value"] for cell, item in ours(data, f"{exhibit}-composite").items()}
        assert own != {cell: item["value"] for cell, item in ours(data, exhibit).items()}
        assert not theirs(data, f"{exhibit}-composite")
    notes = next(item["notes"] for item in data["exhibits"] if item["id"] == "figure-4-middle-composite")
    for name in (FLOW, ADAPTIVE):
        assert sum(f"Randomisation test of {name} − noise, not adjusted: p " in note for note in notes) == 1
    text = (folder / "paper.md").read_text()
    assert "## Figure 4, middle: score against pictures (composite)" in text


def test_no_two_lines_of_a_figure_have_one_name(finished):
    for figure in finished[0].glob("figure-4-*.svg"):
        names = re.findall(r"<text[^>]*font-weight[^>]*>([^<]+)</text>", figure.read_text())
        assert len(names) > 2
        assert len(set(names)) == len(names), figure.name


def test_every_number_says_its_interval_and_prompts_and_seeds(finished, data):
    records = [item for exhibit in data["exhibits"] for item in exhibit["ours"]]
    assert len(records) > 60
    for item in records:
        never = float("inf")  # JSON has none, so it is null
        low, value, high = (never if item[name] is None else item[name] for name in ("low", "value", "high"))
        assert low <= value <= high
        if item["prompts"]:
            assert item["pairs"] == 2 * item["prompts"]
        else:
            assert item["column"] in ("easy", "medium", "hard", "correction passes")
    text = (finished[0] / "paper.md").read_text()
    assert "composite (3 × 2)" in text
    assert "GenEval's tags (6 × 2)" in text


def test_the_papers_values_are_labelled_as_theirs_and_never_ours(finished, data):
    printed = theirs(data, "table-1")
    assert printed[FLOW, "GenEval's tags"] == 0.91
    assert printed["base", "counting"] == 0.75
    assert not any(column == "composite" for _, column in printed)
    assert not any(line == ADAPTIVE for line, _ in (*printed, *theirs(data, "figure-4-middle")))
    assert theirs(data, "figure-4-middle")[FLOW, "4"] == 0.873
    assert theirs(data, "figure-4-left")["GPT-4o", "2"] == 0.748
    assert theirs(data, "figure-4-right")[FLOW, "hard"] == 0.81
    text, page = ((finished[0] / name).read_text() for name in ("paper.md", "paper.html"))
    assert "| the paper: ReflectionFlow, 32 pictures | 0.91 | 1.00 | 0.90 | – |" in text
    rows = [line for line in text.splitlines() if line.startswith("| the paper: ")]
    assert len(rows) == 4 + 4 + 3 + 1 + 2
    assert not any("[" in line for line in rows)  # they have no intervals
    assert page.count(">the paper: ") == len(rows)
    assert all("not ours" in told and "FLUX.1-dev, 1024 × 1024" in told for told in (text, page))


def test_the_published_rows_are_geneval_means():
    for row in published.TABLE_ONE.values():
        tags = [value for name, value in row.items() if name != published.OVERALL]
        assert len(tags) == 6
        assert row[published.OVERALL] == pytest.approx(np.mean(tags), abs=0.006)
    for name, curve in published.CURVES.items():
        assert curve[32] == pytest.approx(published.TABLE_ONE[name][published.OVERALL], abs=0.006)
    assert all(published.BEST_POSSIBLE[n] >= value for c in published.PICKERS.values() for n, value in c.items())


def test_other_verifiers_pick_from_the_same_pictures(finished, data):
    folder, painted, dark = finished
    assert len(painted) == len(set(painted))  # a replay paints nothing
    found, results = ours(data, "figure-4-left"), read_results(folder)
    for budget in results.about.budgets:
        right = {"single_object": [], "counting": []}
        with RunDirectory.read(folder / "run") as run:
            for row in results.rows:
                tag = results.prompts[row.prompt].tag
                if row.method == FLOW and tag in right:
                    steps = [step for step in distinct(run.result(row.search).result.steps) if step.candidate][:budget]
                    worst = min(range(len(steps)), key=lambda index: steps[index].verdict.score)
                    right[tag].append(row.correct[worst] == "1")
        wanted = np.mean([np.mean(values) for values in right.values()])
        assert found["dark", str(budget)]["value"] == pytest.approx(wanted, abs=1e-6)
        assert found["random picture", str(budget)]["value"] <= found["best possible (oracle)", str(budget)]["value"]
    assert dark.asked == sum(len(row.scores) for row in results.rows if row.method == FLOW)


def test_each_choice_is_paired_with_the_method_that_differs_in_it_alone(data):
    found = ours(data, "choices")
    own = f"{FLOW} (best parent, ranked by edits, reflections)"
    for turned, one, other in (
        ("best − latest parent", own, LATEST),
        ("ranked by edits − by score", own, BY_SCORE),
        ("with − without reflections, both ranked by score", BY_SCORE, f"{SILENT}, ranked by score"),
    ):
        moved = found[one, "6"]["value"] - found[other, "6"]["value"]
        assert found[turned, "6"]["value"] == pytest.approx(moved, abs=1e-5)
    notes = next(item["notes"] for item in data["exhibits"] if item["id"] == "choices")
    assert any("Without reflections there are no edits to rank by" in note for note in notes)
    assert found["best − latest parent", "2"]["value"] == 0  # drafts are everybody's


def test_the_widths_stand_at_equal_pictures(data):
    found = ours(data, "width-depth")
    assert {line for line, _ in found} == {"width 1, depth 4", "width 2, depth 1", "drafts alone"}
    assert len({found[line, "1"]["value"] for line in ("width 1, depth 4", "width 2, depth 1", "drafts alone")}) == 1


def test_repeating_asks_nothing_and_ends_with_the_same_bytes(finished, tmp_path):
    before = {name: (finished[0] / name).read_bytes() for name in FILES}
    painter, dark = Painter(log=tmp_path / "log"), Dark()
    models = stack(generator=painter, corrector=painter)
    paper(finished[0], models, [Named("dark", dark)])
    assert not (tmp_path / "log").exists()
    assert dark.asked == 0
    assert {name: (finished[0] / name).read_bytes() for name in FILES} == before  # with the time of the first pass
    assert verify(finished[0] / "run").ok


class Interrupted(Exception):
    pass


def timeless(path):
    """Return a file without the minutes that tell when the models were called."""
    return re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d", b"MINUTE", path.read_bytes())


@pytest.mark.parametrize("where", ["painting", "picking", "reflecting"])
def test_an_interrupted_run_continues_to_the_same_tables(finished, tmp_path, where):
    def stop(requests):
        if len((tmp_path / "log").read_text().split()) > 40 or where != "painting":
            raise Interrupted

    painter, dark = Painter(log=tmp_path / "log"), Dark()
    models = stack(generator=painter, corrector=painter)
    if where == "painting":
        interrupted = stack(generator=painter, corrector=painter, reflector=replace(models.reflector, before=stop))
        with pytest.raises(Interrupted):
            paper(tmp_path / "out", interrupted, [Named("dark", dark)])
    elif where == "picking":
        with pytest.raises(Interrupted):
            paper(tmp_path / "out", models, [Named("dark", Dark(before=stop))])
    else:
        with pytest.raises(Interrupted):
            paper(tmp_path / "out", models, [Named("dark", dark)], Critic(name="terse@1", enough=0.4, before=stop))
    assert not (tmp_path / "out" / "paper.html").exists()
    paper(tmp_path / "out", models, [Named("dark", dark)])
    painted = (tmp_path / "log").read_text().split()
    assert len(painted) - len(set(painted)) <= painter.batch_size  # at most the batch in flight is painted again
    for name in FILES:
        assert timeless(tmp_path / "out" / name) == timeless(finished[0] / name)


def test_the_page_stands_alone(finished):
    page = (finished[0] / "paper.html").read_text()
    assert not re.search(r"<script|https?://", page)
    pictures = re.findall(r'<img[^>]* src="([^"]*)"', page)
    assert pictures
    assert all(source.startswith("data:image/") for source in pictures)
    assert page.count("<svg") == 5
    assert page.count("<polygon") >= 3 + 3  # bands
    links = set(re.findall(r'href="([^"]+)"', page))
    assert all((finished[0] / link.partition("#")[0]).exists() for link in links)
    report = (finished[0] / "report.html").read_text()
    anchors = {link.partition("#")[2] for link in links if "#" in link}
    assert anchors == {"prompts", *(f"tag-{tag}" for tag in ("single_object", "counting", "composite"))}
    assert all(f'id="{name}"' in report for name in anchors)
    ours = re.findall(r'<td(?! class="quiet")[^>]*>((?:(?!</td>).)*<small>(?:(?!</td>).)*)</td>', page)
    assert len(ours) > 50
    assert [cell for cell in ours if 'href="' not in cell] == []
    text = (finished[0] / "paper.md").read_text()
    assert all((finished[0] / link).exists() for link in re.findall(r"\]\(([^)]+)\)", text))


def test_figures_are_files_of_their_own_and_none_is_left_of_what_is_no_longer_shown(finished, tmp_path):
    text = (finished[0] / "paper.md").read_text()
    named = re.findall(r"!\[.*\]\((figure-4.*\.svg)\)", text)
    assert named == [
        *(f"{name}.svg" for side in ("left", "middle") for name in both(f"figure-4-{side}")),
        "figure-4-right.svg",
    ]
    for name in named:
        drawing = ElementTree.fromstring((finished[0] / name).read_text())
        assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(drawing.findall(".//{*}polyline")) >= 3
    paper(tmp_path, stack(), each=1)
    (tmp_path / "figure-9.svg").write_text("of an exhibit that was shown before")
    paper(tmp_path, stack(), each=1)
    assert {path.name for path in tmp_path.glob("*.svg")} == set(named)


def test_an_oracle_says_so_at_every_table_and_picker(tmp_path):
    related, dark = Brightness(), Dark()
    related.relatives = dark.relatives = frozenset({"red"})
    models = stack(verifier=related)
    found, compared = planned(models, each=1, images=2, oracle=True)
    beside = Beside((Named("dark", dark, ("related",)),))
    make(found, compared, beside, tmp_path, {}, lambda event: None, patience=QUICK)
    text, page = ((tmp_path / name).read_text() for name in ("paper.md", "paper.html"))
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert len(titles) >= 4
    assert all(title.endswith("(oracle: verifier)") for title in titles)
    assert page.count("<table>") == page.count('<li class="warn">Oracle: ')
    assert "| dark (oracle) |" in text
    assert "the paper: best possible |" in text
    drawings = {path.name: ElementTree.fromstring(path.read_text()) for path in tmp_path.glob("figure-*.svg")}
    told = "Oracle: the verifier is related to the judge"
    for drawing in drawings.values():
        assert told in drawing.findtext("{*}title")
        assert [text for text in drawing.findall("{*}text") if (text.text or "").startswith(told)]
    names = [text.text for text in drawings["figure-4-left.svg"].findall("{*}text") if "600" in text.get("style", "")]
    assert names == ["best possible (oracle)", "brightness", "dark (oracle)", "random picture"]


def failed_drafts(folder):
    """Return the first drafts that the judge refuses, as (prompt, seed, slot) and picture, in order."""
    results = read_results(folder)
    found = []
    with RunDirectory.read(folder / "run") as run:
        for row in results.rows:
            if row.method == NOISE:
                steps = distinct(run.result(row.search).result.steps)
                for step, bit in zip(steps, row.correct, strict=True):
                    if bit == "0" and step.place[1] < 4:
                        found.append(((row.prompt, row.seed, step.place[1]), step.candidate))
    return found


def test_every_reflector_is_asked_about_the_same_failed_drafts_and_its_corrections_are_judged(finished, data):
    folder, drafts, results = finished[0], failed_drafts(finished[0]), read_results(finished[0])
    found = ours(data, "figure-2")
    assert {item["drafts"] for item in found.values()} == {len(drafts)}
    with RunDirectory.read(folder / "run") as run:
        stored = {(item.label, item.result.prompt, item.search["task"]["seed"]): item.result for item in run.results()}
        passed = {}
        arms = {"new noise": "new noise after failed drafts", "critic": "critic@1 on failed drafts"}
        for name, label in {**arms, "terse": "terse@1 on failed drafts"}.items():
            right = []
            for (prompt, seed, slot), draft in drafts:
                item = results.prompts[prompt]
                steps = {step.place: step for step in stored[label, item.prompt, seed].steps}
                assert steps[0, slot].candidate == draft
                step = steps.get((1, slot))
                silent = name == "terse" and np.asarray(run.image(draft.image)).mean() / 255 > 0.4
                assert (step is None) == silent
                if step is not None:
                    assert step.candidate.recipe.parent == (None if name == "new noise" else draft.id)
                right.append(
                    step is not None and Contrast().decide([(run.image(step.candidate.image), item)])[0].correct
                )
            passed[name] = np.mean(right)
            assert found[name, "correction passes"]["value"] == pytest.approx(passed[name], abs=1e-6)
    assert 0 < passed["terse"] < passed["critic"]
    for name in ("critic", "terse"):
        moved = found[f"{name} − new noise", "correction passes"]["value"]
        assert moved == pytest.approx(passed[name] - passed["new noise"], abs=1e-5)


def test_reflections_stand_side_by_side_for_the_first_failed_draft_of_each_tag(finished, data):
    folder, results = finished[0], read_results(finished[0])
    first = {}
    for (prompt, seed, _), draft in failed_drafts(folder):
        first.setdefault(results.prompts[prompt].tag, (results.prompts[prompt].prompt, seed, draft.image))
    assert [(item["prompt"], item["seed"], item["draft"]) for item in data["reflections"]] == list(first.values())
    assert {tuple(item["told"]) for item in data["reflections"]} == {("critic", "terse")}
    page = (folder / "paper.html").read_text()
    for item in data["reflections"]:
        assert item["told"]["critic"]["reflection"] in page
    assert page.count('class="beside"') == len(first)
    assert "of each tag the first failed draft" in page


def test_chains_are_chosen_by_the_rule_that_the_caption_states(finished, data):
    folder, results = finished[0], read_results(finished[0])
    ends, first = [], {}
    with RunDirectory.read(folder / "run") as run:
        for row in (row for row in results.rows if row.method == FLOW):
            result = run.result(row.search).result
            painted = {step.candidate.id: step for step in distinct(result.steps)}
            right = dict(zip(painted, row.correct, strict=True))
            way = [result.best.candidate]
            while way[0].recipe.parent is not None:
                way.insert(0, painted[way[0].recipe.parent].candidate)
            if len(way) > 1:
                ends.append(right[way[0].id] + right[way[-1].id])
                tag = results.prompts[row.prompt].tag
                if ends[-1] == "01" and tag not in first:
                    first[tag] = (results.prompts[row.prompt].prompt, row.seed, [item.image for item in way])
    assert first
    assert [(x["prompt"], x["seed"], x["pictures"]) for x in data["chains"]["shown"]] == list(first.values())
    words = {"0": "refused", "1": "accepted"}
    counted = {f"{words[one]}, {words[other]}": ends.count(one + other) for one in "01" for other in "01"}
    assert data["chains"]["corrections"] == counted
    text, page = ((folder / name).read_text() for name in ("paper.md", "paper.html"))
    assert "of each tag the first chain" in text
    assert f"{len(ends)} of 18 answers are corrections" in text
    picture = base64.b64encode((folder / "figure-5.png").read_bytes()).decode()
    assert f'src="data:image/png;base64,{picture}"' in page


def test_the_data_set_is_shown_with_the_papers_counts_below_ours(finished, tmp_path):
    bad, good = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    texts = [("rule", "a photo of a star", "remove the ring. add a star"), ("cot", "a ring", "move the ring")]
    triplets = [Triplet(str(n), good, bad, words, prompt, name, {}) for n, (name, prompt, words) in enumerate(texts)]
    write_shards(triplets, tmp_path / "genref", {})
    dataset = statistics(tmp_path / "genref")
    copy = tmp_path / "out"
    shutil.copytree(finished[0], copy)
    paper(copy, stack(), [Named("dark", Dark())], dataset=dataset)
    text, page = ((copy / name).read_text() for name in ("paper.md", "paper.html"))
    assert "| rule | 1 | 5.0 | 6.0 | 2.0 |" in text
    assert "| the paper: rule | 184,709 |" in text
    assert "the paper: cot" not in text
    assert "Figure 1 is left out" not in text + page
    assert page.count('class="verb-remove"') >= 1
    assert json.loads((copy / "paper.json").read_text())["dataset"]["subsets"] == {"cot": 1, "rule": 1}


def stored_by(folder, label):
    """Return the searches of such a label, by prompt and seed."""
    with RunDirectory.read(folder / "run") as run:
        return {
            (item.search["task"]["prompt"], item.search["task"]["seed"]): item.result
            for item in run.results()
            if re.fullmatch(label, item.label)
        }


def test_words_of_another_picture_are_given_where_there_is_something_to_correct(finished, data):
    true, wrong = (stored_by(finished[0], BY_SCORE + more) for more in ("", rf", told by {ELSEWHERE}:critic@1\+.*"))
    assert len(wrong) == 18
    said = {}
    for (prompt, _), result in true.items():
        for step in (step for step in result.steps if step.reflection is not None):
            said.setdefault(prompt, {}).setdefault(step.reflection.text, set()).add(step.reflection.candidate)
    corrected = 0
    for result in wrong.values():
        for step in (step for step in result.steps if step.reflection is not None):
            corrected += 1
            speaking_of = set().union(*(said[p].get(step.reflection.text, set()) for p in said))
            assert step.reflection.candidate == step.candidate.recipe.parent
            assert speaking_of - {step.candidate.recipe.parent}
    assert corrected


def test_who_speaks_is_paired_with_the_method_that_is_ranked_alike(finished, data):
    found = ours(data, "choices")
    for name in (ELSEWHERE, "brief"):
        moved = found[BY_SCORE, "6"]["value"] - found[f"told by {name}, ranked by score", "6"]["value"]
        line = f"own reflections − told by {name}, both ranked by score"
        assert found[line, "6"]["value"] == pytest.approx(moved, abs=1e-5)
        drafts = found[line, "2"]  # are everybody's, so that the difference is none and not merely none that was seen
        assert drafts["low"] == drafts["value"] == drafts["high"] == 0
    right = {"single_object": [], "counting": []}
    with RunDirectory.read(finished[0] / "run") as run:
        for (prompt, _), result in stored_by(finished[0], f"{BY_SCORE}, told by brief@1").items():
            item = next(item for item in read_results(finished[0]).prompts if item.prompt == prompt)
            if item.tag in right:
                right[item.tag].append(Contrast().decide([(run.image(result.best.candidate.image), item)])[0].correct)
    wanted = np.mean([np.mean(values) for values in right.values()])
    assert found["told by brief, ranked by score", "6"]["value"] == pytest.approx(wanted, abs=1e-6)


def test_the_record_tells_command_models_and_times(finished, data):
    with RunDirectory.read(finished[0] / "run") as run:
        times = [datetime.fromtimestamp(row.time, UTC).strftime("%Y-%m-%d %H:%M") for row in run.calls()]
    began, ended = min(times), max(times)
    assert (data["command"], data["began"], data["ended"]) == ("reflectionflow test", began, ended)
    text, page = ((finished[0] / name).read_text() for name in ("paper.md", "paper.html"))
    facts = {
        "Command": "reflectionflow test",
        "Model calls": f"{began} to {ended} UTC",
        "Further picks by": "dark@1",
        "Figure 2 asks": "critic@1, terse@1",
        "Control": "tuned@1",
        "Verifier": "brightness@1",
    }
    for name, value in facts.items():
        assert f"- {name}: {value}" in text
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page
    assert data["models_beside"]["Figure 2 asks"] == ["critic@1", "terse@1"]


def test_the_declared_comparison_has_its_tests(finished, data):
    tests = {item["method"]: item for item in data["tests"]}
    told = json.loads((finished[0] / "results.json").read_text())["tables"]["differences"]
    assert [(item["method"], item["p"], item["p_holm"]) for item in told] == [
        (item["method"], item["p"], item["p_holm"]) for item in tests.values()
    ]
    assert (tests[FLOW]["group"], tests[FLOW]["pictures"]) == ("GenEval's tags", 6)
    notes = next(item["notes"] for item in data["exhibits"] if item["id"] == "table-1")
    [note] = [note for note in notes if "the declared comparison" in note]
    assert f"Test of {FLOW} − {NOISE}" in note
    assert f"by Holm for all {len(tests)} methods" in note
    assert f"better : worse {tests[FLOW]['better']} : {tests[FLOW]['worse']}." in note
    assert (
        "Bold is a difference whose interval excludes zero. That is no test" in (finished[0] / "paper.md").read_text()
    )


def test_the_pictures_needed_are_those_of_the_evaluation(finished, data):
    told = json.loads((finished[0] / "results.json").read_text())["tables"]["efficiency"]
    found = ours(data, "efficiency")
    for name in (PROMPT, FLOW):
        for column, key in (("noise, 6 pictures", "target"), ("pictures needed for that score", "pictures")):
            assert found[name, column]["value"] == told[name][key]["value"]
        assert found[name, "times fewer than noise"]["value"] == told[name]["ratio"]["value"]
    about = read_results(finished[0]).about
    drawn = grids(about, tables(read_results(finished[0])))
    report = {row[0].text: row for row in next(grid for grid in drawn if grid.id == "efficiency").rows}
    text = (finished[0] / "paper.md").read_text()
    for name in (PROMPT, FLOW):
        assert f"| {' | '.join(cell.plain for cell in report[name])} |" in text
    assert theirs(data, "efficiency") == {
        (FLOW, "noise, 6 pictures"): 0.848,
        (FLOW, "times fewer than noise"): 10.0,
    }


def test_the_control_is_noise_scaling_by_another_generator(finished, data):
    folder, results = finished[0], read_results(finished[0])
    curve, table = ours(data, "figure-4-middle"), ours(data, "table-1")
    for budget in results.about.budgets:
        right = {"single_object": [], "counting": []}
        with RunDirectory.read(folder / "run") as run:
            for stored in (item for item in run.results() if item.label == "control tuned@1"):
                item = next(item for item in results.prompts if item.prompt == stored.result.prompt)
                drafts = sorted(stored.result.steps, key=lambda step: step.place)[:budget]
                pick = max(drafts, key=lambda step: step.verdict.score)
                if item.tag in right:
                    right[item.tag].append(Contrast().decide([(run.image(pick.candidate.image), item)])[0].correct)
        assert [len(values) for values in right.values()] == [6, 6]
        wanted = np.mean([np.mean(values) for values in right.values()])
        assert curve["control", str(budget)]["value"] == pytest.approx(wanted, abs=1e-6)
    assert table["control, 6 pictures", "GenEval's tags"]["value"] == pytest.approx(wanted, abs=1e-6)
    for name in (FLOW, ADAPTIVE):
        gain = table[f"{name}, 6 pictures", "counting"]["value"] - table["control, 6 pictures", "counting"]["value"]
        assert table[f"{name} − control", "counting"]["value"] == pytest.approx(gain, abs=1e-5)
