"""Pruning on real Ray, Optuna and MLflow: PRUNED where it should be, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient

from tests.integration.greedy_cli import run, start, table, wait_for_line
from tests.integration.test_greedy_runs import mlflow_runs
from tuner.adapters.optuna_storage import open_storage
from tuner.settings import resolve_locations
from tuner.wiring.stores import load_histories, open_store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.fault,
    pytest.mark.timeout(900),
]

EPOCHS = 3
PRUNED = ("--name", "demo", "--pruner", "asha", "--epochs", str(EPOCHS))
RUNG = 1
"""Of three epochs, `asha` has one rung."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    home = tmp_path_factory.mktemp("undisturbed")
    return home, run(home, *PRUNED)


def lengths(home: Path) -> dict[str, list[int]]:
    """Epochs of each trial by stage, in order of number."""
    histories = load_histories(open_store(resolve_locations(home=home)), "demo")
    return {stage: [t.epochs for t in study.trials] for stage, study in histories.items()}


def pruned_trials(home: Path) -> list[optuna.trial.FrozenTrial]:
    storage = open_storage(resolve_locations(home=home).storage)
    return [
        trial
        for stage in lengths(home)
        for trial in optuna.load_study(study_name=f"demo/{stage}", storage=storage).trials
        if trial.state is optuna.trial.TrialState.PRUNED
    ]


def shown(home: Path) -> dict[tuple[str, str], tuple[str, str, list[int]]]:
    """Status, state and epochs of each trial in MLflow."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    return {
        (item.data.tags["tuner.stage"], item.data.tags["tuner.trial"]): (
            item.info.status,
            item.data.tags["tuner.state"],
            sorted(p.step for p in client.get_metric_history(item.info.run_id, "val_mpjpe_mm")),
        )
        for item in mlflow_runs(home)
        if item.data.tags["tuner.role"] == "trial"
    }


def test_what_was_stopped_is_pruned_at_its_rung_everywhere(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    home, printed = undisturbed
    first, second, third = printed["stages"]
    assert (first["trials"]["finished"], first["trials"]["pruned"]) == (1, 2)
    assert (second["trials"]["finished"], second["trials"]["pruned"]) == (1, 3)
    counts = sum(stage["trials"]["pruned"] for stage in (first, second, third))
    assert [trial.last_step for trial in pruned_trials(home)] == [RUNG] * counts
    states = shown(home).values()
    assert {status for status, _, _ in states} == {"FINISHED"}
    assert [steps for _, state, steps in states if state == "pruned"] == [[RUNG]] * counts
    assert sorted(lengths(home)["2-lr_l"]) == [RUNG, RUNG, RUNG, EPOCHS]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, "the search ended before it was to be killed"
        time.sleep(0.02)


def workers_below(process: int) -> list[int]:
    """Trial workers that a driver has, from /proc."""
    parents, titles = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                titles[int(entry.name)] = (entry / "cmdline").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    below, front = set[int](), {process}
    while front:
        front = {child for child, parent in parents.items() if parent in front} - below
        below |= front
    return sorted(child for child in below if "SealTrainable" in titles[child])


def killed_worker_below(process: int) -> bool:
    """Kill a worker of a driver, if it has one just now: between trials they have other names."""
    for worker in workers_below(process):
        try:
            os.kill(worker, signal.SIGKILL)
        except ProcessLookupError:
            continue
        return True
    return False


def test_killed_workers_and_drivers_change_nobodys_lot_at_a_rung(
    undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    process = start(tmp_path, *PRUNED, "--max-concurrent", "1")
    checkpoints = tmp_path / "runs" / "demo" / "checkpoints"

    def begun(trials: int) -> Callable[[], bool]:
        return lambda: len(list(checkpoints.glob("*/last.ckpt"))) >= trials

    wait_for_line(process, "1-lr_p: 3 trials to run")
    # one stands at the rung, whose worker has gone on to the next trial
    wait_for(begun(1), process)
    wait_for(lambda: killed_worker_below(process.pid), process)
    wait_for(begun(2), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    stage = load_histories(open_store(resolve_locations(home=tmp_path)), "demo")["1-lr_p"]
    assert not any(trial.state.ended for trial in stage.trials)

    assert table(run(tmp_path, *PRUNED)) == table(undisturbed[1])
    assert lengths(tmp_path) == lengths(undisturbed[0])
    assert shown(tmp_path) == shown(undisturbed[0])
