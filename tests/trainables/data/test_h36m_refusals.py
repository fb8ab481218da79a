"""VideoPose3D's file pair: a clear message for each thing that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.data.h36m_writer import (
    METADATA,
    Positions,
    Views,
    copied,
    one_training_subject,
    write_folder,
)
from trainables.config import DataConfig
from trainables.data.loading import load_dataset
from trainables.errors import DataError, UnsafeDataError

H36M = DataConfig(name="h36m")


def in_reverse_order(seen: list[np.ndarray]) -> list[np.ndarray]:
    return seen[::-1]


def backward_in_time(seen: list[np.ndarray]) -> list[np.ndarray]:
    return [view[::-1] for view in seen]


def mirrored(seen: list[np.ndarray]) -> list[np.ndarray]:
    return [
        view * np.asarray([-1, 1], np.float32) + np.asarray([1000, 0], np.float32) for view in seen
    ]


def y_up(seen: list[np.ndarray]) -> list[np.ndarray]:
    return [
        view * np.asarray([1, -1], np.float32) + np.asarray([0, 1000], np.float32) for view in seen
    ]


def joints_in_another_order(seen: list[np.ndarray]) -> list[np.ndarray]:
    return [view[:, ::-1] for view in seen]


@pytest.mark.parametrize(
    "change", [in_reverse_order, backward_in_time, mirrored, y_up, joints_in_another_order]
)
def test_2d_that_are_not_those_of_the_3d_are_refused(
    tmp_path: Path,
    positions: Positions,
    views: Views,
    change: Callable[[list[np.ndarray]], list[np.ndarray]],
) -> None:
    changed = {s: {a: change(v) for a, v in acts.items()} for s, acts in views.items()}
    folder = write_folder(tmp_path / "h", positions, changed)
    message = (
        r"  - test: the 2D lies \d+ px off the projected 3D in the median of S\d+, camera "
        r"'\d+', expected at most 40 px; 2D and 3D are of different copies"
    )
    with pytest.raises(DataError, match=message):
        load_dataset(H36M, folder)


def test_the_cameras_of_one_subject_suffice_to_be_refused(
    tmp_path: Path, positions: Positions, views: Views
) -> None:
    one = {a: in_reverse_order(v) for a, v in views["S5"].items()}
    folder = write_folder(tmp_path / "h", positions, {**views, "S5": one})
    with pytest.raises(DataError, match=r"train: the 2D lies \d+ px .* of S5, camera"):
        load_dataset(H36M, folder)


def test_detections_may_run_on_and_ground_truth_may_not(
    tmp_path: Path, positions: Positions, views: Views
) -> None:
    longer = {s: dict(actions) for s, actions in views.items()}
    longer["S9"]["walk"] = [np.concatenate([v, v[-1:].repeat(3, 0)]) for v in views["S9"]["walk"]]
    folder = write_folder(tmp_path / "h", positions, longer)
    count = len(positions["S9"]["walk"])
    message = (
        rf"data_2d_h36m_gt\.npz and data_3d_h36m\.npz: S9 'walk': 3D has {count} frames, 2D "
        rf"\[{count + 3}, .*\]; expected the same number"
    )
    with pytest.raises(DataError, match=message):
        load_dataset(H36M, folder)
    write_folder(folder, positions, longer, keypoints="cpn")
    dataset = load_dataset(H36M.model_copy(update={"keypoints": "cpn"}), folder)
    assert any(note.endswith(f"trimmed to {count}") for note in dataset.notes)


def with_nan(positions: Positions) -> None:
    positions["S5"]["jump"] = positions["S5"]["jump"].copy()
    positions["S5"]["jump"][7, 3] = np.nan


def in_millimetres(positions: Positions) -> None:
    for subject, actions in positions.items():
        positions[subject] = {action: 1000 * world for action, world in actions.items()}


def left_right_exchanged(positions: Positions) -> None:
    order = np.arange(32)
    order[[1, 2, 3, 25, 26, 27]], order[[6, 7, 8, 17, 18, 19]] = (
        [6, 7, 8, 17, 18, 19],
        [1, 2, 3, 25, 26, 27],
    )
    for subject, actions in positions.items():
        positions[subject] = {action: world[:, order] for action, world in actions.items()}


def another_skeleton(positions: Positions) -> None:
    positions["S1"]["walk"] = positions["S1"]["walk"][:, :31]


def integers(positions: Positions) -> None:
    positions["S1"]["walk"] = positions["S1"]["walk"].astype(np.int32)


def much_shorter(positions: Positions) -> None:
    positions["S1"]["jump"] = positions["S1"]["jump"][:3]


def only_strangers(positions: Positions) -> None:
    for subject in list(positions):
        positions[f"X{subject}"] = positions.pop(subject)


def no_test_subject(positions: Positions) -> None:
    del positions["S9"], positions["S11"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            with_nan,
            r"data_3d_h36m\.npz: 3D of S5 'jump' holds NaN .* in 1 of \d+ frames, first in "
            r"frame 7",
        ),
        (in_millimetres, r"the thigh measures \d+.*millimetres"),
        (left_right_exchanged, "left and right are exchanged"),
        (another_skeleton, r"S1 'walk' has shape \(\d+, 31, 3\), expected .*\(frames, 32, 3\)"),
        (integers, "S1 'walk' is int32, expected floating point"),
        (much_shorter, r"S1 'jump': 3D has 3 frames, 2D \[\d+.*; expected the same number"),
        (only_strangers, "share no sequence"),
        (no_test_subject, "no test subject, expected S9 or S11"),
        (one_training_subject, r"found the training subjects \['S8'\], expected two or more"),
    ],
)
def test_what_is_wrong_with_the_3d_is_said(
    tmp_path: Path,
    positions: Positions,
    views: Views,
    damage: Callable[[Positions], None],
    message: str,
) -> None:
    damaged = copied(positions)
    damage(damaged)
    write_folder(tmp_path / "h", damaged, views)
    with pytest.raises(DataError, match=message):
        load_dataset(H36M, tmp_path / "h")


def test_what_is_wrong_with_the_2d_is_said(
    tmp_path: Path, positions: Positions, views: Views
) -> None:
    folder = tmp_path / "h"
    three = {s: {a: v[:3] for a, v in actions.items()} for s, actions in views.items()}
    with pytest.raises(DataError, match="2D of S1 'walk' is no list of 4 arrays"):
        load_dataset(H36M, write_folder(folder, positions, three))
    flat = {s: {a: [u[:, :16] for u in v] for a, v in acts.items()} for s, acts in views.items()}
    with pytest.raises(DataError, match=r"camera 54138969 has shape \(\d+, 16, 2\)"):
        load_dataset(H36M, write_folder(folder, positions, flat))
    swapped = {**METADATA, "keypoints_symmetry": METADATA["keypoints_symmetry"][::-1]}
    with pytest.raises(DataError, match="metadata says keypoints_symmetry="):
        load_dataset(H36M, write_folder(folder, positions, views, swapped))
    with pytest.raises(DataError, match="metadata says num_joints=16, expected 17"):
        load_dataset(H36M, write_folder(folder, positions, views, {"num_joints": 16}))
    with pytest.raises(DataError, match=r"metadata says keypoints_symmetry=None, expected \[\["):
        load_dataset(H36M, write_folder(folder, positions, views, {"keypoints_symmetry": None}))
    (folder / "data_2d_h36m_gt.npz").unlink()
    np.savez(folder / "data_2d_h36m_gt.npz", other=np.zeros(2))
    with pytest.raises(DataError, match=r"found the arrays \['other'\], expected 'positions_2d'"):
        load_dataset(H36M, folder)


def test_missing_files_are_listed_with_what_is_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"looked for data_2d_h36m_cpn\.npz, found data_2d_h36m_gt"
    ):
        load_dataset(H36M.model_copy(update={"keypoints": "cpn"}), folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(
        DataError, match=r"data_3d_h36m\.npz and .*found an empty folder.*data-dir"
    ):
        load_dataset(H36M, empty)
    with pytest.raises(DataError, match="no such folder"):
        load_dataset(H36M, tmp_path / "nowhere")
    with pytest.raises(DataError, match="needs a data folder"):
        load_dataset(H36M)
    with pytest.raises(DataError, match=r"keypoints='\.\./gt' is no file suffix"):
        load_dataset(H36M.model_copy(update={"keypoints": "../gt"}), folder)


def test_broken_and_malicious_files_are_refused(folder: Path) -> None:
    file = folder / "data_3d_h36m.npz"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"data_3d_h36m\.npz: not a readable npz file.*truncated"):
        load_dataset(H36M, folder)
    np.savez(file, positions_3d=np.asarray({"S1": Path}, dtype=object))
    with pytest.raises(UnsafeDataError, match=r"asks for pathlib"):
        load_dataset(H36M, folder)
    np.savez(file, positions_3d=np.asarray({"S1": [1]}, dtype=object))
    with pytest.raises(DataError, match=r"positions_3d\['S1'\] is list, expected"):
        load_dataset(H36M, folder)
    np.savez(file, positions_3d=np.zeros(3))
    with pytest.raises(DataError, match="positions_3d is ndarray, expected"):
        load_dataset(H36M, folder)


def test_a_malformed_table_of_recordings_is_refused(folder: Path) -> None:
    (folder / "sequences.csv").write_text("subject,action\nS1,walk\n")
    with pytest.raises(
        DataError, match=r"sequences\.csv: found the columns \['action', 'subject'\]"
    ):
        load_dataset(H36M, folder)


def test_names_that_are_no_text_are_refused(
    tmp_path: Path, positions: Positions, views: Views
) -> None:
    by_number = {number: acts for number, acts in enumerate(positions.values())}
    with pytest.raises(DataError, match="positions_3d has the key 0, expected a name"):
        load_dataset(H36M, write_folder(tmp_path / "a", by_number, views))  # type: ignore[arg-type]
    views_by_number = {**views, "S5": {1: views["S5"]["walk"]}}
    with pytest.raises(DataError, match=r"positions_2d\['S5'\] has the key 1, expected a name"):
        load_dataset(H36M, write_folder(tmp_path / "b", positions, views_by_number))  # type: ignore[arg-type]
