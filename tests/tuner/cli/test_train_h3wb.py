"""`tuner train` and `evaluate` on a whole body of 133 joints; no clips of loose poses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainables.data.h3wb_writer import json_samples, make_whole_bodies, write_json
from tests.tuner.cli.conftest import Call
from trainables.skeletons import H3WB_133

QUICK = (
    *("--preset", "quick", "--epochs", "1", "--set", "steps_per_epoch=1"),
    *("--set", "batch_size=4", "--set", "data.max_eval_poses=20", "--device", "cpu"),
)
NETS = {
    "simplebaseline": ("--set", "backbone_options.channels=8"),
    "semgcn": ("--set", "backbone_options.channels=8"),
    "graph": (
        *("--set", "energy_poses=2", "--set", "loss_net_options.width=16"),
        *("--set", "loss_net_options.depth=1"),
    ),
    "mlp": ("--set", "energy_poses=2", "--set", "loss_net_options.hidden=8"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bodies = make_whole_bodies(step=4)
    return write_json(tmp_path_factory.mktemp("h3wb") / "json", json_samples(bodies))


def data(folder: Path) -> tuple[str, ...]:
    return ("--dataset", "h3wb", "--data-dir", str(folder))


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "loss_net"),
    [("simplebaseline", "graph"), ("simplebaseline", "mlp"), ("semgcn", "graph")],
)
def test_trains_and_reports_the_parts_of_the_body(
    call: Call, folder: Path, tmp_path: Path, backbone: str, loss_net: str
) -> None:
    kept = ("--home", tmp_path / "home", "--tracking-uri", "none")
    nets = ("--backbone", backbone, "--loss-net", loss_net, *NETS[backbone], *NETS[loss_net])
    trained = call("train", *nets, *data(folder), *QUICK, *kept, "--name", "whole", "--json")
    assert trained.code == 0, trained.err
    assert trained.json()["val_mpjpe_mm"] > 0
    measured = call("evaluate", "whole", *kept, "--device", "cpu", "--json")
    assert measured.code == 0, measured.err
    figures: dict[str, Any] = measured.json()["systems"][0]["figures"]
    whole, body, face, hands, face_nose, hands_wrist = (
        figures[f"{part.name}_mpjpe_mm"] for part in H3WB_133.parts
    )
    assert whole == pytest.approx((23 * body + 68 * face + 42 * hands) / 133)
    assert len({whole, face, hands, face_nose, hands_wrist}) == 5
    assert "mpjve_mm" not in figures


@pytest.mark.parametrize("command", ["train", "greedy"])
def test_clips_of_loose_poses_are_refused_before_anything_runs(
    call: Call, folder: Path, tmp_path: Path, command: str
) -> None:
    nets = ("--backbone", "videopose", "--set", "backbone_options.channels=8")
    clips = ("--set", "data.frames=9", "--home", tmp_path / "home", "--tracking-uri", "none")
    refused = call(command, *nets, *data(folder), "--preset", "quick", *clips)
    assert refused.code == 2
    assert "needs clips of 9 frames" in refused.err
    assert "are loose poses, which do not follow one another in time" in refused.err
    assert "set data.frames=1, and use a single-frame backbone" in refused.err
