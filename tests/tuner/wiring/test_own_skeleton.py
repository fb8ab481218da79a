"""A user's own skeleton, from the data through training to the net that lifts."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from tests.trainables.data.poses_writer import small_columns, small_metadata, write_npz
from trainables.checkpoint import CheckpointStore, load_checkpoint
from trainables.config import DataConfig, TrainingConfig
from trainables.data.loading import load_dataset
from trainables.skeletons import H36M_17
from trainables.trial_run import TrialRun
from tuner.errors import ConfigurationError
from tuner.wiring.lifter import load_lifter, measure

OWN = replace(H36M_17, name="mine", joints=tuple(f"joint {n}" for n in range(17)))


def test_a_net_trained_on_an_own_skeleton_lifts_its_poses(tmp_path: Path) -> None:
    write_npz(tmp_path, small_columns(), small_metadata(skeleton=asdict(OWN)))
    dataset = load_dataset(DataConfig(name="poses"), tmp_path)
    config = TrainingConfig(
        backbone="simplebaseline",
        backbone_options={"channels": 16},
        lr_p=1e-3,
        loss_net="none",
        epochs=1,
        batch_size=6,
        data=DataConfig(name="poses"),
    )
    store = CheckpointStore(tmp_path / "checkpoints")
    cpu = torch.device("cpu")
    TrialRun(config, dataset, store=store, fingerprint="f" * 16, device=cpu).step()
    lifter = load_lifter(store.path("f" * 16, "best"), device=cpu)
    assert lifter.skeleton == OWN
    assert measure(lifter, dataset, "test").figures["mpjpe_mm"] > 0


def test_a_checkpoint_of_a_malformed_skeleton_is_refused(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    config = TrainingConfig(backbone="simplebaseline", loss_net="none", lr_p=1e-3)
    meta = {"config": config.model_dump(mode="json"), "skeleton": {"name": "mine"}}
    path = store.save("f" * 16, "best", {"pose_net": {}}, meta)
    with pytest.raises(ConfigurationError, match="skeleton: joints: Field required"):
        load_lifter(path, device=torch.device("cpu"))
    assert load_checkpoint(path).meta["skeleton"] == {"name": "mine"}
