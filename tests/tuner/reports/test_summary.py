from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tuner.records import StudyHistory, TrialRecord, TrialState
from tuner.reports.joint_check import check_text
from tuner.reports.summary import in_order, summarise

BuildRun = Callable[..., dict[str, StudyHistory]]


def test_a_finished_run_has_the_promised_shape(build_run: BuildRun) -> None:
    summary = summarise(
        "demo",
        build_run(),
        storage="journal:/data/studies.journal",
        tracking_uri="sqlite:////data/mlflow.db",
        artifacts="/data/runs/demo",
        mlflow_run_id="abc",
    )
    found = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert found["run"] == "demo"
    assert found["state"] == "finished"
    assert [stage["name"] for stage in found["stages"]] == ["1-lr_p", "2-lr_l", "3-alpha"]
    assert found["stages"][1]["study"] == "demo/2-lr_l"
    assert found["stages"][2]["winner"] == {
        "number": 1,
        "params": {"lr_p": 1e-3, "lr_l": 5e-4, "alpha": 5e-3},
        "val_mpjpe_mm": 56.0,
    }
    assert found["checkpoints"]["seal"] == "/data/checkpoints/1/best.pt"
    assert [trial["number"] for trial in found["trial_list"]["3-alpha"]] == [0, 1, 2, 3]
    assert found["baseline"]["params"] == {"lr_p": 1e-3}
    assert found["baseline"]["test"]["mpjpe_mm"] == 66.4
    assert found["seal"]["test"]["bsle"] == 7.35
    assert found["storage"] == "journal:/data/studies.journal"
    assert found["tracking_uri"] == "sqlite:////data/mlflow.db"
    assert found["mlflow_run_id"] == "abc"
    assert found["artifacts"] == "/data/runs/demo"
    assert found["configuration"]["backbone"] == "videopose"


def test_reused_trials_count_as_finished_but_not_as_trainings(build_run: BuildRun) -> None:
    summary = summarise("demo", build_run())
    assert summary.stages[2].counts.to_json() == {
        "finished": 4,
        "pruned": 0,
        "failed": 0,
        "cached": 2,
        "carried_over": 2,
        "from_other_runs": 0,
        "running": 0,
        "trained": 2,
    }
    assert summary.trainings == 3 + 4 + 2
    assert summary.seconds == 9 * 10.0
    assert summary.device_seconds == 9 * 20.0


def test_what_another_run_had_trained_is_told_from_what_this_one_had(build_run: BuildRun) -> None:
    histories = build_run()
    last = histories["3-alpha"]
    known = replace(last.trials[3], imported_from="team/other run/3-alpha#8")
    histories["3-alpha"] = replace(last, trials=(*last.trials[:3], known))
    counts = summarise("demo", histories).stages[2].counts
    assert (counts.cached, counts.carried_over, counts.from_other_runs) == (3, 2, 1)
    assert counts.trained == 1


def test_confirm_and_check_are_no_stages_of_the_search(build_confirmed_run: BuildRun) -> None:
    found = build_confirmed_run(check_gain_mm=0.21)
    summary = summarise("demo", found)
    assert summary.state == "finished"
    assert summary.seal is not None
    assert summary.seal.stage == "3-alpha"
    assert summary.seal.val_mpjpe_mm == 56.0
    assert [stage.kind for stage in summary.stages] == [*["search"] * 3, "confirm", "check"]
    confirm_stage = summary.stages[3]
    assert (confirm_stage.winner, confirm_stage.closed) == (None, True)
    assert summary.trainings == 9 + 15 + 3
    printed = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert printed["confirmation"]["verdict"]["kind"] == "gain"
    assert printed["check"]["gain_mm"] == pytest.approx(0.21)
    assert printed["check"]["verdict"] == "inside noise"
    del found["3-alpha"]
    assert summarise("demo", found).seal is None


def test_without_confirm_and_check_both_are_null(build_run: BuildRun) -> None:
    printed = summarise("demo", build_run()).to_json()
    assert (printed["confirmation"], printed["check"]) == (None, None)


@pytest.mark.parametrize(
    ("seeds", "gain_mm", "verdict", "text"),
    [
        (5, 0.21, "inside noise", "0.21 mm is inside noise"),
        (5, 9.0, "beyond noise", "The best of many is lucky, though"),
        (1, 0.21, "noise not known", "--confirm-seeds would tell"),
        (5, 0.0, "nothing better", "nothing better than the greedy winner"),
    ],
)
def test_a_joint_gain_is_held_against_the_winner_s_noise(
    build_confirmed_run: BuildRun, seeds: int, gain_mm: float, verdict: str, text: str
) -> None:
    check = summarise("demo", build_confirmed_run(seeds, check_gain_mm=gain_mm)).check
    assert check is not None
    assert check.verdict == verdict
    assert text in check_text(check)


def test_open_repetitions_leave_the_run_open(build_confirmed_run: BuildRun) -> None:
    histories = build_confirmed_run()
    stage = histories["4-confirm"]
    running = replace(stage.trials[-1], state=TrialState.RUNNING, test_metrics=None)
    histories["4-confirm"] = replace(stage, trials=(*stage.trials[:-1], running))
    assert summarise("demo", histories).state == "open"


def test_an_open_check_leaves_the_run_open(build_confirmed_run: BuildRun) -> None:
    histories = build_confirmed_run(check_gain_mm=0.21)
    histories["5-check"] = replace(histories["5-check"], result=None)
    summary = summarise("demo", histories)
    assert (summary.state, summary.check) == ("open", None)


@pytest.mark.parametrize(("asked", "state"), [(5, "finished"), (7, "open"), (None, "finished")])
def test_seeds_that_were_asked_for_and_not_begun_leave_the_run_open(
    build_confirmed_run: BuildRun, asked: int | None, state: str
) -> None:
    histories = build_confirmed_run()
    first = histories["1-lr_p"]
    configuration = {**first.attributes["run_config"], "confirm_seeds": asked}
    attributes = {**first.attributes, "run_config": configuration}
    histories["1-lr_p"] = replace(first, attributes=attributes)
    assert summarise("demo", histories).state == state


def test_an_extension_opens_its_stage_again(build_run: BuildRun) -> None:
    histories = build_run()
    last = histories["3-alpha"]
    extended = replace(last, attributes={**last.attributes, "extensions": [{"trials": 8}]})
    histories["3-alpha"] = extended
    summary = summarise("demo", histories)
    assert (summary.state, summary.seal, summary.stages[2].closed) == ("open", None, False)
    assert last.result is not None
    histories["3-alpha"] = replace(extended, result=replace(last.result, extensions=1))
    assert summarise("demo", histories).state == "finished"


def test_what_pruning_saved_stands_by_stage(build_open_run: BuildRun) -> None:
    printed = summarise("demo", build_open_run()).to_json()
    assert printed["savings"]["2-lr_l"] == {"epochs": 3, "seconds": 6.0, "planned_epochs": 20}
    assert printed["savings"]["1-lr_p"]["epochs"] == 0


def test_untested_winners_leave_the_run_open(build_run: BuildRun) -> None:
    summary = summarise("demo", build_run(tested=False))
    assert summary.state == "open"
    assert summary.seal is not None
    assert summary.seal.test is None


def test_an_open_stage_shows_its_best_so_far(build_open_run: BuildRun) -> None:
    summary = summarise("demo", build_open_run())
    stage = summary.stages[1]
    assert summary.state == "open"
    assert summary.seal is None
    assert not stage.closed
    assert stage.winner is not None
    assert stage.winner.number == 2
    counts = stage.counts
    assert (counts.finished, counts.pruned, counts.failed, counts.running) == (1, 1, 1, 1)


def test_the_last_stage_so_far_is_not_taken_for_seal(build_run: BuildRun) -> None:
    summary = summarise("demo", build_run(stages=2, tested=False))
    assert summary.stages[1].closed
    assert summary.seal is None
    assert summary.state == "open"


def test_a_protocol_of_two_stages_can_finish(build_run: BuildRun) -> None:
    histories = build_run()
    del histories["2-lr_l"]
    assert summarise("demo", histories, stages_planned=2).state == "finished"


def test_a_stage_without_any_result_is_a_failed_run(build_open_run: BuildRun) -> None:
    summary = summarise("demo", build_open_run(failed=True))
    assert summary.state == "failed"
    assert summary.stages[1].winner is None
    assert summary.stages[1].given_up


def test_no_studies_yet_is_an_open_run() -> None:
    summary = summarise("demo", {})
    assert (summary.state, summary.stages, summary.baseline) == ("open", (), None)


def test_times_and_places_are_kept_apart_from_results(build_run: BuildRun) -> None:
    histories = build_run()
    elsewhere = {name: replace(h, trials=_moved(h.trials)) for name, h in histories.items()}
    one = summarise("demo", histories).to_json()
    other = summarise("demo", elsewhere, storage="sqlite:///other.db").to_json()
    assert one["seconds"] != other["seconds"]
    for key in ("state", "stages", "baseline", "seal", "trainings"):
        assert one[key] == other[key]


def _moved(trials: tuple[TrialRecord, ...]) -> tuple[TrialRecord, ...]:
    moved = []
    for trial in trials:
        assert trial.outcome is not None
        outcome = replace(trial.outcome, seconds=99.0, checkpoint="/elsewhere", attempts=2)
        moved.append(replace(trial, outcome=outcome, mlflow_run_id="other"))
    return tuple(moved)


def test_hyperparameters_come_in_the_protocol_s_order(build_run: BuildRun) -> None:
    histories = build_run(stages=2)
    stage = histories["2-lr_l"]
    backwards = dict(sorted(stage.spec.distributions.items()))
    histories["2-lr_l"] = replace(stage, spec=replace(stage.spec, distributions=backwards))
    assert list(backwards) == ["alpha", "lr_l"]
    assert summarise("demo", histories).stages[1].tunes == ("lr_l", "alpha")
    assert list(in_order({"zeta": 1, "alpha": 2, "beta": 3, "lr_p": 4})) == [
        *("lr_p", "alpha", "beta", "zeta")
    ]
