"""How far detectors A and B agree with a viewer about generated pictures.

    python benchmarks/labels.py singles docs/labels/singles
    python benchmarks/labels.py mixed docs/labels/mixed

`singles`: the share of pictures whose object was named as the prompt names it, `names.json` against `key.json`.

`mixed`: `verdicts.json` says of every number whether the picture satisfies its prompt, `objects.json` which objects
were seen, each as "red star"; `verdicts-again.json` and `objects-again.json` repeat some of them by another viewer.
Printed are, per tag, how often A and B agree with the verdicts and in which direction they err, the same for counts
when less sure detections are counted too, the agreement of A with B and of the two viewers, and per detector the
objects missed and invented and the colours named differently, by class.
Intervals are 95 % Wilson.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from PIL import Image

from contact_sheets import cut
from reflectionflow.evaluation import scenes_judge
from reflectionflow.evaluation.intervals import Share
from reflectionflow.geneval import COUNTING, Detection, Metadata, Options, decide
from reflectionflow.models.detector import OracleOptions, OracleVerifier
from reflectionflow.scenes.prompts import TAGS, parse
from reflectionflow.scenes.words import COLORS, OBJECTS

Found = dict[str, list[Detection]]
SURE = 0.3
COUNTED_FROM = (0.3, 0.5, 0.7, 0.9)


def shown(hits: int, trials: int) -> str:
    """Return a share in percent with its interval."""
    share = Share(hits, trials)
    low, high = share.interval
    return f"{100 * share.value:.0f} % [{100 * low:.0f}, {100 * high:.0f}] of {trials}"


def read(path: Path) -> dict[int, object]:
    return {int(number): value for number, value in json.loads(path.read_text("utf-8")).items()}


def singles(folder: Path) -> None:
    """Print how many objects were named rightly, and which were not."""
    key, names = read(folder / "key.json"), read(folder / "names.json")
    asked = {number: item["prompt"].split()[-1] for number, item in key.items()}
    right = [number for number in asked if names.get(number) == asked[number]]
    print(f"named as asked: {shown(len(right), len(asked))}")
    for noun in OBJECTS:
        mine = [number for number in asked if asked[number] == noun]
        wrong = Counter(str(names.get(number)) for number in mine if names.get(number) != noun)
        print(f"{noun:10}{shown(len(mine) - sum(wrong.values()), len(mine)):28}{dict(wrong) if wrong else ''}")


def agreement(title: str, first: dict[int, bool], second: dict[int, bool], tags: dict[int, str]) -> None:
    """Print per tag how often two deciders agree, and how often only one of them says yes."""
    print(f"\n**{title}**\n\n| | agree | only the first says yes | only the second says yes |\n|---|---|---|---|")
    for name in (*TAGS, "all"):
        both = [number for number in first if number in second and name in (tags[number], "all")]
        more = sum(first[number] and not second[number] for number in both)
        less = sum(second[number] and not first[number] for number in both)
        print(f"| {name} | {shown(len(both) - more - less, len(both))} | {more} | {less} |")


def objects_table(title: str, told: dict[int, list[str]], found: dict[int, Found]) -> None:
    """Print per class how many of the objects a viewer saw were missed or coloured otherwise, and how many invented."""
    seen, missed, invented, named, colored = Counter(), Counter(), Counter(), Counter(), Counter()
    for number, things in told.items():
        mine = Counter(thing.split()[-1] for thing in things)
        theirs = Counter({noun: sum(i.score >= SURE for i in items) for noun, items in found[number].items()})
        seen.update(mine)
        missed.update(mine - theirs)
        invented.update(theirs - mine)
        for thing in things:
            color, _, noun = thing.rpartition(" ")
            if mine[noun] == theirs[noun] == 1 and color in COLORS:
                named[noun] += 1
                colored[noun] += color != next(i.colour for i in found[number][noun] if i.score >= SURE)
    print(f"\n**{title}**\n\n| | objects seen | missed | invented | other colour |\n|---|---|---|---|---|")
    for noun in OBJECTS:
        print(f"| {noun} | {seen[noun]} | {missed[noun]} | {invented[noun]} | {colored[noun]} of {named[noun]} |")
    total = [sum(counter.values()) for counter in (seen, missed, invented, colored, named)]
    print(f"| all | {total[0]} | {shown(total[1], total[0])} | {total[2]} | {shown(total[3], total[4])} |")


def thresholds(verdicts: dict[int, bool], asked: dict[int, Metadata], found: dict[str, dict[int, Found]]) -> None:
    """Print how often each detector agrees about counts when detections count from other confidences on."""
    counts = [number for number in verdicts if asked[number].tag == COUNTING]
    print("\n**Counts, by the least confidence that is counted (GenEval's is 0.9)**\n")
    print("| | agree | only the viewer says yes | only the detector says yes |\n|---|---|---|---|")
    for name, seen in found.items():
        for least in COUNTED_FROM:
            options = Options(counting_threshold=least)
            told = {number: decide(asked[number], seen[number], options=options).correct for number in counts}
            more = sum(verdicts[number] and not told[number] for number in counts)
            less = sum(told[number] and not verdicts[number] for number in counts)
            print(f"| {name}, {least} | {shown(len(counts) - more - less, len(counts))} | {more} | {less} |")


def detected(pictures: dict[int, Image.Image]) -> dict[str, dict[int, Found]]:
    """Return what A and B see."""
    oracle = OracleVerifier(OracleOptions())
    numbers = list(pictures)
    a = dict(zip(numbers, oracle.detections([pictures[number] for number in numbers]), strict=True))
    return {"A": a, "B": {number: scenes_judge.detect(picture) for number, picture in pictures.items()}}


def mixed(folder: Path) -> None:
    """Print all tables."""
    key, verdicts = read(folder / "key.json"), read(folder / "verdicts.json")
    objects = read(folder / "objects.json")
    tags = {number: item["tag"] for number, item in key.items()}
    asked: dict[int, Metadata] = {number: parse(item["prompt"]) for number, item in key.items()}
    pictures = {number: picture for number, picture in cut(folder).items() if number in key}
    found = detected(pictures)

    def passing(seen: dict[int, Found]) -> dict[int, bool]:
        return {number: decide(asked[number], seen[number]).correct for number in key}

    decided = {name: passing(seen) for name, seen in found.items()}
    for name in found:
        agreement(f"The viewer, and detector {name}", verdicts, decided[name], tags)
    thresholds(verdicts, asked, found)
    agreement("Detector A, and detector B", decided["A"], decided["B"], tags)
    agreement("The viewer, and a second viewer", verdicts, read(folder / "verdicts-again.json"), tags)
    for name, seen in found.items():
        objects_table(f"Objects the viewer saw, and detector {name}", objects, seen)
    again = read(folder / "objects-again.json")
    same = sum(sorted(objects[number]) == sorted(again[number]) for number in again)
    print(f"\nTwo viewers list the same objects and colours: {shown(same, len(again))}")


def main() -> None:
    """Print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("singles", "mixed"))
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    {"singles": singles, "mixed": mixed}[asked.kind](asked.folder)


if __name__ == "__main__":
    main()
