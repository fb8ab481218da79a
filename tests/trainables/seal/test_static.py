"""SEAL-static: a loss-net that is trained first, then frozen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from trainables.builders import build_loss_net
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.seal.batches import TrainingBatches
from trainables.seal.device_data import load_split
from trainables.seal.evaluate import evaluate_energies
from trainables.seal.static import fit_loss_net
from trainables.seal.trainer import SealTrainer

MakeConfig = Callable[..., TrainingConfig]
CPU = torch.device("cpu")


def state(net: nn.Module | None) -> dict[str, torch.Tensor]:
    assert net is not None
    return {name: value.clone() for name, value in net.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_theta_is_fitted_to_the_baseline_and_then_left_alone(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    config = make_config(variant="static", static_epochs=2)
    trainer = SealTrainer(config, tiny_dataset, device=CPU)
    initial = state(trainer.loss_net)
    trainer.run_epoch()
    fitted = state(trainer.loss_net)
    assert not equal(initial, fitted)
    trainer.run_epoch()
    assert equal(fitted, state(trainer.loss_net))
    # by hand: the baseline for two epochs, then the loss-net against its predictions
    baseline = SealTrainer(config.without_loss_net(), tiny_dataset, device=CPU)
    for _ in range(2):
        baseline.run_epoch()
    loss_net = build_loss_net(config, tiny_dataset.skeleton)
    assert loss_net is not None
    fit_loss_net(
        config,
        pose_net=baseline.pose_net,
        loss_net=loss_net,
        batches=TrainingBatches(config, tiny_dataset, device=CPU, dtype=torch.float32),
        device=CPU,
    )
    assert equal(fitted, state(loss_net))


def test_the_frozen_energy_teaches_the_pose_net_from_its_initialisation(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    nets = {}
    variants: dict[str, dict[str, object]] = {
        "baseline": {"loss_net": "none"},
        "static": {"variant": "static", "static_epochs": 1},
        "dynamic": {},
    }
    for name, fields in variants.items():
        trainer = SealTrainer(make_config(**fields), tiny_dataset, device=CPU)
        nets[name, "start"] = state(trainer.pose_net)
        figures = trainer.run_epoch()
        assert ("train_loss_net_loss" in figures) == (name == "dynamic")
        assert ("train_energy_pred" in figures) == (name != "baseline")
        nets[name, "end"] = state(trainer.pose_net)
    assert equal(nets["baseline", "start"], nets["static", "start"])
    ends = [nets[name, "end"] for name in ("baseline", "static", "dynamic")]
    assert not equal(ends[0], ends[1])
    assert not equal(ends[1], ends[2])


@pytest.mark.parametrize("negatives", ["prediction", "both"])
def test_a_fitted_loss_net_knows_the_truth(
    make_config: MakeConfig, tiny_dataset: PoseDataset, negatives: str
) -> None:
    config = make_config(variant="static", static_epochs=30, lr_l=3e-3, negatives=negatives)
    trainer = SealTrainer(config, tiny_dataset, device=CPU)
    trainer.run_epoch()
    baseline = SealTrainer(config.without_loss_net(), tiny_dataset, device=CPU)
    for _ in range(30):
        baseline.run_epoch()
    assert trainer.loss_net is not None
    split = load_split(tiny_dataset, "val", device=CPU, dtype=torch.float32)
    energies = evaluate_energies(baseline.pose_net, trainer.loss_net, split, tiny_dataset.skeleton)
    assert energies["energy_gap"] > 0


def test_a_continued_training_equals_an_undisturbed_one(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    config = make_config(variant="static", static_epochs=2)
    whole = SealTrainer(config, tiny_dataset, device=CPU)
    for _ in range(2):
        whole.run_epoch()
    first = SealTrainer(config, tiny_dataset, device=CPU)
    first.run_epoch()
    kept = first.state_dict()
    assert "loss_optimizer" not in kept
    second = SealTrainer(config, tiny_dataset, device=CPU)
    second.load_state_dict(kept)
    second.run_epoch()
    assert equal(state(whole.pose_net), state(second.pose_net))
    assert equal(state(whole.loss_net), state(second.loss_net))
