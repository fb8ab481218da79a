"""Clips of which a net gives too few frames are refused by the plan, before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.errors import ConfigurationError
from tuner.greedy_config import parse_greedy_config
from tuner.wiring.plan import plan_greedy
from tuner.wiring.training_plan import plan_training
from tuner.wiring.training_request import parse_training_request

WINDOW_TERM = {"window_weight": 0.1, "window_frames": 3, "window_shift": 1}


@pytest.mark.parametrize(
    ("backbone", "chosen", "message"),
    [
        (
            "poseformerv2",
            {**WINDOW_TERM, "backbone_options": {"frames": 9}, "data": {"frames": 9}},
            r"poseformerv2, whose window has 9, gives 1; set data\.frames=12",
        ),
        (
            "pstmo",
            {
                **WINDOW_TERM,
                "backbone_options": {"frames": 9},
                "data": {"frames": 9},
                "pose_loss": "backbone",
            },
            r"set data\.frames=12, and pose_loss='mpjpe', as pstmo's own loss",
        ),
        (
            "pstmo",
            {
                "backbone_options": {"frames": 9},
                "data": {"frames": 12},
                "pose_loss": "backbone",
                "pretraining": {"epochs": 0},
            },
            r"needs clips of 9 frames, got data\.frames=12; set data\.frames=9",
        ),
    ],
)
def test_too_few_frames_are_refused_before_anything_runs(
    backbone: str, chosen: dict[str, Any], message: str
) -> None:
    fields = {"backbone": backbone, "preset": "quick", "overrides": chosen}
    for plan in (
        lambda: plan_greedy(parse_greedy_config(fields)),
        lambda: plan_training(parse_training_request(fields)),
    ):
        with pytest.raises(ConfigurationError, match=message):
            plan()
