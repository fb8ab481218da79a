"""`tuner train` with a pre-training: interrupted within it, it goes on to the same bits."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.listener import RecordingListener
from tuner.adapters.jsonl_tracker import read_events
from tuner.errors import RunFailedError, RunInterruptedError
from tuner.settings import resolve_locations
from tuner.wiring.training import run_training
from tuner.wiring.training_record import TrainingResult
from tuner.wiring.training_request import parse_training_request

OVERRIDES = {
    "backbone_options": {"frames": 3, "width": 16, "hidden": 16, "heads": 2, "depth": 1},
    "data": {"max_eval_poses": 20, "stride": 20},
    "steps_per_epoch": 2,
    "batch_size": 8,
}


class Interrupting(RecordingListener):
    """Sends this process SIGINT when it hears a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def on_message(self, text: str) -> None:
        super().on_message(text)
        if self._text in text:
            signal.raise_signal(signal.SIGINT)


def train(
    home: Path, listener: RecordingListener, lr: float = 1e-3, **fields: Any
) -> TrainingResult:
    part = {"epochs": 3, "lr": lr}
    request = parse_training_request(
        {
            **{"backbone": "pstmo", "preset": "quick", "loss_net": "none", "name": "demo"},
            **{"epochs": 1, "seed": 4, "overrides": {**OVERRIDES, "pretraining": part}},
            **fields,
        }
    )
    locations = resolve_locations(home=home, tracking_uri="none", environment={})
    return run_training(request, locations, listener)


def test_an_interrupted_pretraining_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", RecordingListener())
    assert whole.config["pretraining"]["seed"] == 4
    home = tmp_path / "parts"
    with pytest.raises(RunInterruptedError, match="stopped after an epoch of the pre-training"):
        train(home, Interrupting("pre-training: epoch 1 of 3"))
    with pytest.raises(RunInterruptedError, match="stopped after an epoch of the pre-training"):
        train(home, Interrupting("pre-training: epoch 3 of 3"))
    last = RecordingListener()
    result = train(home, last)
    assert (result.val_mpjpe_mm, result.test) == (whole.val_mpjpe_mm, whole.test)
    assert any("pre-training found: 3 epochs, loss" in text for text in last.messages)
    (path,) = (home / "trainings" / "demo").glob("*.jsonl")
    events = [event for event in read_events(path) if event.get("key") == "0-pretraining/0"]
    assert [event["epoch"] for event in events if event["kind"] == "epoch"] == [1, 2, 3]
    assert events[-1]["tags"]["tuner.state"] == "finished"


def test_another_training_of_the_same_home_finds_it(tmp_path: Path) -> None:
    first = train(tmp_path, RecordingListener())
    (kept,) = (tmp_path / "pretrainings").glob("*/last.ckpt")
    written_at = kept.stat().st_mtime_ns
    listener = RecordingListener()
    other = train(tmp_path, listener, name="other", loss_net="mlp")
    assert other.fingerprint != first.fingerprint
    told = [text for text in listener.messages if text.startswith("pre-training")]
    assert len(told) == 1
    assert told[0].startswith("pre-training found: 3 epochs, loss 0")
    assert kept.stat().st_mtime_ns == written_at
    (path,) = (tmp_path / "trainings" / "other").glob("*.jsonl")
    events = [event for event in read_events(path) if event.get("key") == "0-pretraining/0"]
    assert [event["epoch"] for event in events if event["kind"] == "epoch"] == [1, 2, 3]


def test_a_rate_that_is_too_high_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match=r"pretrain_loss .*try a lower pretraining\.lr"):
        train(tmp_path, RecordingListener(), lr=1e30)
