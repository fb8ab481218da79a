"""Means, intervals and paired comparisons over seeds, without scipy's slow import (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = [
    "CONFIDENCE",
    "POWER",
    "RESAMPLES",
    "Interval",
    "PairedDifference",
    "Spread",
    "Verdict",
    "bootstrap_interval",
    "compare_pairs",
    "seeds_needed",
    "single_difference_bound",
    "spread",
    "student_interval",
]

CONFIDENCE = 0.95
"""Share of repetitions in which an interval covers the true mean."""

POWER = 0.8
"""How often a comparison of `seeds_needed` seeds would show a difference that is there."""

RESAMPLES = 10_000
"""Resamples of a bootstrap."""

BOOTSTRAP_SEED = 20_260
"""One seed for all: equal differences have equal intervals, whatever else is reported."""

Verdict = Literal["gain", "loss", "noise", "too few seeds"]


@dataclass(frozen=True)
class Interval:
    """A range of values, ends included."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether all of it lies on one side of zero."""
        return self.low > 0 or self.high < 0

    def hull(self, other: Interval) -> Interval:
        """The shortest interval that holds both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))

    def to_json(self) -> list[float]:
        """The ends."""
        return [self.low, self.high]


@dataclass(frozen=True)
class Spread:
    """How a figure lies over seeds.

    Attributes:
        count: Seeds.
        mean: Mean.
        std: Standard deviation of the sample (n - 1); None for one seed.
        minimum: Lowest value.
        maximum: Highest value.
        interval: Student t interval of the mean; None for one seed.
    """

    count: int
    mean: float
    std: float | None
    minimum: float
    maximum: float
    interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        return {
            "count": self.count,
            "mean": self.mean,
            "std": self.std,
            "min": self.minimum,
            "max": self.maximum,
            "interval": self.interval.to_json() if self.interval else None,
        }


@dataclass(frozen=True)
class PairedDifference:
    """How two configurations differ, seed by seed.

    Attributes:
        count: Seeds that both have.
        mean: Mean of the differences.
        std: Their standard deviation; None for one pair.
        bootstrap: Bootstrap interval of the mean; None for one pair.
        student: Student t interval of the mean; None for one pair.
        verdict: What the intervals say; a gain or a loss only if both exclude zero.
        seeds_needed: Where it is noise: estimate of the seeds that would show a difference as
            large as the mean, by the spread observed; None if no number of seeds would.
    """

    count: int
    mean: float
    std: float | None
    bootstrap: Interval | None
    student: Interval | None
    verdict: Verdict
    seeds_needed: int | None

    @property
    def interval(self) -> Interval | None:
        """The wider of both intervals: it excludes zero exactly where the verdict does."""
        if self.bootstrap is None or self.student is None:
            return None
        return self.bootstrap.hull(self.student)

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        return {
            "pairs": self.count,
            "mean": self.mean,
            "std": self.std,
            "interval": self.interval.to_json() if self.interval else None,
            "bootstrap": self.bootstrap.to_json() if self.bootstrap else None,
            "student_t": self.student.to_json() if self.student else None,
            "verdict": self.verdict,
            "seeds_needed": self.seeds_needed,
        }


def spread(values: Sequence[float]) -> Spread:
    """Describe at least one value."""
    return Spread(
        count=len(values),
        mean=float(np.mean(values)),
        std=_std(values),
        minimum=min(values),
        maximum=max(values),
        interval=student_interval(values) if len(values) > 1 else None,
    )


def compare_pairs(
    differences: Sequence[float], *, higher_is_better: bool = False
) -> PairedDifference:
    """Judge a mean difference by its spread over seeds.

    A bootstrap interval of few values is too narrow: N differences of one sign, which noise
    alone makes with probability 2^(1-N), never have zero inside. So a gain or a loss is called
    only where the Student t interval excludes zero, too.

    Args:
        differences: Of at least one pair: this configuration minus the other, same seed.
        higher_is_better: Whether a positive difference is a gain.
    """
    mean = float(np.mean(differences))
    std = _std(differences)
    if std is None:
        return PairedDifference(1, mean, None, None, None, "too few seeds", None)
    bootstrap, student = bootstrap_interval(differences), student_interval(differences)
    certain = bootstrap.excludes_zero and student.excludes_zero
    verdict: Verdict = "noise"
    if certain:
        verdict = "gain" if (mean > 0) == higher_is_better else "loss"
    needed = None if certain else seeds_needed(mean, std, at_least=len(differences) + 1)
    return PairedDifference(len(differences), mean, std, bootstrap, student, verdict, needed)


def bootstrap_interval(values: Sequence[float]) -> Interval:
    """Percentile bootstrap interval of the mean (Efron 1979); the same at every call."""
    data = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    picks = generator.integers(0, len(data), (RESAMPLES, len(data)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(data[picks].mean(axis=1), [tail, 1 - tail])
    return Interval(float(low), float(high))


def student_interval(values: Sequence[float]) -> Interval:
    """Student t interval of the mean of at least two values (Student 1908)."""
    half = _student_quantile(len(values)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    mean = float(np.mean(values))
    return Interval(mean - half, mean + half)


def single_difference_bound(values: Sequence[float]) -> float:
    """How far two single trainings of one configuration differ in 95 of 100 cases.

    Their difference, divided by √2 times a standard deviation that n other trainings showed,
    has Student's distribution with n - 1 degrees of freedom.

    Args:
        values: The figure of at least two trainings that differ in their seeds.
    """
    return _student_quantile(len(values)) * math.sqrt(2) * float(np.std(values, ddof=1))


def seeds_needed(mean: float, std: float, *, at_least: int = 2) -> int | None:
    """Pairs with which a two-sided paired t test would show such a difference, an estimate.

    The normal approximation with Guenther's correction (1981), at 5 % and 80 % power.

    Args:
        mean: The difference to show.
        std: Standard deviation of the differences.
        at_least: Lower bound of the answer.

    Returns:
        The number; None for no difference.
    """
    from scipy.special import ndtri

    if mean == 0:
        return None
    alpha, beta = float(ndtri((1 + CONFIDENCE) / 2)), float(ndtri(POWER))
    estimate = ((alpha + beta) * std / mean) ** 2 + alpha**2 / 2
    return max(at_least, math.ceil(estimate))


def _student_quantile(count: int) -> float:
    # the import takes a third of a second, and most commands need no statistics
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))


def _std(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
