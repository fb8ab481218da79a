"""What every `Tracker` promises. A suite supplies `open_tracker` and `view`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tuner.errors import TrackingError
from tuner.ports import RunInfo, Tracker
from tuner.records import EpochReport, OutcomeKind, TrialOutcome, TrialRequest, TrialSpec

STAGE = "2-lr_l"
CLOSE_S = 50.0
PASSWORD = "hunter2"

INFO = RunInfo(
    run="demo",
    tags={"backbone": "videopose", "uid": "u-1"},
    params={"storage": f"postgresql://ann:{PASSWORD}@db/tuner", "epochs": "3"},
    dataset={"name": "sample", "hash": "c0ffee" * 10, "description": "real motion"},
)


@dataclass
class RunView:
    """One run as people see it; `points` counts each (metric, epoch) of the per-epoch metrics."""

    status: str
    parent: str | None
    tags: dict[str, str]
    params: dict[str, str]
    figures: dict[str, float]
    points: Counter[tuple[str, int]] = field(default_factory=Counter)


View = dict[str, RunView]
"""Runs by key: `` (the run), `stage/trial`, `stage/` (a stage's summary)."""

OpenTracker = Callable[[], Tracker]
"""Opens the tracker of the one run; calling it again is a later life of the same run."""


def request(trial: int = 0, *, lr_l: float = 1e-4) -> TrialRequest:
    base = {"backbone": "videopose", "data": {"name": "sample", "stride": 1}, "epochs": 3}
    return TrialRequest(STAGE, trial, TrialSpec(base, {"lr_l": lr_l, "alpha": 2e-3}, seed=trial))


def report(trial: int, epoch: int) -> EpochReport:
    return EpochReport(trial, epoch, {"val_mpjpe_mm": 70.0 - epoch, "loss": 1.0 / epoch})


def outcome(
    trial: int = 0,
    kind: OutcomeKind = OutcomeKind.COMPLETED,
    *,
    epochs: int = 3,
    reason: str = "",
    traceback: str = "",
) -> TrialOutcome:
    value = 70.0 - epochs
    return TrialOutcome(
        trial=trial,
        kind=kind,
        value=value,
        epochs=epochs,
        best_epoch=epochs,
        metrics={"val_mpjpe_mm": value},
        seconds=2.5,
        device_seconds=2.5,
        reason=reason,
        traceback=traceback,
    )


def whole_run(tracker: Tracker, *, trials: int = 2, epochs: int = 3) -> None:
    tracker.start_run(INFO)
    for trial in range(trials):
        tracker.start_trial(request(trial), tags={"attempt": "1"})
        for epoch in range(1, epochs + 1):
            tracker.log_epoch(STAGE, report(trial, epoch))
        tracker.end_trial(STAGE, outcome(trial, epochs=epochs), tags={})
    tracker.end_stage(STAGE, tags={"winner": "0"}, metrics={"best_val_mpjpe_mm": 67.0})
    tracker.end_run("finished", metrics={"best_val_mpjpe_mm": 67.0}, tags={})


def every_epoch_once(view: View, key: str, epochs: int) -> bool:
    names = ("val_mpjpe_mm", "loss")
    return view[key].points == Counter((n, e) for n in names for e in range(1, epochs + 1))


class TrackerContract:
    """The suite. `view` reads what is shown, after everything has been delivered."""

    @pytest.fixture
    def open_tracker(self, tmp_path: Path) -> OpenTracker:
        raise NotImplementedError

    @pytest.fixture
    def view(self, tmp_path: Path) -> Callable[[], View]:
        raise NotImplementedError

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path

    def test_a_whole_run_is_shown(
        self, open_tracker: OpenTracker, view: Callable[[], View]
    ) -> None:
        tracker = open_tracker()
        whole_run(tracker)
        assert tracker.close(timeout_s=CLOSE_S) == 0
        shown = view()
        assert set(shown) == {"", f"{STAGE}/0", f"{STAGE}/1", f"{STAGE}/"}
        assert {run.status for run in shown.values()} == {"FINISHED"}
        assert [shown[key].parent for key in ("", f"{STAGE}/0", f"{STAGE}/")] == [None, "", ""]
        assert every_epoch_once(shown, f"{STAGE}/0", 3)
        assert every_epoch_once(shown, f"{STAGE}/1", 3)
        assert shown[f"{STAGE}/"].figures == {"best_val_mpjpe_mm": 67.0}
        assert shown[""].figures == {"best_val_mpjpe_mm": 67.0}

    def test_configuration_and_tags_are_shown(
        self, open_tracker: OpenTracker, view: Callable[[], View]
    ) -> None:
        tracker = open_tracker()
        tracker.start_run(INFO)
        tracker.start_trial(request(3), tags={"attempt": "2", "node": "worker-7"})
        tracker.close(timeout_s=CLOSE_S)
        trial = view()[f"{STAGE}/3"]
        assert trial.status == "RUNNING"
        assert trial.params["data.name"] == "sample"
        assert trial.params["lr_l"] == "0.0001"
        assert trial.params["seed"] == "3"
        expected = {
            "tuner.role": "trial",
            "tuner.stage": STAGE,
            "tuner.trial": "3",
            "tuner.attempt": "2",
            "tuner.node": "worker-7",
            "tuner.fingerprint": request(3).spec.fingerprint,
            "tuner.state": "running",
        }
        assert expected.items() <= trial.tags.items()

    @pytest.mark.parametrize(
        ("kind", "status", "state"),
        [
            (OutcomeKind.COMPLETED, "FINISHED", "finished"),
            (OutcomeKind.STOPPED_EARLY, "FINISHED", "pruned"),
            (OutcomeKind.INVALID_METRIC, "FAILED", "invalid_metric"),
            (OutcomeKind.FAILED, "FAILED", "failed"),
            (OutcomeKind.CANCELLED, "KILLED", "cancelled"),
        ],
    )
    def test_ends_are_told_apart(
        self,
        open_tracker: OpenTracker,
        view: Callable[[], View],
        kind: OutcomeKind,
        status: str,
        state: str,
    ) -> None:
        tracker = open_tracker()
        tracker.start_run(INFO)
        tracker.start_trial(request(), tags={})
        tracker.end_trial(STAGE, outcome(kind=kind, reason="why", traceback="Error"), tags={})
        tracker.close(timeout_s=CLOSE_S)
        trial = view()[f"{STAGE}/0"]
        assert (trial.status, trial.tags["tuner.state"]) == (status, state)
        assert trial.tags["tuner.reason"] == "why"
        assert trial.figures["best_val_mpjpe_mm"] == 67.0

    @pytest.mark.parametrize(
        ("state", "status"),
        [("finished", "FINISHED"), ("failed", "FAILED"), ("interrupted", "KILLED")],
    )
    def test_the_run_ends_and_nothing_stays_running(
        self, open_tracker: OpenTracker, view: Callable[[], View], state: str, status: str
    ) -> None:
        tracker = open_tracker()
        tracker.start_run(INFO)
        tracker.start_trial(request(0), tags={})
        tracker.start_trial(request(1), tags={})
        tracker.end_trial(STAGE, outcome(1), tags={})
        tracker.end_run(state, metrics={}, tags={})
        tracker.close(timeout_s=CLOSE_S)
        shown = view()
        assert shown[""].status == status
        assert shown[f"{STAGE}/0"].status == "KILLED"
        assert shown[f"{STAGE}/1"].status == "FINISHED"

    def test_a_cancelled_trial_goes_on_in_a_later_life(
        self, open_tracker: OpenTracker, view: Callable[[], View]
    ) -> None:
        first = open_tracker()
        first.start_run(INFO)
        first.start_trial(request(), tags={"attempt": "1"})
        for epoch in (1, 2):
            first.log_epoch(STAGE, report(0, epoch))
        first.end_trial(STAGE, outcome(kind=OutcomeKind.CANCELLED, epochs=2), tags={})
        first.end_run("interrupted", metrics={}, tags={})
        first.close(timeout_s=CLOSE_S)
        ids = first.run_ids()
        assert set(ids) == {("", None), (STAGE, 0)}

        second = open_tracker()
        second.start_run(INFO)
        second.start_trial(request(), tags={"attempt": "2"})
        for epoch in (2, 3):  # the last checkpoint was of epoch 1
            second.log_epoch(STAGE, report(0, epoch))
        second.end_trial(STAGE, outcome(), tags={})
        second.end_run("finished", metrics={}, tags={})
        second.close(timeout_s=CLOSE_S)
        assert second.run_ids() == ids
        shown = view()
        assert set(shown) == {"", f"{STAGE}/0"}
        assert {run.status for run in shown.values()} == {"FINISHED"}
        assert every_epoch_once(shown, f"{STAGE}/0", 3)

    def test_repeating_everything_changes_nothing(
        self, open_tracker: OpenTracker, view: Callable[[], View]
    ) -> None:
        first = open_tracker()
        whole_run(first)
        whole_run(first)
        first.close(timeout_s=CLOSE_S)
        once = view()
        second = open_tracker()
        whole_run(second)
        second.close(timeout_s=CLOSE_S)
        assert view() == once
        assert every_epoch_once(once, f"{STAGE}/0", 3)

    def test_non_finite_figures_are_left_out_and_named(
        self, open_tracker: OpenTracker, view: Callable[[], View]
    ) -> None:
        tracker = open_tracker()
        tracker.start_run(INFO)
        tracker.start_trial(request(), tags={})
        figures = {"loss": math.nan, "energy": -math.inf, "val_mpjpe_mm": 60.0}
        tracker.log_epoch(STAGE, EpochReport(0, 1, figures))
        tracker.close(timeout_s=CLOSE_S)
        trial = view()[f"{STAGE}/0"]
        assert trial.points == Counter({("val_mpjpe_mm", 1): 1})
        assert trial.tags["tuner.dropped_metrics"] == "epoch 1: energy, loss"

    def test_secrets_are_kept_out(
        self, open_tracker: OpenTracker, view: Callable[[], View], folder: Path
    ) -> None:
        tracker = open_tracker()
        tracker.start_run(INFO)
        tracker.start_trial(request(), tags={"api_token": PASSWORD})
        traceback = f"OperationalError: http://ann:{PASSWORD}@host refused, token={PASSWORD}"
        failed = outcome(kind=OutcomeKind.FAILED, reason=traceback, traceback=traceback)
        tracker.end_trial(STAGE, failed, tags={})
        tracker.close(timeout_s=CLOSE_S)
        assert view()[""].params["storage"] == "postgresql://ann:***@db/tuner"
        holding = [p for p in folder.rglob("*") if p.is_file() and PASSWORD in _text(p)]
        assert holding == []

    def test_strange_names_and_long_values_are_made_to_fit(
        self, open_tracker: OpenTracker, view: Callable[[], View]
    ) -> None:
        tracker = open_tracker()
        tracker.start_run(INFO)
        tracker.start_trial(request(), tags={"long": "x" * 20_000})
        tracker.log_epoch(STAGE, EpochReport(0, 1, {"loss(α)*2": 1.0}))
        assert tracker.close(timeout_s=CLOSE_S) == 0
        trial = view()[f"{STAGE}/0"]
        assert trial.points == Counter({("loss____2", 1): 1})
        assert len(trial.tags["tuner.long"]) <= 5000
        assert trial.tags["tuner.long"].endswith("(shortened)")

    def test_ids_of_everything_shown_are_known(self, open_tracker: OpenTracker) -> None:
        tracker = open_tracker()
        whole_run(tracker)
        tracker.close(timeout_s=CLOSE_S)
        again = open_tracker()
        ids = again.run_ids()
        again.close(timeout_s=CLOSE_S)
        assert set(ids) == {("", None), (STAGE, 0), (STAGE, 1), (STAGE, None)}
        assert len(set(ids.values())) == 4

    def test_faults_of_the_caller_are_named(self, open_tracker: OpenTracker) -> None:
        tracker = open_tracker()
        with pytest.raises(TrackingError, match="start_run must be called before"):
            tracker.log_epoch(STAGE, report(0, 1))
        tracker.start_run(INFO)
        with pytest.raises(TrackingError, match="not as 'done'"):
            tracker.end_run("done", metrics={}, tags={})
        tracker.close(timeout_s=CLOSE_S)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")
