"""The contract over MLflow on SQLite, and how MLflow shows a run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contracts.mlflow_view import EXPERIMENT, all_runs, read_view
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
    whole_run,
)
from tuner.adapters.mlflow_session import connect
from tuner.adapters.mlflow_tracker import MlflowTracker
from tuner.adapters.outbox import Outbox
from tuner.errors import TrackingError
from tuner.records import OutcomeKind

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def make_tracker(uri: str, folder: Path) -> MlflowTracker:
    return MlflowTracker(
        tracking_uri=uri,
        experiment=EXPERIMENT,
        outbox_path=folder / "run" / "outbox.db",
        artifact_root=None,
        run_folder=folder / "run",
        linger_s=0.05,
    )


class TestSqliteTracker(TrackerContract):
    @pytest.fixture
    def open_tracker(self, tmp_path: Path, uri: str) -> OpenTracker:
        return lambda: make_tracker(uri, tmp_path)

    @pytest.fixture
    def view(self, uri: str) -> Callable[[], View]:
        return lambda: read_view(uri)


def test_runs_have_readable_names_and_a_data_set(uri: str, tmp_path: Path) -> None:
    tracker = make_tracker(uri, tmp_path)
    whole_run(tracker)
    tracker.close(timeout_s=CLOSE_S)
    names = sorted(run.info.run_name for run in all_runs(uri))
    expected = [f"{STAGE} #0{n} lr_l=1e-4 alpha=2e-3" for n in (0, 1)]
    assert names == [*expected, f"{STAGE} summary", "demo"]
    (parent,) = [run for run in all_runs(uri) if run.info.run_name == "demo"]
    (used,) = parent.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("sample", ("c0ffee" * 10)[:36])
    assert {tag.key: tag.value for tag in used.tags}["hash"] == "c0ffee" * 10


def test_files_are_attached_and_replaced(uri: str, tmp_path: Path) -> None:
    tracker = make_tracker(uri, tmp_path)
    tracker.start_run(INFO)
    for text in ("first", "second"):
        (tmp_path / "run" / "report.html").write_text(text)
        tracker.log_artifact("report.html", folder="report")
    tracker.log_artifact("missing.html")
    tracker.start_trial(request(), tags={})
    failed = outcome(kind=OutcomeKind.FAILED, traceback="Traceback: boom")
    tracker.end_trial(STAGE, failed, tags={})
    assert tracker.close(timeout_s=CLOSE_S) == 0
    runs = {run.data.tags["tuner.role"]: run for run in all_runs(uri)}
    files = Path(runs["run"].info.artifact_uri.removeprefix("file://"))
    assert (files / "report" / "report.html").read_text() == "second"
    trial_files = Path(runs["trial"].info.artifact_uri.removeprefix("file://"))
    assert (trial_files / "traceback.txt").read_text() == "Traceback: boom"
    assert files.is_relative_to(tmp_path / "mlflow-artifacts")
    (event, reason) = Outbox(tmp_path / "run" / "outbox.db").rejected()[0]
    assert event["path"].endswith("missing.html")
    assert "no longer exists" in reason


def test_a_lost_outbox_doubles_nothing(uri: str, tmp_path: Path) -> None:
    tracker = make_tracker(uri, tmp_path)
    whole_run(tracker)
    tracker.close(timeout_s=CLOSE_S)
    before = read_view(uri)
    ids = tracker.run_ids()
    shutil.rmtree(tmp_path / "run")
    again = make_tracker(uri, tmp_path)
    whole_run(again, epochs=4)
    again.close(timeout_s=CLOSE_S)
    assert again.run_ids() == ids
    assert set(read_view(uri)) == set(before)
    assert every_epoch_once(read_view(uri), f"{STAGE}/0", 4)


def test_a_run_of_the_same_name_and_another_uid_is_another_run(uri: str, tmp_path: Path) -> None:
    for person in ("ann", "bob"):
        tracker = make_tracker(uri, tmp_path / person)
        tracker.start_run(type(INFO)("demo", {"uid": person}, {}, {}))
        tracker.start_trial(request(), tags={})
        tracker.end_run("finished", metrics={}, tags={})
        assert tracker.close(timeout_s=CLOSE_S) == 0
    runs = all_runs(uri)
    assert len(runs) == 4
    assert len({run.data.tags.get("mlflow.parentRunId") for run in runs}) == 3


def test_a_trial_number_that_shows_another_training_is_not_taken_over(
    uri: str, tmp_path: Path
) -> None:
    tracker = make_tracker(uri, tmp_path)
    tracker.start_run(INFO)
    tracker.start_trial(request(0, lr_l=1e-4), tags={})
    tracker.close(timeout_s=CLOSE_S)
    shutil.rmtree(tmp_path / "run")
    again = make_tracker(uri, tmp_path)
    again.start_run(INFO)
    again.start_trial(request(0, lr_l=5e-4), tags={})
    again.close(timeout_s=CLOSE_S)
    rates = sorted(run.data.params["lr_l"] for run in all_runs(uri) if "lr_l" in run.data.params)
    assert rates == ["0.0001", "0.0005"]


def test_doubles_left_by_lost_answers_are_removed(uri: str, tmp_path: Path) -> None:
    """A creation that took effect after we had given up on it."""
    tracker = make_tracker(uri, tmp_path)
    tracker.start_run(INFO)
    tracker.start_trial(request(), tags={})
    tracker.close(timeout_s=CLOSE_S)
    client = connect(uri)
    for run in all_runs(uri):
        tags = {k: v for k, v in run.data.tags.items() if k != "mlflow.runName"}
        client.create_run(run.info.experiment_id, start_time=run.info.start_time, tags=tags)
    by_hand = {
        "tuner.run": "demo",
        "tuner.key": f"demo/{STAGE}/0",
        "mlflow.parentRunId": tracker.run_ids()["", None],
    }
    client.create_run(run.info.experiment_id, start_time=1, tags=by_hand)
    again = make_tracker(uri, tmp_path)
    again.start_run(INFO)
    again.start_trial(request(), tags={})
    again.end_trial(STAGE, outcome(), tags={})
    again.end_run("finished", metrics={}, tags={})
    again.close(timeout_s=CLOSE_S)
    ours = set(tracker.run_ids().values())
    left = {run.info.run_id: run.info.start_time for run in all_runs(uri)}
    assert ours < set(left)
    assert [start for run_id, start in left.items() if run_id not in ours] == [1]


def test_epochs_that_arrived_before_a_crash_are_not_sent_again(uri: str, tmp_path: Path) -> None:
    """The server committed, and the process died before it could note that."""
    tracker = make_tracker(uri, tmp_path)
    tracker.start_run(INFO)
    tracker.start_trial(request(), tags={})
    for epoch in (1, 2):
        tracker.log_epoch(STAGE, report(0, epoch))
    tracker.close(timeout_s=CLOSE_S)
    outbox = Outbox(tmp_path / "run" / "outbox.db")
    for time_ms, epoch in ((1, 1), (2, 2), (3, 3)):
        figures = {"val_mpjpe_mm": 70.0 - epoch, "loss": 1.0 / epoch}
        event = {"kind": "epoch", "run": "demo", "time_ms": time_ms, "key": f"{STAGE}/0"}
        outbox.append({**event, "epoch": epoch, "metrics": figures, "dropped": []})
    outbox.close()
    again = make_tracker(uri, tmp_path)  # has something to deliver, and does so by itself
    assert again.close(timeout_s=CLOSE_S) == 0
    assert every_epoch_once(read_view(uri), f"{STAGE}/0", 3)


def test_more_than_a_request_holds_arrives_whole(uri: str, tmp_path: Path) -> None:
    tracker = make_tracker(uri, tmp_path)
    tracker.start_run(type(INFO)("demo", {}, {f"p{n}": str(n) for n in range(230)}, {}))
    tracker.start_trial(request(), tags={f"t{n}": str(n) for n in range(130)})
    for epoch in range(1, 701):
        tracker.log_epoch(STAGE, report(0, epoch))
    tracker.close(timeout_s=CLOSE_S)
    shown = read_view(uri)
    assert len(shown[""].params) == 230
    assert sum(name.startswith("tuner.t") for name in shown[f"{STAGE}/0"].tags) >= 130
    assert every_epoch_once(shown, f"{STAGE}/0", 700)


def test_a_run_that_was_deleted_by_hand_is_refused_without_harm(uri: str, tmp_path: Path) -> None:
    tracker = make_tracker(uri, tmp_path)
    tracker.start_run(INFO)
    tracker.start_trial(request(0), tags={})
    tracker.close(timeout_s=CLOSE_S)
    connect(uri).delete_run(tracker.run_ids()[STAGE, 0])
    again = make_tracker(uri, tmp_path)
    again.start_run(INFO)
    again.log_epoch(STAGE, report(0, 1))
    again.start_trial(request(1), tags={})
    again.log_epoch(STAGE, report(1, 1))
    assert again.close(timeout_s=CLOSE_S) == 0
    shown = read_view(uri)
    assert set(shown) == {"", f"{STAGE}/1"}
    assert every_epoch_once(shown, f"{STAGE}/1", 1)


def test_another_database_gets_the_runs_anew(uri: str, tmp_path: Path, empty_mlflow: Path) -> None:
    tracker = make_tracker(uri, tmp_path)
    whole_run(tracker)
    tracker.close(timeout_s=CLOSE_S)
    shutil.copy(empty_mlflow, tmp_path / "other.db")
    other = f"sqlite:///{tmp_path}/other.db"
    again = make_tracker(other, tmp_path)
    whole_run(again)
    assert again.close(timeout_s=CLOSE_S) == 0
    assert {run.status for run in read_view(other).values()} == {"FINISHED"}
    assert set(read_view(other)) == {"", f"{STAGE}/0", f"{STAGE}/1"}


def test_a_plain_folder_is_refused(tmp_path: Path) -> None:
    for bad in (str(tmp_path / "mlruns"), f"file://{tmp_path}/mlruns"):
        with pytest.raises(TrackingError, match="is a plain folder, which MLflow 3"):
            make_tracker(bad, tmp_path)


def test_an_outbox_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a folder belongs")
    with pytest.raises(TrackingError, match="cannot write the tracking queue"):
        make_tracker(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)


def test_the_caller_never_imports_mlflow_and_stdout_stays_clean(uri: str, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tuner.adapters.mlflow_tracker import MlflowTracker\n"
        "from tests.contracts.tracker import whole_run\n"
        "folder = Path(sys.argv[2])\n"
        "tracker = MlflowTracker(tracking_uri=sys.argv[1], experiment='x',\n"
        "    outbox_path=folder / 'o.db', artifact_root=None, run_folder=folder)\n"
        "assert 'mlflow' not in sys.modules\n"
        "whole_run(tracker)\n"
        "assert tracker.close(timeout_s=50.0) == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, uri, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
