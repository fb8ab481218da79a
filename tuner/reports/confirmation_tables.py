"""A confirmation as plain rows, shared by terminal, Markdown, HTML and CSV (pure)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from tuner.reports.confirmation import (
    BASELINE,
    CONFIRMED_METRICS,
    HEADLINE_METRIC,
    WINNER,
    Candidate,
    Comparison,
    Confirmation,
    metric_of,
)
from tuner.reports.metrics import Metric
from tuner.reports.statistics import Interval, Spread
from tuner.reports.tables import params_text

__all__ = [
    "CandidateRow",
    "DifferenceRow",
    "SeedRow",
    "candidate_rows",
    "confirmation_csv",
    "difference_rows",
    "difference_text",
    "interval_text",
    "seed_rows",
    "shown_metrics",
    "spread_text",
]


@dataclass(frozen=True)
class CandidateRow:
    """One candidate's line.

    Attributes:
        role: What it is in the comparison.
        params: Hyperparameters, in words.
        seeds: How its seeds stand, in words.
        test: How each metric on test lies over the seeds; empty before any is known.
        val: The same on validation.
    """

    role: str
    params: str
    seeds: str
    test: Mapping[str, Spread]
    val: Mapping[str, Spread]

    @property
    def headline(self) -> Spread | None:
        """MPJPE on test."""
        return self.test.get(HEADLINE_METRIC)


@dataclass(frozen=True)
class DifferenceRow:
    """The winner minus another candidate in one metric on test.

    Attributes:
        other: The other's role.
        metric: Which metric.
        pairs: Seeds that both have.
        mean: Mean difference.
        interval: Its 95 % interval; None for one pair.
        verdict: `gain`, `loss`, `noise`, or `too few seeds`.
        better: Whether the verdict is a gain; None where nothing can be told.
    """

    other: str
    metric: Metric
    pairs: int
    mean: float
    interval: Interval | None
    verdict: str
    better: bool | None


@dataclass(frozen=True)
class SeedRow:
    """One seed of the headline metric: a value per candidate, None where it has none."""

    seed: int
    values: tuple[float | None, ...]


def candidate_rows(confirmation: Confirmation) -> list[CandidateRow]:
    """One row per candidate: the winner, the baseline, then the others."""
    order = {WINNER: 0, BASELINE: 1}
    candidates = sorted(confirmation.candidates, key=lambda one: order.get(one.role, 2))
    return [
        CandidateRow(
            role=one.role,
            params=params_text(one.params),
            seeds=_seeds(one),
            test=one.spreads("test"),
            val=one.spreads("val"),
        )
        for one in candidates
    ]


def difference_rows(confirmation: Confirmation, *, brief: bool = False) -> list[DifferenceRow]:
    """One row per other candidate and metric on test.

    Args:
        confirmation: The confirmation.
        brief: Only the headline metric of runners-up.
    """
    return [
        _difference_row(comparison)
        for comparison in sorted(confirmation.comparisons, key=lambda c: c.other != BASELINE)
        if comparison.split == "test"
        and (not brief or comparison.other == BASELINE or comparison.metric == HEADLINE_METRIC)
    ]


def seed_rows(confirmation: Confirmation) -> list[SeedRow]:
    """MPJPE on test of each seed, a value per candidate in the order of the candidates."""
    columns = [one.figures["test"].get(HEADLINE_METRIC, {}) for one in confirmation.candidates]
    seeds = dict.fromkeys(seed for column in columns for seed in column)
    return [SeedRow(seed, tuple(column.get(seed) for column in columns)) for seed in seeds]


def shown_metrics(confirmation: Confirmation) -> list[Metric]:
    """Metrics that any candidate has on test."""
    known = {name for one in confirmation.candidates for name in one.figures["test"]}
    return [metric_of(name) for name in CONFIRMED_METRICS if name in known]


def spread_text(found: Spread | None) -> str:
    """`62.18 ± 0.35`: mean and standard deviation."""
    if found is None:
        return "-"
    return f"{found.mean:.2f}" + (f" ± {found.std:.2f}" if found.std is not None else "")


def interval_text(interval: Interval | None) -> str:
    """`-5.04 to -3.40`."""
    if interval is None:
        return "-"
    return f"{difference_text(interval.low)} to {difference_text(interval.high)}"


def difference_text(value: float) -> str:
    """`-3.98`, with its sign; what is rounded to zero has none."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("-0.00", "+0.00") else text


def confirmation_csv(confirmation: Confirmation) -> str:
    """Statistics of every candidate, split and metric, with the winner's difference to it."""
    columns = (
        *("candidate", "split", "metric", "seeds", "mean", "std", "min", "max"),
        *("winner_minus_mean", "interval_low", "interval_high", "verdict", "params"),
    )
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for one in confirmation.candidates:
        for split in one.figures:
            for name, found in one.spreads(split).items():
                numbers = (found.count, found.mean, found.std, found.minimum, found.maximum)
                compared = confirmation.comparison(one.role, name, split)
                writer.writerow(
                    (
                        one.role,
                        split,
                        name,
                        *numbers,
                        *_compared(compared),
                        params_text(one.params),
                    )
                )
    return buffer.getvalue()


def _compared(comparison: Comparison | None) -> tuple[object, ...]:
    if comparison is None:
        return (None, None, None, None)
    found = comparison.difference
    low, high = (found.interval.low, found.interval.high) if found.interval else (None, None)
    return (found.mean, low, high, found.verdict)


def _difference_row(comparison: Comparison) -> DifferenceRow:
    found = comparison.difference
    return DifferenceRow(
        other=comparison.other,
        metric=metric_of(comparison.metric),
        pairs=found.count,
        mean=found.mean,
        interval=found.interval,
        verdict=found.verdict,
        better={"gain": True, "loss": False}.get(found.verdict),
    )


def _seeds(candidate: Candidate) -> str:
    asked = len(candidate.seeds)
    done = asked - candidate.failed - candidate.running
    parts = [str(asked) if done == asked else f"{done} of {asked}"]
    for count, word in ((candidate.failed, "failed"), (candidate.running, "open")):
        if count:
            parts.append(f"{count} {word}")
    return ", ".join(parts)
