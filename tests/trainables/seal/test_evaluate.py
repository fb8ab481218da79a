"""Measuring nets on a split: what goes in, in which order, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.backbones import D3DP
from trainables.builders import build_backbone
from trainables.config import TrainingConfig
from trainables.data.dataset import Camera, PoseDataset
from trainables.metrics import j_agg, j_best, p_agg, p_best
from trainables.seal import evaluate
from trainables.seal.device_data import DeviceSplit, load_split
from trainables.seal.evaluate import (
    evaluate_energies,
    evaluate_poses,
    report_poses,
    report_split,
)
from trainables.seal.lifting import Lifting, lift_split
from trainables.skeletons import H36M_17

CPU = torch.device("cpu")
FRAMES = 5


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


SAMPLING = Lifting(flip=True, zero_root=True, hypotheses=4, iterations=2)


@pytest.fixture(scope="module")
def diffusion() -> D3DP:
    torch.manual_seed(0)
    net = D3DP(skeleton=H36M_17, frames=FRAMES, width=8, depth=1, heads=2)
    return net.eval()


def seen_by_a_camera(dataset: PoseDataset) -> PoseDataset:
    """Poses in front of a camera; the input is not quite their projection."""
    camera = Camera(width=1000, height=1000, focal=(1000.0, 1000.0), center=(500.0, 500.0))
    infos = tuple(replace(info, camera=camera) for info in dataset.sequences)
    test = dataset.splits["test"]
    root = np.tile(np.array([0.0, 0.0, 4.0], np.float32), (len(test), 1))
    root[:, 0] = np.linspace(-0.5, 0.5, len(test))  # another one for each pose
    test = replace(test, root=root)
    return replace(dataset, sequences=infos, splits={**dataset.splits, "test": test})


def test_hypotheses_are_measured_as_they_are_chosen_by_hand(
    tiny_dataset: PoseDataset, diffusion: D3DP
) -> None:
    dataset = with_unscored_frames(seen_by_a_camera(tiny_dataset))
    report = report_split(diffusion, dataset, "test", SAMPLING, device=CPU)
    test = dataset.splits["test"]
    with torch.no_grad():
        parts = list(
            lift_split(diffusion, load(dataset), dataset.skeleton, SAMPLING, batch_size=64)
        )
    hypotheses = torch.cat([part.hypotheses for part in parts], dim=1)
    assert hypotheses.shape == (4, 30, 17, 3)
    assert hypotheses[:, :, 0].eq(0).all()
    assert test.root is not None
    points = hypotheses + torch.tensor(test.root)[:, None]
    screen = 2 * points[..., :2] / points[..., 2:]  # 1000 pixels of focal length and of width
    on_screen = torch.linalg.vector_norm(screen - torch.tensor(test.x), dim=-1)
    target = torch.tensor(test.y).double()
    valid = torch.arange(30) % 4 != 3
    h = hypotheses.double()
    for align, name in ((False, "mpjpe_mm"), (True, "p_mpjpe_mm")):
        expected = {
            "j_best": j_best(h, target, align=align),
            "p_best": p_best(h, target, align=align),
            "j_agg": j_agg(h, target, on_screen, align=align),
            "p_agg": p_agg(h, target, align=align),
        }
        for rule, errors in expected.items():
            mean_mm = 1000 * errors[valid].mean().item()
            assert report.figures[f"{rule}_{name}"] == pytest.approx(mean_mm, rel=1e-5), rule
        assert report.figures[f"p_agg_{name}"] == report.figures[name]
    assert report.figures["j_agg_mpjpe_mm"] != report.figures["j_best_mpjpe_mm"]


def test_choices_by_reprojection_need_cameras(tiny_dataset: PoseDataset, diffusion: D3DP) -> None:
    with_cameras = report_split(
        diffusion, seen_by_a_camera(tiny_dataset), "test", SAMPLING, device=CPU
    ).figures
    without = report_split(diffusion, tiny_dataset, "test", SAMPLING, device=CPU).figures
    assert set(with_cameras) - set(without) == {"j_agg_mpjpe_mm", "j_agg_p_mpjpe_mm"}
    assert {name: with_cameras[name] for name in without} == without


def test_one_hypothesis_has_no_figures_of_several(
    tiny_dataset: PoseDataset, diffusion: D3DP
) -> None:
    one = replace(SAMPLING, hypotheses=1)
    figures = report_split(diffusion, tiny_dataset, "test", one, device=CPU).figures
    assert not [name for name in figures if "best" in name or "agg" in name]


def test_hypotheses_do_not_depend_on_the_size_of_batches(
    tiny_dataset: PoseDataset, diffusion: D3DP, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = with_unscored_frames(seen_by_a_camera(tiny_dataset))
    whole = report_split(diffusion, dataset, "test", SAMPLING, device=CPU).figures
    seen: list[int] = []
    handle = diffusion.denoiser.register_forward_pre_hook(
        lambda module, args: seen.append(len(args[0]))
    )
    monkeypatch.setattr(evaluate, "_HYPOTHESES_PER_BATCH", 2 * FRAMES * SAMPLING.hypotheses)
    parts = report_split(diffusion, dataset, "test", SAMPLING, device=CPU).figures
    handle.remove()
    assert max(seen) == 2  # clips at a time
    assert parts == pytest.approx(whole, rel=1e-5)


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


def test_energies_of_no_scored_frame_are_those_of_the_whole_split(
    tiny_dataset: PoseDataset,
) -> None:
    test = replace(tiny_dataset.splits["test"], valid=np.arange(30) % 2 == 1)
    dataset = replace(tiny_dataset, splits={**tiny_dataset.splits, "test": test})
    nets = (Shrink(), Height())
    whole = evaluate_energies(*nets, load(dataset), dataset.skeleton)
    thinned = evaluate_energies(*nets, load(dataset), dataset.skeleton, limit=15)  # 0, 2, 4, ...
    assert thinned == whole
    assert np.isfinite(list(whole.values())).all()
    some = evaluate_energies(*nets, load(dataset), dataset.skeleton, limit=10)  # 0, 3, 6, ...
    assert some["energy_true"] != whole["energy_true"]


def test_windows_are_lifted_together_and_their_energies_in_parts(
    tiny_dataset: PoseDataset, diffusion: D3DP, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = with_unscored_frames(tiny_dataset)
    whole = evaluate_energies(diffusion, Height(), load(dataset), dataset.skeleton)
    monkeypatch.setattr(evaluate, "_POSES_PER_BATCH", 4 * FRAMES + 1)
    monkeypatch.setattr(evaluate, "_ENERGIES_PER_BATCH", 8)
    clips: list[int] = []
    poses: list[int] = []
    handle = diffusion.denoiser.register_forward_pre_hook(
        lambda module, args: clips.append(len(args[0]))
    )
    height = Height()
    height.register_forward_pre_hook(lambda module, args: poses.append(len(args[0])))
    parts = evaluate_energies(diffusion, height, load(dataset), dataset.skeleton)
    handle.remove()
    assert clips == [4, 2]
    assert poses == [8, 8, 4, 8, 2]  # of 20 and 10
    assert parts == pytest.approx(whole, rel=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_report(tiny_dataset: PoseDataset) -> None:
    dataset = with_unscored_frames(tiny_dataset)
    on_gpu = load_split(dataset, "test", device=torch.device("cuda"), dtype=torch.float32)
    expected = report_poses(Shrink(), load(dataset), dataset.skeleton).figures
    result = report_poses(Shrink(), on_gpu, dataset.skeleton).figures
    assert result == pytest.approx(expected, rel=1e-5)
