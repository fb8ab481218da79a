"""H3WB's official JSON: what is read from it, in how much memory, and what is refused."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.data.h3wb_writer import Sample, json_samples, make_whole_bodies
from trainables.data.h3wb.json_reader import MAX_SAMPLE_BYTES, read_json
from trainables.data.h3wb.samples import NOWHERE, Take, take_of_image
from trainables.data.h36m.cameras import CAMERA_IDS
from trainables.data.splits import base_action
from trainables.errors import DataError

AXES_2D, AXES_3D = ("x", "y"), ("x", "y", "z")


@pytest.fixture(scope="module")
def all_samples() -> dict[str, Sample]:
    return json_samples(make_whole_bodies(("S1",)))


@pytest.fixture
def samples(all_samples: dict[str, Sample]) -> dict[str, Sample]:
    return copy.deepcopy({sample: all_samples[sample] for sample in ("0", "1", "2")})


def written(folder: Path, content: object) -> Path:
    path = folder / "2Dto3D_train.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def coordinates(sample: Sample, name: str, axes: tuple[str, ...]) -> list[list[float]]:
    return [[sample[name][str(joint)][axis] for axis in axes] for joint in range(133)]


def test_every_coordinate_is_read_whatever_the_order(
    tmp_path: Path, samples: dict[str, Sample]
) -> None:
    last = samples["2"]
    last["keypoints_3d"] = {
        joint: {axis: point[axis] for axis in ("z", "x", "y")}
        for joint, point in reversed(last["keypoints_3d"].items())
    }
    shuffled = {"9": samples["1"], "2": last, "10": samples["0"]}
    read = read_json(written(tmp_path, shuffled))
    assert read.ids == ("10", "9", "2")  # views of one moment are in the cameras' order
    for row, sample in enumerate((samples["0"], samples["1"], last)):
        expected = np.asarray(coordinates(sample, "keypoints_3d", AXES_3D), np.float32)
        np.testing.assert_array_equal(read.points_mm[row], expected)
        expected = np.asarray(coordinates(sample, "keypoints_2d", AXES_2D), np.float32)
        np.testing.assert_array_equal(read.pixels[row], expected)
    assert [read.takes[take].view for take in read.take] == ["54138969", "55011271", "58860488"]
    np.testing.assert_array_equal(read.frame, [1, 1, 1])
    np.testing.assert_array_equal(read.moment, [0, 0, 0])
    assert read.knows_place
    assert read.notes == ()


def test_memory_stays_near_the_arrays(tmp_path: Path, all_samples: dict[str, Sample]) -> None:
    one = json.dumps(all_samples["0"])
    count = 300
    text = "{" + ",\n".join(f'"{number}": {one}' for number in range(count)) + "}"
    path = written(tmp_path, text)
    array_bytes = count * 133 * 5 * 4
    assert len(text) > 4 * array_bytes
    tracemalloc.start()
    try:
        read = read_json(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(read) == count
    # a parsed dictionary takes over 60 times the arrays; the parser works in 64 KiB pieces
    assert peak < 1.5 * array_bytes + (2 << 20)


@pytest.mark.parametrize(
    ("path", "take", "frame"),
    [
        (
            "S1/Images/Directions 1.54138969/frame_0001.jpg",
            Take("S1", "Directions 1", "54138969"),
            1,
        ),
        ("S11/Walking.60457274/7.jpg", Take("S11", "Walking", "60457274"), 7),
        (
            r"D:\h36m\S5\Images\Sitting Down.55011271\12.png",
            Take("S5", "Sitting Down", "55011271"),
            12,
        ),
        ("h36m/S6/Images/Posing_58860488_000301.jpg", Take("S6", "Posing", "58860488"), 301),
        ("S1_Directions_1.54138969_0004.jpg", Take("S1", "Directions 1", "54138969"), 4),
        ("S1_Directions.54138969_img_4.jpg", Take("S1", "Directions", "54138969"), 4),
        ("S1/Walking.54138969", Take("S1", "Walking", "54138969"), None),
        ("S1/Walking.54138969/frame_0001_crop2.jpg", Take("S1", "Walking", "54138969"), None),
        ("S1/Walking.54138969/" + "9" * 30, Take("S1", "Walking", "54138969"), None),
        ("S1/Images/Directions 1/frame_0001.jpg", NOWHERE, None),
        ("images/000001.jpg", NOWHERE, None),
        ("S1/Images/54138969/1.jpg", NOWHERE, None),
        ("54138969/S1/Walking/1.jpg", NOWHERE, None),
        ("S1/Walking.541389690/1.jpg", NOWHERE, None),
        ("", NOWHERE, None),
    ],
)
def test_image_paths_are_read_leniently(path: str, take: Take, frame: int | None) -> None:
    assert take_of_image(path) == (take, frame)


def test_takes_of_an_action_are_pooled() -> None:
    take, _ = take_of_image("S1_Directions_1.54138969_0001.jpg")
    assert base_action(take.action) == "Directions"


def test_samples_are_sorted_by_moment_and_camera(
    tmp_path: Path, all_samples: dict[str, Sample]
) -> None:
    ids = np.random.default_rng(0).permutation(len(all_samples)).tolist()
    shuffled = dict(zip(map(str, ids), all_samples.values(), strict=True))
    read = read_json(written(tmp_path, shuffled))
    np.testing.assert_array_equal(read.moment, np.arange(len(read)) // 4)
    takes = [read.takes[number] for number in read.take]
    keys = [(t.subject, t.action, f) for t, f in zip(takes, read.frame.tolist(), strict=True)]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(read) // 4
    assert [take.view for take in takes] == list(CAMERA_IDS) * (len(read) // 4)
    assert read.notes == ()


@pytest.mark.parametrize("known", [0, 30])
def test_views_without_a_path_are_put_together_by_their_bodies(
    tmp_path: Path, all_samples: dict[str, Sample], known: int
) -> None:
    walk = {n: s for n, s in all_samples.items() if "Walk" in s["image_path"]}
    frame_of = {n: sample["image_path"][-8:-4] for n, sample in walk.items()}
    content = copy.deepcopy(walk)
    for sample in list(content.values())[known:]:
        del sample["image_path"]
    by_camera = dict(sorted(content.items(), key=lambda item: int(item[0]) % 4))
    renamed = {str(n): sample for n, sample in enumerate(by_camera.values())}
    read = read_json(written(tmp_path, renamed))
    assert read.ids is not None
    original = [list(by_camera)[int(sample)] for sample in read.ids]
    moments: dict[int, list[str]] = {}
    for moment, name in zip(read.moment.tolist(), original, strict=True):
        moments.setdefault(moment, []).append(frame_of[name])
    assert list(moments) == list(range(len(walk) // 4))
    assert {(len(frames), len(set(frames))) for frames in moments.values()} == {(4, 1)}
    missing = f"{len(walk) - known} of {len(walk)} samples have no image_path that names their"
    (note,) = (note for note in read.notes if note.startswith(missing))
    assert note.endswith(f"makes {len(walk) // 4} moments, each in one split only")


def test_without_image_paths_a_size_is_assumed_and_said(
    tmp_path: Path, samples: dict[str, Sample]
) -> None:
    del samples["1"]["image_path"]
    read = read_json(written(tmp_path, samples))
    assert read.ids == ("0", "2", "1")
    assert [read.takes[take].view for take in read.take] == ["54138969", "58860488", None]
    assert read.takes[read.take[2]] == NOWHERE
    size, moment = read.notes
    assert size.startswith("1 of 3 samples have no image_path")
    assert "1000 x 1000 pixels" in size
    assert moment.startswith("1 of 3 samples have no image_path that names their frame")


def test_poses_relative_to_a_joint_are_known_as_such(
    tmp_path: Path, samples: dict[str, Sample]
) -> None:
    for sample in samples.values():
        nose_z_mm = sample["keypoints_3d"]["0"]["z"]
        for point in sample["keypoints_3d"].values():
            point["z"] -= nose_z_mm
    assert not read_json(written(tmp_path, samples)).knows_place


def joint_3d(samples: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> None:
    change(samples["1"]["keypoints_3d"])


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


Change = Callable[[dict[str, Any]], object]
JOINT = r"sample '1' keypoints_3d joint 7"
REFUSED: dict[str, tuple[Change, str]] = {
    "a sample that is a list": (
        lambda s: s.update({"1": []}),
        r"sample '1' is a list, expected an object$",
    ),
    "no 3D": (
        lambda s: s["1"].pop("keypoints_3d"),
        r"sample '1' has no keypoints_3d; is it the training file",
    ),
    "3D as a list": (
        lambda s: s["1"].update(keypoints_3d=[1, 2]),
        r"sample '1' keypoints_3d is a list, expected an object of joints",
    ),
    "a missing joint": (
        lambda s: joint_3d(s, lambda j: j.pop("7")),
        r"sample '1' keypoints_3d has 132 joints, expected 133; the first missing is 7",
    ),
    "a joint too many": (
        lambda s: joint_3d(s, lambda j: j.update({"133": j["7"]})),
        r"sample '1' keypoints_3d: joint '133' is none of the joints 0 to 132",
    ),
    "a joint by its name": (
        lambda s: joint_3d(s, lambda j: j.update({"nose" * 50: j.pop("0")})),
        r"sample '1' keypoints_3d: joint 'nosenose.*…' is none of",
    ),
    "a joint that is a number": (
        lambda s: joint_3d(s, lambda j: j.update({"7": 1.0})),
        JOINT + r" is a number, expected an object",
    ),
    "no z": (
        lambda s: joint_3d(s, lambda j: j["7"].pop("z")),
        JOINT + r" has x, y, expected x, y, z",
    ),
    "another axis": (
        lambda s: joint_3d(s, lambda j: j["7"].update(score=1)),
        JOINT + r": 'score' is none of x, y, z",
    ),
    "a z in 2D": (
        lambda s: s["1"]["keypoints_2d"]["7"].update(z=1),
        r"sample '1' keypoints_2d joint 7: 'z' is none of x, y",
    ),
    "text for a number": (
        lambda s: joint_3d(s, lambda j: j["7"].update(x="1.0")),
        JOINT + r": x is a string, expected a number",
    ),
    "null for a number": (
        lambda s: joint_3d(s, lambda j: j["7"].update(x=None)),
        JOINT + r": x is null, expected a number",
    ),
    "true for a number": (
        lambda s: joint_3d(s, lambda j: j["7"].update(x=True)),
        JOINT + r": x is a boolean, expected a number",
    ),
    "NaN": (
        lambda s: joint_3d(s, lambda j: j["7"].update(x=float("nan"))),
        r"sample '1': no readable JSON \(.*invalid",
    ),
    "infinity": (
        lambda s: joint_3d(s, lambda j: j["7"].update(x=float("inf"))),
        r"sample '1': no readable JSON",
    ),
    "a number beyond a float": (
        lambda s: joint_3d(s, lambda j: j["7"].update(x=10**30)),
        r"sample '1': no readable JSON \(.*overflow",
    ),
    "a number beyond reason": (
        lambda s: joint_3d(s, lambda j: j["7"].update(x=-2e6)),
        JOINT + r": x is -2e\+06, expected a number of at most 1e\+06",
    ),
    "a path that is a number": (
        lambda s: s["1"].update(image_path=1),
        r"sample '1' image_path is a number, expected text",
    ),
    "nesting": (
        lambda s: s["1"].update(bbox=deep(9)),
        r"sample '1' 'bbox' is nested deeper than 8 levels",
    ),
    "a huge text": (
        lambda s: s["1"].update(image_path="S1" * MAX_SAMPLE_BYTES),
        r"more than 4194304 bytes without the end of a sample",
    ),
    "some behind the camera": (
        lambda s: joint_3d(s, lambda j: j["7"].update(z=-1)),
        r"1 of 3 poses have joints behind the camera \(z <= 0\), first sample '1'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(tmp_path: Path, samples: dict[str, Sample], case: str) -> None:
    change, message = REFUSED[case]
    change(samples)
    path = written(tmp_path, samples)
    with pytest.raises(DataError, match=message) as caught:
        read_json(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 400 + len(str(path))


def test_accepts_what_is_beside_the_key_points(tmp_path: Path, samples: dict[str, Sample]) -> None:
    samples["1"].update(bbox=deep(8), more={"a": [{}, "b", None]}, score=0.5)
    assert len(read_json(written(tmp_path, samples))) == 3


REFUSED_TEXT = {
    "nothing": ("", r"at its beginning: no readable JSON \(.*premature EOF"),
    "a list": ("[1]", r"holds a list, expected an object of samples by their id"),
    "a number": ("5", r"holds a number, expected"),
    "no samples": ("{}", r"holds no samples; is it the training file"),
    "brackets only": ("[" * 100_000, r"holds a list"),
    "brackets in a sample": ('{"1": {"a":' + "[" * 100_000, r"'a' is nested deeper than 8"),
    "spaces only": (" " * (MAX_SAMPLE_BYTES + 70_000), r"more than \d+ bytes without the end of"),
    "not UTF-8": ('{"\udcff', r"no readable JSON"),
}


@pytest.mark.parametrize("case", REFUSED_TEXT)
def test_refuses_what_is_no_such_json(tmp_path: Path, case: str) -> None:
    text, message = REFUSED_TEXT[case]
    path = tmp_path / "2Dto3D_train.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message):
        read_json(path)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_refuses_a_truncated_file(tmp_path: Path, samples: dict[str, Sample], kept: float) -> None:
    text = json.dumps(samples)
    path = written(tmp_path, text[: int(kept * len(text))])
    with pytest.raises(DataError, match=r"sample '\d': no readable JSON \(.*truncated or damaged"):
        read_json(path)


def test_refuses_more_after_the_end(tmp_path: Path, samples: dict[str, Sample]) -> None:
    path = written(tmp_path, json.dumps(samples) + "{}")
    with pytest.raises(DataError, match=r"after sample '2': no readable JSON \(.*garbage"):
        read_json(path)


@pytest.mark.parametrize(
    ("original", "twice", "message"),
    [
        ('"1": {"keypoints_2d"', '"0": {"keypoints_2d"', r"sample '0' occurs twice; keep one"),
        ('"bbox"', '"keypoints_2d"', r"sample '0' 'keypoints_2d' occurs twice"),
        ('"8": {', '"7": {', r"sample '0' keypoints_2d: joint '7' occurs twice among"),
        ('"y": ', '"x": ', r"sample '0' keypoints_2d joint 0: x occurs twice"),
    ],
)
def test_refuses_what_occurs_twice(
    tmp_path: Path, samples: dict[str, Sample], original: str, twice: str, message: str
) -> None:
    text = json.dumps(samples)
    assert original in text
    path = written(tmp_path, text.replace(original, twice, 1))
    with pytest.raises(DataError, match=message):
        read_json(path)
