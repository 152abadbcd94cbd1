"""A folder is judged once, however often it is begun: the journal, broken pictures, what is judged again."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reflectionflow.errors import ConfigError, MisuseError
from reflectionflow.evaluation import scenes_judge
from reflectionflow.evaluation.geneval import ScenesJudge, read_folder, read_records, score, write_prompts, write_sample
from reflectionflow.evaluation.geneval.journal import Journal, journal_of
from reflectionflow.geneval import Clause, Metadata
from reflectionflow.scenes.prompts import suite
from reflectionflow.scenes.renderer import render
from reflectionflow.scenes.splits import Split
from reflectionflow.scenes.world import UNIFORM, draw_scene

PROMPTS = suite(Split.TEST, 1)[:4]
EACH = 2


def painted(number):
    return render(draw_scene(np.random.default_rng(3_000_000 + number), UNIFORM))


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "pictures"
    write_prompts(home, PROMPTS)
    for index in range(len(PROMPTS)):
        for number in range(EACH):
            write_sample(home, index, number, painted(EACH * index + number))
    return home


def scored(folder, results=None, **options):
    return score(read_folder(folder).pictures, ScenesJudge(), results or folder / "results.jsonl", **options)


def test_judge_b_judges_a_folder_of_scenes_by_the_same_rules(folder):
    records = scored(folder).records
    wanted = [
        scenes_judge.judge(painted(EACH * index + number), prompt)
        for index, prompt in enumerate(PROMPTS)
        for number in range(EACH)
    ]
    assert [(item.correct, item.reason) for item in records] == [(item.correct, item.reason) for item in wanted]
    assert [json.loads(item.details) for item in records] == [item.details for item in wanted]
    assert read_records(folder / "results.jsonl") == records


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_results_do_not_depend_on_the_batch_size(folder, tmp_path, batch_size):
    told = []
    results = tmp_path / "deep" / f"{batch_size}.jsonl"
    scored(folder, results, batch_size=batch_size, progress=lambda done, total: told.append((done, total)))
    scored(folder, tmp_path / "usual.jsonl")
    assert results.read_bytes() == (tmp_path / "usual.jsonl").read_bytes()
    assert told == [(min(8, done), 8) for done in range(batch_size, 8 + batch_size, batch_size)]


def test_a_journal_cut_anywhere_gives_the_same_results(folder):
    results = folder / "results.jsonl"
    whole = scored(folder).records
    content, written = journal_of(results).read_bytes(), results.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for length in sorted({0, 5, *ends, *(end - 1 for end in ends), *(end + 7 for end in ends[:-1])}):
        journal_of(results).write_bytes(content[:length])
        results.unlink()
        again = scored(folder)
        assert again.records == whole
        assert again.reused == max(0, sum(end <= length for end in ends) - 1)
        assert results.read_bytes() == written
        assert sorted(journal_of(results).read_bytes().splitlines()) == sorted(content.splitlines())


def test_a_picture_or_prompt_that_changed_is_judged_again(folder):
    first = scored(folder)
    write_sample(folder, 1, 0, painted(99))
    (folder / "00003" / "metadata.jsonl").write_text(PROMPTS[0].line())
    write_sample(folder, 0, 2, painted(98))
    again = scored(folder)
    assert (first.reused, again.reused) == (0, 5)
    assert len(again.records) == 9
    assert {item.prompt for item in again.records[-2:]} == {PROMPTS[0].prompt}
    assert scored(folder).reused == 9


def test_a_folder_that_moved_is_not_judged_again(folder, tmp_path):
    scored(folder, tmp_path / "results.jsonl")
    moved = folder.rename(tmp_path / "moved")
    again = scored(moved, tmp_path / "results.jsonl")
    assert again.reused == 8
    assert all(Path(item.filename).is_file() for item in again.records)


def test_broken_pictures_are_told_and_in_no_score_and_looked_at_again(folder):
    sample = folder / "00000" / "samples" / "00000.png"
    good = sample.read_bytes()
    sample.write_bytes(good[: len(good) // 2])
    (folder / "00001" / "samples" / "00001.png").write_bytes(b"")
    Image.new("RGB", (64, 64)).save(folder / "00002" / "samples" / "00000.png")
    found = scored(folder)
    assert [item.path.parts[-3] for item in found.broken] == ["00000", "00001", "00002"]
    assert "no picture in a format" in found.broken[1].reason
    assert not any("BytesIO" in item.reason for item in found.broken)
    assert "128 × 128" in found.broken[2].reason
    assert len(found.records) == len(read_records(folder / "results.jsonl")) == 5
    sample.write_bytes(good)
    again = scored(folder)
    assert (len(again.broken), len(again.records), again.reused) == (2, 6, 5)


def test_objects_the_judge_cannot_find_are_refused_and_nothing_is_written(folder):
    strange = Metadata("single_object", "a photo of a unicorn", (Clause("unicorn"),))
    (folder / "00000" / "metadata.jsonl").write_text(strange.line())
    with pytest.raises(ConfigError, match="'unicorn'"):
        scored(folder)
    assert not journal_of(folder / "results.jsonl").exists()


def test_results_of_another_judge_or_program_are_not_touched(folder):
    results = folder / "results.jsonl"
    with Journal(results, "somebody else"):
        pass
    with pytest.raises(MisuseError, match="written by the judge somebody else"):
        scored(folder)
    journal_of(results).unlink()
    results.write_text("mine")
    with pytest.raises(MisuseError, match="not begun by this program"):
        scored(folder)
    assert results.read_text() == "mine"


def test_a_damaged_journal_is_refused(folder):
    journal_of(folder / "results.jsonl").write_text('{"judge": "x"}\nnonsense\n')
    with pytest.raises(MisuseError, match="is damaged"):
        scored(folder)


def test_one_process_at_a_time_writes_a_result_file(folder):
    with Journal(folder / "results.jsonl", ScenesJudge().name):
        with pytest.raises(MisuseError, match="being written by another process"):
            scored(folder)
    assert len(scored(folder).records) == 8


def test_the_module_is_usable_without_the_rest_and_loads_no_torch():
    code = "import sys, reflectionflow.evaluation.geneval; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    ours = {name.split(".")[1] for name in loaded if name.startswith("reflectionflow.")}
    assert "reflectionflow.evaluation.geneval" in loaded
    assert ours == {"errors", "evaluation", "geneval", "models"}
    assert loaded.isdisjoint({"torch", "transformers", "diffusers", "scipy"})
