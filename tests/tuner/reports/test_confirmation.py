from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tuner.records import StudyHistory, TrialRecord, TrialState
from tuner.reports.confirmation import confirm, verdict_text
from tuner.reports.confirmation_figure import confirmation_figure
from tuner.reports.confirmation_tables import (
    candidate_rows,
    confirmation_csv,
    difference_rows,
    difference_text,
    seed_rows,
)
from tuner.reports.statistics import compare_pairs

BuildRun = Callable[..., dict[str, StudyHistory]]


def confirm_study(build: BuildRun, seeds: int = 5, gain_mm: float = 4.0) -> StudyHistory:
    return build(seeds, gain_mm=gain_mm)["4-confirm"]


def changed(history: StudyHistory, number: int, trial: TrialRecord) -> StudyHistory:
    trials = tuple(trial if t.number == number else t for t in history.trials)
    return replace(history, trials=trials)


def as_failed(trial: TrialRecord) -> TrialRecord:
    return replace(trial, state=TrialState.FAILED, value=None, test_metrics=None)


def test_each_candidate_has_its_own_trials(build_confirmed_run: BuildRun) -> None:
    found = confirm(confirm_study(build_confirmed_run))
    assert [one.role for one in found.candidates] == ["baseline", "winner", "runner-up 1"]
    assert found.complete
    assert found.seeds == 5
    for one in found.candidates:
        assert one.seeds == (1000, 1001, 1002, 1003, 1004)
        assert (one.failed, one.running) == (0, 0)
        assert list(one.figures["test"]) == ["mpjpe_mm", "p_mpjpe_mm", "lse", "lle", "bsle"]
        assert list(one.figures["val"]) == ["mpjpe_mm", "p_mpjpe_mm", "lse"]
    winner = found.candidate("winner")
    assert winner is not None
    values = list(winner.figures["test"]["mpjpe_mm"].values())
    spread = winner.spreads("test")["mpjpe_mm"]
    assert spread.mean == pytest.approx(np.mean(values))
    assert spread.std == pytest.approx(np.std(values, ddof=1))


def test_differences_are_taken_seed_by_seed(build_confirmed_run: BuildRun) -> None:
    study = confirm_study(build_confirmed_run)
    by_hand = [
        study.trials[3 * repeat + 1].test_metrics["mpjpe_mm"]  # type: ignore[index]
        - study.trials[3 * repeat].test_metrics["mpjpe_mm"]  # type: ignore[index]
        for repeat in range(5)
    ]
    comparison = confirm(study).comparison("baseline")
    assert comparison is not None
    assert comparison.difference == compare_pairs(by_hand)
    # the seeds' common part is far larger than what they do to the difference
    assert comparison.difference.std is not None
    assert comparison.difference.std < 0.3 < np.std([0.9, -0.4, 0.2, -1.1, 0.5], ddof=1)


def test_a_large_gain_is_confirmed(build_confirmed_run: BuildRun) -> None:
    found = confirm(confirm_study(build_confirmed_run))
    assert verdict_text(found).startswith(
        "Confirmed: over 5 fresh seeds SEAL lowers MPJPE on test by 3.98 mm (95 % interval -4.2"
    )


def test_a_small_gain_is_called_noise(build_confirmed_run: BuildRun) -> None:
    text = verdict_text(confirm(confirm_study(build_confirmed_run, 3, 0.3)))
    assert text.startswith("Not confirmed: over 3 fresh seeds the difference to the baseline, ")
    assert "cannot be told from noise: it changes by 0.26 mm from seed to seed" in text
    assert text.endswith("it would take about 9 seeds to show it (an estimate).")


def test_a_loss_is_named(build_confirmed_run: BuildRun) -> None:
    found = confirm(confirm_study(build_confirmed_run, 5, -4.0))
    assert verdict_text(found).startswith("Worse: over 5 fresh seeds SEAL raises MPJPE on test")


def test_a_failed_repetition_is_left_out_of_its_pair(build_confirmed_run: BuildRun) -> None:
    study = confirm_study(build_confirmed_run)
    found = confirm(changed(study, 0, as_failed(study.trials[0])))
    baseline, comparison = found.candidate("baseline"), found.comparison("baseline")
    assert baseline is not None
    assert comparison is not None
    assert baseline.failed == 1
    assert comparison.difference.count == 4
    assert found.complete
    assert candidate_rows(found)[1].seeds == "4 of 5, 1 failed"


def test_a_second_try_of_a_failed_seed_counts(build_confirmed_run: BuildRun) -> None:
    study = confirm_study(build_confirmed_run)
    again = replace(study.trials[0], number=len(study.trials))
    trials = (as_failed(study.trials[0]), *study.trials[1:], again)
    found = confirm(replace(study, trials=trials)).candidate("baseline")
    assert found is not None
    assert (len(found.seeds), found.failed) == (5, 0)


def test_a_candidate_that_always_failed_is_reported(build_confirmed_run: BuildRun) -> None:
    study = confirm_study(build_confirmed_run, 2)
    for number in (0, 3):
        study = changed(study, number, as_failed(study.trials[number]))
    found = confirm(study)
    assert verdict_text(found) == "No comparison: every repetition of the baseline failed."
    assert found.complete
    assert [row.other for row in difference_rows(found, brief=True)] == ["runner-up 1"]


def test_what_is_not_tested_yet_is_open(build_confirmed_run: BuildRun) -> None:
    study = confirm_study(build_confirmed_run)
    running = replace(study.trials[13], state=TrialState.RUNNING, test_metrics=None)
    found = confirm(changed(study, 13, running))
    assert not found.complete
    assert verdict_text(found).endswith("More repetitions are still open.")
    untested = replace(study.trials[14], test_metrics=None)
    assert not confirm(changed(study, 14, untested)).complete


def test_before_any_candidate_is_known_nothing_is_said(build_confirmed_run: BuildRun) -> None:
    study = confirm_study(build_confirmed_run)
    found = confirm(replace(study, trials=(), attributes={}))
    assert verdict_text(found).startswith("Not finished")
    assert confirmation_figure(found) is None
    assert json.loads(json.dumps(found.to_json()))["verdict"]["kind"] is None


def test_one_seed_is_too_few(build_confirmed_run: BuildRun) -> None:
    found = confirm(confirm_study(build_confirmed_run, 1))
    assert verdict_text(found) == "One seed is not enough to tell a gain from noise."
    assert {row.verdict for row in difference_rows(found)} == {"too few seeds"}
    assert confirmation_figure(found) is not None


def test_the_json_has_candidates_statistics_comparisons_and_verdict(
    build_confirmed_run: BuildRun,
) -> None:
    study = confirm_study(build_confirmed_run)
    found = json.loads(json.dumps(confirm(study).to_json(), allow_nan=False))
    assert set(found) == {"complete", "candidates", "statistics", "comparisons", "verdict"}
    assert found["candidates"][1]["role"] == "winner"
    assert found["statistics"]["winner"]["test"]["mpjpe_mm"]["count"] == 5
    assert found["verdict"]["kind"] == "gain"
    first = found["comparisons"][0]
    assert (first["winner_minus"], first["split"], first["metric"]) == (
        *("baseline", "test", "mpjpe_mm"),
    )
    assert first["interval"][0] <= min(first["bootstrap"][0], first["student_t"][0])
    assert confirm(study).to_json() == confirm(study).to_json()


def test_rows_put_the_winner_first(build_confirmed_run: BuildRun) -> None:
    found = confirm(confirm_study(build_confirmed_run))
    assert [row.role for row in candidate_rows(found)] == ["winner", "baseline", "runner-up 1"]
    brief = [(row.other, row.metric.key) for row in difference_rows(found, brief=True)]
    assert brief[-1] == ("runner-up 1", "mpjpe_mm")
    assert len(brief) == 6
    assert len(difference_rows(found)) == 10
    assert [row.values[0] for row in seed_rows(found)] == [66.9, 65.6, 66.2, 64.9, 66.5]


def test_the_table_for_programs_has_every_figure(build_confirmed_run: BuildRun) -> None:
    found = confirm(confirm_study(build_confirmed_run))
    rows = list(csv.DictReader(io.StringIO(confirmation_csv(found))))
    assert len(rows) == 3 * (5 + 3)
    baseline = rows[0]
    assert (baseline["candidate"], baseline["metric"]) == ("baseline", "mpjpe_mm")
    assert float(baseline["winner_minus_mean"]) == pytest.approx(-3.98)
    assert baseline["verdict"] == "gain"
    winner = next(row for row in rows if row["candidate"] == "winner")
    assert winner["winner_minus_mean"] == ""


@pytest.mark.parametrize(
    ("value", "text"), [(-3.98, "-3.98"), (0.35, "+0.35"), (-0.004, "0.00"), (0.0, "0.00")]
)
def test_differences_have_a_sign_unless_they_round_to_zero(value: float, text: str) -> None:
    assert difference_text(value) == text


def test_hyperparameters_of_candidates_come_in_the_protocol_s_order(
    build_confirmed_run: BuildRun,
) -> None:
    study = confirm_study(build_confirmed_run, 2)
    entries = [
        {**entry, "params": dict(sorted(entry["params"].items()))}
        for entry in study.attributes["candidates"]
    ]
    winner = confirm(replace(study, attributes={"candidates": entries})).candidate("winner")
    assert winner is not None
    assert list(winner.params) == ["lr_p", "lr_l", "alpha"]


def test_the_picture_shows_every_seed_and_difference(build_confirmed_run: BuildRun) -> None:
    figure = confirmation_figure(confirm(confirm_study(build_confirmed_run)))
    assert figure is not None
    seeds, differences = figure.axes
    points = [len(collection.get_offsets()) for collection in seeds.collections]  # type: ignore[arg-type]
    assert sorted(points) == [1, 1, 1, 5, 5, 5]
    assert [text.get_text() for text in differences.texts] == [
        *("-3.98 mm: gain", "-0.06 mm: noise"),
    ]
