"""The state of a trial stays until the study store knows that it is needed no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage

from tests.fakes.failing_store import FailingStore
from tests.fakes.listener import RecordingListener
from tests.tuner.protocol.bowl import bowl_protocol
from trainables.checkpoint import CheckpointStore
from tuner import patient_store
from tuner.adapters.jsonl_tracker import JsonlTracker
from tuner.adapters.optuna_store import OptunaStudyStore
from tuner.engine import open_run
from tuner.patient_store import PatientStore
from tuner.ports import RunInfo, Sampler
from tuner.protocol.actions import AskTrials
from tuner.protocol.greedy import next_action
from tuner.recording import Recorder, read_history
from tuner.records import OutcomeKind, TrialOutcome, TrialRequest
from tuner.session import StageSession
from tuner.wiring.checkpoint_keeper import RunCheckpoints


def no_sampler(stage: str) -> Sampler:
    raise AssertionError(f"the grid of {stage} needs no sampler")


def test_a_state_stays_while_the_store_does_not_know_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_store, "FIRST_PAUSE_S", 0.0)
    line = FailingStore(OptunaStudyStore(InMemoryStorage()))
    store = PatientStore(line, patience_s=0.0, say=lambda text: None)
    chosen, tracker = bowl_protocol(), JsonlTracker(tmp_path / "tracking.jsonl")
    tracker.start_run(RunInfo(run="run", tags={}, params={}, dataset={}))
    recorder = Recorder(chosen, store, tracker, no_sampler)
    open_run(chosen, store)
    history = read_history(chosen, store)
    action = next_action(chosen, history)
    assert isinstance(action, AskTrials)
    recorder.ask(action, history)
    checkpoints = CheckpointStore(tmp_path / "checkpoints")
    session = StageSession(
        chosen,
        "1-lr_p",
        store=store,
        tracker=tracker,
        listener=RecordingListener(),
        recorder=recorder,
        keeper=RunCheckpoints(tmp_path / "checkpoints", keep="all", store=store, run="run"),
    )

    def ends_with_nan() -> Path:
        request = session.next_request()
        assert isinstance(request, TrialRequest)
        checkpoints.save(request.spec.fingerprint, "last", {}, {})
        session.on_start(request, attempt=1)
        session.on_end("1-lr_p", TrialOutcome(request.trial, OutcomeKind.INVALID_METRIC))
        return tmp_path / "checkpoints" / request.spec.fingerprint / "last.ckpt"

    line.down = True
    assert ends_with_nan().exists()
    line.down = False
    assert not ends_with_nan().exists()
    assert all(trial.state.ended for trial in read_history(chosen, store)["1-lr_p"].trials)
    tracker.close(timeout_s=1.0)
