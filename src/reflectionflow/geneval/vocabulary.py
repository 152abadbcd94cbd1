"""The words of GenEval's prompts, and its spelling of articles and plurals.

Facts of `prompts/object_names.txt` and `prompts/create_prompts.py` in djghosh13/geneval @ af4902f (MIT).
"""

from __future__ import annotations

# The 80 thing classes of COCO in COCO's order, the order in which detectors number them. Three have names of
# GenEval's own (64 computer mouse, 65 tv remote, 66 computer keyboard), so detectors are mapped by number, not by name.
OBJECTS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "computer mouse", "tv remote", "computer keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def with_article(name: str) -> str:
    """Return a name after "a", or after "an" when its first letter is a vowel."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def plural(name: str) -> str:
    """Return GenEval's plural, wrong ones included: "es" after an s, else "s" ("benchs", "scissorses")."""
    return f"{name}{'es' if name.endswith('s') else 's'}"
