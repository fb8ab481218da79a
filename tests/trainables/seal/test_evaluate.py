"""Measuring nets on a split: what goes in, in which order, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.builders import build_backbone
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.seal import evaluate
from trainables.seal.device_data import DeviceSplit, load_split
from trainables.seal.evaluate import evaluate_energies, evaluate_poses, report_poses

CPU = torch.device("cpu")


class Shrink(nn.Module):
    """Predicts 3D from 2D by a fixed rule."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([1.4 * x, torch.zeros_like(x[..., :1])], dim=-1)


def load(dataset: PoseDataset) -> DeviceSplit:
    return load_split(dataset, "test", device=CPU, dtype=torch.float32)


def with_unscored_frames(dataset: PoseDataset) -> PoseDataset:
    test = dataset.splits["test"]
    valid = np.arange(len(test)) % 4 != 3
    return replace(dataset, splits={**dataset.splits, "test": replace(test, valid=valid)})


def test_report_equals_numpy(tiny_dataset: PoseDataset) -> None:
    dataset = with_unscored_frames(tiny_dataset)
    report = report_poses(Shrink(), load(dataset), dataset.skeleton)
    test = dataset.splits["test"]
    valid = np.arange(30) % 4 != 3
    pred = np.concatenate([1.4 * test.x, 0 * test.x[..., :1]], axis=-1).astype(np.float64)
    error = 1000 * (pred - test.y)
    of_frame = np.linalg.norm(error, axis=-1).mean(axis=-1)
    by_sequence = {
        f"S1 {name} front": of_frame[(test.sequence == index) & valid].mean()
        for index, name in enumerate(("walk", "run", "walk 1"))
    }
    found = {row.name: row.figures["mpjpe_mm"] for row in report.by_sequence}
    assert found == pytest.approx(by_sequence, rel=1e-5)
    by_action = {row.name: row.figures["poses"] for row in report.by_action}
    walks = (test.sequence != 1) & valid
    assert by_action == {"run": float((~walks & valid).sum()), "walk": float(walks.sum())}
    of_step = np.linalg.norm(np.diff(error, axis=0), axis=-1).mean(axis=-1)
    counts = (np.diff(test.sequence) == 0) & valid[1:] & valid[:-1]
    assert report.figures["mpjve_mm"] == pytest.approx(of_step[counts].mean(), rel=1e-4)
    assert report.figures["mpjpe_mm"] == pytest.approx(of_frame[valid].mean(), rel=1e-5)


def test_the_size_of_batches_changes_nothing(
    tiny_dataset: PoseDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = with_unscored_frames(tiny_dataset)
    whole = report_poses(Shrink(), load(dataset), dataset.skeleton)
    monkeypatch.setattr(evaluate, "_POSES_PER_BATCH", 7)
    parts = report_poses(Shrink(), load(dataset), dataset.skeleton)
    assert parts.figures == pytest.approx(whole.figures, rel=1e-12)
    assert [row.name for row in parts.by_joint] == [row.name for row in whole.by_joint]


def test_validation_and_report_agree_and_the_net_is_in_evaluation_mode(
    tiny_dataset: PoseDataset, make_config: Callable[..., TrainingConfig]
) -> None:
    torch.manual_seed(0)
    pose_net = build_backbone(make_config(), tiny_dataset.skeleton).train()
    split = load(tiny_dataset)
    figures = evaluate_poses(pose_net, split, tiny_dataset.skeleton)
    assert not pose_net.training
    report = report_poses(pose_net.train(), split, tiny_dataset.skeleton)
    assert not pose_net.training
    assert figures == {name: report.figures[name] for name in figures}


class Height(nn.Module):
    """An energy by a fixed rule."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x[..., 0].sum(dim=-1) + y[..., 2].abs().sum(dim=-1)


def test_energies_are_those_of_scored_frames(tiny_dataset: PoseDataset) -> None:
    dataset = with_unscored_frames(tiny_dataset)
    test = dataset.splits["test"]
    energies = evaluate_energies(Shrink(), Height(), load(dataset), dataset.skeleton)
    valid = np.arange(30) % 4 != 3
    of_input = test.x[valid, :, 0].astype(np.float64).sum(axis=1).mean()
    gap = np.abs(test.y[valid, :, 2].astype(np.float64)).sum(axis=1).mean()
    expected = {"energy_true": of_input + gap, "energy_pred": of_input, "energy_gap": -gap}
    assert energies == pytest.approx(expected, rel=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_report(tiny_dataset: PoseDataset) -> None:
    dataset = with_unscored_frames(tiny_dataset)
    on_gpu = load_split(dataset, "test", device=torch.device("cuda"), dtype=torch.float32)
    expected = report_poses(Shrink(), load(dataset), dataset.skeleton).figures
    result = report_poses(Shrink(), on_gpu, dataset.skeleton).figures
    assert result == pytest.approx(expected, rel=1e-5)
