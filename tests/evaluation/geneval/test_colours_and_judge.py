"""Colours and decisions of tiny random networks of the real classes equal slow direct transcriptions."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPTokenizer, Mask2FormerForUniversalSegmentation

from reflectionflow.errors import ConfigError, MisuseError
from reflectionflow.evaluation.geneval import ClipColours, Mask2FormerDetector, find, official_judge
from reflectionflow.evaluation.geneval.clip_colours import CutOut, cut_out, squared
from reflectionflow.evaluation.geneval.preparation import prepared
from reflectionflow.geneval import COLORS, OBJECTS, Clause, Detection, Metadata, Position, decide
from tests.support.geneval import stains, three_pictures, tiny_clip, tiny_mask2former

CPU = torch.device("cpu")
CUTS = [
    CutOut(name, stains(seed, size))
    for seed, (name, size) in enumerate([("dog", (40, 50)), ("computer mouse", (32, 90)), ("dog", (70, 33))] * 7)
]


@pytest.fixture(scope="module")
def detector_folder(tmp_path_factory):
    return tiny_mask2former(tmp_path_factory.mktemp("weights") / "tiny-mask2former")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("weights") / "tiny-clip")


@pytest.fixture(scope="module")
def pictures():
    return three_pictures()


@pytest.fixture(scope="module")
def detector(detector_folder):
    return Mask2FormerDetector(find(str(detector_folder)), "cpu")


@pytest.fixture(scope="module")
def colours(clip_folder):
    return ClipColours(find(str(clip_folder)), "cpu")


def slow_colour(cut, model, words):
    """One object, one colour, one template at a time; CLIP's preparation by hand."""
    with torch.inference_mode():
        pixels = np.asarray(squared(cut.image, 32)).astype(np.float32) / 255
        mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
        batch = torch.from_numpy(((pixels - mean) / std).astype(np.float32).transpose(2, 0, 1))[None]
        image = model.get_image_features(pixel_values=batch).pooler_output[0]
        image = image / image.norm()
        logits = []
        for color in COLORS:
            total = torch.zeros_like(image)
            for text in (
                f"a photo of a {color} {cut.class_name}",
                f"a photo of a {color}-colored {cut.class_name}",
                f"a photo of a {color} object",
            ):
                ids = words([text], return_tensors="pt").input_ids
                vector = model.get_text_features(input_ids=ids).pooler_output[0]
                total += vector / vector.norm() / 3
            logits.append(float(100 * image @ (total / total.norm())))
    return COLORS[int(np.argmax(logits))]


def test_colours_equal_a_slow_direct_transcription(colours, clip_folder):
    model, words = CLIPModel.from_pretrained(clip_folder), CLIPTokenizer.from_pretrained(clip_folder)
    wanted = [slow_colour(cut, model, words) for cut in CUTS]
    assert colours.name_all(CUTS) == wanted
    assert len(set(wanted)) > 1
    assert colours.name_all([]) == []


def test_an_object_is_cut_out_on_grey_and_cropped_to_rounded_corners():
    mask = np.zeros((10, 20), dtype=bool)
    mask[2:6, 5:9] = True
    red = Image.new("RGB", (20, 10), (255, 0, 0))
    cut = np.asarray(cut_out(red, Detection((4.4, 1.6, 9.6, 6.5), 1.0, mask=mask)))
    assert cut.shape == (4, 6, 3)  # rows 2 to 6, columns 4 to 10: 6.5 is rounded to even
    assert (cut[:, 0] == 153).all()
    assert (cut[:4, 1:5] == (255, 0, 0)).all()
    assert (cut[:, 5] == 153).all()


def test_without_a_mask_what_is_around_the_object_stays():
    red = Image.new("RGB", (20, 10), (255, 0, 0))
    assert (np.asarray(cut_out(red, Detection((0, 0, 7, 5), 1.0))) == (255, 0, 0)).all()


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="mask of 3 × 4 pixels"):
        cut_out(Image.new("RGB", (20, 10)), Detection((0, 0, 7, 5), 1.0, mask=np.ones((4, 3), dtype=bool)))


@pytest.mark.parametrize(
    ("size", "resized", "corner"),
    [((64, 32), (64, 32), (16, 0)), ((50, 101), (32, 64), (0, 16)), ((32, 32), (32, 32), (0, 0))],
)
def test_the_middle_of_long_objects_is_looked_at(size, resized, corner):
    picture = stains(0, size[::-1])
    whole = picture.resize(resized, Image.Resampling.BICUBIC)
    wanted = whole.crop((*corner, corner[0] + 32, corner[1] + 32))
    assert np.array_equal(np.asarray(squared(picture, 32)), np.asarray(wanted))


def test_detections_do_not_depend_on_the_batch(detector, pictures):
    together = detector.detect(pictures, 0.3)
    alone = [detector.detect([picture], 0.3)[0] for picture in pictures]
    assert any(items for items in together[0].values())
    for first, second in zip(together, alone, strict=True):
        assert list(first) == list(OBJECTS)
        for name in OBJECTS:
            assert len(first[name]) == len(second[name])
            for one, other in zip(first[name], second[name], strict=True):
                assert one.row == pytest.approx(other.row, abs=1.01)  # a border pixel may flip by rounding
                assert one.score == pytest.approx(other.score, abs=1e-3)


def test_classes_are_named_by_number_and_not_by_what_the_checkpoint_calls_them(detector, detector_folder, pictures):
    model = Mask2FormerForUniversalSegmentation.from_pretrained(detector_folder)
    with torch.inference_mode():
        answers = model(pixel_values=prepared(pictures[0], CPU)[0][None])
    scores = answers.class_queries_logits[0].softmax(-1)[:, :-1]
    surest = {int(row.argmax()) for row in scores if row.max() > 0.9}
    seen = {name for name, items in detector.detect(pictures[:1], 0.3)[0].items() if items}
    assert model.config.id2label[0] == "LABEL_0"
    assert seen & {OBJECTS[number] for number in surest}


def prompts_of(seen):
    """Return a prompt of each kind about what was seen, some of which hold."""
    names = [name for name, items in seen.items() if any(item.score > 0.3 for item in items)]
    first, second = names[0], names[1]
    best = max(names, key=lambda name: max(item.score for item in seen[name]))
    return [
        Metadata("single_object", "one", (Clause(first),)),
        Metadata("two_object", "two", (Clause(first), Clause("toothbrush", 16))),
        Metadata("counting", "count", (Clause(best, 1),), (Clause(best, 2),)),
        *(Metadata("colors", f"{color}", (Clause(first, 1, color),)) for color in COLORS),
        Metadata("position", "place", (Clause(second), Clause(first, 1, None, Position("left of", 0)))),
        Metadata("color_attr", "both", (Clause(first, 1, "red"), Clause(second, 1, "green"))),
    ]


def test_the_whole_path_equals_detector_colours_and_rules_one_by_one(
    detector, colours, detector_folder, clip_folder, pictures
):
    judge = official_judge(str(detector_folder), str(clip_folder), "cpu")
    picture = pictures[0]
    seen = detector.detect([picture])[0]
    model, words = CLIPModel.from_pretrained(clip_folder), CLIPTokenizer.from_pretrained(clip_folder)

    def slowly(class_name, items):
        return [slow_colour(CutOut(class_name, cut_out(picture, item)), model, words) for item in items]

    prompts = prompts_of(seen)
    decisions = judge.judge([picture] * len(prompts), prompts)
    wanted = [decide(prompt, seen, slowly) for prompt in prompts]
    assert [item.reason for item in decisions] == [item.reason for item in wanted]
    assert len({item.correct for item in wanted}) == 2
    assert sum(item.correct for prompt, item in zip(prompts, wanted, strict=True) if prompt.tag == "colors") == 1
    for decision, other in zip(decisions, wanted, strict=True):
        assert decision.details.keys() == other.details.keys()


def test_the_name_of_a_judge_says_its_weights_and_options(detector_folder, clip_folder):
    from reflectionflow.geneval import Options

    usual = official_judge(str(detector_folder), str(clip_folder))
    assert usual.name.startswith("tiny-mask2former@")
    assert "tiny-clip@" in usual.name
    stricter = official_judge(str(detector_folder), str(clip_folder), options=Options(threshold=0.5))
    assert usual.name != stricter.name


def test_what_is_not_here_is_refused_with_a_remedy_before_anything_loads(detector_folder, clip_folder):
    with pytest.raises(MisuseError, match="there is no folder nowhere"):
        official_judge("nowhere", str(clip_folder))
    with pytest.raises(MisuseError, match="nobody/nothing is not downloaded; add --download"):
        official_judge(str(detector_folder), "nobody/nothing")
    with pytest.raises(ConfigError, match=r"2 problems:\n.*no folder nowhere.*\n.*nobody/nothing is not"):
        official_judge("nowhere", "nobody/nothing")
    with pytest.raises(MisuseError, match="there is no device 'cuda:x'"):
        official_judge(str(detector_folder), str(clip_folder), "cuda:x")
    with pytest.raises(ConfigError, match="holds a model of type 'clip'"):
        official_judge(str(clip_folder), str(clip_folder))
    with pytest.raises(ConfigError, match="no tokenizer"):
        ClipColours(find(str(detector_folder)))


def test_a_checkpoint_of_other_classes_is_refused(detector_folder, tmp_path):
    text = (detector_folder / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"79": "LABEL_79"', '"79": "LABEL_79", "80": "grass"'))
    (tmp_path / "model.safetensors").write_bytes((detector_folder / "model.safetensors").read_bytes())
    with pytest.raises(ConfigError, match="knows 81 classes"):
        Mask2FormerDetector(find(str(tmp_path)))


def test_a_device_that_is_not_there_is_refused(detector_folder, pictures):
    with pytest.raises(MisuseError, match="'cuda:9' is not there"):
        Mask2FormerDetector(find(str(detector_folder)), "cuda:9").detect(pictures)
