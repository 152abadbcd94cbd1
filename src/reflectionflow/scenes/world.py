"""Scene graphs, and how the world's scenes are distributed.

A scene is objects (class, colour, place, size) on a background. Training scenes follow *priors* (object frequencies,
object-colour affinities, pair-position affinities, count frequencies), as photographs do: this is where a generator's
mistakes come from. Everything is drawn from a `numpy.random.Generator`, so scene number i of a seed never changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from reflectionflow.scenes.words import BACKGROUNDS, COLORS, OBJECTS, PATTERNS, PLACES, SIZES

CANVAS = 128
SMALLEST, LARGEST = 26.0, 54.0
MARGIN = 3.0
Rng = np.random.Generator


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        noun: One of `words.OBJECTS`.
        color: One of `words.COLORS`.
        x: Centre in pixels from the left, in a 128-pixel canvas.
        y: Centre in pixels from the top.
        size: Width and height of the bounding box in pixels.
    """

    noun: str
    color: str
    x: float
    y: float
    size: float

    @property
    def place(self) -> str:
        """Which ninth of the canvas the centre lies in, in words."""
        column = min(2, int(self.x / CANVAS * 3))
        row = min(2, int(self.y / CANVAS * 3))
        return PLACES[row][column]

    @property
    def size_word(self) -> str:
        """The word for its size, small or big; empty in between."""
        if self.size < 33:
            return SIZES[0]
        return SIZES[1] if self.size > 46 else ""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(x1, y1, x2, y2) in pixels."""
        half = self.size / 2
        return (self.x - half, self.y - half, self.x + half, self.y + half)


@dataclass(frozen=True)
class Scene:
    """Objects on a background; `seed` varies the background's pattern only."""

    things: tuple[Thing, ...]
    background: str = BACKGROUNDS[0]
    pattern: str = PATTERNS[0]
    seed: int = 0


@dataclass(frozen=True)
class Priors:
    """How training scenes are distributed; all weights are relative.

    Attributes:
        noun_exponent: Zipf exponent of object frequencies in the order of `words.OBJECTS` (0 is uniform).
        color_affinity: How much more often an object wears its own three colours than any other (1 is uniform).
        pair_affinity: How much more often an ordered pair of objects stands in its own relation (1 is uniform).
        count_weights: Weights of scenes with two, three and four objects of one kind.
        kind_weights: Weights of the kinds of scenes: one object, several of one kind, two, three, four different.
        same_color: Probability that the second object of a scene takes the first one's colour (attribute leak).
        grid: Centres lie on multiples of this many pixels, by default those that a token of the denoiser covers
            (decision 18); 0 lets them lie anywhere.
        sizes: The sizes objects come in, in pixels; empty for any size between `SMALLEST` and `LARGEST`.
    """

    noun_exponent: float = 0.5
    color_affinity: float = 6.0
    pair_affinity: float = 6.0
    count_weights: tuple[float, float, float] = (6.0, 2.0, 1.0)
    kind_weights: tuple[float, float, float, float, float] = (5.0, 4.0, 8.0, 2.0, 1.0)
    same_color: float = 0.15
    grid: float = 16.0
    sizes: tuple[float, ...] = (32.0, 48.0)

    @cached_property
    def noun_weights(self) -> np.ndarray:
        """Probability of each object, shape [14]."""
        weights = (1.0 + np.arange(len(OBJECTS))) ** -self.noun_exponent
        return np.asarray(weights / weights.sum())

    @cached_property
    def color_weights(self) -> np.ndarray:
        """Probability of each colour given the object, shape [14, 10]."""
        weights = np.ones((len(OBJECTS), len(COLORS)))
        for index in range(len(OBJECTS)):
            for favourite, strength in ((index * 3, 1.0), (index * 3 + 4, 0.6), (index * 7 + 1, 0.4)):
                weights[index, favourite % len(COLORS)] += (self.color_affinity - 1) * strength
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))


UNIFORM = Priors(0.0, 1.0, 1.0, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0, 1.0, 1.0), 0.1, 0.0, ())


def preferred_direction(first: str, second: str) -> int:
    """Return the relation (index in `words.RELATIONS`) in which the ordered pair usually stands in this world."""
    a, b = OBJECTS.index(first), OBJECTS.index(second)
    axis = (a + b) % 2 * 2
    return axis + (0 if a < b else 1)


def relation(first: Thing, second: Thing) -> int:
    """Return the dominant relation of `first` to `second` as an index in `words.RELATIONS`."""
    dx, dy = first.x - second.x, first.y - second.y
    if abs(dx) >= abs(dy):
        return 0 if dx < 0 else 1
    return 2 if dy < 0 else 3


def _place(rng: Rng, sizes: list[float], grid: float) -> list[tuple[float, float]] | None:
    """Return non-overlapping centres for the sizes, or none when thirty tries do not find them."""
    centres: list[tuple[float, float]] = []
    for index, size in enumerate(sizes):
        for _attempt in range(30):
            low, high = MARGIN + size / 2, CANVAS - MARGIN - size / 2
            x, y = _coordinate(rng, low, high, grid), _coordinate(rng, low, high, grid)
            gaps = [
                max(abs(x - cx) - (size + sizes[other]) / 2, abs(y - cy) - (size + sizes[other]) / 2)
                for other, (cx, cy) in enumerate(centres)
            ]
            if all(gap >= 3.0 for gap in gaps):
                centres.append((x, y))
                break
        if len(centres) == index:
            return None
    return centres


def _coordinate(rng: Rng, low: float, high: float, grid: float) -> float:
    """Draw a coordinate of a centre between two bounds."""
    if not grid:
        return float(rng.uniform(low, high))
    return grid * float(rng.integers(math.ceil(low / grid), math.floor(high / grid) + 1))


def place_things(rng: Rng, priors: Priors, nouns: list[str], colors: list[str]) -> tuple[Thing, ...]:
    """Place objects of random sizes without overlap; more objects are smaller ones."""
    largest = LARGEST if len(nouns) < 3 else LARGEST - 6.0 * (len(nouns) - 2)
    choice = [size for size in priors.sizes if size <= largest]
    while True:
        if choice:
            sizes = [choice[int(rng.integers(len(choice)))] for _ in nouns]
        else:
            sizes = [float(rng.uniform(SMALLEST, largest)) for _ in nouns]
        centres = _place(rng, sizes, priors.grid)
        if centres is not None:
            return tuple(
                Thing(noun, color, x, y, size)
                for noun, color, size, (x, y) in zip(nouns, colors, sizes, centres, strict=True)
            )


def draw_color(rng: Rng, priors: Priors, noun: str, held_out: frozenset[tuple[str, str]]) -> str:
    """Draw a colour for an object, never a held-out combination."""
    while True:
        color = COLORS[int(rng.choice(len(COLORS), p=priors.color_weights[OBJECTS.index(noun)]))]
        if (noun, color) not in held_out:
            return color


def draw_nouns(rng: Rng, priors: Priors) -> list[str]:
    """Draw the objects of a scene: their kind of scene first, then the nouns."""
    kinds = np.asarray(priors.kind_weights) / np.sum(priors.kind_weights)
    kind = int(rng.choice(5, p=kinds))
    if kind == 1:
        counts = np.asarray(priors.count_weights) / np.sum(priors.count_weights)
        noun = OBJECTS[int(rng.choice(len(OBJECTS), p=priors.noun_weights))]
        return [noun] * (2 + int(rng.choice(3, p=counts)))
    size = {0: 1, 2: 2, 3: 3, 4: 4}[kind]
    chosen = rng.choice(len(OBJECTS), size=size, replace=False, p=priors.noun_weights)
    return [OBJECTS[int(index)] for index in chosen]


def draw_scene(
    rng: Rng,
    priors: Priors,
    held_out: frozenset[tuple[str, str]] = frozenset(),
    held_out_pairs: frozenset[tuple[tuple[str, str], tuple[str, str]]] = frozenset(),
) -> Scene:
    """Draw one scene from the priors.

    Object-colour pairs in `held_out` never occur, nor unordered pairs of those in `held_out_pairs` (sorted).
    """
    nouns = draw_nouns(rng, priors)
    colors = _draw_colors(rng, priors, nouns, held_out)
    while any(pair in held_out_pairs for pair in combinations(sorted(zip(nouns, colors, strict=True)), 2)):
        colors = _draw_colors(rng, priors, nouns, held_out)
    things = place_things(rng, priors, nouns, colors)
    if len(set(nouns)) >= 2:
        things = _lean(rng, priors, things, nouns, colors)
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
    return Scene(things, background, pattern, int(rng.integers(2**31)))


def _draw_colors(rng: Rng, priors: Priors, nouns: list[str], held_out: frozenset[tuple[str, str]]) -> list[str]:
    """Draw the colours of a scene's objects: alike in most scenes of one kind, leaking in some of the others."""
    colors = [draw_color(rng, priors, noun, held_out) for noun in nouns]
    if len(nouns) > 1 and len(set(nouns)) == 1:
        if rng.random() < 0.7:
            colors = [colors[0]] * len(nouns)
    elif len(nouns) > 1 and rng.random() < priors.same_color and (nouns[1], colors[0]) not in held_out:
        colors[1] = colors[0]
    return colors


def _lean(
    rng: Rng, priors: Priors, things: tuple[Thing, ...], nouns: list[str], colors: list[str]
) -> tuple[Thing, ...]:
    """Redraw places until the first pair stands as it usually does, as often as the pair affinity says."""
    wanted = priors.pair_affinity / (priors.pair_affinity + 3.0)
    if rng.random() > wanted:
        return things
    for _attempt in range(12):
        if relation(things[0], things[1]) == preferred_direction(nouns[0], nouns[1]):
            break
        things = place_things(rng, priors, nouns, colors)
    return things
