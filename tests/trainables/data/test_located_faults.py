"""Faults that `check_dataset` finds by sequence and view, and names with their frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.data.cameras import normalize_screen, pixels_from_screen, project
from trainables.data.dataset import Camera, PoseDataset, PoseSplit, SequenceInfo
from trainables.data.findings import Check, find_runs, name_runs
from trainables.data.inspection import check_dataset
from trainables.data.loading import load_dataset
from trainables.skeletons import H36M_17

Edit = Callable[[PoseSplit, NDArray[np.intp], SequenceInfo], None]


@pytest.fixture(scope="module")
def dataset() -> PoseDataset:
    return load_dataset(DataConfig(stride=2))


def edited(dataset: PoseDataset, edit: Edit, *, sequences: int | None = 1) -> PoseDataset:
    """The data set with arrays of the first sequences of the test split changed in place."""
    split = dataset.splits["test"]
    assert split.root is not None
    copied = dataclasses.replace(split, x=split.x.copy(), y=split.y.copy(), root=split.root.copy())
    for number in np.unique(split.sequence)[:sequences]:
        edit(copied, np.flatnonzero(split.sequence == number), dataset.sequences[number])
    return dataclasses.replace(dataset, splits={**dataset.splits, "test": copied})


def first_name(dataset: PoseDataset) -> str:
    info = dataset.sequences[int(dataset.splits["test"].sequence.min())]
    return f"{info.subject} {info.action!r} {info.view}"


def problems(dataset: PoseDataset) -> dict[str, Check]:
    """The problems of the test split by the checks' names."""
    found = [c for c in check_dataset(dataset) if c.where == "test"]
    return {check.name: check for check in found if check.verdict == "problem"}


def with_noise(dataset: PoseDataset) -> PoseDataset:
    """2D as a detector gives it, about 4.7 px off everywhere."""
    draw = np.random.default_rng(0)
    splits = {
        name: dataclasses.replace(
            split, x=split.x + draw.normal(0, 0.008, split.x.shape).astype(np.float32)
        )
        for name, split in dataset.splits.items()
    }
    return dataclasses.replace(dataset, splits=splits)


def test_a_2d_that_is_late_by_a_pose_is_found_and_named(dataset: PoseDataset) -> None:
    def late(split: PoseSplit, poses: NDArray[np.intp], _: SequenceInfo) -> None:
        split.x[poses[1:]] = split.x[poses[:-1]]

    found = problems(edited(dataset, late))
    assert f": {first_name(dataset)} (" in found["2D off, worst sequence"].message
    assert "in 1 sequence: " in found["2D off, worst sequence"].message
    assert "2D off, p50/p99/max" not in found


def test_a_shifted_view_is_found_and_named(dataset: PoseDataset) -> None:
    def shifted(split: PoseSplit, poses: NDArray[np.intp], info: SequenceInfo) -> None:
        if info.view == "front_left":
            split.x[poses] += np.float32(0.03)

    found = problems(edited(dataset, shifted, sequences=None))
    assert "in 1 view: front_left (" in found["2D off, worst view"].message
    assert "2D off, p50/p99/max" not in found


def test_noise_that_is_everywhere_is_no_problem(dataset: PoseDataset) -> None:
    assert problems(with_noise(dataset)) == {}


@pytest.mark.parametrize("noisy", [False, True])
def test_exchanged_calibrations_are_found_and_both_named(
    dataset: PoseDataset, *, noisy: bool
) -> None:
    """The first test sequence is seen by a camera that another view is said to have."""
    other = Camera(1000, 1000, (1250.0, 1250.0), (540.0, 470.0))
    sequences = tuple(
        dataclasses.replace(info, camera=other, view="elsewhere")
        if number == int(dataset.splits["train"].sequence.min())
        else info
        for number, info in enumerate(dataset.sequences)
    )

    def reprojected(split: PoseSplit, poses: NDArray[np.intp], info: SequenceInfo) -> None:
        assert split.root is not None
        assert info.camera is not None
        pixels = project(split.y[poses] + split.root[poses][:, None], other)
        split.x[poses] = normalize_screen(pixels, info.camera.size)

    known = dataclasses.replace(dataset, sequences=sequences)
    changed = edited(known, reprojected)
    check = problems(with_noise(changed) if noisy else changed)["2D fits its own camera"]
    assert f"in 1 sequence: {first_name(dataset)} (" in check.message
    assert "elsewhere)" in check.message


def test_a_long_exchange_of_left_and_right_is_located(dataset: PoseDataset) -> None:
    def exchanged(split: PoseSplit, poses: NDArray[np.intp], _: SequenceInfo) -> None:
        part = poses[5:16]
        split.x[part] = split.x[part][:, list(H36M_17.mirrored)]

    changed = edited(dataset, exchanged)
    message = problems(changed)["2D left/right swapped"].message
    frames = changed.splits["test"].frame
    assert message.endswith(f": {first_name(dataset)} frames {frames[5]}-{frames[15]}")


def test_a_detectors_short_exchange_is_noted_and_located(dataset: PoseDataset) -> None:
    def exchanged(split: PoseSplit, poses: NDArray[np.intp], _: SequenceInfo) -> None:
        part = poses[5:16]
        split.x[part] = split.x[part][:, list(H36M_17.mirrored)]

    checks = check_dataset(with_noise(edited(dataset, exchanged)))
    (check,) = [
        c for c in checks if (c.name, c.where) == ("2D left/right swapped", "test") and c.message
    ]
    assert check.verdict == "note"
    assert f"{first_name(dataset)} frames" in check.message


def test_a_frozen_run_is_a_problem_and_located(dataset: PoseDataset) -> None:
    def frozen(split: PoseSplit, poses: NDArray[np.intp], _: SequenceInfo) -> None:
        part = poses[5:16]
        split.x[part], split.y[part] = split.x[part[0]], split.y[part[0]]

    changed = edited(dataset, frozen)
    message = problems(changed)["frozen frames"].message
    frames = changed.splits["test"].frame
    assert message.endswith(f": {first_name(dataset)} frames {frames[6]}-{frames[15]}")


def test_a_body_that_jumps_is_found_though_no_joint_moves_about_it(dataset: PoseDataset) -> None:
    """Along the line of sight, so that the 2D stays what it was."""

    def away(split: PoseSplit, poses: NDArray[np.intp], info: SequenceInfo) -> None:
        assert split.root is not None
        assert info.camera is not None
        split.root[poses[7]] *= 1.5
        pixels = project(split.y[poses] + split.root[poses][:, None], info.camera)
        split.x[poses] = normalize_screen(pixels, info.camera.size)

    changed = edited(dataset, away)
    found = problems(changed)
    assert list(found) == ["jumps of the body"]
    frames = changed.splits["test"].frame
    where = f"{first_name(dataset)} frames {frames[7]}-{frames[8]}"
    assert found["jumps of the body"].message.startswith("test: the body jumps in 2 of")
    assert f"({where})" in found["jumps of the body"].message


def test_jumps_of_a_joint_are_located(dataset: PoseDataset) -> None:
    def jumping(split: PoseSplit, poses: NDArray[np.intp], _: SequenceInfo) -> None:
        split.y[poses[10], 13, 0] += 9.0

    changed = edited(dataset, jumping)
    frames = changed.splits["test"].frame
    message = problems(changed)["jumps, fastest joint"].message
    assert f"({first_name(dataset)} frames {frames[10]}-{frames[11]})" in message


def test_runs_end_at_gaps_and_the_longest_are_named_first() -> None:
    bad = np.asarray([True, True, False, True, True, True, True])
    poses = np.asarray([0, 1, 2, 3, 4, 5, 9], np.intp)
    runs = find_runs("a 'walk' cam", bad, poses, (10 * poses).astype(np.int32))
    assert [(run.first, run.last, run.length) for run in runs] == [
        (0, 10, 2),
        (30, 50, 3),
        (90, 90, 1),
    ]
    assert name_runs(runs) == (
        "a 'walk' cam frames 30-50, a 'walk' cam frames 0-10, a 'walk' cam frame 90"
    )
    assert find_runs("a", np.zeros(7, np.bool_), poses, poses.astype(np.int32)) == []


def test_pixels_of_the_toys_are_a_projection(dataset: PoseDataset) -> None:
    """What the tests above change is exact before."""
    split = dataset.splits["test"]
    assert split.root is not None
    info = dataset.sequences[int(split.sequence[0])]
    assert info.camera is not None
    pixels = pixels_from_screen(split.x[0], info.camera.size)
    assert np.abs(project(split.y[0] + split.root[0], info.camera) - pixels).max() < 0.01
