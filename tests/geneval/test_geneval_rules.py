"""When a picture satisfies its prompt: golden decisions of the official function, and laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectionflow.geneval import COLORS, RELATIONS, Clause, Detection, Metadata, Options, Position, decide

LEFT, RIGHT = (0.0, 0.0, 100.0, 100.0), (300.0, 0.0, 400.0, 100.0)
DOG_LEFT_OF_CAT = (Clause("cat"), Clause("dog", position=Position("left of", 0)))
SWAPPED = "expected red dog>=1, found 0 red; and 1 blue\nexpected blue cat>=1, found 0 blue; and 1 red"


def asked(*include, exclude=(), tag="colors"):
    return Metadata(tag, "a photo", tuple(include), tuple(exclude))


def counting(number):
    return asked(Clause("dog", number), exclude=[Clause("dog", number + 1)], tag="counting")


def objects(number, score=0.95, box=LEFT):
    return [Detection(box, score)] * number


def coloured(*colours):
    return [Detection(LEFT, 0.99 - 0.01 * rank, colour) for rank, colour in enumerate(colours)]


GOLDEN = {
    "one dog wanted, one seen": (asked(Clause("dog")), {"dog": objects(1)}, ""),
    "one dog wanted, none seen": (asked(Clause("dog")), {}, "expected dog>=1, found 0"),
    "three dogs wanted, two seen": (counting(3), {"dog": objects(2)}, "expected dog>=3, found 2"),
    "three dogs wanted, five seen": (counting(3), {"dog": objects(5)}, "expected dog<4, found 5"),
    "four dogs wanted, twenty seen": (counting(4), {"dog": objects(20)}, "expected dog<5, found 16"),
    "red dog, best is red": (asked(Clause("dog", 1, "red")), {"dog": coloured("red", "blue")}, ""),
    "red dog, best is blue": (
        asked(Clause("dog", 1, "red")),
        {"dog": coloured("blue", "red")},
        "expected red dog>=1, found 0 red; and 1 blue",
    ),
    "two red dogs, one white": (
        asked(Clause("dog", 2, "red")),
        {"dog": coloured("white", "red")},
        "expected red dog>=2, found 1 red; and 1 red, 1 white",
    ),
    "dog left of cat holds": (asked(*DOG_LEFT_OF_CAT), {"dog": objects(1), "cat": objects(1, box=RIGHT)}, ""),
    "dog right of cat": (
        asked(*DOG_LEFT_OF_CAT),
        {"dog": objects(1, box=RIGHT), "cat": objects(1)},
        "expected dog left of target, found right of target",
    ),
    "dog on the cat": (
        asked(*DOG_LEFT_OF_CAT),
        {"dog": objects(1), "cat": objects(1)},
        "expected dog left of target, found  target",
    ),
    "no cat to be left of": (
        asked(*DOG_LEFT_OF_CAT),
        {"dog": objects(1)},
        "expected cat>=1, found 0\nno target for dog to be left of",
    ),
    "no dog": (asked(*DOG_LEFT_OF_CAT), {"cat": objects(1)}, "expected dog>=1, found 0"),
    "colours swapped": (
        asked(Clause("dog", 1, "red"), Clause("cat", 1, "blue")),
        {"dog": coloured("blue"), "cat": coloured("red")},
        SWAPPED,
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_decisions_and_reasons_equal_the_official_ones(case):
    metadata, seen, reason = GOLDEN[case]
    decision = decide(metadata, seen)
    assert (decision.correct, decision.reason) == (reason == "", reason)


def test_a_missing_object_is_asked_for_neither_colour_nor_place():
    def never(class_name, detections):
        raise AssertionError("the colour of an object that is not there was asked for")

    metadata = asked(Clause("cat"), Clause("dog", 2, "red", Position("above", 0)))
    decision = decide(metadata, {"dog": objects(1), "cat": objects(1)}, never)
    assert decision.reason == "expected dog>=2, found 1"


def test_an_object_of_the_wrong_colour_is_not_asked_for_its_place():
    metadata = asked(Clause("cat"), Clause("dog", 1, "red", Position("left of", 0)))
    decision = decide(metadata, {"dog": coloured("blue"), "cat": objects(1)})
    assert decision.reason == "expected red dog>=1, found 0 red; and 1 blue"


def test_only_the_most_confident_objects_are_shown_to_the_colour_classifier():
    asked_for = []

    def classify(class_name, detections):
        asked_for.append((class_name, [item.score for item in detections]))
        return ["red"] * len(detections)

    seen = {"dog": [Detection(LEFT, score) for score in (0.4, 0.8, 0.6)], "cat": objects(3)}
    decide(asked(Clause("dog", 2, "red"), Clause("cat")), seen, classify)
    assert asked_for == [("dog", [0.8, 0.6])]


def test_a_target_that_failed_on_colour_is_no_target():
    metadata = asked(Clause("cat", 1, "red"), Clause("dog", position=Position("left of", 0)))
    decision = decide(metadata, {"cat": coloured("blue"), "dog": objects(1)})
    assert decision.reason.splitlines()[1] == "no target for dog to be left of"


def test_two_relations_are_named_in_a_fixed_order():
    seen = {"dog": objects(1), "cat": objects(1, box=(200.0, 200.0, 300.0, 300.0))}
    metadata = asked(Clause("cat"), Clause("dog", position=Position("right of", 0)))
    assert decide(metadata, seen).reason == "expected dog right of target, found left of and above target"


def test_other_tags_use_the_lower_threshold_and_ignore_objects_too_many():
    seen = {"dog": objects(5, score=0.31), "bird": objects(2)}
    assert decide(asked(Clause("dog")), seen).correct
    assert not decide(counting(2), seen).correct


def test_details_hold_kept_boxes_and_scores_in_single_precision():
    decision = decide(asked(Clause("dog")), {"cat": [Detection(LEFT, 0.1)], "dog": [Detection((0, 1, 2, 3), 0.7)]})
    assert decision.details == {"dog": [[0.0, 1.0, 2.0, 3.0, 0.699999988079071]]}


def test_detections_without_a_colour_are_refused_when_colour_matters():
    with pytest.raises(ValueError, match="2 of 2 detections of 'dog' have no colour"):
        decide(asked(Clause("dog", 2, "red")), {"dog": objects(2)})


@pytest.mark.parametrize(("answer", "message"), [(["grey"], "answered grey"), ([], "gave 0 names for 1 objects")])
def test_a_colour_classifier_that_breaks_its_contract_is_refused(answer, message):
    with pytest.raises(ValueError, match=message):
        decide(asked(Clause("dog", 1, "red")), {"dog": objects(1)}, lambda name, items: answer)


CLASSES = ("dog", "cat", "car")
SCORES = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.3, 0.5, 0.9, 0.95]))


@st.composite
def scenes(draw):
    def box():
        x, y = draw(st.integers(0, 60)), draw(st.integers(0, 60))
        return (float(x), float(y), float(x + draw(st.integers(1, 40))), float(y + draw(st.integers(1, 40))))

    names = draw(st.lists(st.sampled_from(CLASSES), max_size=12))
    seen = {}
    for name in names:
        seen.setdefault(name, []).append(Detection(box(), draw(SCORES), draw(st.sampled_from(COLORS[:3]))))
    return seen


@st.composite
def prompts(draw):
    include = []
    for index in range(draw(st.integers(1, 3))):
        colour = draw(st.sampled_from([None, *COLORS[:3]]))
        place = None
        if index and draw(st.booleans()):
            place = Position(draw(st.sampled_from(RELATIONS)), draw(st.integers(0, index - 1)))
        include.append(Clause(draw(st.sampled_from(CLASSES)), draw(st.integers(1, 3)), colour, place))
    tag = draw(st.sampled_from(["colors", "position", "counting"]))
    exclude = [Clause(include[0].class_name, draw(st.integers(1, 4)))] if tag == "counting" else []
    return asked(*include, exclude=exclude, tag=tag)


@given(prompts(), scenes())
def test_decisions_equal_a_slow_direct_transcription(metadata, seen):
    decision = decide(metadata, seen)
    correct, reason = transcription(metadata.to_json(), seen)
    assert (decision.correct, decision.reason) == (correct, reason)
    assert decision.correct == (decision.reason == "")


@given(prompts(), scenes(), st.sampled_from(CLASSES), st.sampled_from(COLORS), st.floats(0.3, 0.9))
def test_a_less_confident_object_more_never_turns_a_pass_into_a_fail_outside_counting(
    metadata, seen, name, colour, score
):
    if metadata.tag == "counting" or not decide(metadata, seen).correct:
        return
    lowest = min((item.score for item in seen.get(name, ())), default=1.0)
    extra = Detection((5.0, 5.0, 25.0, 25.0), score * lowest * 0.999, colour)
    assert decide(metadata, {**seen, name: [*seen.get(name, ()), extra]}).correct


@given(prompts(), scenes())
def test_the_order_of_the_classes_does_not_matter(metadata, seen):
    turned = dict(reversed(list(seen.items())))
    assert decide(metadata, seen).reason == decide(metadata, turned).reason


def transcription(prompt, seen):
    """The rules read aloud, one step after the other, without the package's parts."""
    options = Options()
    limit = options.counting_threshold if prompt["tag"] == "counting" else options.threshold
    kept = {}
    for name, items in seen.items():
        ranked = sorted(enumerate(items), key=lambda pair: (pair[1].row[4], pair[0]), reverse=True)
        passing = [item for _, item in ranked if item.row[4] > Detection(LEFT, limit).row[4]]
        kept[name] = passing[:16]
    lines, groups = [], []
    for clause in prompt["include"]:
        name, number = clause["class"], clause["count"]
        found, before = kept.get(name, [])[:number], len(lines)
        if len(found) < number:
            lines.append(f"expected {name}>={number}, found {len(found)}")
        else:
            colours = [item.colour for item in found]
            wanted = clause.get("color")
            if wanted and colours.count(wanted) < number:
                listed = ", ".join(f"{colours.count(c)} {c}" for c in COLORS if c in colours)
                lines.append(
                    f"expected {wanted} {name}>={number}, found {colours.count(wanted)} {wanted}; and {listed}"
                )
            elif "position" in clause:
                relation, target = clause["position"]
                if groups[target] is None:
                    lines.append(f"no target for {name} to be {relation}")
                else:
                    pairs = [(item, other) for item in found for other in groups[target]]
                    holding = [transcribed_relations(item.box, other.box) for item, other in pairs]
                    violated = next((names for names in holding if relation not in names), None)
                    if violated is not None:
                        lines.append(f"expected {name} {relation} target, found {' and '.join(violated)} target")
        groups.append(found if len(lines) == before else None)
    for clause in prompt.get("exclude", []):
        number = len(kept.get(clause["class"], []))
        if number >= clause["count"]:
            lines.append(f"expected {clause['class']}<{clause['count']}, found {number}")
    return not lines, "\n".join(lines)


def transcribed_relations(a, b):
    ox, oy = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
    margin_x = 0.1 * (a[2] - a[0] + b[2] - b[0])
    margin_y = 0.1 * (a[3] - a[1] + b[3] - b[1])
    rx = max(abs(ox) - margin_x, 0) * (1 if ox > 0 else -1)
    ry = max(abs(oy) - margin_y, 0) * (1 if oy > 0 else -1)
    if abs(rx) < 1e-3 and abs(ry) < 1e-3:
        return []
    length = (ox * ox + oy * oy) ** 0.5
    shares = {"left of": -rx, "right of": rx, "above": -ry, "below": ry}
    # Single precision decides within 1e-6 of one half; the package follows the original there.
    return [name for name, share in shares.items() if share / length > 0.5 + 1e-6]
