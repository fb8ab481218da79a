"""What `inspect_dataset` reports, and what `verify_dataset` refuses."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trainables.config import DataConfig
from trainables.data.dataset import Camera, PoseDataset, PoseSplit
from trainables.data.inspection import check_dataset, inspect_dataset
from trainables.data.loading import load_dataset
from trainables.data.plausibility import Check
from trainables.data.verification import verify_dataset
from trainables.errors import DataError
from trainables.skeletons import H36M_17


@pytest.fixture(scope="module")
def dataset() -> PoseDataset:
    return load_dataset(DataConfig(stride=5))


def changed(dataset: PoseDataset, change: Callable[[PoseSplit], dict[str, Any]]) -> PoseDataset:
    """The data set with some arrays of its test split replaced."""
    split = dataset.splits["test"]
    splits = {**dataset.splits, "test": dataclasses.replace(split, **change(split))}
    return dataclasses.replace(dataset, splits=splits)


def test_the_bundled_set_has_no_problems(dataset: PoseDataset) -> None:
    report = json.loads(json.dumps(inspect_dataset(dataset)))
    assert report["dataset"] == "sample"
    assert report["hash"] == dataset.content_hash()
    assert report["problems"] == []
    assert report["skeleton"]["joints"] == list(H36M_17.joints)
    train = report["splits"]["train"]
    assert train["views"] == len(dataset.splits["train"]) == 4 * train["frames"]
    assert train["subjects"] == [f"body{number}" for number in range(1, 6)]
    assert train["sequences"] == 5 * 9 * 2
    assert train["reprojection_px"]["max"] < 0.01
    assert len(report["bone_lengths_mm"]) == 9
    assert 350 < report["bone_lengths_mm"]["body1"]["r_hip-r_knee"] < 500


def test_the_bundled_set_is_verified(dataset: PoseDataset) -> None:
    verify_dataset(dataset)


def with_nan(split: PoseSplit) -> dict[str, Any]:
    y = split.y.copy()
    y[12, 3, 1] = np.nan
    return {"y": y}


def exchanged(split: PoseSplit) -> dict[str, Any]:
    order = np.arange(17)
    order[list(H36M_17.left)], order[list(H36M_17.right)] = H36M_17.right, H36M_17.left
    return {"y": split.y[:, order]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_nan, "test: y holds NaN or infinity in 1 poses, first in 12"),
        (exchanged, "test: .* left and right are exchanged"),
        (lambda split: {"y": split.y * 1000}, "test: the thigh measures .* millimetres"),
        (lambda split: {"y": split.y + 0.5}, "y is not root-relative"),
        (lambda split: {"y": -split.y}, "left and right are exchanged, or an axis is mirrored"),
        (lambda split: {"x": split.x / 500}, "test: the 2D of the median pose spans 0.0"),
        (lambda split: {"x": split.x * 500}, "images of another size"),
        (lambda split: {"x": split.x[:, :16]}, r"x is float32 \(\d+, 16, 2\), expected float32"),
        (lambda split: {"y": split.y.astype(np.float64)}, "y is float64 .* expected float32"),
        (lambda split: {"sequence": split.sequence + 9999}, "sequence numbers exceed the"),
        (lambda split: {"x": split.x[:0], "y": split.y[:0]}, "test: no poses"),
        (lambda split: {"x": split.x + 0.9}, "test: the 2D lies 63. px off the projected 3D"),
    ],
)
def test_what_cannot_be_right_is_refused_and_reported(
    dataset: PoseDataset, change: Callable[[PoseSplit], dict[str, Any]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        verify_dataset(changed(dataset, change))


def test_a_missing_split_is_refused(dataset: PoseDataset) -> None:
    fewer = {name: split for name, split in dataset.splits.items() if name != "val"}
    with pytest.raises(DataError, match="split 'val' is missing"):
        verify_dataset(dataclasses.replace(dataset, splits=fewer))
    verify_dataset(dataclasses.replace(dataset, splits=fewer), validates=False)
    fewer.pop("train")
    with pytest.raises(DataError, match=r"  - split 'train' is missing$"):
        verify_dataset(dataclasses.replace(dataset, splits=fewer), validates=False)


def noisy(split: PoseSplit) -> dict[str, Any]:
    noise = np.random.default_rng(0).normal(0.0, 15 / 500, split.x.shape)
    return {"x": split.x + noise.astype(np.float32)}


def of_another_size(split: PoseSplit) -> dict[str, Any]:
    return {"y": 1.2 * split.y}


@pytest.mark.parametrize("change", [noisy, of_another_size])
def test_detections_and_rescaled_bodies_are_not_taken_for_those_of_others(
    dataset: PoseDataset, change: Callable[[PoseSplit], dict[str, Any]]
) -> None:
    """Noise of 15 px in each direction; `univ_annot3` is up to a fifth larger or smaller."""
    verify_dataset(changed(dataset, change))


def test_only_what_is_scored_tells_whether_2d_and_3d_belong_together(
    dataset: PoseDataset,
) -> None:
    split = dataset.splits["test"]
    x, valid = split.x.copy(), np.ones(len(split), np.bool_)
    x[::3] += 0.5
    valid[::3] = False
    verify_dataset(changed(dataset, lambda _: {"x": x, "valid": valid}))
    x[1::3] += 0.5
    with pytest.raises(DataError, match=r"test: the 2D lies .* px off the projected 3D"):
        verify_dataset(changed(dataset, lambda _: {"x": x, "valid": valid}))


def longer_forearm(split: PoseSplit) -> dict[str, Any]:
    y = split.y.copy()
    y[:, 13] += 0.3 * (y[:, 13] - y[:, 12])
    return {"y": y}


def elastic(split: PoseSplit) -> dict[str, Any]:
    y = split.y.copy()
    y[:, 10] *= np.linspace(0.9, 1.1, len(y), dtype=np.float32)[:, None]
    return {"y": y}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (longer_forearm, "body8: l_elbow-l_wrist and r_elbow-r_wrist differ by"),
        (elastic, "body8: the length of neck-head varies by"),
        (
            lambda split: {"x": split.x[::-1].copy()},
            "test: the 2D lies .* px off the projected 3D",
        ),
        (with_nan, "test: y holds NaN"),
    ],
)
def test_the_implausible_is_reported(
    dataset: PoseDataset, change: Callable[[PoseSplit], dict[str, Any]], message: str
) -> None:
    report = inspect_dataset(changed(dataset, change))
    assert any(re.search(message, problem) for problem in report["problems"]), report["problems"]
    json.dumps(report)


def test_shared_recordings_are_a_problem_and_shared_bodies_a_note(dataset: PoseDataset) -> None:
    same = dataclasses.replace(dataset, splits={**dataset.splits, "val": dataset.splits["test"]})
    report = inspect_dataset(same)
    message = (
        "sources in both val and test: jump, punch, walk; a recording may be in one split only"
    )
    assert report["problems"] == [message]
    assert "subjects in both val and test: body8, body9" in report["notes"]
    with pytest.raises(DataError, match=message):
        verify_dataset(same)


def test_unknown_recordings_are_not_taken_for_one_and_the_same(dataset: PoseDataset) -> None:
    sequences = tuple(dataclasses.replace(info, source=None) for info in dataset.sequences)
    unknown = dataclasses.replace(dataset, sequences=sequences)
    verify_dataset(unknown)
    assert inspect_dataset(unknown)["problems"] == []


def test_without_cameras_and_roots_the_projection_is_left_alone(dataset: PoseDataset) -> None:
    sequences = tuple(dataclasses.replace(info, camera=None) for info in dataset.sequences)
    splits = {n: dataclasses.replace(s, root=None) for n, s in dataset.splits.items()}
    blind = dataclasses.replace(dataset, sequences=sequences, splits=splits)
    report = inspect_dataset(blind)
    assert report["problems"] == []
    assert "reprojection_px" not in report["splits"]["train"]


def test_key_points_outside_their_image_are_reported(dataset: PoseDataset) -> None:
    sequences = tuple(
        dataclasses.replace(info, camera=None, image_size=(1000, 1000))
        for info in dataset.sequences
    )
    blind = dataclasses.replace(dataset, sequences=sequences)
    problems = inspect_dataset(changed(blind, lambda split: {"x": split.x + 0.9}))["problems"]
    assert any(re.search("test: .*% of the 2D key points lie outside", text) for text in problems)


def verdicts(dataset: PoseDataset, name: str, where: str = "test") -> list[Check]:
    """The checks of a kind, of one split or of everything."""
    return [c for c in check_dataset(dataset) if c.name == name and c.where in (where, "all")]


def test_every_check_of_the_bundled_set_is_passed(dataset: PoseDataset) -> None:
    checks = check_dataset(dataset)
    assert {check.verdict for check in checks} == {"ok"}
    assert {check.where for check in checks} >= {"train", "val", "test", "all"}


def test_frozen_frames_are_found(dataset: PoseDataset) -> None:
    def frozen(split: PoseSplit) -> dict[str, Any]:
        x, y = split.x.copy(), split.y.copy()
        x[3:8], y[3:8] = x[2], y[2]  # of one sequence
        return {"x": x, "y": y}

    (check,) = verdicts(changed(dataset, frozen), "frozen frames")
    assert check.verdict == "note"
    assert check.message.startswith("test: 5 of ")


def test_a_single_jump_is_found_and_placed(dataset: PoseDataset) -> None:
    def jumping(split: PoseSplit) -> dict[str, Any]:
        y = split.y.copy()
        y[10, 13, 0] += 9.0
        return {"y": y}

    (check,) = verdicts(changed(dataset, jumping), "jumps, fastest joint")
    info = dataset.sequences[dataset.splits["test"].sequence[10]]
    assert check.verdict == "problem"
    assert "a joint jumps in 2 of" in check.message
    assert f"{info.subject} {info.action!r} {info.view}, frame" in check.message
    assert check.message.endswith("l_wrist")


def exchanged_2d(split: PoseSplit) -> dict[str, Any]:
    order = np.arange(17)
    order[list(H36M_17.left)], order[list(H36M_17.right)] = H36M_17.right, H36M_17.left
    return {"x": split.x[:, order]}


def test_an_exchange_of_left_and_right_in_2d_is_found(dataset: PoseDataset) -> None:
    (check,) = verdicts(changed(dataset, exchanged_2d), "2D left/right swapped")
    assert check.verdict == "problem"
    assert "have the 2D of left and right exchanged" in check.message


def test_a_split_that_repeats_another_seen_by_other_cameras_is_found(
    dataset: PoseDataset,
) -> None:
    """Neither the names nor the cameras give it away, only the poses."""
    val = dataset.splits["val"]
    turned = val.y[:, :, [2, 1, 0]] * np.asarray([1, 1, -1], np.float32)
    renamed = tuple(
        dataclasses.replace(info, subject=f"new{info.subject}", source=None)
        for info in dataset.sequences
    )
    copied_split = dataclasses.replace(val, y=np.ascontiguousarray(turned), root=None)
    same = dataclasses.replace(
        dataset, sequences=renamed, splits={**dataset.splits, "test": copied_split}
    )
    (check,) = verdicts(same, "shared poses", "all")
    assert check.verdict == "problem"
    assert "of test (100% in val)" in check.message


def test_a_joint_behind_the_camera_is_found(dataset: PoseDataset) -> None:
    def behind(split: PoseSplit) -> dict[str, Any]:
        assert split.root is not None
        root = split.root.copy()
        root[5, 2] = -3.0
        return {"root": root}

    (check,) = verdicts(changed(dataset, behind), "behind the camera")
    assert check.verdict == "problem"
    assert check.message.startswith("test: 1 of ")


def test_what_has_no_poses_is_not_looked_at_further(dataset: PoseDataset) -> None:
    empty = changed(dataset, lambda split: {"x": split.x[:0], "y": split.y[:0]})
    checks = check_dataset(empty)
    assert [check.message for check in checks] == ["test: no poses"]


def test_a_wrong_camera_is_found(dataset: PoseDataset) -> None:
    wrong = Camera(1000, 1000, (700.0, 700.0), (500.0, 500.0))
    sequences = tuple(dataclasses.replace(info, camera=wrong) for info in dataset.sequences)
    problems = inspect_dataset(dataclasses.replace(dataset, sequences=sequences))["problems"]
    assert any("the cameras are others" in problem for problem in problems)
