"""Own data: what a user's file means, and what is refused with which message."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.data.poses_writer import (
    CAMERA,
    FRAMES,
    small_columns,
    small_metadata,
    write_npz,
    write_parquet,
)
from trainables.config import DataConfig
from trainables.data.dataset import PoseDataset
from trainables.data.loading import load_dataset
from trainables.errors import DataError
from trainables.skeletons import H36M_17

Columns = dict[str, Any]


def load(folder: Path, **options: Any) -> PoseDataset:
    return load_dataset(DataConfig(name="poses", **options), folder)


@pytest.mark.parametrize("write", [write_npz, write_parquet])
def test_a_users_file_is_a_data_set(tmp_path: Path, write: Callable[..., Path]) -> None:
    columns = small_columns()
    write(tmp_path, columns, small_metadata())
    dataset = load(tmp_path)
    assert (dataset.name, dataset.skeleton) == ("mine", H36M_17)
    assert [info.subject for info in dataset.sequences] == ["A", "B", "C"]
    info = dataset.sequences[0]
    assert (info.action, info.base_action, info.view) == ("walking", "walking", "left")
    assert (info.fps, info.source, info.camera) == (10.0, None, CAMERA)
    train = dataset.splits["train"]
    root = columns["pose_3d"][:FRAMES, 0]
    assert train.root is not None
    np.testing.assert_allclose(train.root, root, atol=1e-6)
    np.testing.assert_allclose(
        train.y, columns["pose_3d"][:FRAMES] - root[:, None], rtol=0, atol=1e-6
    )


def test_millimetres_are_metres_if_the_file_says_so(tmp_path: Path) -> None:
    columns = small_columns()
    write_npz(tmp_path, columns, small_metadata())
    in_metres = load(tmp_path)
    columns["pose_3d"] = columns["pose_3d"] * 1000
    write_npz(tmp_path, columns, small_metadata(unit="mm"))
    np.testing.assert_array_equal(load(tmp_path).splits["test"].y, in_metres.splits["test"].y)
    write_npz(tmp_path, columns, small_metadata())
    with pytest.raises(DataError, match=r"expected 0\.2 to 0\.8 metres; are the data in mill"):
        load(tmp_path)


def test_the_stride_thins_and_slows(tmp_path: Path) -> None:
    write_npz(tmp_path, small_columns(), small_metadata())
    dataset = load(tmp_path, stride=2)
    assert dataset.splits["val"].frame.tolist() == [0, 2, 4]
    assert dataset.sequences[0].fps == 5.0


def test_scattered_and_unsorted_rows_are_put_in_order_with_a_note(tmp_path: Path) -> None:
    columns = small_columns()
    write_npz(tmp_path, columns, small_metadata())
    expected = load(tmp_path)
    order = np.concatenate([np.arange(0, 18, 2), np.arange(17, 0, -2)])
    write_npz(tmp_path, {n: v[order] for n, v in columns.items()}, small_metadata())
    found = load(tmp_path)
    assert found.content_hash() == expected.content_hash()
    assert found.notes == (
        "rows of 2 sequences are scattered in the file and were put in order: take of A, take of "
        "B",
        "rows of 3 sequences are not in order of time in the file and were put in order: take of "
        "A, take of B, take of C",
    )


def test_relative_poses_have_no_root(tmp_path: Path) -> None:
    write_npz(tmp_path, small_columns(), small_metadata(root_known=False))
    assert load(tmp_path).splits["train"].root is None


def test_an_own_skeleton_is_loaded_with_the_data(tmp_path: Path) -> None:
    own = replace(H36M_17, name="mine", origin=(1, 4))
    write_npz(tmp_path, small_columns(), small_metadata(skeleton=asdict(own)))
    dataset = load(tmp_path)
    assert dataset.skeleton == own
    middle = dataset.splits["train"].y[:, (1, 4)].mean(axis=1)
    np.testing.assert_allclose(middle, 0, atol=1e-6)


def test_without_validation_rows_the_last_training_subject_validates(tmp_path: Path) -> None:
    splits = {"A": "train", "B": "train", "C": "train", "D": "test"}
    write_npz(tmp_path, small_columns(splits), small_metadata())
    dataset = load(tmp_path)
    subjects = {
        name: {dataset.sequences[number].subject for number in split.sequence}
        for name, split in dataset.splits.items()
    }
    assert subjects == {"train": {"A", "B"}, "val": {"C"}, "test": {"D"}}
    assert "validation: subject C, held out as a whole" in dataset.notes[0]
    chosen = load(tmp_path, val_subject="A")
    assert {chosen.sequences[n].subject for n in chosen.splits["val"].sequence} == {"A"}
    nobody = load(tmp_path, val_subject="none")
    assert set(nobody.splits) == {"train", "test"}
    everybody = {nobody.sequences[n].subject for n in nobody.splits["train"].sequence}
    assert everybody == {"A", "B", "C"}


def test_rows_that_would_validate_train_if_nobody_validates(tmp_path: Path) -> None:
    splits = {"A": "train", "B": "val", "D": "test"}
    write_npz(tmp_path, small_columns(splits), small_metadata())
    dataset = load(tmp_path, val_subject="none")
    assert set(dataset.splits) == {"train", "test"}
    assert {dataset.sequences[n].subject for n in dataset.splits["train"].sequence} == {"A", "B"}
    assert "validation: nobody; all rows but those of test train" in dataset.notes


def test_without_validation_rows_a_known_recording_is_held_out(tmp_path: Path) -> None:
    splits = {"A": "train", "B": "train", "C": "train", "D": "test"}
    columns = small_columns(splits)
    columns["source"] = np.repeat(["one", "one", "two", "three"], FRAMES)
    write_npz(tmp_path, columns, small_metadata())
    dataset = load(tmp_path)
    sources = {
        name: {dataset.sequences[number].source for number in split.sequence}
        for name, split in dataset.splits.items()
    }
    assert sources["test"] == {"three"}
    assert sources["train"] | sources["val"] == {"one", "two"}
    assert not sources["train"] & sources["val"]


def changed(name: str, row: object, value: object) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        columns[name] = np.array(columns[name])
        columns[name][row] = value

    return change


def replaced(**new: Any) -> Callable[[Columns], None]:
    return lambda columns: columns.update(new)


REFUSED_COLUMNS: list[tuple[Callable[[Columns], Any], str]] = [
    (lambda c: c.pop("frame"), "lacks frame; expected the columns action, camera, frame"),
    (replaced(colour=np.zeros(18)), "has the unknown columns colour"),
    (
        replaced(pose_2d=np.zeros((18, 16, 2))),
        "column pose_2d has the shape (18, 16, 2), expected",
    ),
    (replaced(pose_3d=np.zeros((17, 17, 3))), "pose_3d has the shape (17, 17, 3), expected (18"),
    (replaced(frame=np.zeros((18, 1), int)), "has the shape"),
    (replaced(frame=np.arange(18.0)), "column frame is float64, expected whole numbers"),
    (replaced(frame=np.full(18, 1 << 40)), "a number beyond 32 bits in 18 rows, first in row 0"),
    (replaced(valid=np.ones(18)), "column valid is float64, expected true or false"),
    (
        replaced(pose_3d=np.full((18, 17, 3), "1")),
        "column pose_3d is <U1, expected floating-point numbers",
    ),
    (
        replaced(pose_2d=np.zeros((18, 17, 2), np.int8)),
        "column pose_2d is int8, expected floating-point numbers",
    ),
    (replaced(subject=np.zeros(18)), "[subject]: float64, expected texts"),
    (replaced(subject=np.full(18, b"\xff")), "[subject]: texts as bytes must be UTF-8"),
    (
        changed("pose_3d", (7, 3, 1), np.nan),
        "pose_3d holds NaN or infinity in 1 rows, first in row 7",
    ),
    (
        changed("pose_2d", (2, 0, 0), np.inf),
        "pose_2d holds NaN or infinity in 1 rows, first in row 2",
    ),
    (replaced(fps=np.zeros(18)), "column fps holds a number outside 0.001 to 10000 in 18 rows"),
    (replaced(fps=np.full(18, 1e300)), "column fps holds a number outside 0.001 to 10000"),
    (replaced(fps=np.arange(1.0, 19)), "column fps, row 1: differs from row 0"),
    (changed("action", 3, ""), "column action, row 3: the text is empty"),
    (
        changed("subject", 3, "\x1b[2J"[:1]),
        "row 3: the text holds characters that cannot be printed",
    ),
    (
        replaced(subject=np.full(18, "x" * 300)),
        "the text has 300 characters, expected at most 200",
    ),
    (changed("split", 17, "dev"), "column split, row 17: 'dev', expected one of train, val, test"),
    (
        changed("split", 1, "test"),
        "column split, row 1: 'test', but sequence 'take of A' began with",
    ),
    (
        changed("subject", 1, "B"),
        "column subject, row 1: 'B', but sequence 'take of A' began with",
    ),
    (changed("camera", 4, "top"), "column camera, row 4: 'top' is none of the metadata's cameras"),
    (changed("frame", 1, 0), "rows 0 and 1 are both frame 0 of sequence 'take of A'"),
    (
        replaced(split=np.full(18, "train")),
        "the column split has train, expected rows of train and",
    ),
    (
        replaced(origin_3d=np.zeros((18, 3))),
        "5.02e+03 mm from the pose's own origin, expected the same place",
    ),
    (lambda c: c.update({n: v[:0] for n, v in c.items()}), "no poses; expected one row per pose"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED_COLUMNS)
def test_a_malformed_column_is_refused(
    tmp_path: Path, change: Callable[[Columns], Any], message: str
) -> None:
    columns = small_columns()
    change(columns)
    path = write_npz(tmp_path, columns, small_metadata())
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load(tmp_path)
    assert str(path) in str(caught.value)


SIZE = {"width": 1000, "height": 800}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{", "[metadata]: no valid JSON"),
        ("[" * 100_000, "[metadata]: no valid JSON"),
        ("[]", "[metadata]: a JSON list, expected an object"),
        (small_metadata(unit=None), "unit: Field required"),
        (small_metadata(unit="cm"), "unit: Input should be 'm' or 'mm'"),
        (small_metadata(fps=None), "no frame rate; add the column fps"),
        (small_metadata(fps=-1), "fps"),
        (small_metadata(fps=True), "fps: expected a number, found bool"),
        (small_metadata(fps="25"), "fps: expected a number, found str"),
        (small_metadata(fps=0.5), "fps: Input should be greater than or equal to 1"),
        (small_metadata(fps=1e300), "fps: Input should be less than or equal to 10000"),
        (small_metadata(notes=["x" * 501]), "notes.0: String should have at most 500 characters"),
        (small_metadata(notes=["x"] * 101), "notes: Tuple should have at most 100 items"),
        (small_metadata(notes=["\x1b]0;owned\x07"]), "notes.0: holds characters that cannot be"),
        (small_metadata(notes=["\ud800"]), "notes.0: Input should be a valid string"),
        (small_metadata(cameras={"\x1b[2J": {}}), r"cameras.'\x1b[2J'"),
        (small_metadata(**{"\x1b[2J": 1}), r"'\x1b[2J': Extra inputs are not permitted"),
        (small_metadata(skeleton="\x1b[2J" * 99), r"skeleton '\x1b[2J\x1b[2J"),
        (
            small_metadata(cameras={f"c{number}": {} for number in range(500)}),
            "and 990 more faults",
        ),
        (small_metadata(format_version=2), "format_version: Input should be 1"),
        (small_metadata(author="me"), "author: Extra inputs are not permitted"),
        (small_metadata(name="../../x"), "name: String should match pattern"),
        (small_metadata(skeleton="mine"), "skeleton 'mine' is unknown; known: h36m_17"),
        (small_metadata(skeleton={"name": "x"}), "skeleton: joints: Field required"),
        (small_metadata(cameras={}), "cameras"),
        (small_metadata(cameras={"left": {"width": 1000}}), "cameras.left.height: Field required"),
        (
            small_metadata(cameras={"left": SIZE | {"focal": [1000, 1000]}}),
            "camera 'left' has one of focal and center",
        ),
        (
            small_metadata(cameras={"left": SIZE | {"radial": [1, 0, 0]}}),
            "camera 'left' has a lens distortion but no focal and center",
        ),
        (
            small_metadata(cameras={"left": SIZE | {"focal": [True, 1000], "center": [1, 1]}}),
            "cameras.left.focal.0: expected a number, found bool",
        ),
        (small_metadata(cameras={"left": SIZE | {"pose": 1}}), "cameras.left.pose: Extra inputs"),
    ],
)
def test_malformed_metadata_is_refused(tmp_path: Path, metadata: object, message: str) -> None:
    write_npz(tmp_path, small_columns(), metadata)
    with pytest.raises(DataError, match=re.escape(message)):
        load(tmp_path)


@pytest.mark.parametrize("column", ["split", "subject", "action", "source", "base_action"])
def test_a_take_that_its_cameras_disagree_about_is_refused(tmp_path: Path, column: str) -> None:
    columns = small_columns()
    twice = {name: np.concatenate([values, values]) for name, values in columns.items()}
    twice["camera"] = np.repeat(["left", "right"], 18)
    twice["source"] = twice["base_action"] = np.full(36, "one")
    cameras = {name: small_metadata()["cameras"]["left"] for name in ("left", "right")}
    twice["source"] = twice["subject"]
    write_npz(tmp_path, twice, small_metadata(cameras=cameras))
    assert len(load(tmp_path).sequences) == 6
    twice[column] = np.array(twice[column])
    before = str(twice[column][18])
    twice[column][18:24] = "test"[: twice[column].dtype.itemsize // 4]
    write_npz(tmp_path, twice, small_metadata(cameras=cameras))
    with pytest.raises(
        DataError, match=rf"column {column}, row 18: 't\w*', but sequence"
    ) as found:
        load(tmp_path)
    assert f"'take of A' began with {before!r} in row 0; a sequence has one" in str(found.value)


def test_gaps_in_time_are_counted_and_named(tmp_path: Path) -> None:
    columns = small_columns()
    columns["frame"] = columns["frame"] * 4
    write_npz(tmp_path, columns, small_metadata())
    assert load(tmp_path).notes == ()
    columns["frame"][3:6] += 8
    columns["frame"][11] += 1
    write_npz(tmp_path, columns, small_metadata())
    (note,) = load(tmp_path).notes
    assert note == (
        "frame numbers of 2 sequences jump at 2 places, across which no clip runs: "
        "take of A (left), take of B (left)"
    )
    columns["ordered"] = np.zeros(18, np.bool_)
    write_npz(tmp_path, columns, small_metadata())
    assert load(tmp_path).notes == ()


def test_a_subject_for_validation_has_no_effect_where_the_file_says_who(tmp_path: Path) -> None:
    write_npz(tmp_path, small_columns(), small_metadata())
    with pytest.raises(DataError, match="val_subject='A' has no effect"):
        load(tmp_path, val_subject="A")


def test_a_recording_behind_some_training_sequences_only_is_refused(tmp_path: Path) -> None:
    columns = small_columns({"A": "train", "B": "train", "C": "test"})
    columns["source"] = np.repeat(["one", "", "two"], FRAMES)
    write_npz(tmp_path, columns, small_metadata())
    with pytest.raises(DataError, match="1 of 2 training sequences have no source"):
        load(tmp_path)


def nulls(columns: Columns) -> None:
    columns["subject"] = [None, *columns["subject"][1:].tolist()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced(index=np.arange(18)), "has the unknown columns index"),
        (replaced(frame=np.arange(18.0)), "column frame is double, expected a whole number"),
        (replaced(subject=np.arange(18)), "column subject is int64, expected string"),
        (replaced(pose_2d=np.arange(18.0)), "pose_2d is double, expected a list of 34 numbers"),
        (
            replaced(pose_2d=np.zeros((18, 33))),
            "pose_2d has 594 values in 18 rows, expected 34 in each row",
        ),
        (replaced(valid=np.ones(18)), "column valid is double, expected bool"),
        (nulls, "column subject, row 0: no value; every row must have one"),
        (lambda c: c.pop("split"), "lacks split"),
    ],
)
def test_a_malformed_parquet_column_is_refused(
    tmp_path: Path, change: Callable[[Columns], Any], message: str
) -> None:
    columns = small_columns()
    change(columns)
    write_parquet(tmp_path, columns, small_metadata())
    with pytest.raises(DataError, match=re.escape(message)):
        load(tmp_path)
