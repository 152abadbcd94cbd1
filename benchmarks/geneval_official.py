"""Our decisions against the official program's own code, on random detections; any difference is printed.

    git clone https://github.com/djghosh13/geneval
    python benchmarks/geneval_official.py geneval --cases 5000

Runs `evaluate_image` of the clone's `evaluation/evaluate_images.py` with empty stand-ins for the libraries it imports
and with random detections in place of a detector's; colours are told by the detections. Compared are correctness, the
reason, metadata and details. Two relations in one reason are compared as a set, whose order is random there. No two
objects of a class have equal scores: the order in which numpy's default sort, used there, leaves them depends on the
processor.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from reflectionflow.geneval import (
    COLORS,
    OBJECTS,
    RELATIONS,
    Clause,
    Detection,
    Metadata,
    Options,
    Position,
    ResultRecord,
    decide,
    suite,
)

THRESHOLDS = (0.3, 0.9)


def official(clone: Path) -> ModuleType:
    """Return the official program as a module, ready to be asked."""
    names = ("mmdet", "mmdet.apis", "open_clip", "clip_benchmark", "clip_benchmark.metrics", "pandas", "torch")
    stubs = {name: ModuleType(name) for name in names}
    stubs["mmdet.apis"].inference_detector = stubs["mmdet.apis"].init_detector = None
    stubs["clip_benchmark.metrics"].zeroshot_classification = ModuleType("zeroshot_classification")
    stubs["torch"].cuda = ModuleType("cuda")
    stubs["torch"].cuda.is_available = lambda: True
    stubs["torch"].utils = ModuleType("utils")
    stubs["torch"].utils.data = ModuleType("data")
    stubs["torch"].utils.data.Dataset = object
    before = dict(sys.modules)
    sys.modules.update(stubs)
    try:
        spec = importlib.util.spec_from_file_location("official", clone / "evaluation" / "evaluate_images.py")
        program = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(program)
    finally:
        for name in names:
            sys.modules.pop(name)
            if name in before:
                sys.modules[name] = before[name]
    options = Options()
    program.classnames = list(OBJECTS)
    program.object_detector = None
    program.THRESHOLD, program.COUNTING_THRESHOLD = options.threshold, options.counting_threshold
    program.MAX_OBJECTS, program.NMS_THRESHOLD = options.max_objects, options.max_overlap
    program.POSITION_THRESHOLD = options.position_threshold
    # The colour of an object travels where its mask would.
    program.color_classification = lambda image, objects, name: [color for _, color in objects]
    return program


def random_metadata(rng: np.random.Generator, prompts: tuple[Metadata, ...]) -> Metadata:
    """Return a prompt of the suite, or clauses as the suite never combines them."""
    if rng.random() < 0.5:
        return prompts[int(rng.integers(len(prompts)))]
    names = rng.choice(OBJECTS, size=3)
    include = []
    for index in range(int(rng.integers(1, 4))):
        color = str(rng.choice(COLORS[:3])) if rng.random() < 0.4 else None
        place = None
        if index and rng.random() < 0.6:
            place = Position(str(rng.choice(RELATIONS)), int(rng.integers(index)))
        include.append(Clause(str(names[int(rng.integers(3))]), int(rng.integers(1, 4)), color, place))
    tag = str(rng.choice(["counting", "position", "color_attr"]))
    exclude = (Clause(include[0].class_name, int(rng.integers(1, 5))),) if rng.random() < 0.4 else ()
    return Metadata(tag, "random", tuple(include), exclude)


def random_score(rng: np.random.Generator) -> float:
    """Return a score, often a threshold in single precision or one of its neighbours."""
    near = np.float32(rng.choice(THRESHOLDS))
    kind = rng.integers(6)
    if kind == 0:
        return float(near)
    if kind == 1:
        return float(np.nextafter(near, np.float32(rng.integers(2)), dtype=np.float32))
    return float(np.float32(rng.random() ** 0.3))


def random_detections(rng: np.random.Generator, metadata: Metadata) -> dict[str, list[Detection]]:
    """Return detections of all 80 classes, mostly of those the prompt names."""
    wanted = [clause.class_name for clause in metadata.include]
    seen: dict[str, list[Detection]] = {name: [] for name in OBJECTS}
    for name in {*wanted, *map(str, rng.choice(OBJECTS, size=2))}:
        number = int(rng.integers(17, 30)) if rng.random() < 0.1 else int(rng.integers(0, 7))
        for score in {random_score(rng) for _ in range(number)}:
            x, y, width, height = rng.integers((0, 0, 1, 1), (300, 300, 200, 200)).tolist()
            color = str(rng.choice(COLORS[:3] if rng.random() < 0.8 else COLORS))
            box = (float(x), float(y), float(x + width), float(y + height))
            seen[name].append(Detection(box, score, color))
    return seen


def comparable(record: dict[str, object]) -> dict[str, object]:
    """Return a record with the relations of its reason in alphabetical order."""

    def ordered(match: re.Match[str]) -> str:
        return f"found {' and '.join(sorted(match[1].split(' and ')))} target"

    return {**record, "reason": re.sub(r"found ([a-z ]+) target", ordered, str(record["reason"]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", type=Path, help="a clone of djghosh13/geneval")
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    program, rng, prompts = official(asked.clone), np.random.default_rng(asked.seed), suite()
    different = correct = 0
    with tempfile.TemporaryDirectory() as parent:
        picture = str(Path(parent) / "00000.png")
        Image.new("RGB", (8, 8)).save(picture)
        for number in range(asked.cases):
            metadata = random_metadata(rng, prompts)
            seen = random_detections(rng, metadata)
            boxes = [np.array([item.row for item in items], np.float32).reshape(-1, 5) for items in seen.values()]
            colors = [[item.colour for item in items] for items in seen.values()]
            program.inference_detector = lambda detector, path, answer=(boxes, colors): answer
            theirs = program.evaluate_image(picture, metadata.to_json())
            ours = json.loads(ResultRecord.of(picture, metadata, decide(metadata, seen)).line())
            correct += ours["correct"]
            if comparable(ours) != comparable(theirs):
                different += 1
                print(f"case {number}:\n  official {theirs}\n  ours     {ours}")
    print(f"{asked.cases} cases, {correct} of them correct, {different} decided or described differently")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
