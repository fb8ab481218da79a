"""Any data set, written as a poses file and loaded again, is the very same."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.data.h36m_writer import make_positions, make_views, write_folder
from trainables.config import DataConfig
from trainables.data.assembly import to_stable_float32
from trainables.data.cameras import pixels_from_screen
from trainables.data.dataset import Camera, PoseDataset, PoseSplit, SequenceInfo
from trainables.data.loading import load_dataset
from trainables.data.poses.files import FILE_NAMES
from trainables.data.poses.loader import load_poses
from trainables.data.poses.writer import write_poses
from trainables.errors import DataError
from trainables.skeletons import H3WB_133, H36M_17, SKELETONS, Skeleton

BOTH = pytest.mark.parametrize("file_name", FILE_NAMES)
ARRAYS = ("x", "y", "root", "sequence", "frame", "valid")


def assert_same_after_a_round_trip(dataset: PoseDataset, path: Path) -> None:
    write_poses(dataset, path)
    again = load_poses(DataConfig(name="poses"), path.parent)
    assert again.content_hash() == dataset.content_hash()
    assert (again.name, again.skeleton) == (dataset.name, dataset.skeleton)
    assert again.sequences == dataset.sequences
    jumps = tuple(note for note in again.notes if note.startswith("frame numbers of "))
    assert again.notes == (*dataset.notes, *jumps)  # numbers drawn by lot jump
    for name, split in dataset.splits.items():
        for array in ARRAYS:
            expected, found = getattr(split, array), getattr(again.splits[name], array)
            if expected is None:
                assert found is None
            else:
                assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
                np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def sample() -> PoseDataset:
    return load_dataset(DataConfig(stride=10))


def drawn(
    skeleton: Skeleton, infos: tuple[SequenceInfo, ...], *, knows_root: bool = True
) -> PoseDataset:
    """Random poses: one sequence per split, extremes included."""
    splits = {}
    for number, name in enumerate(("train", "val", "test")):
        draw = np.random.default_rng(number)
        points = draw.normal(0, 0.5, (40, skeleton.num_joints, 3))
        root = points[:, list(skeleton.origin or (skeleton.root,))].mean(axis=1)
        splits[name] = PoseSplit(
            x=to_stable_float32(draw.normal(0, 3.0, (40, skeleton.num_joints, 2))),
            y=to_stable_float32(points - root[:, None]),
            root=to_stable_float32(draw.uniform(-9, 9, (40, 3))) if knows_root else None,
            sequence=np.full(40, number, np.int32),
            frame=np.sort(draw.permutation(1000)[:40]).astype(np.int32),
            valid=draw.random(40) < 0.5 if name == "test" else None,
        )
    return PoseDataset("drawn", skeleton, infos, splits, ("a note",))


def infos(camera: Camera | None, *, ordered: bool = True) -> tuple[SequenceInfo, ...]:
    """One sequence each, all of the same names, the third by another camera of the same view."""
    size = (1920, 1080) if camera is None else None
    info = SequenceInfo("S 1", "sitzen é", "sitzen", "v", None, 24.975, camera, size, ordered)
    other = Camera(1000, 1000, (900, 901), (500, 501), (0.1, -0.2, 0.3), (0.01, -0.02))
    return (info, info, replace(info, camera=other, image_size=None, source="take/1"))


@BOTH
def test_the_sample_comes_back_the_same(
    sample: PoseDataset, tmp_path: Path, file_name: str
) -> None:
    assert_same_after_a_round_trip(sample, tmp_path / file_name)


@BOTH
def test_human36m_comes_back_the_same(tmp_path: Path, file_name: str) -> None:
    positions = make_positions()
    write_folder(tmp_path, positions, make_views(positions))
    dataset = load_dataset(DataConfig(name="h36m", stride=3), tmp_path)
    assert_same_after_a_round_trip(dataset, tmp_path / file_name)


@BOTH
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
@pytest.mark.parametrize("knows_root", [True, False])
def test_every_skeleton_comes_back_the_same(
    tmp_path: Path, file_name: str, skeleton: Skeleton, knows_root: bool
) -> None:
    camera = Camera(2048, 2048, (1500.5, 1499.0), (1024, 1024.25))
    dataset = drawn(skeleton, infos(camera), knows_root=knows_root)
    assert_same_after_a_round_trip(dataset, tmp_path / file_name)


@BOTH
def test_loose_poses_of_unknown_cameras_and_an_own_skeleton_come_back_the_same(
    tmp_path: Path, file_name: str
) -> None:
    own = replace(H3WB_133, name="my 133")
    dataset = drawn(own, infos(None, ordered=False))
    for split in dataset.splits.values():
        np.random.default_rng(0).shuffle(split.frame)
    assert_same_after_a_round_trip(dataset, tmp_path / file_name)


@BOTH
def test_cameras_that_share_a_take_between_splits_come_back_as_takes_of_their_own(
    tmp_path: Path, file_name: str
) -> None:
    camera = Camera(2048, 2048, (1500.5, 1499.0), (1024, 1024.25))
    dataset = drawn(H36M_17, infos(camera))
    views = ("a", "b", "c")
    same = tuple(
        replace(dataset.sequences[0], view=view, camera=replace(camera, width=2048 + number))
        for number, view in enumerate(views)
    )
    assert_same_after_a_round_trip(replace(dataset, sequences=same), tmp_path / file_name)


@BOTH
def test_what_is_noted_in_too_many_words_is_shortened(tmp_path: Path, file_name: str) -> None:
    camera = Camera(2048, 2048, (1500.5, 1499.0), (1024, 1024.25))
    notes = ("x" * 1000, "\x1b[2J", *(f"note {number}" for number in range(200)))
    dataset = replace(drawn(H36M_17, infos(camera)), notes=notes)
    write_poses(dataset, tmp_path / file_name)
    again = load_poses(DataConfig(name="poses"), tmp_path).notes
    assert again[0] == "x" * 400 + "…"
    assert again[1] == ascii("\x1b[2J")
    assert again[2] == "note 0"


def test_own_skeletons_of_the_same_name_have_different_hashes() -> None:
    one = drawn(replace(H36M_17, name="mine"), infos(None))
    other = replace(one, skeleton=replace(one.skeleton, origin=(1, 4)))
    assert one.content_hash() != other.content_hash()


def test_equal_data_give_equal_bytes(sample: PoseDataset, tmp_path: Path) -> None:
    contents = []
    for name in ("one.npz", "two.npz"):
        write_poses(sample, tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def test_pixels_are_those_of_the_image(sample: PoseDataset, tmp_path: Path) -> None:
    write_poses(sample, tmp_path / "poses.npz")
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as file:
        size = sample.sequences[0].size
        assert size is not None
        np.testing.assert_array_equal(
            file["pose_2d"][0], pixels_from_screen(sample.splits["train"].x[0], size)
        )
        assert {file[name].dtype.kind for name in file.files} <= {"f", "i", "U", "S", "b"}


@pytest.mark.parametrize("file_name", FILE_NAMES)
def test_a_crash_leaves_neither_half_a_file_nor_another(
    sample: PoseDataset, tmp_path: Path, file_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / file_name
    path.write_bytes(b"what was there before")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="cannot be written \\(No space left on device\\)"):
        write_poses(sample, path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [
        (file_name, b"what was there before")
    ]


def test_a_file_of_an_unknown_kind_is_refused(sample: PoseDataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"suffix '.csv' is unknown, expected .npz or .parquet"):
        write_poses(sample, tmp_path / "poses.csv")
