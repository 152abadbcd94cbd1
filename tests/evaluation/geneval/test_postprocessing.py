"""What the detector sees and what becomes of its answers, against slow direct transcriptions of the specification."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reflectionflow.evaluation.geneval.instances import instances
from reflectionflow.evaluation.geneval.preparation import MEAN, STD, Sizes, prepared

CPU = torch.device("cpu")


def enlarged(values, size):
    """Bilinear, pixel centres at halves, borders repeated, no antialiasing: one pixel after the other."""
    height, width = len(values), len(values[0])

    def at(place, old, new):
        middle = min(max((place + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        low = math.floor(middle)
        return low, min(low + 1, old - 1), middle - low

    rows = [at(y, height, size[0]) for y in range(size[0])]
    columns = [at(x, width, size[1]) for x in range(size[1])]
    return [
        [
            (values[y0][x0] * (1 - dx) + values[y0][x1] * dx) * (1 - dy)
            + (values[y1][x0] * (1 - dx) + values[y1][x1] * dx) * dy
            for x0, x1, dx in columns
        ]
        for y0, y1, dy in rows
    ]


def transcription(class_logits, mask_logits, sizes):
    """Every step of the specification aloud, over lists of numbers: (query, label, score, box, mask, margin)."""
    table = []
    for query, row in enumerate(class_logits):
        total = sum(math.exp(value) for value in row)
        table += [(math.exp(value) / total, query, label) for label, value in enumerate(row[:-1])]
    table = sorted(table, reverse=True)[:100]
    found = []
    for class_score, query, label in sorted(table, key=lambda entry: entry[1:]):
        padded = enlarged(mask_logits[query], sizes.padded)
        cropped = [row[: sizes.resized[1]] for row in padded[: sizes.resized[0]]]
        final = enlarged(cropped, sizes.original)
        inside = [(x, y, value) for y, row in enumerate(final) for x, value in enumerate(row) if value > 0]
        mask_score = sum(1 / (1 + math.exp(-value)) for _, _, value in inside) / (len(inside) + 1e-6)
        box = (0.0, 0.0, 0.0, 0.0)
        if inside:
            xs, ys = [x for x, _, _ in inside], [y for _, y, _ in inside]
            box = (min(xs), min(ys), max(xs) + 1.0, max(ys) + 1.0)
        margin = min(abs(value) for row in final for value in row)
        found.append((label, class_score * mask_score, box, {(x, y) for x, y, _ in inside}, margin))
    return found


@st.composite
def answers(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    resized = (draw(st.integers(1, 24)), draw(st.integers(1, 24)))
    padded = tuple(-(-side // 8) * 8 for side in resized)
    sizes = Sizes((draw(st.integers(1, 14)), draw(st.integers(1, 14))), resized, padded)
    queries, classes = draw(st.integers(1, 4)), draw(st.integers(1, 60))
    logits = rng.normal(scale=3, size=(queries, classes + 1))
    masks = rng.normal(scale=3, size=(queries, padded[0] // 4, padded[1] // 4)) - draw(st.sampled_from([0, 4, 99]))
    return logits.astype(np.float32), masks.astype(np.float32), sizes


@settings(max_examples=60, deadline=None)
@given(answers())
def test_instances_equal_a_slow_direct_transcription(case):
    logits, masks, sizes = case
    wanted = [item for item in transcription(logits.tolist(), masks.tolist(), sizes) if item[1] > 1e-7]
    got = instances(torch.from_numpy(logits), torch.from_numpy(masks), sizes, 1e-7)
    assert [item.label for item in got] == [label for label, *_ in wanted]
    for item, (_, score, box, inside, margin) in zip(got, wanted, strict=True):
        if margin < 1e-4:  # where a logit is nearly 0, double and single precision may differ about one pixel
            continue
        assert item.score == pytest.approx(score, rel=1e-4)
        assert item.box == box
        assert {(x, y) for y, x in np.argwhere(item.mask).tolist()} == inside
        assert item.mask.shape == sizes.original


@settings(max_examples=60, deadline=None)
@given(answers(), st.sampled_from([0.0, 0.05, 0.3, 0.9]))
def test_leaving_out_low_scores_changes_nothing_else(case, least):
    logits, masks, sizes = torch.from_numpy(case[0]), torch.from_numpy(case[1]), case[2]
    everything = instances(logits, masks, sizes)
    some = instances(logits, masks, sizes, least)
    wanted = [item for item in everything if np.float32(item.score) > np.float32(least)]
    assert [(item.label, item.score, item.box) for item in some] == [
        (item.label, item.score, item.box) for item in wanted
    ]


def test_one_query_may_be_two_objects():
    logits = torch.full((1, 81), -20.0)
    logits[0, 3], logits[0, 7] = 1.0, 1.0
    found = instances(logits, torch.ones(1, 8, 8), Sizes((20, 20), (32, 32), (32, 32)), 0.1)
    assert [item.label for item in found] == [3, 7]
    assert [item.score for item in found] == pytest.approx([0.5 / (1 + math.exp(-1))] * 2, rel=1e-5)
    assert found[0].box == (0.0, 0.0, 20.0, 20.0)


@pytest.mark.parametrize(
    ("original", "resized", "padded"),
    [
        ((512, 512), (800, 800), (800, 800)),
        ((1024, 1024), (800, 800), (800, 800)),
        ((480, 640), (800, 1067), (800, 1088)),
        ((500, 2000), (333, 1333), (352, 1344)),
        ((1344, 768), (1333, 762), (1344, 768)),
        ((1, 5000), (1, 1333), (32, 1344)),
    ],
)
def test_pictures_are_resized_to_fit_and_padded_not_stretched(original, resized, padded):
    assert Sizes.of(*original) == Sizes(original, resized, padded)


def test_padding_is_grey_before_normalising_and_lies_right_and_below():
    pixels, sizes = prepared(Image.new("RGB", (200, 30), (10, 20, 30)), CPU)
    assert (sizes.resized, sizes.padded) == ((200, 1333), (224, 1344))
    assert pixels.shape == (3, 224, 1344)
    for channel, level in enumerate((10, 20, 30)):
        inside, outside = pixels[channel, :200, :1333], pixels[channel, 200:]
        assert torch.allclose(inside, torch.tensor((level - MEAN[channel]) / STD[channel]))
        assert torch.allclose(outside, torch.tensor((128 - MEAN[channel]) / STD[channel]))
        assert torch.allclose(pixels[channel, :, 1333:], outside[0, 0])


def test_resizing_equals_a_slow_direct_transcription():
    levels = np.random.default_rng(0).integers(0, 256, (4, 40, 3), dtype=np.uint8)
    pixels, sizes = prepared(Image.fromarray(levels), CPU)
    for channel in range(3):
        wanted = np.array(enlarged(levels[..., channel].tolist(), sizes.resized))
        got = (pixels[channel, : sizes.resized[0], : sizes.resized[1]] * STD[channel] + MEAN[channel]).numpy()
        # Levels are whole; only where the exact value is a half may rounding go the other way.
        clear = np.abs(wanted % 1 - 0.5) > 1e-3
        assert np.abs(got - np.rint(wanted))[clear].max() < 1e-3
        assert clear.mean() > 0.9


def test_transparency_is_dropped_not_blended():
    clear = Image.new("RGBA", (40, 40), (200, 100, 50, 0))
    assert torch.equal(prepared(clear, CPU)[0], prepared(Image.new("RGB", (40, 40), (200, 100, 50)), CPU)[0])
