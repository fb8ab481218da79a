"""Splits on the device: the shared arrays are used where they lie, and only copies get out."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch

from trainables.data.dataset import PoseDataset
from trainables.seal.device_data import DeviceSplit, Poses, load_split

CPU = torch.device("cpu")


def load(
    dataset: PoseDataset, dtype: torch.dtype = torch.float32, limit: int | None = None
) -> DeviceSplit:
    return load_split(dataset, "test", device=CPU, dtype=dtype, limit=limit)


def test_on_a_cpu_the_arrays_are_used_where_they_lie(tiny_dataset: PoseDataset) -> None:
    arrays = tiny_dataset.splits["test"]
    assert not arrays.x.flags.writeable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = load(tiny_dataset)
    assert split._x.data_ptr() == arrays.x.ctypes.data
    assert split._sequence.data_ptr() == arrays.sequence.ctypes.data
    assert split._frame.data_ptr() == arrays.frame.ctypes.data
    assert split._y.data_ptr() == arrays.y.ctypes.data
    assert load(tiny_dataset, torch.float64)._x.data_ptr() != arrays.x.ctypes.data


def every(split: DeviceSplit) -> Poses:
    return split.gather(torch.arange(len(split)))


@pytest.mark.parametrize("limit", [None, 12])
def test_writing_to_what_gets_out_changes_nothing(
    tiny_dataset: PoseDataset, limit: int | None
) -> None:
    dataset = copy.deepcopy(tiny_dataset)
    before = dataset.content_hash()
    split = load(dataset, limit=limit)
    first = every(split)
    for poses in (split.gather(torch.arange(5)), split.gather_clips(torch.arange(5), 3)):
        for values in poses:
            values.fill_(3)
    assert dataset.content_hash() == before
    again = every(split)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_poses_are_those_of_the_data_set(tiny_dataset: PoseDataset) -> None:
    arrays = tiny_dataset.splits["test"]
    x, y, _, sequence, frame, valid = every(load(tiny_dataset))
    assert torch.equal(x, torch.tensor(arrays.x).unsqueeze(1))
    assert torch.equal(y, torch.tensor(arrays.y).unsqueeze(1))
    assert sequence.tolist() == arrays.sequence.tolist()
    assert frame.tolist() == arrays.frame.tolist()
    assert valid.all()


@pytest.mark.parametrize(("frames", "before"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)])
def test_clips_stay_within_their_sequence_and_repeat_its_ends(
    tiny_dataset: PoseDataset, frames: int, before: int
) -> None:
    split, arrays = load(tiny_dataset), tiny_dataset.splits["test"]
    index = torch.arange(30)
    clips = split.gather_clips(index, frames)
    assert clips.x.shape == (30, frames, 17, 2)
    for pose in range(30):
        sequence = arrays.sequence[pose]
        members = [n for n in range(30) if arrays.sequence[n] == sequence]
        wanted = [
            min(max(pose - before + step, members[0]), members[-1]) for step in range(frames)
        ]
        assert torch.equal(clips.x[pose], torch.tensor(arrays.x[wanted]))
        assert torch.equal(clips.y[pose], torch.tensor(arrays.y[wanted]))
    assert torch.equal(clips.frame, torch.tensor(arrays.frame).long())
    clips.x.fill_(3)
    assert not torch.equal(split.gather_clips(index, frames).x, clips.x)


def test_the_takes_of_an_action_are_pooled(tiny_dataset: PoseDataset) -> None:
    assert [info.action for info in tiny_dataset.sequences] == ["walk", "run", "walk 1"]
    split = load(tiny_dataset)
    assert split.num_actions == 2
    assert every(split).action.tolist() == [1] * 10 + [0] * 10 + [1] * 10


@pytest.mark.parametrize("limit", [1, 7, 29, 30, 31])
def test_thinning_while_loading_equals_choosing_afterwards(
    tiny_dataset: PoseDataset, limit: int
) -> None:
    early, late = load(tiny_dataset, limit=limit), load(tiny_dataset)
    assert len(early) == min(limit, 30)
    assert early.num_actions == late.num_actions
    thinned = every(early)
    chosen = late.gather(late.evenly_spaced(limit))
    for one, other in zip(thinned, chosen, strict=True):
        assert torch.equal(one, other)
    frames = tiny_dataset.splits["test"].x[
        [index * 30 // len(early) for index in range(len(early))]
    ]
    assert torch.equal(thinned.x.squeeze(1), torch.tensor(frames))
