"""A training that takes about a second, on the bundled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fakes.listener import RecordingListener
from tuner.settings import Locations, resolve_locations
from tuner.wiring.training import run_training
from tuner.wiring.training_record import TrainingResult
from tuner.wiring.training_request import parse_training_request

SMALL = (
    *("--backbone", "videopose", "--preset", "quick", "--epochs", "2"),
    *("--set", "steps_per_epoch=3", "--set", "batch_size=32"),
    *("--set", "data.max_eval_poses=100", "--set", "backbone_options.channels=32"),
)
"""For a baseline; with a loss-net `SMALL_ENERGY` comes on top."""

SMALL_ENERGY = (
    *("--set", "energy_poses=4", "--set", "loss_net_options.width=32"),
    *("--set", "loss_net_options.depth=2"),
)

FIELDS: dict[str, Any] = {
    "backbone": "videopose",
    "loss_net": "none",
    "preset": "quick",
    "epochs": 2,
    "overrides": {
        "steps_per_epoch": 3,
        "batch_size": 32,
        "backbone_options": {"channels": 32},
        "data": {"max_eval_poses": 100},
    },
}


def locations_in(home: Path) -> Locations:
    return resolve_locations(home=home, tracking_uri="none", environment={})


def train_small(home: Path, **changes: Any) -> TrainingResult:
    """Train a small baseline, tracked in a plain log."""
    request = parse_training_request({**FIELDS, **changes})
    return run_training(request, locations_in(home), RecordingListener(), device="cpu")
