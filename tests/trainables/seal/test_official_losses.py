"""Losses of the backbones' authors against their formulas, written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainables.seal.official_losses import mixste_loss, motionagformer_loss
from trainables.skeletons import H36M_17, MPI_INF_3DHP_17

WEIGHTS = (1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)


@pytest.fixture
def poses() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.randn(2, 3, 5, 17, 3, generator=generator, dtype=torch.float64)
    return pred, target


def test_mixste_loss_is_the_published_sum(poses: tuple[torch.Tensor, torch.Tensor]) -> None:
    pred, target = poses
    p, y, w = pred.numpy(), target.numpy(), np.asarray(WEIGHTS)
    position = (w * np.linalg.norm(p - y, axis=-1)).mean()
    steps, true_steps = np.diff(p, axis=1), np.diff(y, axis=1)
    smooth = (w[:, None] * steps**2).mean()
    velocity = np.linalg.norm(steps - true_steps, axis=-1).mean()
    expected = position + 0.5 * smooth + 2.0 * velocity
    assert mixste_loss(pred, target, H36M_17).item() == pytest.approx(expected, rel=1e-12)
    single = mixste_loss(pred[:, :1], target[:, :1], H36M_17).item()
    assert single == pytest.approx((w * np.linalg.norm(p - y, axis=-1))[:, 0].mean(), rel=1e-12)


def test_other_skeletons_weigh_the_same_joints(
    poses: tuple[torch.Tensor, torch.Tensor],
) -> None:
    pred, target = poses
    weights = np.asarray([1.5, 1, 1.5, 4, 4, 1.5, 4, 4, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1.5])
    p, y = pred[:, :1].numpy(), target[:, :1].numpy()
    expected = (weights * np.linalg.norm(p - y, axis=-1)).mean()
    found = mixste_loss(pred[:, :1], target[:, :1], MPI_INF_3DHP_17).item()
    assert found == pytest.approx(expected, rel=1e-12)


def test_motionagformer_loss_is_the_published_sum(
    poses: tuple[torch.Tensor, torch.Tensor],
) -> None:
    pred, target = poses
    p, y = pred.numpy(), target.numpy()
    scale = (y * p).sum((-1, -2), keepdims=True) / (p * p).sum((-1, -2), keepdims=True)
    position = np.linalg.norm(p - y, axis=-1).mean()
    scaled = np.linalg.norm(scale * p - y, axis=-1).mean()
    velocity = np.linalg.norm(np.diff(p, axis=1) - np.diff(y, axis=1), axis=-1).mean()
    expected = position + 0.5 * scaled + 20.0 * velocity
    assert motionagformer_loss(pred, target).item() == pytest.approx(expected, rel=1e-12)
