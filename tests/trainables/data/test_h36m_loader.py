"""VideoPose3D's file pair: geometry, splits, and a clear message for each thing that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.data.h36m_writer import (
    ACTIONS,
    METADATA,
    SUBJECTS,
    Positions,
    Views,
    make_positions,
    make_views,
    write_folder,
)
from trainables.config import DataConfig
from trainables.data.dataset import PoseDataset
from trainables.data.h36m.loader import load_h36m
from trainables.data.inspection import inspect_dataset
from trainables.data.loading import load_dataset
from trainables.errors import DataError, UnsafeDataError

H36M = DataConfig(name="h36m")
STAND_IN = Path(__file__).parents[4] / "shared" / "data" / "cmu_h36m"
needs_stand_in = pytest.mark.skipif(
    not STAND_IN.is_dir(), reason="the Human3.6M stand-in (../shared/data/cmu_h36m) is not here"
)


@pytest.fixture(scope="module")
def positions() -> Positions:
    return make_positions()


@pytest.fixture(scope="module")
def views(positions: Positions) -> Views:
    return make_views(positions)


@pytest.fixture
def folder(tmp_path: Path, positions: Positions, views: Views) -> Path:
    return write_folder(tmp_path / "h36m", positions, views)


def copied(positions: Positions) -> Positions:
    return {subject: dict(actions) for subject, actions in positions.items()}


def write_table(folder: Path, without: tuple[str, ...] = ()) -> None:
    """Training and test subjects perform recordings of their own, at 60 frames per second."""
    parts = {subject: "test" if subject in ("S9", "S11") else "train" for subject in SUBJECTS}
    keys = (f"{subject},{action}" for subject in SUBJECTS for action in ACTIONS)
    rows = [f"{k},{parts[k.split(',')[0]]}/any/{k.split(',')[1]},60" for k in keys]
    kept = [row for row in rows if not row.startswith(without)] if without else rows
    (folder / "sequences.csv").write_text("\n".join(["subject,action,source,fps", *kept]) + "\n")


def pairs(dataset: PoseDataset, split: str) -> set[tuple[str, str]]:
    infos = (dataset.sequences[i] for i in np.unique(dataset.splits[split].sequence))
    return {(info.subject, info.action) for info in infos}


def test_loads_the_pair_and_holds_out_a_subject(folder: Path, positions: Positions) -> None:
    dataset = load_dataset(H36M, folder)
    assert {subject for subject, _ in pairs(dataset, "train")} == {"S1", "S5"}
    assert {subject for subject, _ in pairs(dataset, "val")} == {"S8"}
    assert {subject for subject, _ in pairs(dataset, "test")} == {"S9", "S11"}
    frames = sum(len(positions["S8"][action]) for action in ACTIONS)
    assert len(dataset.splits["val"]) == 4 * frames
    assert any(n.startswith("validation: subject S8, held out as a whole;") for n in dataset.notes)
    assert {info.source for info in dataset.sequences} == {None}
    assert {info.fps for info in dataset.sequences} == {50.0}


def test_projecting_the_3d_gives_the_2d(folder: Path) -> None:
    report = inspect_dataset(load_dataset(H36M, folder))
    assert report["problems"] == []
    for split in report["splits"].values():
        assert split["reprojection_px"]["max"] < 0.01


def test_3d_is_root_relative_in_the_camera_frame(folder: Path, positions: Positions) -> None:
    dataset = load_dataset(H36M, folder)
    split = dataset.splits["test"]
    number = next(
        i
        for i, info in enumerate(dataset.sequences)
        if (info.subject, info.action) == ("S9", "walk")
    )
    chosen = split.sequence == number
    world = positions["S9"]["walk"]
    assert split.root is not None
    seen = split.y[chosen] + split.root[chosen][:, None]
    np.testing.assert_array_equal(split.y[chosen][:, 0], 0.0)
    # a rigid motion keeps all distances, and down in the image is down in the room
    np.testing.assert_allclose(
        np.linalg.norm(seen[:, 3] - seen[:, 10], axis=1),
        np.linalg.norm(world[:, 3] - world[:, 15], axis=1),
        atol=2e-5,
    )
    assert (split.y[chosen][:, 10, 1] < split.y[chosen][:, 3, 1]).all()
    assert (seen[..., 2] > 1.0).all()


def test_stride_thins_each_sequence(folder: Path) -> None:
    full = load_dataset(H36M, folder)
    thin = load_dataset(H36M.model_copy(update={"stride": 3}), folder)
    keep = full.splits["test"].frame % 3 == 0
    np.testing.assert_array_equal(thin.splits["test"].x, full.splits["test"].x[keep])
    np.testing.assert_array_equal(thin.splits["test"].frame, full.splits["test"].frame[keep])
    assert thin.sequences[0].fps == pytest.approx(50 / 3)
    assert thin.content_hash() != full.content_hash()


def test_recordings_are_held_out_from_every_body(folder: Path) -> None:
    write_table(folder)
    dataset = load_dataset(H36M, folder)
    held_out = {action for _, action in pairs(dataset, "val")}
    assert len(held_out) == 1
    assert pairs(dataset, "val") == {(s, a) for s in ("S1", "S5", "S8") for a in held_out}
    assert {action for _, action in pairs(dataset, "train")} == set(ACTIONS) - held_out
    assert {info.fps for info in dataset.sequences} == {60.0}
    assert inspect_dataset(dataset)["problems"] == []


def test_a_recording_in_two_splits_is_refused_and_reported(folder: Path) -> None:
    rows = [f"{s},{a},any/{a}" for s in SUBJECTS for a in ACTIONS]
    (folder / "sequences.csv").write_text("\n".join(["subject,action,source", *rows]))
    message = (
        "  - sources in both train and test: any/jump, any/walk; a recording may be in one "
        "split only\n  - sources in both val and test: any/punch; a recording"
    )
    with pytest.raises(DataError, match=message):
        load_dataset(H36M, folder)
    problems = inspect_dataset(load_h36m(H36M, folder))["problems"]
    assert [text.partition(":")[0] for text in problems] == [
        "sources in both train and test",
        "sources in both val and test",
    ]


def test_a_table_without_some_sequences_is_refused(folder: Path) -> None:
    write_table(folder, without=("S8,walk", "S11,jump"))
    with pytest.raises(
        DataError, match=r"no row for 2 of 15 sequences: S8 'walk', S11 'jump'; expected the sour"
    ):
        load_dataset(H36M, folder)


def test_the_takes_of_an_action_are_one_action(
    tmp_path: Path, positions: Positions, views: Views
) -> None:
    takes = {"walk": "walk", "jump": "walk 1", "punch": "punch 2"}
    named_3d = {s: {takes[a]: v for a, v in acts.items()} for s, acts in positions.items()}
    named_2d = {s: {takes[a]: v for a, v in acts.items()} for s, acts in views.items()}
    dataset = load_dataset(H36M, write_folder(tmp_path / "h", named_3d, named_2d))
    found = {info.action: info.base_action for info in dataset.sequences}
    assert found == {"walk": "walk", "walk 1": "walk", "punch 2": "punch"}


def test_a_frame_too_many_is_trimmed_and_noted(
    tmp_path: Path, positions: Positions, views: Views
) -> None:
    longer = {s: dict(actions) for s, actions in views.items()}
    longer["S9"]["walk"] = [np.concatenate([view, view[-1:]]) for view in views["S9"]["walk"]]
    shorter = longer["S1"]["walk"] = [view[:-2] for view in views["S1"]["walk"]]
    dataset = load_dataset(H36M, write_folder(tmp_path / "h", positions, longer))
    count = len(positions["S9"]["walk"])
    assert f"S9 'walk': 3D has {count} frames, 2D {[count + 1] * 4}; trimmed to {count}" in (
        dataset.notes
    )
    assert any(note.endswith(f"trimmed to {len(shorter[0])}") for note in dataset.notes)


def test_confidences_are_dropped(
    tmp_path: Path, folder: Path, positions: Positions, views: Views
) -> None:
    scored = {
        s: {
            a: [np.concatenate([v, np.ones_like(v[..., :1])], axis=-1) for v in per_camera]
            for a, per_camera in actions.items()
        }
        for s, actions in views.items()
    }
    other = write_folder(tmp_path / "h", positions, scored, metadata=None, keypoints="cpn")
    found = load_dataset(H36M.model_copy(update={"keypoints": "cpn"}), other)
    assert found.content_hash() == load_dataset(H36M, folder).content_hash()
    assert any("no metadata" in note for note in found.notes)


def test_3d_without_2d_of_a_published_subject_are_refused(
    tmp_path: Path, positions: Positions, views: Views
) -> None:
    fewer = {s: dict(actions) for s, actions in views.items()}
    del fewer["S11"]["punch"], fewer["S8"]
    message = (
        r"data_2d_h36m_gt\.npz has no 2D of S8 'walk', S8 'jump', S8 'punch', S11 'punch', but "
        r"data_3d_h36m\.npz has their 3D; expected 2D of every sequence"
    )
    with pytest.raises(DataError, match=message):
        load_dataset(H36M, write_folder(tmp_path / "h", positions, fewer))


def test_what_has_no_3d_or_no_cameras_is_left_out_and_noted(
    tmp_path: Path, positions: Positions, views: Views
) -> None:
    other = copied(positions)
    other["S77"] = other["S1"]
    del other["S11"]["punch"]
    dataset = load_dataset(H36M, write_folder(tmp_path / "h", other, views))
    assert ("S11", "punch") not in pairs(dataset, "test")
    assert "there are 2D without 3D, which are left out: S11 'punch'" in dataset.notes
    assert "subject S77 has no published cameras; left out" in dataset.notes


def test_published_subjects_that_are_absent_are_noted(folder: Path, tmp_path: Path) -> None:
    note = "S6, S7 are not in the files; figures cannot be compared with published ones"
    assert note in load_dataset(H36M, folder).notes
    everybody = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
    positions = make_positions(everybody)
    whole = write_folder(tmp_path / "all", positions, make_views(positions))
    assert not any("not in the files" in note for note in load_dataset(H36M, whole).notes)


def test_nobody_validates_and_all_training_subjects_train(folder: Path) -> None:
    config = H36M.model_copy(update={"val_subject": "none"})
    held_out, dataset = load_dataset(H36M, folder), load_dataset(config, folder)
    assert set(dataset.splits) == {"train", "test"}
    assert pairs(dataset, "train") == {(s, a) for s in ("S1", "S5", "S8") for a in ACTIONS}
    poses = {name: len(split) for name, split in held_out.splits.items()}
    assert len(dataset.splits["train"]) == poses["train"] + poses["val"]
    np.testing.assert_array_equal(dataset.splits["test"].x, held_out.splits["test"].x)
    assert "validation: nobody; all training subjects train" in dataset.notes
    assert inspect_dataset(dataset, validates=False)["problems"] == []
    write_table(folder)
    assert pairs(load_dataset(config, folder), "train") == pairs(dataset, "train")


def test_one_training_subject_suffices_if_nobody_validates(
    tmp_path: Path, positions: Positions, views: Views
) -> None:
    few = copied(positions)
    one_training_subject(few)
    config = H36M.model_copy(update={"val_subject": "none"})
    dataset = load_dataset(config, write_folder(tmp_path / "h", few, views))
    assert {subject for subject, _ in pairs(dataset, "train")} == {"S8"}


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


def one_training_subject(positions: Positions) -> None:
    del positions["S1"], positions["S5"]


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


def test_metadata_of_arrays_and_tuples_are_understood(
    tmp_path: Path, positions: Positions, views: Views
) -> None:
    left, right = METADATA["keypoints_symmetry"]
    as_array: dict[str, Any] = {
        "num_joints": np.int64(17),
        "keypoints_symmetry": np.asarray([left, right]),
    }
    as_tuples: dict[str, Any] = {"keypoints_symmetry": (tuple(left), np.asarray(right))}
    for number, metadata in enumerate((as_array, as_tuples)):
        folder = write_folder(tmp_path / str(number), positions, views, metadata)
        assert len(load_dataset(H36M, folder).splits) == 3


def test_names_that_are_no_text_are_refused(
    tmp_path: Path, positions: Positions, views: Views
) -> None:
    by_number = {number: acts for number, acts in enumerate(positions.values())}
    with pytest.raises(DataError, match="positions_3d has the key 0, expected a name"):
        load_dataset(H36M, write_folder(tmp_path / "a", by_number, views))  # type: ignore[arg-type]
    views_by_number = {**views, "S5": {1: views["S5"]["walk"]}}
    with pytest.raises(DataError, match=r"positions_2d\['S5'\] has the key 1, expected a name"):
        load_dataset(H36M, write_folder(tmp_path / "b", positions, views_by_number))  # type: ignore[arg-type]


@needs_stand_in
@pytest.mark.parametrize(("keypoints", "limit_px"), [("gt", 0.05), ("noisy", 300.0)])
def test_the_real_motion_stand_in(keypoints: str, limit_px: float) -> None:
    dataset = load_dataset(H36M.model_copy(update={"keypoints": keypoints}), STAND_IN)
    report = inspect_dataset(dataset)
    assert report["problems"] == []
    json.dumps(report)
    splits = report["splits"]
    assert splits["train"]["frames"] + splits["val"]["frames"] == 17_728
    assert splits["test"]["frames"] == 12_309
    assert splits["test"]["views"] == 4 * 12_309
    assert splits["test"]["subjects"] == ["S9", "S11"]
    for split in splits.values():
        assert split["reprojection_px"]["max"] < limit_px
    sources = [
        {dataset.sequences[i].source for i in np.unique(s.sequence)}
        for s in dataset.splits.values()
    ]
    assert not sources[0] & sources[1]
    assert splits["val"]["subjects"] == ["S1", "S5", "S6", "S7", "S8"]
