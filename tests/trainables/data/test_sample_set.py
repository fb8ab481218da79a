"""The bundled data set: its motion, its bodies, its cameras, its splits."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from itertools import combinations
from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.transform import Rotation, Slerp

from trainables.config import DataConfig, DatasetName
from trainables.data.checks import bone_lengths_m, subject_of_pose
from trainables.data.dataset import PoseDataset
from trainables.data.loading import DATASETS, load_dataset
from trainables.data.sample.bodies import SEGMENTS, Body, joint_positions
from trainables.data.sample.clips import CLIPS_FILE, JOINT_COLUMNS, read_clips, resample, slerp
from trainables.data.sample.loader import SPLITS
from trainables.data.sample.scene import VIEWS, mirror, place_in_room
from trainables.errors import DataError
from trainables.skeletons import H36M_17

RECORDED = Body("recorded", dict.fromkeys(SEGMENTS, 1.0))
INDEX = {name: index for index, name in enumerate(H36M_17.joints)}


@pytest.fixture(scope="module")
def dataset() -> PoseDataset:
    return load_dataset(DataConfig())


def test_every_data_set_of_the_configuration_has_a_loader() -> None:
    assert set(DATASETS) == set(get_args(DatasetName))


def test_the_file_holds_plain_arrays_and_all_clips() -> None:
    with zipfile.ZipFile(CLIPS_FILE) as archive:
        assert archive.testzip() is None
    with np.load(CLIPS_FILE, allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file} <= {"f", "i", "U"}
    clips, offsets = read_clips()
    assert len(clips) == 15
    assert sum(len(clip.rows) for clip in clips.values()) == 1620
    assert sum(clip.times_s[-1] for clip in clips.values()) == pytest.approx(33.6, abs=0.1)
    assert sorted(name for plan in SPLITS.values() for name in plan.clips) == sorted(clips)
    assert len(offsets) == 14


def test_sizes_and_splits(dataset: PoseDataset) -> None:
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 24_640,
        "val": 3_232,
        "test": 4_192,
    }
    used = {
        name: [dataset.sequences[i] for i in np.unique(split.sequence)]
        for name, split in dataset.splits.items()
    }
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        for attribute in ("subject", "source"):
            values = [{getattr(info, attribute) for info in used[n]} for n in (first, second)]
            assert not values[0] & values[1]
    assert sum(len(infos) for infos in used.values()) == len(dataset.sequences)
    assert {info.view for info in dataset.sequences} == {view.name for view in VIEWS}


def test_bones_are_constant_and_symmetric(dataset: PoseDataset) -> None:
    for split in dataset.splits.values():
        subjects = np.asarray([info.subject for info in dataset.sequences])[split.sequence]
        for subject in np.unique(subjects):
            lengths = bone_lengths_m(split.y[subjects == subject], H36M_17)
            assert np.ptp(lengths, axis=0).max() < 1e-5
            for left, right in H36M_17.limb_pairs:
                ends = [H36M_17.segments.index(segment) for segment in (left, right)]
                assert abs(lengths[:, ends[0]] - lengths[:, ends[1]]).max() < 1e-5


def test_bodies_differ(dataset: PoseDataset) -> None:
    lengths_mm: dict[str, np.ndarray] = {}
    for split in dataset.splits.values():
        subjects = subject_of_pose(dataset, split)
        for subject in np.unique(subjects):
            of_subject = bone_lengths_m(split.y[subjects == subject], H36M_17)
            lengths_mm[str(subject)] = 1000 * np.median(of_subject, axis=0)
    assert sorted(lengths_mm) == [f"body{number}" for number in range(1, 10)]
    for first, second in combinations(lengths_mm, 2):
        assert np.abs(lengths_mm[first] - lengths_mm[second]).max() > 10.0, (first, second)
    thighs_mm = [lengths[H36M_17.segments.index((1, 2))] for lengths in lengths_mm.values()]
    assert 350.0 < min(thighs_mm) < max(thighs_mm) < 550.0


def test_variants_of_a_clip_are_one_action(dataset: PoseDataset) -> None:
    clips = {clip for plan in SPLITS.values() for clip in plan.clips}
    assert {info.base_action for info in dataset.sequences} == clips
    assert {info.action for info in dataset.sequences if info.base_action == "walk"} == {
        *("walk", "walk mirrored", "walk 2", "walk mirrored 2")
    }
    assert all(info.action.startswith(info.base_action) for info in dataset.sequences)


def test_every_joint_is_inside_every_image(dataset: PoseDataset) -> None:
    for split in dataset.splits.values():
        assert np.abs(split.x).max() < 1.0
        assert split.root is not None
        assert (split.root[:, 2] > 2.0).all()


def test_stride(dataset: PoseDataset) -> None:
    thin = load_dataset(DataConfig(stride=4))
    keep = dataset.splits["val"].frame % 4 == 0
    np.testing.assert_array_equal(thin.splits["val"].y, dataset.splits["val"].y[keep])
    assert thin.sequences[0].fps == 25.0 / 4


def test_other_key_points_are_refused() -> None:
    with pytest.raises(ValidationError, match="keypoints='cpn' has no effect on data set"):
        DataConfig(keypoints="cpn")


def test_the_arrays_are_the_same_in_every_process(dataset: PoseDataset) -> None:
    code = (
        "from trainables.config import DataConfig\n"
        "from trainables.data.loading import load_dataset\n"
        "print(load_dataset(DataConfig()).content_hash())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert hashes == {dataset.content_hash()}


def test_forward_kinematics_agree_with_a_chain_of_rotations() -> None:
    clips, offsets = read_clips()
    clip, row = clips["spinkick"], 31
    motion = resample(clip, 1.0 / float(clip.times_s[row]))  # its second frame is that row
    joints = joint_positions(motion, RECORDED, offsets)[1]
    values = clip.rows[row]

    def turn(name: str) -> Rotation:
        part = values[JOINT_COLUMNS[name]]
        return (
            Rotation.from_rotvec([0, 0, part[0]])
            if len(part) == 1
            else Rotation.from_quat(np.roll(part, -1))
        )

    root = values[1:4]
    hip = root + turn("root").apply(offsets["right_hip"])
    knee = hip + (turn("root") * turn("right_hip")).apply(offsets["right_knee"])
    shin = turn("root") * turn("right_hip") * turn("right_knee")
    np.testing.assert_allclose(joints[INDEX["hip"]], root, atol=1e-6)
    np.testing.assert_allclose(
        joints[INDEX["r_ankle"]], knee + shin.apply(offsets["right_ankle"]), atol=1e-6
    )
    chest = turn("root") * turn("chest")
    spine = root + turn("root").apply(offsets["chest"])
    shoulder = spine + chest.apply(offsets["left_shoulder"])
    arm = chest * turn("left_shoulder")
    elbow = shoulder + arm.apply(offsets["left_elbow"])
    wrist = elbow + (arm * turn("left_elbow")).apply(offsets["left_wrist"])
    np.testing.assert_allclose(
        joints[INDEX["thorax"]], spine + chest.apply(offsets["neck"]), atol=1e-6
    )
    np.testing.assert_allclose(joints[INDEX["l_wrist"]], wrist, atol=1e-6)


def test_slerp_agrees_with_scipy() -> None:
    generator = np.random.default_rng(0)
    start, end = Rotation.random(50, generator), Rotation.random(50, generator)
    fraction = generator.random(50)
    found = slerp(np.roll(start.as_quat(), 1, axis=1), np.roll(end.as_quat(), 1, axis=1), fraction)
    for index in range(50):
        pair = Rotation.concatenate([start[index], end[index]])
        expected = Slerp([0, 1], pair)(fraction[index])
        angle = (Rotation.from_quat(np.roll(found[index], -1)).inv() * expected).magnitude()
        assert angle < 1e-7


def test_slerp_of_equal_and_opposite_quaternions_stays_put() -> None:
    same = np.asarray([[1.0, 0, 0, 0], [1.0, 0, 0, 0]])
    other = np.asarray([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]])
    np.testing.assert_allclose(slerp(same, other, np.asarray([0.3, 0.3])), same)


def test_resampling_keeps_the_clips_duration() -> None:
    clips, _ = read_clips()
    for clip in clips.values():
        frames = len(resample(clip, 25.0).root_m)
        assert frames == int(clip.times_s[-1] * 25.0 + 1e-3) + 1
    walk = resample(clips["walk"], 25.0)
    np.testing.assert_allclose(walk.root_m[0], clips["walk"].rows[0, 1:4])


def test_people_walk_forward_upright_with_their_right_on_the_right() -> None:
    clips, offsets = read_clips()
    joints = joint_positions(resample(clips["walk"], 25.0), RECORDED, offsets)
    at = {name: joints[:, index] for name, index in INDEX.items()}
    assert (at["head"][:, 1] > at["thorax"][:, 1]).all()
    assert (at["thorax"][:, 1] > at["hip"][:, 1]).all()
    travelled = at["hip"][-1] - at["hip"][0]
    assert travelled[0] > 1.0  # x is forward
    for left, right in zip(H36M_17.left, H36M_17.right, strict=True):
        assert (joints[:, right, 2] - joints[:, left, 2]).mean() > 0.05  # z is to the right
    assert (at["neck"][:, 0] > at["thorax"][:, 0]).mean() > 0.9  # the nose is in front
    ground = np.minimum(at["l_ankle"][:, 1], at["r_ankle"][:, 1])
    assert 0.0 < ground.min() < ground.max() < 0.2


def test_mirroring_exchanges_sides_and_undoes_itself() -> None:
    clips, offsets = read_clips()
    joints = joint_positions(resample(clips["kick"], 25.0), RECORDED, offsets)
    mirrored = mirror(joints, H36M_17)
    np.testing.assert_array_equal(mirror(mirrored, H36M_17), joints)
    expected = joints[:, INDEX["l_wrist"]] * [1, 1, -1]
    np.testing.assert_array_equal(mirrored[:, INDEX["r_wrist"]], expected)


def test_a_place_in_the_room_is_a_turn_about_the_vertical() -> None:
    clips, offsets = read_clips()
    joints = joint_positions(resample(clips["dance_a"], 25.0), RECORDED, offsets)
    placed = place_in_room(joints, np.random.default_rng(5))
    np.testing.assert_allclose(placed[..., 2], joints[..., 1])
    np.testing.assert_allclose(
        bone_lengths_m(placed, H36M_17), bone_lengths_m(joints, H36M_17), atol=1e-9
    )
    # not a mirror image: the triple product of three bones keeps its sign and size
    for points in (joints, placed):
        edges = points[:, [1, 7, 12]] - points[:, [0]]
        if points is joints:
            expected = np.linalg.det(edges)
    np.testing.assert_allclose(np.linalg.det(edges), expected, atol=1e-9)


def test_a_motion_too_wide_for_the_images_is_refused() -> None:
    wide = np.zeros((2, 17, 3))
    wide[1, :, 0] = 9.0
    with pytest.raises(DataError, match="does not fit the simulated images"):
        place_in_room(wide, np.random.default_rng(0))


def test_cameras_look_at_the_middle_of_the_room_upright() -> None:
    for view in VIEWS:
        np.testing.assert_allclose(view.rotation.T @ view.rotation, np.eye(3), atol=1e-12)
        assert np.linalg.det(view.rotation) == pytest.approx(1.0)
        seen, pixels = view.observe(np.asarray([[0, 0, 0.95], [0, 0, 1.95]]))
        np.testing.assert_allclose(pixels[0], view.camera.center)
        assert pixels[1, 1] < pixels[0, 1]
        assert 5.0 < seen[0, 2] < 6.0
