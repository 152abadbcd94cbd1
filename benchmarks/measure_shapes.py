"""Measure the shapes and the score of judge B and write `src/reflectionflow/evaluation/shapes.json`.

    python benchmarks/measure_shapes.py

Four equal ranges of seeds from 0 on are used, all below 10 000: means of the normal forms that the judge itself cuts
out of renderings, some blurred or noisy, are the usual templates; white scenes give the templates of pale objects whose
grey parts vanish; the weights of the score are a logistic regression of readings of degraded renderings that name the
right object against wrong readings, and against objects spoilt on purpose. Seeds from 1 000 000 on are kept for
`judge_b.py`. Run it again when the renderer's shapes change.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from reflectionflow.evaluation import degrade, shapes
from reflectionflow.evaluation.explain import explain
from reflectionflow.evaluation.silhouettes import segment
from reflectionflow.scenes.words import OBJECTS
from reflectionflow.scenes.world import UNIFORM, draw_scene
from scenes_truth import best_thing, pixels_of, wreck

HOME = Path(shapes.__file__).with_name("shapes.json")
TYPICAL = ("rendering", "blur", "noise")
POOR, FEW = 0.78, 4
"""A white object's form is poor below this overlap with the usual one; fewer poor ones give no template."""
RIGHT = 0.97
"""Pictures hold far more objects than wrecks, and one of four objects at .9 or less fails a counting prompt."""


def box_of(mask):
    rows, columns = np.nonzero(mask)
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def forms_of(scenes):
    """Return the normal forms of what the judge cuts out of typical renderings, by the object that is really there."""
    forms = defaultdict(list)
    for seed, scene in scenes:
        for item in segment(pixels_of(scene, TYPICAL[seed % len(TYPICAL)], seed)).silhouettes:
            thing = best_thing(scene, box_of(item.mask))
            if thing is not None:
                forms[thing.noun].append(shapes.form_of(item.mask))
    return {noun: np.stack(found) for noun, found in forms.items()}


def scenes_of(seeds):
    for seed in seeds:
        yield seed, draw_scene(np.random.default_rng(seed), UNIFORM)


def white_scenes_of(seeds):
    for seed, scene in scenes_of(seeds):
        yield seed, replace(scene, things=tuple(replace(thing, color="white") for thing in scene.things))


def measure_templates(seeds, white_seeds):
    """Return the usual form of every object, and the form of pale ones where enough of them come out poor."""
    usual_forms, white_forms = forms_of(scenes_of(seeds)), forms_of(white_scenes_of(white_seeds))
    found = []
    for noun in OBJECTS:
        forms = usual_forms[noun]
        values = shapes.overlaps(np.median(forms, axis=0), forms)
        usual = forms[values >= np.quantile(values, 0.2)].mean(axis=0)
        found.append({"name": noun, "pale": False, "form": shapes.encode(usual)})
        poor = white_forms[noun][shapes.overlaps(usual, white_forms[noun]) < POOR]
        if len(poor) >= FEW:
            found.append({"name": noun, "pale": True, "form": shapes.encode(np.median(poor, axis=0))})
    return found


def right_and_wrong(seeds):
    """Yield (overlap, margin, right or not) of what the judge reads in degraded renderings."""
    names = list(degrade.DEGRADATIONS)
    for seed, scene in scenes_of(seeds):
        for reading in explain(segment(pixels_of(scene, names[seed % len(names)], seed))):
            thing = best_thing(scene, box_of(reading.mask))
            yield reading.fit.overlap, reading.fit.margin, thing is not None and thing.noun == reading.fit.name


def wrecks(seeds):
    """Yield (overlap, margin, False) of what the judge reads in single objects spoilt on purpose."""
    for seed in seeds:
        for reading in explain(segment(wreck(np.random.default_rng([seed, 1]), seed % 4).pixels)):
            yield reading.fit.overlap, reading.fit.margin, False


def fit_score(rows):
    """Return the weights of the logistic function; right readings weigh `RIGHT` of the whole."""
    table = np.array(rows, dtype=float)
    features, right = np.column_stack([np.ones(len(table)), table[:, :2]]), table[:, 2] > 0.5
    weights = np.where(right, RIGHT / right.sum(), (1 - RIGHT) / (~right).sum())
    sign = np.where(right, 1.0, -1.0)

    def loss(beta):
        return (weights * np.logaddexp(0, -sign * (features @ beta))).sum() + 1e-6 * (beta[1:] ** 2).sum()

    bias, overlap, margin = minimize(loss, np.zeros(3), method="BFGS").x
    return {"bias": round(float(bias), 3), "overlap": round(float(overlap), 3), "margin": round(float(margin), 3)}


def write(data):
    HOME.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    for cached in (shapes.measured, shapes.templates, shapes.stacked):
        cached.cache_clear()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=300, help="scenes in each of the four ranges")
    scenes = parser.parse_args().scenes
    data = {
        "made_by": "python benchmarks/measure_shapes.py",
        "score": {"bias": 0.0, "overlap": 0.0, "margin": 0.0},
        "templates": measure_templates(range(scenes), range(scenes, 2 * scenes)),
    }
    write(data)
    good = list(right_and_wrong(range(2 * scenes, 3 * scenes)))
    bad = list(wrecks(range(3 * scenes, 4 * scenes)))
    data["score"] = fit_score(good + bad)
    write(data)
    print(f"{len(data['templates'])} templates; score {data['score']}")
    for title, rows in (("right", [row for row in good if row[2]]), ("wrecks", bad)):
        values = np.array([shapes.score(shapes.Fit("", overlap, margin)) for overlap, margin, _ in rows])
        print(f"{title}: {len(rows)}, above .9 {np.mean(values > 0.9):.3f}, above .3 {np.mean(values > 0.3):.3f}")


if __name__ == "__main__":
    main()
