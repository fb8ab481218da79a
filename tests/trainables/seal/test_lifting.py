"""Lifting sequences with nets of all kinds of windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.backbones import VideoPose
from trainables.data.dataset import PoseDataset
from trainables.errors import DataError
from trainables.seal.device_data import DeviceSplit, load_split
from trainables.seal.evaluate import report_poses
from trainables.seal.lifting import Lifting, lift_clips, lift_sequence, lift_split, window_of
from trainables.seal.mirroring import mirror
from trainables.skeletons import H36M_17
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
