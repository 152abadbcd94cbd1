"""The scores of a suite equal the official program's; result files survive the round trip."""

import json

import pytest

from reflectionflow.geneval import (
    Clause,
    Detection,
    Metadata,
    ResultRecord,
    decide,
    read_records,
    summarise,
    write_records,
)


def record(tag, prompt, correct, number=0):
    metadata = Metadata(tag, prompt, (Clause("dog"),))
    return ResultRecord(f"{number:05d}.png", tag, prompt, correct, "", metadata.line(), "{}")


def golden():
    shares = [("single_object", "a", 4), ("single_object", "b", 1), ("counting", "c", 0), ("position", "d", 2)]
    return [record(tag, prompt, k < right, k) for tag, prompt, right in shares for k in range(4)]


def test_the_golden_summary_of_the_official_program():
    summary = summarise(golden())
    assert summary.images == 16
    assert summary.prompts == 4
    assert summary.correct_images == 0.4375
    assert summary.correct_prompts == 0.75
    assert summary.prompt_average == 0.4375
    assert [(tag.tag, tag.share) for tag in summary.tags] == [
        ("single_object", 0.625),
        ("counting", 0.0),
        ("position", 0.5),
    ]
    assert f"{summary.overall:.5f}" == "0.37500"
    assert summary.text().splitlines() == [
        "Summary",
        "=======",
        "Total images: 16",
        "Total prompts: 4",
        "% correct images: 43.75%",
        "% correct prompts: 75.00%",
        "",
        "Task breakdown",
        "==============",
        "single_object    = 62.50% (5 / 8)",
        "counting         = 0.00% (0 / 4)",
        "position         = 50.00% (2 / 4)",
        "",
        "Overall score (avg. over tasks): 0.37500",
    ]


def test_the_prompt_average_weighs_prompts_and_not_pictures():
    records = [record("colors", "a", True, k) for k in range(3)] + [record("colors", "b", False)]
    summary = summarise(records)
    assert summary.correct_images == 0.75
    assert summary.prompt_average == 0.5


def test_no_pictures_have_no_summary():
    with pytest.raises(ValueError, match="no judged pictures"):
        summarise([])


def test_a_result_file_survives_the_round_trip(tmp_path):
    write_records(tmp_path / "results.jsonl", golden())
    assert read_records(tmp_path / "results.jsonl") == tuple(golden())


def test_a_record_has_the_official_keys_and_json_strings_inside():
    metadata = Metadata("single_object", "a photo of a dog", (Clause("dog"),))
    decision = decide(metadata, {"dog": [Detection((0.0, 0.0, 1.0, 1.0), 0.5)]})
    data = json.loads(ResultRecord.of("a/b.png", metadata, decision).line())
    assert list(data) == ["filename", "tag", "prompt", "correct", "reason", "metadata", "details"]
    assert data["correct"] is True
    assert json.loads(data["metadata"]) == metadata.to_json()
    assert json.loads(data["details"]) == {"dog": [[0.0, 0.0, 1.0, 1.0, 0.5]]}


def test_a_record_with_an_unknown_key_is_refused():
    with pytest.raises(TypeError, match="judge"):
        ResultRecord.from_line(json.dumps({"judge": "B"}))
