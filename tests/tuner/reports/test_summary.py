from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from tuner.records import StudyHistory, TrialRecord
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
        "running": 0,
        "trained": 2,
    }
    assert summary.trainings == 3 + 4 + 2
    assert summary.seconds == 9 * 10.0
    assert summary.device_seconds == 9 * 20.0


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
