"""Print the error rates of judge B on renderings and on degraded renderings, with 95 % Wilson intervals.

    python benchmarks/judge_b.py --scenes 2000 --seed 1000000

Scenes are drawn without the world's priors: every object, colour, count and place is equally likely. Seeds from
1 000 000 on were never used to make the judge. "missed" objects have no detection of their class above .3 on their
place; "invented" detections are above .3 and belong to no object of their class; "colour" errors are among the found.
Counts are judged as GenEval does, above .9; "relation" errors compare with GenEval's relation of the true tight boxes.
Prompts are written from the truth: one that holds and one that does not, per scene and task.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from itertools import permutations

import numpy as np
from PIL import Image

from reflectionflow.evaluation.degrade import DEGRADATIONS
from reflectionflow.evaluation.intervals import Share
from reflectionflow.evaluation.scenes_judge import detect
from reflectionflow.geneval import COLORS, RELATIONS, Clause, Detection, Metadata, Options, Position, decide, relations
from reflectionflow.scenes.words import OBJECTS
from reflectionflow.scenes.world import UNIFORM, draw_scene
from scenes_truth import SAME, WRECKS, pixels_of, shared, tight_box, wreck

OPTIONS = Options()


class Tally:
    """Hits and trials by table and row."""

    def __init__(self):
        self.hits, self.trials = defaultdict(int), defaultdict(int)

    def add(self, table, row, hit):
        """Count one trial."""
        self.hits[table, row] += bool(hit)
        self.trials[table, row] += 1

    def share(self, table, row):
        """Return the share of hits."""
        return Share(self.hits[table, row], self.trials[table, row])


def matched(scene, found):
    """Return per object of the scene its detection of the right class, or none; and the detections left over."""
    left = [(name, item) for name, items in found.items() for item in items if item.score > OPTIONS.threshold]
    matches = []
    for thing in scene.things:
        near = [pair for pair in left if pair[0] == thing.noun and shared(tight_box(thing), pair[1].box) > SAME]
        best = max(near, key=lambda pair: shared(tight_box(thing), pair[1].box), default=None)
        if best is not None:
            left.remove(best)
        matches.append(None if best is None else best[1])
    return matches, left


def tally_objects(tally, scene, found):
    matches, left = matched(scene, found)
    for thing, match in zip(scene.things, matches, strict=True):
        tally.add("missed", thing.noun, match is None)
        tally.add("missed", "all", match is None)
        if match is not None:
            wrong = match.colour != thing.color
            tally.add("not sure (≤ .9)", thing.noun, match.score <= OPTIONS.counting_threshold)
            tally.add("not sure (≤ .9)", "all", match.score <= OPTIONS.counting_threshold)
            tally.add("colour", thing.color, wrong)
            tally.add("colour", "all", wrong)
        tally.add("missed by colour", thing.color, match is None)
    tally.add("invented", "all", bool(left))
    return matches


def tally_counts(tally, scene, found):
    for noun in {thing.noun for thing in scene.things}:
        number = sum(thing.noun == noun for thing in scene.things)
        seen = sum(item.score > OPTIONS.counting_threshold for item in found.get(noun, ()))
        tally.add("count", number, seen != number)


def tally_relations(tally, scene, matches):
    pairs = permutations(zip(scene.things, matches, strict=True), 2)
    for (first, seen_first), (second, seen_second) in pairs:
        if first.noun == second.noun or seen_first is None or seen_second is None:
            continue
        truth = relations(Detection(tight_box(first), 1.0), Detection(tight_box(second), 1.0), OPTIONS)
        seen = relations(seen_first, seen_second, OPTIONS)
        for name in RELATIONS:
            tally.add(
                "relation denied" if name in truth else "relation invented", name, (name in truth) != (name in seen)
            )


def true_clauses(scene, rng):
    """Yield (tag, include, exclude) of prompts that hold."""
    nouns = [thing.noun for thing in scene.things]
    single = [thing for thing in scene.things if nouns.count(thing.noun) == 1]
    rng.shuffle(single)
    yield "single_object", (Clause(nouns[0]),), ()
    if nouns.count(nouns[0]) > 1:
        number = nouns.count(nouns[0])
        yield "counting", (Clause(nouns[0], number),), (Clause(nouns[0], number + 1),)
    if single:
        yield "colors", (Clause(single[0].noun, 1, single[0].color),), ()
    if len(single) > 1:
        first, second = single[:2]
        yield "two_object", (Clause(first.noun), Clause(second.noun)), ()
        yield "color_attr", (Clause(first.noun, 1, first.color), Clause(second.noun, 1, second.color)), ()
        boxes = [Detection(tight_box(thing), 1.0) for thing in (first, second)]
        for name in relations(*boxes, OPTIONS)[:1]:
            yield "position", (Clause(second.noun), Clause(first.noun, 1, None, Position(name, 0))), ()


def spoilt(tag, include, scene, rng):
    """Return include and exclude clauses of the same task that do not hold."""
    absent = [noun for noun in OBJECTS if all(noun != thing.noun for thing in scene.things)]
    last = include[-1]
    if tag in ("single_object", "two_object"):
        return (*include[:-1], Clause(str(rng.choice(absent)))), ()
    if tag == "counting":
        # The scene has `count` of them: ask for one fewer or one more.
        number = last.count + (1 if last.count == 2 or rng.random() < 0.5 else -1)
        return (Clause(last.class_name, number),), (Clause(last.class_name, number + 1),)
    if tag in ("colors", "color_attr"):
        color = str(rng.choice([name for name in COLORS if name != last.color]))
        return (*include[:-1], Clause(last.class_name, 1, color)), ()
    opposite = RELATIONS[RELATIONS.index(last.position.relation) ^ 1]
    return (include[0], Clause(last.class_name, 1, None, Position(opposite, 0))), ()


def tally_prompts(tally, scene, found, rng):
    for tag, include, exclude in true_clauses(scene, rng):
        holds = decide(Metadata(tag, "", include, exclude), found)
        tally.add("prompt that holds, refused", tag, not holds.correct)
        fails = decide(Metadata(tag, "", *spoilt(tag, include, scene, rng)), found)
        tally.add("prompt that fails, accepted", tag, fails.correct)


def measure(name, seeds):
    tally, seconds = Tally(), 0.0
    for seed in seeds:
        scene = draw_scene(np.random.default_rng(seed), UNIFORM)
        picture = Image.fromarray(pixels_of(scene, name, seed))
        start = time.process_time()
        found = detect(picture)
        seconds += time.process_time() - start
        matches = tally_objects(tally, scene, found)
        tally_counts(tally, scene, found)
        tally_relations(tally, scene, matches)
        tally_prompts(tally, scene, found, np.random.default_rng([seed, 2]))
    return tally, 1000 * seconds / len(seeds)


def measure_wrecks(seeds):
    """Return, per kind of wreck, how often it is still taken for the object it was, and for any object."""
    tally = Tally()
    for seed in seeds:
        kind = seed % len(WRECKS)
        item = wreck(np.random.default_rng([seed, 1]), kind)
        found = detect(Image.fromarray(item.pixels))
        scores = [(name == item.thing.noun, each.score) for name, items in found.items() for each in items]
        tally.add("own name > .3", WRECKS[kind], any(own and value > 0.3 for own, value in scores))
        tally.add("any name > .3", WRECKS[kind], any(value > 0.3 for _, value in scores))
        tally.add("any name > .9", WRECKS[kind], any(value > 0.9 for _, value in scores))
    return tally


def cell(share):
    low, high = share.interval
    return f"{100 * share.value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def print_table(title, rows, columns):
    """Print a Markdown table; columns are (heading, function of the row)."""
    print(f"\n**{title}**\n\n| | {' | '.join(heading for heading, _ in columns)} |")
    print(f"|---|{'---:|' * len(columns)}")
    for row in rows:
        print(f"| {row} | {' | '.join(cell(shares(row)) for _, shares in columns)} |")


def columns_of(results, table):
    return [(name, lambda row, tally=tally: tally.share(table, row)) for name, tally in results.items()]


def print_results(results):
    by_name = {"all": "all", **{noun: noun for noun in OBJECTS}}
    print_table("Missed objects, % of objects", by_name, columns_of(results, "missed"))
    print_table("Something invented, % of pictures", ["all"], columns_of(results, "invented"))
    print_table("Found, but not above .9, % of found objects", by_name, columns_of(results, "not sure (≤ .9)"))
    print_table("Missed objects by colour, % of objects", COLORS, columns_of(results, "missed by colour"))
    print_table("Wrong colour, % of found objects", ["all", *COLORS], columns_of(results, "colour"))
    print_table("Wrong count above .9, % of (scene, object)", [1, 2, 3, 4], columns_of(results, "count"))
    print_table("Relation that holds, not seen, % of pairs", RELATIONS, columns_of(results, "relation denied"))
    print_table("Relation that does not hold, seen, % of pairs", RELATIONS, columns_of(results, "relation invented"))
    tags = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
    print_table("Prompt that holds, refused, % of prompts", tags, columns_of(results, "prompt that holds, refused"))
    print_table("Prompt that fails, accepted, % of prompts", tags, columns_of(results, "prompt that fails, accepted"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1_000_000, help="seed of the first scene")
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.scenes)
    results, times = {}, []
    for name in DEGRADATIONS:
        results[name], milliseconds = measure(name, seeds)
        times.append(f"{name} {milliseconds:.1f}")
    objects = results["rendering"].share("missed", "all").trials
    print(f"{arguments.scenes} scenes from seed {arguments.seed}, {objects} objects.")
    print(f"CPU milliseconds a picture: {', '.join(times)}.")
    print_results(results)
    tally = measure_wrecks(seeds)
    names = ("own name > .3", "any name > .3", "any name > .9")
    columns = [(name, lambda row, name=name: tally.share(name, row)) for name in names]
    print_table("Spoilt objects still seen, % of pictures", WRECKS, columns)


if __name__ == "__main__":
    main()
