"""Objectives by hand, and their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.config import OfficialLossName
from trainables.errors import ShapeError
from trainables.seal.objectives import margin_loss, nce_loss, pose_loss


def column(*values: float) -> Tensor:
    """Energies of poses, (B, 1), float64."""
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def test_margin_is_a_hinge_on_both_sides_of_its_boundary() -> None:
    true = column(0.0, 1.0, 0.0)
    negative = column(0.5, 1.05, 0.2).unsqueeze(0)  # gaps 0.5, 0.05, 0.2
    margins = column(0.2, 0.2, 0.2).unsqueeze(0)
    assert margin_loss(true, negative, margins).item() == pytest.approx((0 + 0.15 + 0) / 3)


def test_margin_of_several_negatives_counts_the_worst() -> None:
    true = column(0.0, 0.0)
    negatives = torch.stack([column(0.3, 0.9), column(0.1, 0.8), column(0.5, 0.7)])
    margins = torch.stack([column(0.4, 0.1), column(0.3, 0.1), column(0.9, 0.1)])
    assert margin_loss(true, negatives, margins).item() == pytest.approx((0.4 + 0.0) / 2)


def test_nce_by_hand_and_with_several_negatives() -> None:
    true = column(0.3, -1.0)
    negatives = torch.stack([column(0.1, 2.0), column(-0.5, 0.0)])
    expected = 0.0
    for b in range(2):
        weights = [math.exp(-true[b, 0].item())] + [math.exp(-n[b, 0].item()) for n in negatives]
        expected -= math.log(weights[0] / sum(weights)) / 2
    assert nce_loss(true, negatives).item() == pytest.approx(expected, rel=1e-12)


def test_nce_of_huge_energies_is_finite() -> None:
    energies = column(1e4).requires_grad_(True)
    loss = nce_loss(energies, column(-1e4).unsqueeze(0))
    (gradient,) = torch.autograd.grad(loss, energies)
    assert loss.item() == pytest.approx(2e4)
    assert gradient.item() == pytest.approx(1.0)


def test_pose_losses_by_hand() -> None:
    target = torch.zeros(2, 1, 2, 3)
    pred = target.clone()
    pred[0, 0, 0] = torch.tensor([3.0, 4.0, 0.0])
    assert pose_loss("mse", pred, target).item() == pytest.approx(25 / 12)
    assert pose_loss("mse_sum", pred, target).item() == pytest.approx(25 / 6)
    assert pose_loss("mpjpe", pred, target).item() == pytest.approx(5 / 4)


@pytest.mark.parametrize("name", ["mse", "mse_sum", "mpjpe"])
def test_no_loss_broadcasts_a_shorter_prediction(name: OfficialLossName) -> None:
    with pytest.raises(ShapeError, match=r"\(1, 1, 2, 3\) do not fit targets \(1, 1, 3, 3\)"):
        pose_loss(name, torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 3, 3))
