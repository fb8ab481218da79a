"""The energy behaves on held-out poses of real motion, whatever the seed."""

from __future__ import annotations

import itertools

import pytest
import torch

from trainables.config import DataConfig, TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.data.loading import load_dataset
from trainables.seal.device_data import load_split
from trainables.seal.trainer import SealTrainer

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CPU = torch.device("cpu")
NOISE_MM = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0)


@pytest.fixture(scope="module")
def sample() -> PoseDataset:
    return load_dataset(DataConfig())


@pytest.fixture(scope="module", params=[0, 1])
def trained(
    request: pytest.FixtureRequest, sample: PoseDataset
) -> tuple[SealTrainer, list[float]]:
    """A training, and the energy gap on validation after each of its epochs."""
    torch.set_num_threads(1)
    config = TrainingConfig(
        backbone="videopose",
        backbone_options={"channels": 128},
        loss_net="graph",
        loss_net_options={"width": 32, "depth": 2, "heads": 4},
        negatives="both",
        num_perturbations=1,
        perturbation_radius=0.01,
        lr_p=1e-3,
        lr_l=1e-3,
        alpha=1e-4,
        batch_size=64,
        energy_poses=32,
        steps_per_epoch=100,
        epochs=3,
        seed=request.param,
        data=DataConfig(max_eval_poses=1000),
    )
    trainer = SealTrainer(config, sample, device=CPU)
    return trainer, [trainer.run_epoch()["val_energy_gap"] for _ in range(config.epochs)]


def test_truth_is_below_predictions_after_every_epoch(
    trained: tuple[SealTrainer, list[float]],
) -> None:
    _, gaps = trained
    assert min(gaps) > 0.0


@torch.no_grad()
def test_noise_on_true_poses_raises_the_energy_step_by_step(
    trained: tuple[SealTrainer, list[float]], sample: PoseDataset
) -> None:
    trainer, _ = trained
    assert trainer.loss_net is not None
    split = load_split(sample, "test", device=CPU, dtype=torch.float32)
    batch = split.gather(split.evenly_spaced(1000))
    noise = torch.randn(batch.y.shape, generator=torch.Generator().manual_seed(0)) / 1000.0
    noise[:, :, sample.skeleton.root] = 0.0  # poses are relative to the root
    loss_net = trainer.loss_net.eval()
    energies = [loss_net(batch.x, batch.y + mm * noise).mean().item() for mm in NOISE_MM]
    assert min(later - earlier for earlier, later in itertools.pairwise(energies)) > 0.0
