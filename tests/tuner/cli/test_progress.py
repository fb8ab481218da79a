from __future__ import annotations

import io
import os
import pty
import re
import sys
import threading

import pytest

from tuner.cli._progress_state import ProgressState
from tuner.cli.progress import build_listener
from tuner.ports import EngineListener
from tuner.records import EpochReport, OutcomeKind, TrialOutcome, TrialRequest, TrialSpec


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def request(stage: str, trial: int, epochs: int = 4) -> TrialRequest:
    return TrialRequest(stage, trial, TrialSpec({"epochs": epochs}, {"lr_p": 1e-3}, trial))


def report(trial: int, epoch: int, value: float) -> EpochReport:
    return EpochReport(trial, epoch, {"val_mpjpe_mm": value})


def completed(trial: int, value: float) -> TrialOutcome:
    return TrialOutcome(trial, OutcomeKind.COMPLETED, value=value, epochs=4)


def run_two_stages(listener: EngineListener) -> None:
    for stage, value in (("1-lr_p", 60.0), ("2-lr_l", 58.5)):
        listener.on_stage(stage, planned=3, done=0, message="3 trials to run", best_mm={})
        for trial in range(3):
            listener.on_trial_started(request(stage, trial))
            for epoch in range(1, 5):
                listener.on_epoch(stage, report(trial, epoch, value + 4 - epoch), epochs=4)
            listener.on_trial_ended(stage, completed(trial, value))
        listener.on_message(f"stage {stage} closed: [bold]3 of 3[/bold] finished")


def test_speed_and_time_left_come_from_measured_epochs() -> None:
    clock = Clock()
    state = ProgressState(clock=clock)
    state.open_stage("1-lr_p", planned=3, done=0)
    state.start_trial(request("1-lr_p", 0))
    assert state.snapshot().epochs_left == 12
    assert state.snapshot().seconds_left is None
    clock.now_s += 50.0  # the start of a worker says nothing about the speed
    for epoch in (1, 2, 3):
        state.end_epoch("1-lr_p", report(0, epoch, 70.0 - epoch), epochs=4)
        clock.now_s += 2.0
    clock.now_s -= 2.0
    now = state.snapshot()
    assert now.epochs_per_s == pytest.approx(0.5)
    assert now.epochs_left == 2 * 4 + 1
    assert now.seconds_left == pytest.approx(18.0)
    clock.now_s += 4.0
    stalled = state.snapshot().epochs_per_s
    assert stalled == pytest.approx(0.25)


def test_trials_that_wait_at_a_rung_do_not_run() -> None:
    state = ProgressState(clock=Clock())
    state.open_stage("1-lr_p", planned=3, done=0)
    for trial in range(3):
        state.start_trial(request("1-lr_p", trial))
        state.end_epoch("1-lr_p", report(trial, 1, 70.0), epochs=4)
    state.park_trial(0)
    state.park_trial(1)
    assert state.snapshot().running == 1
    assert state.snapshot().epochs_left == 9, "what they still have to do counts"
    state.end_epoch("1-lr_p", report(0, 2, 69.0), epochs=4)
    assert state.snapshot().running == 2
    state.end_trial("1-lr_p", TrialOutcome(1, OutcomeKind.STOPPED_EARLY, value=70.0, epochs=1))
    assert (state.snapshot().running, state.snapshot().done) == (2, 1)


def test_counts_follow_every_kind_of_end() -> None:
    state = ProgressState(clock=Clock())
    state.open_stage("1-lr_p", planned=5, done=1)
    for trial in range(4):
        state.start_trial(request("1-lr_p", trial))
    assert state.snapshot().running == 4
    state.end_trial("1-lr_p", completed(0, 61.0))
    state.end_trial("1-lr_p", TrialOutcome(1, OutcomeKind.FAILED))
    state.end_trial("1-lr_p", TrialOutcome(2, OutcomeKind.INVALID_METRIC))
    state.end_trial("1-lr_p", TrialOutcome(3, OutcomeKind.CANCELLED))
    now = state.snapshot()
    assert (now.done, now.running, now.failed, now.best_mm) == (4, 0, 2, 61.0)


def test_the_first_stage_is_the_baseline_of_the_others() -> None:
    state = ProgressState(clock=Clock())
    state.open_stage("1-lr_p", planned=1, done=0)
    state.start_trial(request("1-lr_p", 0))
    state.end_trial("1-lr_p", completed(0, 60.0))
    assert state.snapshot().baseline_mm is None
    state.open_stage("2-lr_l", planned=1, done=0)
    assert state.snapshot().best_mm is None
    state.start_trial(request("2-lr_l", 0))
    state.end_epoch("2-lr_l", report(0, 1, 59.0), epochs=4)
    now = state.snapshot()
    assert (now.best_mm, now.baseline_mm) == (59.0, 60.0)


def test_a_resumed_run_knows_its_baseline() -> None:
    state = ProgressState(clock=Clock())
    state.know_best({"1-lr_p": 60.0, "2-lr_l": 58.0})
    state.open_stage("2-lr_l", planned=4, done=2)
    now = state.snapshot()
    assert (now.best_mm, now.baseline_mm, now.done) == (58.0, 60.0, 2)


def test_a_further_batch_is_no_new_stage() -> None:
    state = ProgressState(clock=Clock())
    assert state.open_stage("1-lr_p", planned=4, done=0)
    assert not state.open_stage("1-lr_p", planned=8, done=4)
    now = state.snapshot()
    assert (now.planned, now.done) == (8, 4)


def test_plain_lines_tell_ends_and_decisions_but_not_epochs(
    capfd: pytest.CaptureFixture[str],
) -> None:
    stream = io.StringIO()
    with build_listener(stream=stream) as listener:
        run_two_stages(listener)
    lines = stream.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    texts = [line[9:] for line in lines]
    assert texts[0] == "1-lr_p: 3 trials to run (0 of 3 done)"
    assert texts[1] == "1-lr_p trial 0 (lr_p 1e-3): 60.000 mm after 4 epochs"
    assert sum("after 4 epochs" in text for text in texts) == 6
    assert sum("to go" in text for text in texts) == 2
    assert texts[-1] == "stage 2-lr_l closed: [bold]3 of 3[/bold] finished"
    assert len(texts) == 2 * (1 + 3 + 1 + 1)
    assert capfd.readouterr() == ("", "")


def test_a_failed_trial_says_why() -> None:
    stream = io.StringIO()
    failed = TrialOutcome(0, OutcomeKind.INVALID_METRIC, epochs=2, reason="loss is NaN")
    with build_listener(stream=stream) as listener:
        listener.on_stage("1-lr_p", planned=1, done=0, message="1 trials to run", best_mm={})
        listener.on_trial_started(request("1-lr_p", 0))
        listener.on_trial_ended("1-lr_p", failed)
    assert "(lr_p 1e-3): invalid metric after 2 epochs: loss is NaN" in stream.getvalue()


def test_progress_goes_to_standard_error_only(capfd: pytest.CaptureFixture[str]) -> None:
    with build_listener() as listener:
        listener.on_message("hello")
    out, err = capfd.readouterr()
    assert out == ""
    assert err.endswith("hello\n")


def test_a_closed_stream_does_not_stop_the_run() -> None:
    stream = io.StringIO()
    with build_listener(stream=stream) as listener:
        stream.close()
        run_two_stages(listener)


class Terminal:
    """A terminal of 80 columns; collects what is written to it."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._master, 65536)
            except OSError:  # the other end was closed
                return
            self._chunks.append(chunk)

    def close(self) -> str:
        self.stream.close()
        self._reader.join(timeout=10)
        os.close(self._master)
        return b"".join(self._chunks).decode()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_a_terminal_gets_a_live_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    with build_listener(stream=terminal.stream) as listener:
        run_two_stages(listener)
        live = threading.Event()
        live.wait(0.6)  # two refreshes
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.close())
    assert "3 of 3 trials, 0 running" in plain
    assert "best: 58.50 mm val MPJPE, -1.50 mm against the baseline" in plain
    assert "epochs/s" in plain
    assert "closed: [bold]3 of 3[/bold] finished" in plain


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_json_mode_keeps_plain_lines_on_a_terminal() -> None:
    terminal = Terminal()
    with build_listener(stream=terminal.stream, json_mode=True) as listener:
        run_two_stages(listener)
    assert "\x1b[" not in terminal.close()
