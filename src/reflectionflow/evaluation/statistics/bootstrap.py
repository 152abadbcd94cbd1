"""Paired stratified bootstrap: prompts are resampled within their tags, and all statistics use the same resamples.

Each tag of n prompts is resampled with n - 1 draws: then the variance of a resampled mean is unbiased (McCarthy and
Snowden 1985), where n draws would make intervals of small tags too short. Replicates of one prompt (its seeds) are
averaged first and thus move together, as clusters should.

A single prompt cannot tell its spread, so tags of one prompt are resampled together, as one stratum. Resamples of few
prompts still vary too little; where a tag has few, intervals of shares and differences are wider than the bootstrap's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from reflectionflow.evaluation.intervals import wilson

Floats = NDArray[np.float64]
Counts = NDArray[np.unsignedinteger[Any]]
DRAWS = 10_000
AT_ONCE = 1_000_000
"""Numbers that are drawn, or weighed, at once: 8 MB of them."""
LEVEL = 0.95
FEW = 5
"""Resamples of fewer prompts do not tell how their tag varies: simulated intervals then cover the truth too rarely."""
ROUNDING = 1e-9
"""Intervals narrower than this have no width but that of rounding."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; not a number where the data cannot say."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    @property
    def is_flat(self) -> bool:
        """Whether the interval has no width."""
        return self.high - self.low < ROUNDING


@dataclass(frozen=True)
class Sampled:
    """Statistics on the data and on every resample.

    Attributes:
        point: The statistics on the data, [k].
        draws: The same on each resample, [draws, k].
    """

    point: Floats
    draws: Floats

    def __sub__(self, other: Sampled) -> Sampled:
        """Return the paired differences."""
        return Sampled(self.point - other.point, self.draws - other.draws)

    def __truediv__(self, other: Sampled) -> Sampled:
        """Return the paired ratios; not a number where the divisor is zero."""
        return Sampled(_ratio(self.point, other.point), _ratio(self.draws, other.draws))

    def __getitem__(self, column: int) -> Sampled:
        """Return one of the statistics."""
        return Sampled(self.point[column : column + 1], self.draws[:, column : column + 1])

    def map(self, change: Callable[[Floats], Floats]) -> Sampled:
        """Return a function of the statistics; it gets [..., k] and may give fewer columns."""
        return Sampled(change(self.point), change(self.draws))

    def estimates(self, level: float = LEVEL) -> list[Estimate]:
        """Return each statistic with its percentile interval, over the resamples in which it is a number.

        Of a ratio on few prompts that interval may miss the very value; it is then widened to hold it.
        """
        ends = 100 * np.array([(1 - level) / 2, (1 + level) / 2])
        found = []
        for value, column in zip(self.point, self.draws.T, strict=True):
            known = column[~np.isnan(column)]
            # Ends are draws themselves, so that infinite ones (a score never reached) stay infinite.
            low, high = np.percentile(known, ends, method="inverted_cdf") if known.size else (np.nan, np.nan)
            found.append(Estimate(float(value), float(np.fmin(low, value)), float(np.fmax(high, value))))
        return found

    @property
    def estimate(self) -> Estimate:
        """The first statistic with its interval."""
        return self.estimates()[0]


class Bootstrap:
    """Resamples of the prompts of a benchmark.

    Args:
        tags: Tag of each prompt, [prompts].
        draws: Number of resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: if there is no prompt.
    """

    def __init__(self, tags: Sequence[str], draws: int = DRAWS, seed: int = 0) -> None:
        if not tags:
            raise ValueError("There are no prompts to resample; give at least one.")
        rng = np.random.default_rng(seed)
        self.tags = tuple(dict.fromkeys(tags))
        self._count = len(tags)
        self._draws = draws
        self._rows = {tag: np.flatnonzero([other == tag for other in tags]) for tag in self.tags}
        self._counts = {tag: _resample(len(rows), draws, rng) for tag, rows in self._rows.items() if len(rows) > 1}
        self._seed = seed

    def macro(self, values: ArrayLike, tags: Sequence[str] | None = None) -> Sampled:
        """Return the mean over tags of the mean over prompts.

        Args:
            values: One row per prompt, [prompts] or [prompts, k].
            tags: Which tags; all by default.
        """
        columns = self._columns(values)
        chosen = self._chosen(tags)
        point = np.mean([columns[self._rows[tag]].mean(axis=0) for tag in chosen], axis=0)
        draws = np.zeros((self._draws, columns.shape[1]))
        for rows, counts, alike in self._strata(chosen):
            draws += alike * _means(counts, columns[rows]) / len(chosen)
        return Sampled(point, draws)

    def shares(self, values: ArrayLike, tags: Sequence[str] | None = None) -> list[Estimate]:
        """Return macro means of shares with intervals that always have a width, one per column.

        Where nothing varies within the tags a bootstrap has no width, and where a tag has few prompts too little. The
        interval is then Wilson's for as many prompts as weigh what these do, with Student's quantile.

        Args:
            values: Each prompt's share, in [0, 1], [prompts] or [prompts, k].
            tags: Which tags; all by default.
        """
        found, few = self.macro(values, tags).estimates(), self.has_few(tags)
        weight, quantile = self._weight(tags), self._quantile(tags)
        return [_wilson(item.value, weight, quantile) if few or item.is_flat else item for item in found]

    def changes(self, values: ArrayLike, tags: Sequence[str] | None = None) -> list[Estimate]:
        """Return macro means of differences with intervals that always have a width, one per column.

        Where nothing varies within the tags, Wilson's interval tells how many prompts might do otherwise than all that
        were seen; in the worst case these differ by 1 in either direction. Where a tag has few prompts, the interval is
        Student's, but no narrower than that, and no wider than if every prompt differed by 1 in either direction.

        Args:
            values: Each prompt's difference, in [-1, 1], [prompts] or [prompts, k].
            tags: Which tags; all by default.
        """
        sampled, few = self.macro(values, tags), self.has_few(tags)
        weight, quantile = self._weight(tags), self._quantile(tags)
        alike = _wilson(1.0, weight, quantile).low
        found = []
        for item, spread in zip(sampled.estimates(), sampled.draws.std(axis=0), strict=True):
            least = Estimate(item.value, alike * item.value - (1 - alike), alike * item.value + (1 - alike))
            if few and not item.is_flat:
                most = _wilson((1 + item.value) / 2, weight, quantile)
                half = min(2.0, self._spread_quantile(tags) * float(spread))
                low = max(item.value - half, 2 * most.low - 1)
                high = min(item.value + half, 2 * most.high - 1)
                item = Estimate(item.value, min(low, least.low), max(high, least.high))
            elif item.is_flat:
                item = least
            found.append(Estimate(item.value, max(-1.0, item.low), min(1.0, item.high)))
        return found

    def pooled(self, values: ArrayLike) -> Sampled:
        """Return the sum over all prompts: two of them make a ratio, such as a mean over a part of the prompts.

        Args:
            values: One row per prompt, [prompts] or [prompts, k].
        """
        columns = self._columns(values)
        draws = np.zeros((self._draws, columns.shape[1]))
        for rows, counts, _ in self._strata(self.tags):
            draws += len(rows) * _means(counts, columns[rows])
        return Sampled(columns.sum(axis=0), draws)

    def rows(self, tag: str) -> NDArray[np.int64]:
        """Return the indexes of a tag's prompts."""
        return self._rows[tag]

    def has_few(self, tags: Sequence[str] | None = None) -> bool:
        """Return whether any of some tags, all by default, has few prompts."""
        return any(len(self._rows[tag]) < FEW for tag in self._chosen(tags))

    def has_lone(self, tags: Sequence[str] | None = None) -> bool:
        """Return whether one of some tags, all by default, and only one, has a single prompt: how that varies shows in
        no resample.
        """
        return [len(self._rows[tag]) for tag in self._chosen(tags)].count(1) == 1

    def _chosen(self, tags: Sequence[str] | None) -> tuple[str, ...]:
        return self.tags if tags is None else tuple(tags)

    def _strata(self, tags: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], Counts, int]]:
        """Yield what is resampled apart: indexes of prompts, counts [draws, prompts], and how many tags they are."""
        single = [tag for tag in tags if len(self._rows[tag]) == 1]
        for tag in tags:
            if len(self._rows[tag]) > 1:
                yield self._rows[tag], self._counts[tag], 1
        if single:
            # Of the seed and their number alone, so that all statistics of these tags use the same resamples.
            rng = np.random.default_rng((self._seed, len(single)))
            rows = np.concatenate([self._rows[tag] for tag in single])
            yield rows, _resample(len(single), self._draws, rng), len(single)

    def _spread_quantile(self, tags: Sequence[str] | None) -> float:
        """Return Student's quantile for the spread of resamples, with Satterthwaite's degrees of freedom as where all
        prompts vary alike; infinite where one prompt stands alone.
        """
        sizes = [len(self._rows[tag]) for tag in self._chosen(tags)]
        single = sizes.count(1)
        if single == 1:
            return float("inf")
        # Variance of each stratum's part of the macro mean, up to a factor, and its degrees of freedom.
        parts = [(1 / size, size - 1) for size in sizes if size > 1] + ([(single, single - 1)] if single else [])
        freedom = sum(part for part, _ in parts) ** 2 / sum(part**2 / degrees for part, degrees in parts)
        return float(student.ppf((1 + LEVEL) / 2, freedom))

    def _weight(self, tags: Sequence[str] | None) -> float:
        """Return the number of equally weighted prompts whose mean varies as the macro mean does."""
        sizes = [len(self._rows[tag]) for tag in self._chosen(tags)]
        return float(len(sizes) ** 2 / sum(1 / size for size in sizes))

    def _quantile(self, tags: Sequence[str] | None) -> float:
        prompts = sum(len(self._rows[tag]) for tag in self._chosen(tags))
        return _student(prompts)

    def _columns(self, values: ArrayLike) -> Floats:
        found = np.asarray(values, dtype=float)
        if found.shape[0] != self._count:
            raise ValueError(f"There are {found.shape[0]} rows of values for {self._count} prompts; give one each.")
        return found.reshape(self._count, -1)


def tag_interval(values: ArrayLike, replicates: float | None = None) -> Estimate:
    """Return the mean of one tag's prompts with a Wilson interval for clustered data.

    A bootstrap gives [1, 1] where every prompt is right; Wilson's interval does not. Its number of trials is the one
    that a simple share would need to vary as the prompts' means do, at most all trials there were, and the number of
    prompts where their means do not vary at all; its quantile is Student's (Korn and Graubard 1998).

    Args:
        values: Each prompt's mean over its replicates, in [0, 1], [prompts].
        replicates: Trials behind each mean, such as seeds; none where the means are not of yes-or-no trials.

    Raises:
        ValueError: if there is no prompt.
    """
    found = np.asarray(values, dtype=float)
    if not found.size:
        raise ValueError("There are no prompts; give at least one.")
    mean, spread = float(found.mean()), float(found.var())
    trials = mean * (1 - mean) * found.size / spread if spread > 0 else float(found.size)
    if replicates is not None:
        trials = min(trials, found.size * replicates)
    return clustered(mean, trials, found.size)


def clustered(share: float, trials: float, prompts: int) -> Estimate:
    """Return a share with Wilson's interval for so many effective trials and Student's quantile for so many prompts."""
    return _wilson(share, trials, _student(prompts))


def _wilson(share: float, trials: float, quantile: float) -> Estimate:
    """Return a share with Wilson's interval; anything is possible where the quantile is infinite."""
    if not np.isfinite(quantile):
        return Estimate(share, 0.0, 1.0)
    # Rounding may leave a mean of ones above 1.
    low, high = wilson(min(max(share, 0.0), 1.0) * trials, trials, z=quantile)
    return Estimate(share, low, high)


def _student(prompts: int) -> float:
    """Return the two-sided quantile of Student's distribution for so many prompts; infinite for one."""
    return float(student.ppf((1 + LEVEL) / 2, prompts - 1)) if prompts > 1 else float("inf")


def _resample(size: int, draws: int, rng: np.random.Generator) -> Counts:
    """Return how often each prompt is drawn, [draws, size]: rows sum to size - 1. A single prompt is always itself.

    Kept in the fewest bytes and drawn in parts, which gives the same numbers: the weights of all resamples of a large
    benchmark as floating-point numbers would fill the memory.
    """
    if size == 1:
        return np.ones((draws, 1), dtype=np.uint8)
    found = np.empty((draws, size), dtype=np.min_scalar_type(size - 1))
    for part in _parts(draws, size):
        found[part] = rng.multinomial(size - 1, np.full(size, 1 / size), size=part.stop - part.start)
    return found


def _means(counts: Counts, columns: Floats) -> Floats:
    """Return the means of resampled prompts, [draws, k], of values [prompts, k]."""
    found = np.empty((len(counts), columns.shape[1]))
    for part in _parts(*counts.shape):
        found[part] = (counts[part] / max(1, counts.shape[1] - 1)) @ columns
    return found


def _parts(draws: int, size: int) -> Iterator[slice]:
    """Yield parts of so many rows of this size that are small enough to be handled at once."""
    step = max(1, AT_ONCE // size)
    return (slice(start, min(start + step, draws)) for start in range(0, draws, step))


def _ratio(above: Floats, below: Floats) -> Floats:
    ratio: Floats = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below != 0)
    return ratio
