from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from tuner.records import StudyHistory
from tuner.reports.summary import summarise
from tuner.wiring.tracked import closing_figures, closing_verdicts

BuildRun = Callable[..., dict[str, StudyHistory]]


def test_the_parent_run_ends_with_what_the_fresh_seeds_say(build_confirmed_run: BuildRun) -> None:
    summary = summarise("demo", build_confirmed_run(check_gain_mm=0.21))
    figures = closing_figures(summary)
    assert figures["confirm_seeds"] == 5
    assert figures["confirm_winner_test_mpjpe_mm_mean"] == pytest.approx(62.04)
    assert figures["confirm_winner_test_mpjpe_mm_std"] == pytest.approx(
        statistics.stdev((63.1, 61.3, 62.3, 61.15, 62.35))
    )
    assert figures["confirm_baseline_test_mpjpe_mm_mean"] == pytest.approx(66.02)
    assert figures["confirm_difference_mm"] == pytest.approx(-3.98)
    assert figures["confirm_difference_low_mm"] < -3.98 < figures["confirm_difference_high_mm"] < 0
    assert figures["check_gain_mm"] == pytest.approx(0.21)
    assert closing_verdicts(summary) == {
        "confirm_verdict": "gain",
        "check_verdict": "inside noise",
    }


def test_without_them_nothing_is_said(build_run: BuildRun) -> None:
    summary = summarise("demo", build_run())
    assert not [name for name in closing_figures(summary) if name.startswith(("confirm", "check"))]
    assert closing_verdicts(summary) == {}


def test_one_seed_has_a_mean_and_no_interval(build_confirmed_run: BuildRun) -> None:
    figures = closing_figures(summarise("demo", build_confirmed_run(1)))
    assert "confirm_winner_test_mpjpe_mm_mean" in figures
    assert "confirm_winner_test_mpjpe_mm_std" not in figures
    assert "confirm_difference_low_mm" not in figures
