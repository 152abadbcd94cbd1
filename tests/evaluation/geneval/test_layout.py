"""GenEval's folders, read as people have them and written as the official program reads them."""

import json
import re

import pytest
from PIL import Image

from reflectionflow.errors import ConfigError, MisuseError
from reflectionflow.evaluation.geneval import read_folder, suite, write_grid, write_prompts, write_sample

PROMPTS = suite()[:3]
PIXEL = Image.new("RGB", (4, 4), (255, 0, 0))


def test_what_is_written_is_read_back(tmp_path):
    write_prompts(tmp_path, PROMPTS)
    written = [write_sample(tmp_path, index, number, PIXEL) for index in range(3) for number in range(2)]
    folder = read_folder(tmp_path)
    assert [picture.path for picture in folder.pictures] == written
    assert [picture.metadata for picture in folder.pictures] == [prompt for prompt in PROMPTS for _ in range(2)]
    assert (folder.without, folder.ignored) == ((), ())
    assert folder.pictures[0].key == "00000/samples/00000.png"


def test_written_files_are_what_the_official_program_looks_for(tmp_path):
    write_prompts(tmp_path, PROMPTS)
    path = write_sample(tmp_path, 2, 1, PIXEL)
    assert path == tmp_path / "00002" / "samples" / "00001.png"
    assert re.match(r"\d+\.png", path.name)
    assert json.loads((tmp_path / "00002" / "metadata.jsonl").read_text()) == PROMPTS[2].to_json()


def test_other_extensions_more_samples_and_other_digits_are_read_in_the_order_of_numbers(tmp_path):
    write_prompts(tmp_path, PROMPTS[:1])
    (tmp_path / "00000").rename(tmp_path / "7")
    for name in ("10.png", "2.JPG", "0003.jpeg", "00000.webp", "1.png", "4.png"):
        PIXEL.save(tmp_path / "7" / "samples" / name)
    names = [picture.path.name for picture in read_folder(tmp_path).pictures]
    assert names == ["00000.webp", "1.png", "2.JPG", "0003.jpeg", "4.png", "10.png"]


def test_what_is_no_picture_is_told_and_passed_over(tmp_path):
    write_prompts(tmp_path, PROMPTS)
    write_sample(tmp_path, 0, 0, PIXEL)
    write_grid(tmp_path, 0, [PIXEL] * 3)
    (tmp_path / "logs").mkdir()
    for name in ("00001.png.bak", "notes.txt", "2_round@7.png"):
        (tmp_path / "00000" / "samples" / name).write_text("x")
    folder = read_folder(tmp_path)
    assert [picture.path.name for picture in folder.pictures] == ["00000.png"]
    assert folder.without == ("00001", "00002")
    assert sorted(path.name for path in folder.ignored) == ["00001.png.bak", "2_round@7.png", "notes.txt"]


def test_a_grid_shows_two_in_a_row(tmp_path):
    with Image.open(write_grid(tmp_path, 0, [PIXEL] * 3)) as grid:
        assert grid.size == (8, 8)
        assert grid.getpixel((7, 3)) == (255, 0, 0)
        assert grid.getpixel((7, 7)) == (0, 0, 0)


def test_all_faults_are_told_at_once(tmp_path):
    write_prompts(tmp_path, suite()[:6])
    for index in range(6):
        write_sample(tmp_path, index, 0, PIXEL)
    PIXEL.save(tmp_path / "00000" / "samples" / "0.jpg")
    (tmp_path / "00001" / "metadata.jsonl").unlink()
    (tmp_path / "00002" / "metadata.jsonl").write_text("{")
    (tmp_path / "00003" / "metadata.jsonl").write_text('{"tag": "colors"}')
    (tmp_path / "00004" / "metadata.jsonl").write_text(
        '{"tag": "a", "prompt": "b", "include": [{"class": "x", "count": 0}]}'
    )
    with pytest.raises(ConfigError) as caught:
        read_folder(tmp_path)
    problems = caught.value.problems
    assert len(problems) == 5
    for part in ("have one number", "is missing", "Expecting property", "lacks 'prompt'", "asks for 0 of 'x'"):
        assert sum(part in problem for problem in problems) == 1


def test_many_faults_are_counted(tmp_path):
    write_prompts(tmp_path, suite()[:30])
    for home in tmp_path.iterdir():
        (home / "metadata.jsonl").unlink()
    with pytest.raises(ConfigError, match="and 20 more of this kind"):
        read_folder(tmp_path)


@pytest.mark.parametrize("what", ["no folder", "no numbers", "no pictures"])
def test_a_folder_that_is_none_is_refused_with_a_remedy(tmp_path, what):
    folder = tmp_path / "there"
    if what != "no folder":
        folder.mkdir()
    if what == "no pictures":
        write_prompts(folder, PROMPTS)
    remedy = {"no folder": "prompts --folders", "no numbers": "GenEval's layout is", "no pictures": "put them in 00000"}
    with pytest.raises(MisuseError, match=remedy[what]):
        read_folder(folder)


def test_writing_twice_keeps_pictures_and_refuses_other_prompts(tmp_path):
    write_prompts(tmp_path, PROMPTS)
    path = write_sample(tmp_path, 0, 0, PIXEL)
    write_prompts(tmp_path, PROMPTS)
    assert path.exists()
    with pytest.raises(ConfigError, match="of another prompt"):
        write_prompts(tmp_path, PROMPTS[::-1])
