"""BVH files as poses: kinematics, channels, maps, cameras, and what is refused."""

from __future__ import annotations

import os
import re
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.data.bvh_writer import (
    ROOT_CHANNELS,
    Joint,
    body,
    end,
    joints_of,
    moving,
    own_kinematics,
    write_bvh,
)
from trainables.config import DataConfig
from trainables.data.cameras import project
from trainables.data.poses.bvh import convert_bvh
from trainables.data.poses.bvh_map import BUNDLED_MAPS, BvhMap, load_bvh_map
from trainables.data.poses.bvh_motion import read_bvh
from trainables.data.poses.bvh_text import scan_bvh
from trainables.data.poses.loader import build_dataset
from trainables.data.poses.table import PoseTable
from trainables.data.verification import faults
from trainables.errors import DataError
from trainables.skeletons import H36M_17

CMU_UNIT_M = 0.0564444


def assert_places(path: Path, root: Joint, values: np.ndarray[Any, Any]) -> None:
    expected, found = own_kinematics(root, values), read_bvh(path).places
    assert set(found) == set(expected)
    for name, places in expected.items():
        np.testing.assert_allclose(found[name], places, rtol=0, atol=1e-9, err_msg=name)


def test_the_librarys_kinematics_are_those_of_an_own_implementation(tmp_path: Path) -> None:
    root = body()
    values = moving(root, 30)
    assert_places(write_bvh(tmp_path / "a.bvh", root, values), root, values)


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
def test_every_order_of_rotations_is_understood(tmp_path: Path, order: str) -> None:
    root = body()
    for joint in joints_of(root)[1:]:
        joint.channels = tuple(f"{axis}rotation" for axis in order)
    values = 3 * moving(root, 5)
    assert_places(write_bvh(tmp_path / "a.bvh", root, values), root, values)


@pytest.mark.parametrize("every_joint", [True, False])
def test_position_channels_below_the_root_take_the_place_of_offsets(
    tmp_path: Path, every_joint: bool
) -> None:
    root = body()
    chosen = joints_of(root)[1:] if every_joint else [joints_of(root)[2], joints_of(root)[-1]]
    for joint in chosen:
        joint.channels = ("Xposition", "Yposition", "Zposition", *(joint.channels or ()))
    values = moving(root, 8)
    assert_places(write_bvh(tmp_path / "a.bvh", root, values), root, values)


def test_joints_with_fewer_channels_and_a_root_without_places_are_understood(
    tmp_path: Path,
) -> None:
    toe = Joint("toe", (0, -1, 2), (), [end(0, 0, 1)])
    knee = Joint("knee", (0, -4, 0), ("Xrotation",), [toe])
    hip = Joint("hip", (1, 0, 0), ("Yposition", "Zrotation"), [knee])
    root = Joint("root", (5, 6, 7), ("Yrotation", "Zrotation"), [hip])
    values = np.random.default_rng(0).uniform(-40, 40, (6, 5)).round(6)
    assert_places(write_bvh(tmp_path / "a.bvh", root, values), root, values)


def test_braces_behind_names_and_windows_line_ends_are_understood(tmp_path: Path) -> None:
    root = body()
    values = moving(root, 3)
    path = write_bvh(tmp_path / "a.bvh", root, values)
    text = re.sub(r"\n\s*\{", " {", path.read_text(encoding="utf-8"))
    path.write_bytes(text.replace("\n", "\r\n").encode())
    assert_places(path, root, values)


def test_the_usual_short_frame_times_give_whole_rates(tmp_path: Path) -> None:
    root = body()
    path = write_bvh(tmp_path / "a.bvh", root, moving(root, 2), frame_time=0.008333)
    assert read_bvh(path).fps == pytest.approx(120, abs=1e-9)


def edited(pattern: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        result, count = re.subn(pattern, new, text, count=1)
        assert count == 1
        return result

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: "", "line 1: expected HIERARCHY; this is no BVH file"),
        (lambda text: text[:200], "braces are open; it is damaged"),
        (lambda text: text[: text.index("MOTION")], "the end of the file, expected 'Frames: N'"),
        (lambda text: text[: text.index("Frame T")], "the end of the file, expected 'Frame"),
        (lambda text: text[: text.rindex("\n", 0, -2)], "the file ends after 2 of 3 frames"),
        (lambda text: text[:-20], "line 127: 61 values, expected 63"),
        (lambda text: text + "1 2 3\n", "line 128: more than the 3 frames that"),
        (edited("Frames: 3", "Frames: 99999999999"), "expected a number from 1 to 1000000"),
        (edited("Frames: 3", "Frames: 0"), "Frames: 0, expected a number from 1"),
        (edited("Frames: 3", "Frames: -3"), "Frames: -3, expected a number from 1"),
        (edited("Frame Time: .*", "Frame Time: 0"), "expected a positive number of seconds"),
        (edited("Frame Time: .*", "Frame Time: nan"), "value 1 is 'nan', expected a finite"),
        (edited(r"(Frame Time: .*\n)\S+", r"\1NaN"), "line 125: value 1 is 'NaN', expect"),
        (edited(r"(Frame Time: .*\n)\S+", r"\1x"), "line 125: value 1 is 'x', expected a finite"),
        (edited("CHANNELS 3 Z", "CHANNELS 4 Z"), "line 9: CHANNELS announces 4 and names 3"),
        (edited("CHANNELS 3 Zrot", "CHANNELS 3 Wrot"), "CHANNELS Wrotation Xrotation Yrot"),
        (edited("CHANNELS 3 Zrot", "CHANNELS 3 Xrot"), "CHANNELS Xrotation Xrotation Yrot"),
        (edited("OFFSET .*", "OFFSET 1 2"), "line 4: 2 values, expected 3"),
        (edited("OFFSET .*", "OFFSET 1 2 inf"), "line 4: value 3 is 'inf', expected a finite"),
        (edited("OFFSET .*", ""), "line 2: joint 'Hips' has no OFFSET"),
        (edited("JOINT LeftLeg", "JOINT Hips"), "a second joint 'Hips'; the names must differ"),
        (edited("JOINT LeftLeg", "JOINT"), "JOINT without a name"),
        (edited("JOINT LeftLeg", "ROOT LeftLeg"), "expected one ROOT, first, and JOINTs"),
        (edited("JOINT LeftLeg", "LIMB LeftLeg"), "'LIMB' is not part of a hierarchy"),
        (edited("MOTION", "}\nMOTION"), "a closing brace too many"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(
    tmp_path: Path, edit: Callable[[str], str], message: str
) -> None:
    root = body()
    path = write_bvh(tmp_path / "a.bvh", root, moving(root, 3))
    path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_bvh(path)
    assert str(caught.value).startswith(f"{path} line ")


def test_files_that_are_no_text_or_missing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bvh").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="no text in UTF-8"):
        read_bvh(tmp_path / "a.bvh")
    with pytest.raises(DataError, match=r"b.bvh: cannot be read \(No such file"):
        read_bvh(tmp_path / "b.bvh")


def test_a_long_file_takes_little_more_room_than_its_numbers(tmp_path: Path) -> None:
    root = body()
    path = write_bvh(tmp_path / "a.bvh", root, np.tile(moving(root, 100), (50, 1)))
    tracemalloc.start()
    try:
        scanned = scan_bvh(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert scanned.turns.shape == (5000, 20, 3)
    assert peak < 3 * 5000 * 63 * 8
    assert len(scanned.text) < 5000


def test_more_values_than_the_limit_are_refused_unread(tmp_path: Path) -> None:
    root = body()
    path = write_bvh(tmp_path / "a.bvh", root, moving(root, 3))
    path.write_text(path.read_text("utf-8").replace("Frames: 3", "Frames: 999999"), "utf-8")
    with pytest.raises(DataError, match="999999 frames of 63 channels, expected at most 50000000"):
        read_bvh(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 " * 600_000, "line 1: more than 1000000 characters"),
        (
            "HIERARCHY\nROOT a\n" + "{\n" * 20_001,
            "line 20001: a hierarchy of more than 20000 lines",
        ),
    ],
)
def test_endless_lines_and_hierarchies_are_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "a.bvh"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        scan_bvh(path)


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bvh")
    with pytest.raises(DataError, match=r"pipe\.bvh: no plain file"):
        read_bvh(tmp_path / "pipe.bvh")
    (tmp_path / "circle.bvh").symlink_to("circle.bvh")
    with pytest.raises(DataError, match=r"circle\.bvh: cannot be read"):
        read_bvh(tmp_path / "circle.bvh")
    root = body()
    write_bvh(tmp_path / "a.bvh", root, moving(root, 3))
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "b.bvh").symlink_to(tmp_path / "a.bvh")
    assert len(read_bvh(tmp_path / "inside" / "b.bvh")) == 3


def converted(folder: Path, map_name: str = "cmu", frames: int = 24, **changes: Any) -> PoseTable:
    """Three files of a bundled map's kind: two people train, the third tests."""
    prefix, unit = ("mixamorig:", 0.01) if map_name == "mixamo" else ("", CMU_UNIT_M)
    root = body(prefix, unit)
    paths = []
    for number, stem in enumerate(("01_01", "01_02", "02_01", "03_01")):
        values = moving(root, frames, seed=number)
        values[:, :3] /= unit
        paths.append(write_bvh(folder / f"{stem}.bvh", root, values))
    rules = ({"files": "03_*", "split": "test"},)
    mapping = load_bvh_map(map_name).model_dump() | {"splits": rules} | changes
    return convert_bvh(paths, BvhMap.model_validate(mapping))


@pytest.mark.parametrize("map_name", BUNDLED_MAPS)
def test_a_bundled_map_gives_a_data_set_without_faults(tmp_path: Path, map_name: str) -> None:
    table = converted(tmp_path, map_name)
    dataset = build_dataset(DataConfig(name="poses"), table, tmp_path / "poses.npz")
    assert faults(dataset) == []
    assert dataset.skeleton == H36M_17
    assert [info.fps for info in dataset.sequences] == pytest.approx([120] * 16)
    assert dataset.notes[0].startswith("simulated: cameras, and 2D as their exact projection")
    pixels = table.columns["pose_2d"]
    assert 0 < pixels.min() < pixels.max() < 1000


def test_2d_is_the_exact_projection_of_3d(tmp_path: Path) -> None:
    table = converted(tmp_path)
    ids = table.needed_text("camera").values()
    for name, entry in table.metadata.cameras.items():
        camera, rows = entry.to_camera(), ids == name
        assert camera is not None
        np.testing.assert_array_equal(
            project(table.columns["pose_3d"][rows], camera), table.columns["pose_2d"][rows]
        )


def test_subjects_and_actions_come_from_file_names(tmp_path: Path) -> None:
    table = converted(tmp_path)
    rows = {
        (table.needed_text("subject").row(r), table.needed_text("action").row(r))
        for r in range(len(table))
    }
    assert rows == {("01", "01"), ("01", "02"), ("02", "01"), ("03", "01")}


def test_frames_are_thinned_to_a_rate(tmp_path: Path) -> None:
    table = converted(tmp_path, fps=30)
    assert sorted(set(table.columns["frame"].tolist())) == [0, 4, 8, 12, 16, 20]
    assert table.columns["fps"] == pytest.approx(30)
    with pytest.raises(DataError, match="120 frames per second are no multiple of 50"):
        converted(tmp_path, fps=50)


def test_headings_differ_between_files_and_seeds_and_are_the_same_every_time(
    tmp_path: Path,
) -> None:
    first, again, other = (converted(tmp_path, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.columns["pose_3d"], again.columns["pose_3d"])
    assert not np.allclose(first.columns["pose_3d"], other.columns["pose_3d"], atol=0.01)


def test_a_motion_that_goes_far_is_seen_from_further_away(tmp_path: Path) -> None:
    root = body()
    values = moving(root, 50)
    near = converted_one(tmp_path, root, values)
    values[:, 0] += np.linspace(0, 12, 50)
    far = converted_one(tmp_path, root, values)
    assert far.columns["pose_3d"][..., 2].mean() > near.columns["pose_3d"][..., 2].mean() + 3
    assert 0 < far.columns["pose_2d"].min() < far.columns["pose_2d"].max() < 1000


def converted_one(
    folder: Path, root: Joint, values: np.ndarray[Any, Any], **changes: Any
) -> PoseTable:
    mapping = load_bvh_map("cmu").model_dump() | {"metres_per_unit": 1.0} | changes
    return convert_bvh(
        [write_bvh(folder / "one.bvh", root, values)], BvhMap.model_validate(mapping)
    )


def camera(**changes: Any) -> dict[str, dict[str, Any]]:
    place = {"position_m": (0.0, -4.0, 1.0), "look_at_m": (0.0, 0.0, 1.0)}
    return {"front": {"width": 1280, "height": 720, "focal": (900, 900)} | place | changes}


def test_given_cameras_see_the_motion_where_it_is(tmp_path: Path) -> None:
    root = body()
    values = np.zeros((2, moving(root, 1).shape[1]))
    values[:, :3] = (0.5, 1.0, 0.0)
    table = converted_one(tmp_path, root, values, cameras=camera())
    hip, spine = H36M_17.joints.index("r_hip"), H36M_17.joints.index("spine")
    # y up, facing the camera, which is 4 m away: the right hip is on the left of the image
    np.testing.assert_allclose(table.columns["pose_3d"][0, hip], (0.41, 0.05, 4.0), atol=1e-9)
    np.testing.assert_allclose(table.columns["pose_3d"][0, spine], (0.5, -0.12, 4.0), atol=1e-9)
    expected = (640 + 900 * 0.41 / 4, 360 + 900 * 0.05 / 4)
    np.testing.assert_allclose(table.columns["pose_2d"][0, hip], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": camera(position_m=(0.5, 0.0, 1.0))}, "a joint is behind camera 'front'"),
        ({"cameras": camera(position_m=(0.0, 0.0, 4.0))}, "camera 'front' looks straight up"),
        ({"metres_per_unit": 1000.0}, "fits no image; check metres_per_unit in the map"),
        (
            {"joints": dict.fromkeys(H36M_17.joints, "Pelvis")},
            "lacks the joints for hip (Pelvis); r_hip (Pelvis)",
        ),
    ],
)
def test_a_motion_that_does_not_fit_its_map_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    root = body()
    with pytest.raises(DataError, match=re.escape(message)):
        converted_one(tmp_path, root, moving(root, 3), **changes)


def test_files_of_the_same_name_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "x.bvh", tmp_path / "b" / "x.bvh"]
    with pytest.raises(DataError, match="several files are called x"):
        convert_bvh(paths, load_bvh_map("cmu"))
    with pytest.raises(DataError, match="no BVH file; name at least one"):
        convert_bvh([], load_bvh_map("cmu"))


JOINTS = "joints: {" + ", ".join(f"{name}: A" for name in H36M_17.joints) + "}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("joints: [", "no valid YAML"),
        ("[]", "Input should be a valid dictionary"),
        ("joints: {hip: A}\nmetres_per_unit: 1", "joints: missing r_hip, r_knee"),
        (f"{JOINTS}", "metres_per_unit: Field required"),
        (f"{JOINTS}\nmetres_per_unit: 0", "metres_per_unit: Input should be greater than 0"),
        (f"{JOINTS}\nmetres_per_unit: 1\nup: x", "up: Input should be 'y' or 'z'"),
        (f"{JOINTS}\nmetres_per_unit: 1\ncolour: 1", "colour: Extra inputs are not permitted"),
        (f"{JOINTS}\nmetres_per_unit: 1\nfps: 25\nstride: 2", "fps and stride both thin"),
        (f"{JOINTS}\nmetres_per_unit: 1\nskeleton: mine", "skeleton 'mine' is unknown"),
        (f"{JOINTS}\nmetres_per_unit: 1\nfile_name: '('", "file_name: no regular expression"),
        (f"{JOINTS}\nmetres_per_unit: 1\nfile_name: 'a'", "expected the groups (?P<subject>...)"),
        (f"x: &a [1]\ny: *a\n{JOINTS}", "no valid YAML (anchors and aliases are not supported"),
        (
            f"{JOINTS}\nmetres_per_unit: 1\nprefixes: [{', '.join('a' * 17)}]",
            "prefixes: Tuple should have at most 16 items",
        ),
        (
            "joints: {hip: [" + ", ".join("a" * 17) + "]}\nmetres_per_unit: 1",
            "List should have at most 16 items",
        ),
        (
            "joints: {" + ", ".join(f"x{n}: A" for n in range(900)) + "}\nmetres_per_unit: 1",
            "unknown x0, x1, x2, x3, x4 and 895 more; expected those",
        ),
        ("!!python/object/apply:os.system ['true']", "no valid YAML"),
    ],
)
def test_a_malformed_map_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load_bvh_map(str(path))
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 5000


def test_an_unknown_map_is_refused() -> None:
    with pytest.raises(DataError, match=r"map 'vicon': expected cmu, mixamo, or a file .yaml"):
        load_bvh_map("vicon")
    with pytest.raises(DataError, match=r"none\.yaml: cannot be read"):
        load_bvh_map("none.yaml")


def test_the_root_is_written_as_exporters_do() -> None:
    assert joints_of(body())[0].channels == ROOT_CHANNELS


def test_without_the_library_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pybvh", None)
    with pytest.raises(DataError, match=r"needs pybvh.*pip install 'seal-pose-tuner\[bvh\]'"):
        read_bvh(tmp_path / "a.bvh")
