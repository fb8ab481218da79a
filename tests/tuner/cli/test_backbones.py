from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from trainables.config import BackboneName

Call = Callable[..., Any]


def test_backbones_are_counted_at_the_paper_s_sizes(call: Call) -> None:
    rows = {row["name"]: row for row in call("backbones", "--json").json()}
    assert set(rows) == set(get_args(BackboneName))
    assert rows["videopose"]["parameters"] == 4_291_635
    assert rows["simplebaseline"]["parameters"] == 4_296_755
    assert rows["semgcn"]["parameters"] == 267_373
    assert rows["semgcn"]["variants"] == [
        {"joints": 16, "options": {}, "parameters": 267_343},
        {"joints": 16, "options": {"non_local": True}, "parameters": 434_703},
    ]
    assert {name: row["parameters_by_joints"] for name, row in rows.items()} == {
        "videopose": {"17": 4_291_635, "133": 4_885_903},
        "simplebaseline": {"17": 4_296_755, "133": 4_891_023},
        "semgcn": {"17": 267_373, "133": 270_853},
    }
    assert (rows["videopose"]["frames"], rows["videopose"]["joints"]) == (1, 17)


def test_backbones_name_their_recipes(call: Call) -> None:
    rows = {row["name"]: row for row in call("backbones", "--json").json()}
    assert {name: row["official_pose_loss"] for name, row in rows.items()} == {
        "videopose": "mpjpe",
        "simplebaseline": "mse",
        "semgcn": "mse",
    }
    keys = ("paper_batch_size", "paper_epochs", "paper_batch_size_h3wb", "paper_epochs_h3wb")
    assert {tuple(row[key] for key in keys) for row in rows.values()} == {(1024, 50, 64, 200)}


def test_backbones_for_people(call: Call) -> None:
    done = call("backbones")
    assert done.code == 0
    assert "4,291,635" in done.out
