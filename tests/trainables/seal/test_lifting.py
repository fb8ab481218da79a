"""Lifting sequences with nets of all kinds of windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.backbones import D3DP, VideoPose
from trainables.builders import build_backbone
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import DataError, ShapeError, TrainableError
from trainables.seal.device_data import DeviceSplit, load_split
from trainables.seal.evaluate import report_poses
from trainables.seal.lifting import (
    PLAIN,
    Lifting,
    final_lifting,
    lift_clips,
    lift_hypotheses,
    lift_sequence,
    lift_split,
    validation_lifting,
    window_of,
)
from trainables.seal.mirroring import mirror
from trainables.skeletons import H3WB_133, H36M_17, MPI_INF_3DHP_17, Skeleton
from trainables.windows import SINGLE_FRAMES, Window

CPU = torch.device("cpu")
FRAMES = 5


class FromWindow(nn.Module):
    """Predicts from all frames of its window, each of which it weighs by its place in it."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == self.window.frames
        weights = torch.arange(1.0, x.shape[1] + 1)
        mixed = torch.einsum("t,btjc->bjc", weights, x).unsqueeze(1)
        kept = mixed if self.window.output == "middle" else mixed + x
        return torch.cat([kept, kept[..., :1] * 0.5], dim=-1)


def load(dataset: PoseDataset) -> DeviceSplit:
    return load_split(dataset, "test", device=CPU, dtype=torch.float32)


def by_hand(split: DeviceSplit, net: FromWindow, dataset: PoseDataset) -> Tensor:
    """Frame by frame, each with the window that the rules give it."""
    arrays = dataset.splits["test"]
    out = []
    for position in range(len(arrays)):
        members = np.flatnonzero(arrays.sequence == arrays.sequence[position])
        place = position - members[0]
        if net.window.output == "middle":
            start, output = place - FRAMES // 2, 0
        else:
            plain = place // FRAMES * FRAMES
            start = min(plain, max(len(members) - FRAMES, 0))
            output = place - start
        chosen = members[np.clip(np.arange(start, start + FRAMES), 0, len(members) - 1)]
        out.append(net(torch.tensor(arrays.x[chosen])[None])[0, output])
    return torch.stack(out)


@pytest.mark.parametrize("output", ["middle", "all"])
@pytest.mark.parametrize("batch_size", [1, 12, 1000])
@pytest.mark.parametrize("lengths", [(10, 10, 10), (3, 20, 7)])
def test_every_frame_once_in_order_and_from_its_own_window(
    tiny_dataset: PoseDataset, output: str, batch_size: int, lengths: tuple[int, ...]
) -> None:
    test = tiny_dataset.splits["test"]
    sequence = np.repeat(np.arange(3, dtype=np.int32), lengths)
    dataset = replace(
        tiny_dataset, splits={**tiny_dataset.splits, "test": replace(test, sequence=sequence)}
    )
    net = FromWindow(Window(FRAMES, output))  # type: ignore[arg-type] # one of the two
    split = load(dataset)
    parts = list(lift_split(net, split, dataset.skeleton, batch_size=batch_size))
    pred = torch.cat([part.pred for part in parts])
    assert torch.cat([part.poses.frame for part in parts]).tolist() == list(range(30))
    torch.testing.assert_close(pred, by_hand(split, net, dataset))


@pytest.mark.parametrize("output", ["middle", "all"])
def test_some_evenly_spaced_poses_keep_their_neighbours(
    tiny_dataset: PoseDataset, output: str
) -> None:
    net = FromWindow(Window(FRAMES, output))  # type: ignore[arg-type] # one of the two
    split, skeleton = load(tiny_dataset), tiny_dataset.skeleton
    whole = torch.cat([p.pred for p in lift_split(net, split, skeleton, batch_size=64)])
    some = list(lift_split(net, split, skeleton, batch_size=64, limit=10))
    frames = torch.cat([part.poses.frame for part in some])
    expected = list(range(0, 30, 3)) if output == "middle" else [*range(5), *range(15, 20)]
    assert frames.tolist() == expected
    torch.testing.assert_close(torch.cat([part.pred for part in some]), whole[frames])


def test_flipping_averages_with_the_mirror_image(tiny_dataset: PoseDataset) -> None:
    torch.manual_seed(0)
    skeleton = tiny_dataset.skeleton
    net = VideoPose(num_joints=17, channels=16).eval()
    x = torch.tensor(tiny_dataset.splits["test"].x).unsqueeze(1)
    with torch.no_grad():
        flipped = lift_clips(net, x, skeleton, Lifting(flip=True))
        plain = lift_clips(net, x, skeleton)
        other = lift_clips(net, mirror(x, skeleton), skeleton, Lifting(flip=True))
    assert not torch.allclose(flipped, plain)
    torch.testing.assert_close(mirror(other, skeleton), flipped)  # equivariant
    torch.testing.assert_close(
        2 * flipped - plain, mirror(net(mirror(x, skeleton)), skeleton).detach()
    )


def test_a_convolution_sees_the_same_in_windows_as_in_the_padded_sequence() -> None:
    torch.manual_seed(0)
    net = VideoPose(num_joints=17, widths=(3, 3), channels=16).double().eval()
    assert window_of(net) == Window(9, "middle")
    assert window_of(VideoPose(num_joints=17)) == SINGLE_FRAMES
    x = torch.randn(20, 17, 2, dtype=torch.float64)
    padded = torch.cat([x[:1].expand(4, -1, -1), x, x[-1:].expand(4, -1, -1)])
    with torch.no_grad():
        expected = net(padded.unsqueeze(0))[0]
        found = lift_sequence(net, x, H36M_17, batch_size=64)
    torch.testing.assert_close(found, expected)


def test_loose_poses_have_no_clips_and_no_velocity(tiny_dataset: PoseDataset) -> None:
    infos = tuple(replace(info, ordered=False) for info in tiny_dataset.sequences)
    split, skeleton = load(replace(tiny_dataset, sequences=infos)), tiny_dataset.skeleton
    net = VideoPose(num_joints=17, channels=16)
    report = report_poses(net, split, skeleton)
    assert "mpjve_mm" not in report.figures
    assert "mpjve_mm" in report_poses(net, load(tiny_dataset), skeleton).figures
    with pytest.raises(DataError, match=r"loose poses.*set data.frames=1"):
        split.gather_clips(torch.arange(3), 3)
    temporal = VideoPose(num_joints=17, widths=(3,), channels=16)
    with pytest.raises(DataError, match="loose poses"):
        report_poses(temporal, split, skeleton)


@pytest.mark.parametrize("length", [1, 3, 4, 20])
def test_sliding_windows_keep_their_middle(length: int) -> None:
    net = FromWindow(Window(FRAMES, "all"))
    x = torch.randn(length, 17, 2)
    found = lift_sequence(net, x, H36M_17, Lifting(sliding=True), batch_size=12)
    padded = torch.cat([x[:1].expand(2, -1, -1), x, x[-1:].expand(2, -1, -1)])
    windows = torch.stack([padded[i : i + FRAMES] for i in range(length)])
    torch.testing.assert_close(found, net(windows)[:, 2])
    touching = lift_sequence(net, x, H36M_17, batch_size=12)
    assert torch.allclose(found, touching) == (length == 1)


def test_sliding_changes_nothing_of_nets_that_lift_the_middle() -> None:
    net = FromWindow(Window(FRAMES, "middle"))
    x = torch.randn(8, 17, 2)
    plain, sliding = (
        lift_sequence(net, x, H36M_17, Lifting(sliding=on), batch_size=12) for on in (False, True)
    )
    assert torch.equal(plain, sliding)


@pytest.mark.parametrize("skeleton", [H36M_17, MPI_INF_3DHP_17])
def test_the_root_alone_is_put_to_zero(skeleton: Skeleton) -> None:
    net = FromWindow(Window(FRAMES, "all"))
    x = torch.randn(2, FRAMES, 17, 2)
    plain = lift_clips(net, x, skeleton)
    zeroed = lift_clips(net, x, skeleton, Lifting(zero_root=True))
    root = {"h36m_17": 0, "mpi_inf_3dhp_17": 14}[skeleton.name]
    assert zeroed[:, :, root].eq(0).all()
    others = [joint for joint in range(17) if joint != root]
    assert torch.equal(zeroed[:, :, others], plain[:, :, others])
    assert plain[:, :, root].ne(0).all()


def test_a_root_between_joints_is_moved_to_zero() -> None:
    net = FromWindow(Window(1, "all"))
    x = torch.randn(2, 1, 133, 2)
    plain = lift_clips(net, x, H3WB_133)
    moved = lift_clips(net, x, H3WB_133, Lifting(zero_root=True))
    hips = moved[:, :, [11, 12]].mean(dim=2)
    torch.testing.assert_close(hips, torch.zeros_like(hips), atol=1e-6, rtol=0)
    steps = (plain - moved).diff(dim=2)  # all joints go the same way
    torch.testing.assert_close(steps, torch.zeros_like(steps), atol=1e-6, rtol=0)
    assert moved[:, :, H3WB_133.root].ne(0).any()


def config_of(**fields: object) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {"backbone": "d3dp", "loss_net": "none", "lr_p": 1e-3, **fields}
    )


def test_epochs_are_validated_cheaply_and_the_winner_is_tested_in_full() -> None:
    config = config_of(
        eval_flip=True,
        zero_root=True,
        test_windows="sliding",
        test_hypotheses=20,
        test_iterations=10,
    )
    assert validation_lifting(config) == Lifting(flip=True, zero_root=True)
    assert final_lifting(config) == Lifting(
        flip=True, zero_root=True, sliding=True, hypotheses=20, iterations=10
    )
    assert validation_lifting(config_of()) == final_lifting(config_of()) == PLAIN


def test_several_hypotheses_are_averaged_and_kept() -> None:
    torch.manual_seed(0)
    net = D3DP(skeleton=H36M_17, frames=FRAMES, width=8, depth=1, heads=2).eval()
    x = torch.randn(2, FRAMES, 17, 2)
    lifting = Lifting(flip=True, zero_root=True, hypotheses=3, iterations=2)
    with torch.no_grad():
        all_of_them = lift_hypotheses(net, x, H36M_17, lifting)
        expected = net.hypothesise(x, hypotheses=3, iterations=2, flip=True)
        mean = lift_clips(net, x, H36M_17, lifting)
    assert torch.equal(all_of_them[..., 1:, :], expected[..., 1:, :])
    assert all_of_them[..., 0, :].eq(0).all()
    torch.testing.assert_close(mean, all_of_them.mean(dim=0))


def test_several_hypotheses_of_a_net_with_one_are_refused() -> None:
    net = VideoPose(num_joints=17, channels=16)
    with pytest.raises(ShapeError, match="VideoPose gives one hypothesis, not 2"):
        lift_clips(net, torch.zeros(1, 1, 17, 2), H36M_17, Lifting(hypotheses=2))


def test_more_iterations_than_steps_are_refused_before_anything_is_trained() -> None:
    for field in ("test_iterations", "hypothesis_iterations"):
        fields: dict[str, object] = {field: 11}
        if field == "hypothesis_iterations":
            fields |= {"negatives": "hypotheses", "loss_net": "mlp", "lr_l": 1e-3, "alpha": 0.1}
        options = {"frames": 3, "width": 8, "depth": 1, "heads": 2}
        config = config_of(backbone_options={**options, "steps": 10}, **fields)
        with pytest.raises(TrainableError, match=f"{field}=11.*10 steps.*set {field}=10 or less"):
            build_backbone(config, H36M_17)
        build_backbone(config_of(backbone_options={**options, "steps": 11}, **fields), H36M_17)
