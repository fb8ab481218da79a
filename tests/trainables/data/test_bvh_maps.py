"""The bundled maps of BVH joints, on bodies whose collar bones move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.trainables.data.bvh_writer import Joint, body, joints_of, moving, write_bvh
from trainables.config import DataConfig
from trainables.data.inspection import check_dataset
from trainables.data.poses.bvh import convert_bvh
from trainables.data.poses.bvh_map import BvhMap, load_bvh_map
from trainables.data.poses.loader import build_dataset

UNITS = {"cmu": 0.0564444, "mixamo": 0.01}
PREFIXES = {"cmu": "", "mixamo": "mixamorig:"}


def with_collar_bones(name: str) -> Joint:
    """A body whose arms hang on collar bones that start at the base of the neck."""
    prefix, unit = PREFIXES[name], UNITS[name]
    root = body(prefix, unit)
    (chest,) = [joint for joint in joints_of(root) if joint.name == f"{prefix}Spine1"]
    neck, *arms = chest.children
    start = (0.0, 0.15 / unit, 0.0)
    neck.offset = start
    for side, arm in zip(("Left", "Right"), arms, strict=True):
        across = float(np.sign(arm.offset[0]))
        arm.offset = (across * 0.15 / unit, 0.0, 0.0)
        place = (across * 0.02 / unit, *start[1:])
        collar = Joint(f"{prefix}{side}Shoulder", place, children=[arm])
        chest.children[chest.children.index(arm)] = collar
    if name == "mixamo":
        (head,) = [joint for joint in joints_of(root) if joint.name == f"{prefix}Neck1"]
        neck.children = head.children
    return root


def lively(root: Joint, unit: float, seed: int) -> NDArray[np.float64]:
    """Motion at a walker's pace, in which the collar bones rise by up to 25 degrees."""
    values = moving(root, 120, seed)
    column = 0
    for joint in joints_of(root):
        for channel in joint.channels or ():
            if channel.endswith("position"):
                values[:, column] = 0.95 / unit * (channel[0] == "Y")
            if joint.name.endswith("Shoulder") and channel == "Zrotation":
                values[:, column] = 25 * np.sin(np.arange(120) / 15 + seed)
            column += 1
    return values


def problems_of(folder: Path, mapping: BvhMap, name: str) -> list[str]:
    root = with_collar_bones(name)
    paths = [
        write_bvh(folder / f"0{seed}_01.bvh", root, lively(root, UNITS[name], seed))
        for seed in (1, 2, 3)
    ]
    rules = [{"files": "03*", "split": "test"}, {"files": "02*", "split": "val"}]
    mapping = BvhMap.model_validate(mapping.model_dump() | {"splits": rules})
    dataset = build_dataset(
        DataConfig(name="poses"), convert_bvh(paths, mapping), folder / "poses.npz"
    )
    return [check.message for check in check_dataset(dataset) if check.verdict == "problem"]


@pytest.mark.parametrize("name", ["cmu", "mixamo"])
def test_moving_collar_bones_are_no_fault_of_the_recording(tmp_path: Path, name: str) -> None:
    assert problems_of(tmp_path, load_bvh_map(name), name) == []


def test_a_map_that_puts_a_joint_elsewhere_is_still_found(tmp_path: Path) -> None:
    """The check that accepts collar bones does not accept a joint that leaves its body."""
    given = load_bvh_map("cmu").model_dump()
    given["joints"]["l_elbow"] = {"LeftForeArm": 1, "RightForeArm": 1}
    problems = problems_of(tmp_path, BvhMap.model_validate(given), "cmu")
    assert any("l_elbow" in problem and "varies by" in problem for problem in problems), problems


@pytest.mark.parametrize("name", ["cmu", "mixamo"])
def test_the_thorax_does_not_move_with_the_collar_bones(tmp_path: Path, name: str) -> None:
    """It keeps its distance from the joint of the chest that carries the neck."""
    from trainables.data.poses.bvh_motion import read_bvh

    root = with_collar_bones(name)
    path = write_bvh(tmp_path / "a.bvh", root, lively(root, UNITS[name], 1))
    motion, mapping = read_bvh(path), load_bvh_map(name)
    ours = mapping.build_skeleton().joints
    thorax = mapping.place_joints(motion, path)[:, ours.index("thorax")]
    chest = motion.places[f"{PREFIXES[name]}Spine1"] * UNITS[name]
    chest = np.stack([chest[:, 0], -chest[:, 2], chest[:, 1]], axis=-1)
    assert np.ptp(np.linalg.norm(thorax - chest, axis=-1)) < 1e-6
