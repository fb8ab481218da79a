"""The whole path on real Ray, Optuna and MLflow: repeatable, resumable, accounted for.

What kills and interruptions at any moment leave behind is in `test_chaos.py`.
"""

from __future__ import annotations

import collections
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient

from tests.integration.greedy_cli import environment, run, start, table, wait_for_line
from tuner.adapters.optuna_storage import open_storage
from tuner.settings import resolve_locations
from tuner.wiring.stores import load_histories, open_store

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

STAGES = ("1-lr_p", "2-lr_l", "3-alpha")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    home = tmp_path_factory.mktemp("undisturbed")
    return home, run(home, "--name", "demo")


def mlflow_runs(home: Path) -> list[Any]:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments, max_results=1000))


def check_accounts(home: Path, name: str = "demo") -> None:
    """Optuna and MLflow hold the same trials, and none is left running in either."""
    histories = load_histories(open_store(resolve_locations(home=home)), name)
    runs = mlflow_runs(home)
    assert {item.info.status for item in runs} == {"FINISHED"}
    shown = collections.Counter(
        item.data.tags["tuner.stage"] for item in runs if item.data.tags["tuner.role"] == "trial"
    )
    assert shown == {stage: len(study.trials) for stage, study in histories.items()}
    assert all(trial.state.ended for study in histories.values() for trial in study.trials)
    storage = open_storage(resolve_locations(home=home).storage)
    states = {
        trial.state
        for study in histories.values()
        for trial in optuna.load_study(study_name=study.spec.study_name, storage=storage).trials
    }
    assert states == {optuna.trial.TrialState.COMPLETE}
    assert all(trial.mlflow_run_id for study in histories.values() for trial in study.trials)
    roles = collections.Counter(item.data.tags["tuner.role"] for item in runs)
    assert (roles["run"], roles["stage"]) == (1, len(histories))


def check_every_epoch_is_shown_once(home: Path) -> None:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    for item in mlflow_runs(home):
        if item.data.tags["tuner.role"] == "trial" and "tuner.imported_from" not in item.data.tags:
            points = client.get_metric_history(item.info.run_id, "val_mpjpe_mm")
            assert sorted(point.step for point in points) == [1, 2]


def test_a_search_ends_with_a_winner_and_a_report(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    home, printed = undisturbed
    assert printed["state"] == "finished"
    assert [stage["name"] for stage in printed["stages"]] == list(STAGES)
    for system in ("baseline", "seal"):
        assert {"mpjpe_mm", "p_mpjpe_mm", "lse", "lle", "bsle"} <= set(printed[system]["test"])
    report = home / "runs" / "demo" / "report"
    assert {"report.html", "decisions.jsonl"} <= {path.name for path in report.iterdir()}
    check_accounts(home)
    check_every_epoch_is_shown_once(home)


def test_stage_3_trains_nothing_that_stage_2_finished(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    home, printed = undisturbed
    histories = load_histories(open_store(resolve_locations(home=home)), "demo")
    trained = [
        trial.spec.configuration_key
        for study in histories.values()
        for trial in study.trials
        if trial.imported_from is None
    ]
    assert len(trained) == len(set(trained)) == printed["trainings"]
    assert printed["stages"][2]["trials"]["cached"] == 2


def test_the_winner_is_registered_as_champion(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    home, printed = undisturbed
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    version = client.get_model_version_by_alias("sealpose-videopose-sample", "champion")
    assert version.run_id == printed["mlflow_run_id"]


def test_repeating_a_finished_run_trains_nothing(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    home, printed = undisturbed
    folder = home / "runs" / "demo" / "checkpoints"
    before = sorted(path.stat().st_mtime_ns for path in folder.rglob("*.ckpt"))
    assert len(before) == 2 * printed["trainings"]
    assert table(run(home, "--name", "demo")) == table(printed)
    assert before == sorted(path.stat().st_mtime_ns for path in folder.rglob("*.ckpt"))


def test_a_run_that_is_asked_something_else_is_refused(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    home, _ = undisturbed
    process = start(home, "--name", "demo", "--seed", "7")
    printed, messages = process.communicate(timeout=60)
    assert (process.returncode, printed) == (2, "")
    assert "exists with another definition" in messages
    assert "seed: 0 in the store, 7 now" in messages


def test_a_second_driver_of_the_same_run_is_refused(tmp_path: Path) -> None:
    first = start(tmp_path, "--name", "demo")
    try:
        wait_for_line(first, "1-lr_p: 3 trials to run")
        second = start(tmp_path, "--name", "demo")
        _, refusal = second.communicate(timeout=60)
    finally:
        first.kill()
        first.communicate()
    assert second.returncode == 2
    assert f"is being driven by process {first.pid}" in refusal


@pytest.mark.fault
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_an_interrupted_run_says_how_to_go_on_and_does(
    undisturbed: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    process = start(tmp_path, "--name", "demo")
    wait_for_line(process, "2-lr_l: 4 trials to run")
    time.sleep(1.0)
    process.send_signal(number)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == code, messages
    assert f"tuner runs resume demo --home {tmp_path}" in messages
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tuner",
            "runs",
            "resume",
            "demo",
            "--home",
            str(tmp_path),
            "--json",
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert table(json.loads(done.stdout)) == table(undisturbed[1])
    check_accounts(tmp_path)
