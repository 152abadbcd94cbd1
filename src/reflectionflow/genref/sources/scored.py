"""Reward and length: pairs about general texts, where no rule says pass or fail.

General texts of Scenes are captions of training scenes. A picture is scored by the run's verifier and by how near what
detector A sees is to the captioned scene; the ensemble is the mean of both ranks, as the paper ensembles its scorers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from reflectionflow.genref.graph import Graph, distance, graph_of
from reflectionflow.genref.pairs import Pair, joined
from reflectionflow.genref.pool import SIDE, Picture, Pool, prompts_a_round
from reflectionflow.genref.teacher import edits_of
from reflectionflow.genref.teaching import GraphTeacher
from reflectionflow.scenes.captions import CaptionMix, detailed_caption, short_caption
from reflectionflow.scenes.claims import detections
from reflectionflow.scenes.splits import held_out_colors, held_out_pairs, held_out_relations
from reflectionflow.scenes.world import Priors, Scene, draw_scene

IMAGES = 6
LENGTH_IMAGES = 2
ROUNDS = 40
MARGIN = 0.4
"""Least difference of mean ranks, as a share of the number of pictures, between the worst and the best."""
NEARER = 0.3
"""How much nearer to the scene the picture of the detailed caption must be."""
PRIORS = Priors(kind_weights=(2.0, 2.0, 6.0, 4.0, 2.0))


def _scenes(seed: int, turn: int, count: int) -> list[Scene]:
    rng = np.random.default_rng([seed, turn, 8])
    return [draw_scene(rng, PRIORS, held_out_colors(), held_out_pairs()) for _ in range(count)]


def _short(scene: Scene, rng: np.random.Generator) -> str:
    return short_caption(scene, rng, CaptionMix(held_out_relations=held_out_relations()))


def truth_of(scene: Scene) -> Graph:
    """Return a scene as its own graph."""
    return graph_of(detections(scene), SIDE)


def ensemble(scores: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the mean rank of each picture over scorers, larger is better; ties share their ranks."""
    from scipy.stats import rankdata

    return np.asarray(np.mean([rankdata(column) for column in scores], axis=0))


def reward_pairs(pool: Pool, wanted: int, seed: int, drops: Counter[str]) -> list[Pair]:
    """Join the worst picture of a text with the nearer of its two best ones, where the ranks differ clearly."""
    found: list[Pair] = []
    for turn in range(ROUNDS):
        if len(found) >= wanted:
            break
        rng = np.random.default_rng([seed, turn, 9])
        asked = {
            (detailed_caption(scene, rng) if rng.random() < 0.5 else _short(scene, rng)): scene
            for scene in _scenes(seed, turn, prompts_a_round(wanted))
        }
        for prompt, pictures in pool.pictures(f"reward-{turn}", list(asked), IMAGES, seed).items():
            pair = best_and_worst(prompt, asked[prompt], pictures, seed, drops)
            found += [pair] if pair else []
    return found[:wanted]


def best_and_worst(
    prompt: str, scene: Scene, pictures: Sequence[Picture], seed: int, drops: Counter[str]
) -> Pair | None:
    """Return the pair of one text; none where too few pictures have a score, or the scorers see no difference."""
    scored = [picture for picture in pictures if picture.score is not None]
    if len(scored) < 2:
        drops["too few pictures have a score"] += 1
        return None
    nearness = [-distance(picture.graph, truth_of(scene)) for picture in scored]
    ranks = ensemble([[float(picture.score or 0) for picture in scored], nearness])
    order = np.argsort(ranks, kind="stable")
    worst = scored[int(order[0])]
    best = [scored[int(place)] for place in order[-2:] if ranks[place] - ranks[order[0]] >= MARGIN * len(scored)]
    if not best:
        drops["the scorers see no clear difference"] += 1
        return None
    enhanced = min(best, key=lambda picture: distance(worst.graph, picture.graph))
    return joined(worst, enhanced, "general", prompt, _teacher(scene), seed, drops)


def _teacher(scene: Scene) -> GraphTeacher:
    """Return a teacher with a rank of its own: how near a picture is to what its caption tells of."""
    truth = truth_of(scene)
    return GraphTeacher(lambda picture: -distance(picture.graph, truth), edits_of)


def length_pairs(pool: Pool, wanted: int, seed: int, drops: Counter[str]) -> list[Pair]:
    """Join the pictures of a scene's short and detailed caption; the prompt is the short one."""
    found: list[Pair] = []
    for turn in range(ROUNDS):
        if len(found) >= wanted:
            break
        rng = np.random.default_rng([seed, turn, 10])
        asked = {
            (_short(scene, rng), detailed_caption(scene, rng)): scene
            for scene in _scenes(seed + 1, turn, prompts_a_round(wanted))
        }
        prompts = list(dict.fromkeys(text for texts in asked for text in texts))
        pictures = pool.pictures(f"length-{turn}", prompts, LENGTH_IMAGES, seed)
        for (short, detailed), scene in asked.items():
            found += of_captions(short, scene, pictures[short], pictures[detailed], seed, drops)
    return found[:wanted]


def of_captions(
    short: str,
    scene: Scene,
    of_short: Sequence[Picture],
    of_detailed: Sequence[Picture],
    seed: int,
    drops: Counter[str],
) -> list[Pair]:
    """Return the pairs of one scene: each picture of its short caption with one that is nearer to it."""
    truth, found = truth_of(scene), []
    for flawed, enhanced in zip(of_short, of_detailed, strict=False):
        if distance(flawed.graph, truth) - distance(enhanced.graph, truth) < NEARER:
            drops["the detailed caption's picture is not clearly nearer to the scene"] += 1
            continue
        pair = joined(flawed, enhanced, "length", short, _teacher(scene), seed, drops)
        found += [pair] if pair else []
    return found
