"""H3WB's npz form: every way to keep the cameras apart gives the same, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.data.h3wb_writer import (
    METADATA,
    Actions,
    make_whole_bodies,
    npz_actions,
    write_npz,
)
from trainables.data.h3wb.npz_form import read_npz_form
from trainables.data.h3wb.samples import Samples
from trainables.data.h36m.cameras import CAMERA_IDS
from trainables.errors import DataError, UnsafeDataError

FIELDS = ("camera_3d", "pose_2d", "pose_3d")
Content = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def bodies() -> Actions:
    return make_whole_bodies(("S1", "S5"))


@pytest.fixture
def content(bodies: Actions) -> Content:
    return npz_actions(bodies)


def read(folder: Path, content: object, metadata: Any = METADATA) -> Samples:
    return read_npz_form(write_npz(folder, content, metadata) / "h3wb_train.npz")


def regrouped(content: Content, gather: Callable[[list[np.ndarray]], object]) -> Content:
    """The same with the cameras inside the fields."""
    return {
        subject: {
            action: {
                "frame_id": fields["frame_id"],
                **{name: gather([fields[view][name] for view in CAMERA_IDS]) for name in FIELDS},
            }
            for action, fields in actions.items()
        }
        for subject, actions in content.items()
    }


def test_moments_are_in_order_with_their_views_together(
    tmp_path: Path, content: Content, bodies: Actions
) -> None:
    samples = read(tmp_path / "a", content)
    assert len(samples) == 4 * sum(len(action.frames) for action in bodies.values())
    assert samples.knows_place
    assert samples.ids is None
    np.testing.assert_array_equal(samples.moment, np.arange(len(samples)) // 4)
    assert [samples.takes[take].view for take in samples.take[:4]] == list(CAMERA_IDS)
    seen = [(samples.takes[t].subject, samples.takes[t].action) for t in samples.take]
    assert seen == sorted(seen)
    first = bodies["S1", "jump"]
    for row in range(8):
        view = CAMERA_IDS[row % 4]
        assert samples.frame[row] == first.frames[row // 4]
        np.testing.assert_array_equal(
            samples.points_mm[row], first.camera_mm[view][row // 4].astype(np.float32)
        )
        np.testing.assert_array_equal(
            samples.pixels[row], first.pixels[view][row // 4].astype(np.float32)
        )


@pytest.mark.parametrize(
    "gather",
    [
        lambda parts: dict(zip(CAMERA_IDS, parts, strict=True)),
        lambda parts: {
            int(view): part for view, part in reversed(list(zip(CAMERA_IDS, parts, strict=True)))
        },
        lambda parts: np.stack(parts),
        lambda parts: list(parts),
    ],
    ids=["by camera", "by camera's number", "stacked", "listed"],
)
def test_all_ways_to_keep_cameras_apart_are_the_same(
    tmp_path: Path, content: Content, gather: Callable[[list[np.ndarray]], object]
) -> None:
    nested, other = read(tmp_path / "a", content), read(tmp_path / "b", regrouped(content, gather))
    assert nested.takes == other.takes
    for name in ("points_mm", "pixels", "take", "frame", "moment"):
        np.testing.assert_array_equal(getattr(nested, name), getattr(other, name))


def test_frame_numbers_may_be_of_each_camera_a_list_or_missing(
    tmp_path: Path, content: Content
) -> None:
    expected = read(tmp_path / "a", content)
    for number, actions in enumerate(content.values()):
        for fields in actions.values():
            frames = fields.pop("frame_id")
            for view in CAMERA_IDS:
                fields[view]["frame_id"] = frames.tolist() if number else frames
    again = read(tmp_path / "b", content)
    np.testing.assert_array_equal(again.frame, expected.frame)
    for actions in content.values():
        for fields in actions.values():
            for view in CAMERA_IDS:
                del fields[view]["frame_id"]
    counted = read(tmp_path / "c", content)
    assert list(counted.frame[:8]) == [0] * 4 + [1] * 4
    np.testing.assert_array_equal(counted.points_mm, expected.points_mm)


@pytest.mark.parametrize(
    "written",
    [
        lambda frames: frames.astype(np.float64),
        lambda frames: frames.astype(float).tolist(),
        lambda frames: np.asarray([f"{frame:06d}" for frame in frames]),
        lambda frames: [f"{frame:06d}" for frame in frames],
        lambda frames: np.asarray([str(frame) for frame in frames], object),
        lambda frames: np.stack([frames.astype(np.float64)] * 4),
    ],
    ids=["floats", "list of floats", "text", "list of text", "objects", "floats by camera"],
)
def test_frame_numbers_may_be_text_or_whole_floats(
    tmp_path: Path, content: Content, written: Callable[[np.ndarray], object]
) -> None:
    expected = read(tmp_path / "a", regrouped(content, np.stack))
    for actions in content.values():
        for fields in actions.values():
            fields["frame_id"] = written(fields["frame_id"])
    found = read(tmp_path / "b", regrouped(content, np.stack))
    np.testing.assert_array_equal(found.frame, expected.frame)
    np.testing.assert_array_equal(found.points_mm, expected.points_mm)


def test_metadata_of_more_joints_than_the_arrays_is_noted(
    tmp_path: Path, content: Content
) -> None:
    left, right = METADATA["keypoints_symmetry"]
    more = {"num_joints": 135, "keypoints_symmetry": [[*left, 133], [*right, 134]]}
    assert read(tmp_path / "a", content, more).notes == (
        "h3wb_train.npz: metadata says num_joints=135, the arrays have 133 joints",
    )


def test_a_single_camera_without_a_name(tmp_path: Path, content: Content) -> None:
    single = regrouped(content, lambda parts: parts[0])
    samples = read(tmp_path / "a", single)
    assert {take.view for take in samples.takes} == {None}
    np.testing.assert_array_equal(samples.moment, np.arange(len(samples)))
    assert any("1000 x 1000" in note for note in samples.notes)


def test_a_subset_of_cameras_and_a_confidence(tmp_path: Path, content: Content) -> None:
    del content["S1"]["jump"][CAMERA_IDS[2]]
    for fields in content["S5"].values():
        for view in CAMERA_IDS:
            pixels = fields[view]["pose_2d"]
            fields[view]["pose_2d"] = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1)
    samples = read(tmp_path / "a", content)
    assert samples.pixels.shape[1:] == (133, 2)
    assert len([take for take in samples.takes if take.action == "jump"]) == 7


def test_root_relative_3d_where_there_is_no_other(tmp_path: Path, content: Content) -> None:
    for actions in content.values():
        for fields in actions.values():
            for view in CAMERA_IDS:
                del fields[view]["camera_3d"]
    samples = read(tmp_path / "a", content)
    assert not samples.knows_place
    hips = samples.points_mm[:, [11, 12]].mean(axis=1)
    np.testing.assert_allclose(hips, 0.0, atol=1e-3)


def test_metadata_may_be_missing_or_odd_where_it_does_no_harm(
    tmp_path: Path, content: Content
) -> None:
    assert read(tmp_path / "a", content).notes == ("h3wb_train.npz calls its layout 'h3wb'",)
    (note,) = read(tmp_path / "b", content, None).notes
    assert "has no metadata; COCO-WholeBody's joint order is assumed" in note
    body_only = {"keypoints_symmetry": [[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]]}
    (note,) = read(tmp_path / "c", content, body_only).notes
    assert "mirrored joints differ from COCO-WholeBody's" in note


def camera_fields(content: Content) -> dict[str, Any]:
    fields: dict[str, Any] = content["S1"]["jump"][CAMERA_IDS[1]]
    return fields


def put(content: Content, name: str, change: Callable[[np.ndarray], object]) -> None:
    fields = camera_fields(content)
    fields[name] = change(fields[name])


def with_nan(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed[3, 100, 1] = np.nan
    return changed


JUMP = r"h3wb_train\.npz: S1 'jump'"
CAMERA = JUMP + ", camera 55011271"
REFUSED: dict[str, tuple[Callable[[Content], object], str]] = {
    "no subjects": (lambda c: c.clear(), r"train_data is empty, expected \{subject"),
    "a subject that is an array": (
        lambda c: c.update(S1=np.zeros(3)),  # type: ignore[call-overload]
        r"npz: S1 is ndarray, expected \{action",
    ),
    "an empty action": (lambda c: c["S1"]["jump"].clear(), JUMP + " is empty"),
    "no 2D": (
        lambda c: camera_fields(c).pop("pose_2d"),
        CAMERA + r" holds camera_3d, .*; expected pose_2d, and camera_3d \(or pose_3d\)",
    ),
    "no 3D of a camera's frame": (
        lambda c: (camera_fields(c).pop("camera_3d"), camera_fields(c).pop("pose_3d")),
        CAMERA + r" holds frame_id, pose_2d; expected",
    ),
    "only the world's 3D": (
        lambda c: c["S1"].update(jump={"global_3d": np.zeros((2, 133, 3))}),
        JUMP + r" holds global_3d; expected pose_2d",
    ),
    "an unknown camera": (
        lambda c: c["S1"]["jump"].update({"12345": {}}),
        JUMP + r" names the cameras 12345, expected some of 54138969",
    ),
    "cameras and fields": (
        lambda c: c["S1"]["jump"].update(pose_2d=np.zeros((2, 133, 2))),
        JUMP + r" holds cameras, and pose_2d beside them; it is not clear",
    ),
    "17 joints": (
        lambda c: put(c, "camera_3d", lambda a: a[:, :17]),
        CAMERA + r": camera_3d has shape \(18, 17, 3\), expected .*133, 3\)",
    ),
    "swapped axes": (
        lambda c: put(c, "camera_3d", lambda a: a.transpose(0, 2, 1)),
        CAMERA + r": camera_3d has shape \(18, 3, 133\)",
    ),
    "integers": (
        lambda c: put(c, "camera_3d", lambda a: a.astype(int)),
        CAMERA + r": camera_3d is int64, expected floating point",
    ),
    "text": (
        lambda c: put(c, "camera_3d", lambda a: "none"),
        CAMERA + r", camera_3d is str, expected an array of numbers",
    ),
    "NaN": (
        lambda c: put(c, "camera_3d", with_nan),
        CAMERA + r": camera_3d holds NaN or infinity in 1 of 18 frames, first in frame 3",
    ),
    "no frames": (
        lambda c: put(c, "camera_3d", lambda a: a[:0]),
        CAMERA + r": camera_3d has shape \(0, 133, 3\)",
    ),
    "fewer frames in 2D": (
        lambda c: put(c, "pose_2d", lambda a: a[:-1]),
        CAMERA + r": camera_3d has 18 frames, pose_2d 17; expected the same number",
    ),
    "fewer frame numbers": (
        lambda c: c["S1"]["jump"].update(frame_id=np.arange(5)),
        r"camera 54138969: frame_id is int64 \(5,\), expected 18 integers",
    ),
    "frame numbers that are no integers": (
        lambda c: c["S1"]["jump"].update(frame_id=np.arange(18) + 0.5),
        r"frame_id is float64 \(18,\), expected 18 integers",
    ),
    "frame numbers that are names": (
        lambda c: c["S1"]["jump"].update(frame_id=[f"frame {n}" for n in range(18)]),
        r"frame_id is <U8, expected an array of numbers",
    ),
    "frame numbers of many digits": (
        lambda c: c["S1"]["jump"].update(frame_id=["9" * 30] * 18),
        r"frame_id is <U30, expected an array of numbers",
    ),
    "negative frame numbers": (
        lambda c: c["S1"]["jump"].update(frame_id=np.arange(18) - 1),
        r"frame_id goes from -1 to 16; expected 0 or more",
    ),
    "a frame twice": (
        lambda c: c["S1"]["jump"].update(frame_id=np.minimum(np.arange(18), 16)),
        r"frame_id holds 16 twice; expected each frame once",
    ),
    "cameras within a camera": (
        lambda c: camera_fields(c).update(
            {n: {"54138969": a} for n, a in camera_fields(c).items() if n in FIELDS}
        ),
        CAMERA + r": camera_3d is of 54138969, pose_2d of 54138969; expected the same",
    ),
    "a field for another camera": (
        lambda c: c["S1"].update(
            jump={
                "camera_3d": {"54138969": np.zeros((2, 133, 3))},
                "pose_2d": {"55011271": np.zeros((2, 133, 2))},
            }
        ),
        JUMP + r": camera_3d is of 54138969, pose_2d of 55011271; expected the same cameras",
    ),
    "one camera's 2D for all": (
        lambda c: c["S1"].update(
            jump={"camera_3d": np.zeros((4, 2, 133, 3)), "pose_2d": np.zeros((2, 133, 2))}
        ),
        r"pose_2d of one unnamed camera; expected the same cameras",
    ),
    "frame numbers of another camera": (
        lambda c: c["S1"].update(
            jump={
                "camera_3d": np.zeros((2, 133, 3)),
                "pose_2d": np.zeros((2, 133, 2)),
                "frame_id": np.zeros((4, 2), int),
            }
        ),
        JUMP + r": frame_id is of 54138969, .*, camera_3d of one unnamed camera",
    ),
    "four by four": (
        lambda c: c["S1"].update(
            jump={"camera_3d": np.zeros((4, 4, 133, 3)), "pose_2d": np.zeros((4, 4, 133, 2))}
        ),
        r"shape \(4, 4, 133, 3\): four cameras of four frames, or the other way round",
    ),
    "the camera's axis behind": (
        lambda c: c["S1"].update(
            jump={"camera_3d": np.zeros((9, 4, 133, 3)), "pose_2d": np.zeros((9, 4, 133, 2))}
        ),
        JUMP + r", camera_3d has 9 parts, expected one array, or one for each of the cameras",
    ),
    "a camera twice": (
        lambda c: c["S1"].update(
            jump={"camera_3d": {"54138969": np.zeros(1), 54138969: np.zeros(1)}, "pose_2d": {}}
        ),
        r"has the keys \['54138969', 54138969\], expected different names",
    ),
    "some behind the camera": (
        lambda c: put(c, "camera_3d", lambda a: a - [0, 0, 9000]),
        r"18 of \d+ poses have joints behind .*first S1 'jump', camera 55011271, frame 1,",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(tmp_path: Path, content: Content, case: str) -> None:
    change, message = REFUSED[case]
    change(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a", content)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            {"keypoints_symmetry": "left"},
            r"keypoints_symmetry is str, expected two lists of joints",
        ),
        (
            {"keypoints_symmetry": [[4, 5, 6], [1, 2, 3]]},
            r"the body's mirrored joints are \[\(4, 1\), .*, expected \[\(1, 2\)",
        ),
        (
            {"keypoints_symmetry": list(METADATA["keypoints_symmetry"])[::-1]},
            r"the body's mirrored joints are \[\(2, 1\)",
        ),
        ({"keypoints_symmetry": [[1, 2], [3]]}, r"names 2 left and 1 right joints; expected as"),
    ],
)
def test_refuses_another_skeleton(
    tmp_path: Path, content: Content, metadata: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a", content, metadata)


def test_refuses_an_npz_of_something_else(tmp_path: Path) -> None:
    np.savez(tmp_path / "h3wb_train.npz", positions_3d=np.zeros(3))
    with pytest.raises(DataError, match=r"found the arrays \['positions_3d'\], expected 'train_"):
        read_npz_form(tmp_path / "h3wb_train.npz")


def test_refuses_code(tmp_path: Path, content: Content) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "run",))

    content["S1"]["jump"]["note"] = Payload()
    with pytest.raises(UnsafeDataError, match=r"asks for pathlib\.Path"):
        read(tmp_path / "a", content)
    assert not (tmp_path / "run").exists()
