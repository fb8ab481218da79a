"""What the benchmark of thousands of trials makes of times and memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from benchmarks.many_trials import MOST_RATIO, Clock, ratios_of, rows_of


def clock_of(trials: int, seconds: Callable[[int], float], mib: Callable[[int], float]) -> Clock:
    ended_s = list(itertools.accumulate(seconds(number) for number in range(trials)))
    return Clock(ended_s, [mib(number) for number in range(trials)])


@pytest.mark.parametrize("trials", [200, 300, 600, 2000])
def test_trials_that_cost_the_same_have_the_ratio_1(trials: int) -> None:
    rows = rows_of(clock_of(trials, lambda n: 0.02, lambda n: 290.0))
    assert rows[-1]["trials"] == trials
    assert ratios_of(rows) == pytest.approx({"seconds per trial": 1.0, "driver memory": 1.0})


@pytest.mark.parametrize("trials", [600, 2000])
def test_what_grows_with_the_trials_shows(trials: int) -> None:
    rows = rows_of(clock_of(trials, lambda n: 0.02 + n * 2e-5, lambda n: 290.0 + n / 4))
    found = ratios_of(rows)
    assert min(found.values()) > MOST_RATIO
    rows = rows_of(clock_of(trials, lambda n: 0.02, lambda n: 290.0 + n / 4))
    assert ratios_of(rows)["seconds per trial"] < MOST_RATIO < ratios_of(rows)["driver memory"]


def test_too_few_trials_have_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="give --trials 200 or more"):
        ratios_of(rows_of(clock_of(120, lambda n: 0.02, lambda n: 290.0)))
