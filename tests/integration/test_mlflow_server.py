"""Tracking against a real `mlflow server`, which is killed; and from a process that is killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contracts.mlflow_view import MlflowServer, all_runs, read_view
from tests.contracts.tracker import (
    CLOSE_S,
    INFO,
    STAGE,
    OpenTracker,
    TrackerContract,
    View,
    every_epoch_once,
    outcome,
    report,
    request,
)
from tuner.adapters.mlflow_session import connect
from tuner.adapters.mlflow_tracker import MlflowTracker

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

TRIALS = 4
EPOCHS = 20
KILLS = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("server")
    database = f"sqlite:///{folder}/mlflow.db"
    connect(database).search_experiments()  # the tables, in this process: faster than workers
    running = MlflowServer(folder, database)
    running.start()
    try:
        running.wait_until_up()
        yield running
    finally:
        running.kill()


@pytest.fixture
def experiment() -> str:
    return f"seal-pose-tuner/{uuid.uuid4().hex[:8]}"


def make_tracker(uri: str, experiment: str, folder: Path) -> MlflowTracker:
    return MlflowTracker(
        tracking_uri=uri,
        experiment=experiment,
        outbox_path=folder / "run" / "outbox.db",
        artifact_root=None,
        run_folder=folder / "run",
        linger_s=0.05,
    )


class TestServerTracker(TrackerContract):
    @pytest.fixture
    def open_tracker(self, tmp_path: Path, server: MlflowServer, experiment: str) -> OpenTracker:
        return lambda: make_tracker(server.uri, experiment, tmp_path)

    @pytest.fixture
    def view(self, server: MlflowServer, experiment: str) -> Callable[[], View]:
        return lambda: read_view(server.uri, experiment)


def test_files_travel_through_the_server(
    server: MlflowServer, experiment: str, tmp_path: Path
) -> None:
    tracker = make_tracker(server.uri, experiment, tmp_path)
    tracker.start_run(INFO)
    (tmp_path / "run" / "report.html").write_text("a report")
    tracker.log_artifact("report.html", folder="report")
    tracker.end_run("finished", metrics={}, tags={})
    assert tracker.close(timeout_s=CLOSE_S) == 0
    (run,) = all_runs(server.uri, experiment)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    stored = server.folder / "artifacts" / run.info.experiment_id / run.info.run_id
    assert (stored / "artifacts" / "report" / "report.html").read_text() == "a report"


@pytest.mark.fault
def test_a_server_that_dies_and_comes_back_has_everything_once(
    server: MlflowServer, experiment: str, tmp_path: Path
) -> None:
    """SIGKILL while it is taking events, twice; the run goes on all the while."""
    tracker = make_tracker(server.uri, experiment, tmp_path)
    tracker.start_run(INFO)
    for trial in range(TRIALS):
        tracker.start_trial(request(trial), tags={})
        for epoch in range(1, EPOCHS + 1):
            tracker.log_epoch(STAGE, report(trial, epoch))
            time.sleep(0.02)
            if trial in (1, 2) and epoch == EPOCHS // 2:
                server.kill()
            if trial in (1, 2) and epoch == EPOCHS // 2 + 5:
                assert tracker.pending() > 0
                server.start()
        tracker.end_trial(STAGE, outcome(trial, epochs=EPOCHS), tags={})
        if trial in (1, 2):
            server.wait_until_up()
    tracker.end_stage(STAGE, tags={}, metrics={"best_val_mpjpe_mm": 50.0})
    tracker.end_run("finished", metrics={}, tags={})
    assert tracker.close(timeout_s=120.0) == 0
    shown = read_view(server.uri, experiment)
    assert set(shown) == {"", f"{STAGE}/", *(f"{STAGE}/{trial}" for trial in range(TRIALS))}
    assert {run.status for run in shown.values()} == {"FINISHED"}
    assert all(every_epoch_once(shown, f"{STAGE}/{trial}", EPOCHS) for trial in range(TRIALS))


def test_with_no_server_at_all_the_caller_never_waits_and_events_arrive_later(
    server: MlflowServer, experiment: str, tmp_path: Path
) -> None:
    absent = MlflowServer(tmp_path, "sqlite://")
    tracker = make_tracker(absent.uri, experiment, tmp_path)
    tracker.start_run(INFO)
    tracker.start_trial(request(), tags={})
    for epoch in range(1, EPOCHS + 1):
        tracker.log_epoch(STAGE, report(0, epoch))
    tracker.end_trial(STAGE, outcome(), tags={})
    tracker.end_run("finished", metrics={}, tags={})
    assert tracker.close(timeout_s=0.5) == 1 + 1 + EPOCHS + 1 + 1
    later = make_tracker(server.uri, experiment, tmp_path)
    assert later.close(timeout_s=CLOSE_S) == 0
    shown = read_view(server.uri, experiment)
    assert every_epoch_once(shown, f"{STAGE}/0", EPOCHS)


DRIVER = """
import sys, time
from pathlib import Path
from tests.contracts.tracker import INFO, STAGE, outcome, report, request
from tests.integration.test_mlflow_server import EPOCHS, TRIALS, make_tracker
import mlflow  # as long as MLflow is imported nothing is delivered, and kills would hit nothing
tracker = make_tracker(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
print("ready", flush=True)
tracker.start_run(INFO)
for trial in range(TRIALS):
    tracker.start_trial(request(trial), tags={})
    for epoch in range(1, EPOCHS + 1):
        tracker.log_epoch(STAGE, report(trial, epoch))
        time.sleep(0.01)
    tracker.end_trial(STAGE, outcome(trial, epochs=EPOCHS), tags={})
tracker.end_stage(STAGE, tags={}, metrics={"best_val_mpjpe_mm": 50.0})
tracker.end_run("finished", metrics={}, tags={})
sys.exit(tracker.close(timeout_s=120.0))
"""


@pytest.mark.fault
def test_a_driver_killed_again_and_again_leaves_no_trace(tmp_path: Path) -> None:
    """SIGKILL at random moments of logging and delivery; each life repeats the whole run."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    connect(uri).search_experiments()
    moments = random.Random(7)
    for life in range(KILLS + 1):
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, uri, "killed", str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"ready\n"
        if life < KILLS:
            time.sleep(moments.uniform(0.05, 0.9))
            driver.kill()
        driver.wait()
        driver.stdout.close()
    assert driver.returncode == 0
    shown = read_view(uri, "killed")
    assert set(shown) == {"", f"{STAGE}/", *(f"{STAGE}/{trial}" for trial in range(TRIALS))}
    assert {run.status for run in shown.values()} == {"FINISHED"}
    assert all(every_epoch_once(shown, f"{STAGE}/{trial}", EPOCHS) for trial in range(TRIALS))
