from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from tuner.reports.statistics import (
    BOOTSTRAP_SEED,
    RESAMPLES,
    Interval,
    bootstrap_interval,
    compare_pairs,
    seeds_needed,
    single_difference_bound,
    spread,
    student_interval,
)

SAMPLE = (-1.2, -0.4, -0.9, 0.3, -0.6)


def test_the_spread_is_that_of_the_sample() -> None:
    found = spread((60.0, 62.0, 67.0))
    assert (found.count, found.mean, found.minimum, found.maximum) == (3, 63.0, 60.0, 67.0)
    assert found.std == pytest.approx(math.sqrt((9 + 1 + 16) / 2))
    assert found.interval == student_interval((60.0, 62.0, 67.0))


def test_one_seed_has_no_spread() -> None:
    found = spread((60.0,))
    assert (found.mean, found.std, found.interval) == (60.0, None, None)
    alone = compare_pairs((-3.0,))
    assert (alone.mean, alone.std, alone.interval) == (-3.0, None, None)
    assert alone.verdict == "too few seeds"


def test_the_bootstrap_is_scipy_s_percentile_bootstrap() -> None:
    wanted = scipy.stats.bootstrap(
        (np.array(SAMPLE),),
        np.mean,
        method="percentile",
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    ).confidence_interval
    found = bootstrap_interval(SAMPLE)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
    assert bootstrap_interval(SAMPLE) == found


def test_the_student_interval_is_scipy_s() -> None:
    wanted = scipy.stats.t.interval(
        0.95, len(SAMPLE) - 1, loc=np.mean(SAMPLE), scale=scipy.stats.sem(SAMPLE)
    )
    found = student_interval(SAMPLE)
    assert (found.low, found.high) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("differences", "higher_is_better", "verdict"),
    [
        ((-4.0, -4.5, -3.8), False, "gain"),
        ((4.0, 4.5, 3.8), False, "loss"),
        ((4.0, 4.5, 3.8), True, "gain"),
        ((-4.0, -4.5, -3.8), True, "loss"),
        (SAMPLE, False, "noise"),
        ((0.0, 0.0, 0.0), False, "noise"),
    ],
)
def test_verdicts(differences: tuple[float, ...], higher_is_better: bool, verdict: str) -> None:
    found = compare_pairs(differences, higher_is_better=higher_is_better)
    assert found.verdict == verdict
    assert found.interval is not None
    assert found.interval.excludes_zero == (verdict != "noise")


def test_few_differences_of_one_sign_are_no_gain_by_the_bootstrap_alone() -> None:
    found = compare_pairs((-0.1, -2.0, -0.3))
    assert found.bootstrap is not None
    assert found.bootstrap.excludes_zero
    assert found.verdict == "noise"


@pytest.mark.parametrize("count", [3, 5, 10])
def test_noise_is_rarely_called_anything_else(count: int) -> None:
    generator = np.random.default_rng(count)
    draws = generator.normal(size=(1000, count))
    called = sum(compare_pairs(tuple(draw)).verdict != "noise" for draw in draws)
    assert called / len(draws) <= 0.07


def test_a_large_difference_is_seen() -> None:
    draws = np.random.default_rng(0).normal(loc=-3.0, size=(200, 5))
    gains = sum(compare_pairs(tuple(draw)).verdict == "gain" for draw in draws)
    assert gains / len(draws) >= 0.95


@given(st.lists(st.integers(-500, 500), min_size=2, max_size=8))
def test_a_verdict_agrees_with_the_interval_that_is_shown(tenths: list[int]) -> None:
    found = compare_pairs([value / 10 for value in tenths])
    assert found.interval is not None
    assert found.interval.low <= found.mean + 1e-9
    assert found.interval.high >= found.mean - 1e-9
    assert (found.verdict == "noise") == (not found.interval.excludes_zero)
    if found.seeds_needed is not None:
        assert found.seeds_needed > found.count


@pytest.mark.parametrize("effect", [0.2, 0.5, 1.0, 1.5])
def test_the_estimate_of_seeds_has_the_power_that_it_promises(effect: float) -> None:
    count = seeds_needed(-effect, 1.0)
    assert count is not None
    assert _power(count, effect) >= 0.78
    assert _power(count - 2, effect) < 0.8


def test_no_number_of_seeds_shows_that_there_is_no_difference() -> None:
    assert seeds_needed(0.0, 1.0) is None


def test_two_single_trainings_differ_more_than_their_means() -> None:
    values = (60.0, 61.0, 62.0)
    assert single_difference_bound(values) == pytest.approx(4.302653 * math.sqrt(2), rel=1e-6)
    draws = np.random.default_rng(1).normal(size=(2000, 5))
    inside = [abs(d[0] - d[1]) <= single_difference_bound(d[2:]) for d in draws]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_the_hull_holds_both_intervals() -> None:
    assert Interval(-1.0, 2.0).hull(Interval(-3.0, 1.0)) == Interval(-3.0, 2.0)


def _power(count: int, effect: float) -> float:
    critical = scipy.stats.t.ppf(0.975, count - 1)
    shift = effect * math.sqrt(count)
    return float(
        scipy.stats.nct.sf(critical, count - 1, shift)
        + scipy.stats.nct.cdf(-critical, count - 1, shift)
    )
