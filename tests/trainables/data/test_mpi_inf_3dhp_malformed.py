"""What is wrong with files of MPI-INF-3DHP is said, by file, sequence and camera."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.trainables.data.mpi_inf_3dhp_writer import (
    Data,
    copied,
    make_test,
    make_training,
    write_annotations,
    write_cameras,
    write_npz,
)
from trainables.config import DataConfig
from trainables.data.loading import load_dataset
from trainables.errors import DataError, UnsafeDataError

CONFIG = DataConfig(name="mpi_inf_3dhp")
LEFT_RIGHT = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 14, 15, 16]


@pytest.fixture(scope="module")
def training() -> Data:
    return make_training()


@pytest.fixture(scope="module")
def testing() -> Data:
    return make_test()


def set_3d(change: Callable[[np.ndarray], Any]) -> Callable[[Data], None]:
    """Change the 3D of every view of the training file."""

    def damage(data: Data) -> None:
        for cameras, _fps in data.values():
            for view in cameras.values():
                view["data_3d"] = change(view["data_3d"])

    return damage


def set_entry(change: Callable[[Any], Any]) -> Callable[[Data], None]:
    def damage(data: Data) -> None:
        data["S1 Seq1"] = change(data["S1 Seq1"])

    return damage


def set_view(**fields: Callable[[np.ndarray], Any]) -> Callable[[Data], None]:
    def damage(data: Data) -> None:
        view = data["S1 Seq1"][0]["8"]
        for name, change in fields.items():
            view[name] = change(view[name])

    return damage


def with_nan(points: np.ndarray) -> np.ndarray:
    points = points.copy()
    points[3, 5, 1] = np.nan
    return points


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (set_3d(lambda p: p / 1000), r"from the pelvis in the median.*are the 3D in metres"),
        (set_3d(lambda p: p * 1000), "the thigh measures .* expected 0.2 to 0.8 metres"),
        (set_3d(lambda p: p[:, LEFT_RIGHT]), "of the bent knees bend backward"),
        (set_3d(lambda p: p - p[:, 14:15]), "pelvis .* not in front of the camera in 13 of 13 f"),
        (set_3d(lambda p: p[..., [0, 2, 1]]), "in 13 of 13 frames; expected camera coordinates"),
        (set_3d(lambda p: p * np.asarray([1, -1, 1], p.dtype)), "of the bent knees bend backward"),
        (set_view(data_3d=lambda p: p.transpose(0, 2, 1)), r"camera 8: 3D has shape \(\d+, 3, 17"),
        (set_view(data_3d=lambda p: p.transpose(1, 0, 2)), r"3D has shape \(17, \d+, 3\)"),
        (set_view(data_3d=lambda p: np.tile(p, (1, 2, 1))[:, :28]), "28, 3.*another skeleton"),
        (set_view(data_3d=lambda p: p.astype(np.int32)), "3D is int32, expected floating point"),
        (set_view(data_3d=lambda p: p.tolist()), "camera 8: 3D is list, expected floating point"),
        (set_view(data_3d=with_nan), "3D holds NaN or infinity in 1 of .* first in frame 3"),
        (set_view(data_2d=with_nan), "2D holds NaN or infinity in 1 of .* first in frame 3"),
        (set_view(data_3d=lambda p: p[:0], data_2d=lambda p: p[:0]), r"shape \(0, 17, 3\)"),
        (set_view(data_2d=lambda p: p[:-3]), r"S1 Seq1, camera 8: 3D has \d+ frames, 2D \d+;"),
        (set_view(data_2d=lambda p: p[..., :1]), r"2D has shape \(\d+, 17, 1\)"),
        (set_entry(lambda e: e[0]), r"S1 Seq1 is dict, expected \[mapping of cameras, frames per"),
        (set_entry(lambda e: [*e, 1]), "S1 Seq1 is list, expected"),
        (set_entry(lambda e: [e[0], "25"]), "the frame rate is '25', expected a number"),
        (set_entry(lambda e: [e[0], 0]), "the frame rate is 0, expected a positive number"),
        (set_entry(lambda e: [e[0], float("nan")]), "the frame rate is nan, expected a positive"),
        (set_entry(lambda e: [{}, 25]), "S1 Seq1 is empty, expected a mapping"),
        (set_entry(lambda e: [e[0]["0"], 25]), "has the camera 'data_3d', expected its number"),
        (set_entry(lambda e: [{"0": {}}, 25]), "S1 Seq1, camera 0 is empty, expected a mapping"),
        (set_entry(lambda e: [{"0": e[0]["0"], 0: e[0]["0"]}, 25]), "camera 0 twice, as text and"),
        (set_entry(lambda e: [{True: e[0]["0"]}, 25]), "has the camera True, expected its number"),
        (
            set_entry(lambda e: [{"0": {"data_2d": e[0]["0"]["data_2d"]}}, 25]),
            r"camera 0 has \['data_2d'\], expected data_3d as well",
        ),
        (lambda d: d.update({"S1_Seq3": d["S1 Seq1"]}), "the key 'S1_Seq3', expected a name like"),
        (lambda d: d.update({3: d["S1 Seq1"]}), "has the key 3, expected a name like 'S1 Seq1'"),
        (lambda d: d.clear(), "data_train_3dhp.npz: data is empty, expected a mapping"),
        (
            lambda d: [d.pop(f"S{s} Seq{n}") for s in (2, 3) for n in (1, 2)],
            r"found the training subjects \['S1'\], expected two or more",
        ),
    ],
)
def test_what_is_wrong_with_the_training_file_is_said(
    tmp_path: Path,
    training: Data,
    testing: Data,
    damage: Callable[[Data], None],
    message: str,
) -> None:
    damaged = copied(training)
    damage(damaged)
    folder = write_npz(tmp_path / "a", damaged, testing)
    with pytest.raises(DataError, match=message):
        load_dataset(CONFIG, folder)


def set_test(**fields: Callable[[np.ndarray], Any]) -> Callable[[Data], None]:
    def damage(data: Data) -> None:
        for name, change in fields.items():
            data["TS3"][name] = change(data["TS3"][name])

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (set_test(valid=lambda v: v[:-1]), r"TS3: \d+ flags of valid frames for \d+ frames of 3D"),
        (set_test(valid=lambda v: v * 2), "TS3: valid holds other values than 0 and 1"),
        (set_test(valid=lambda v: v * 0), "TS3: valid flags no frame"),
        (set_test(valid=lambda v: v.tolist()), "TS3: valid is <class 'list'>, expected one flag"),
        (set_test(valid=lambda v: np.ones((len(v), 2))), "TS3: valid is float64 .*expected one f"),
        (set_test(valid=lambda v: v.astype(str)), "TS3: valid is <U.* expected one flag 0 or 1"),
        (set_test(data_3d=lambda p: p / 1000), "TS3: the joints are .* are the 3D in metres"),
        (set_test(data_3d=with_nan), "TS3: 3D holds NaN or infinity in 1 of"),
        (set_test(data_2d=lambda p: p[:-3]), "TS3: 3D has .* expected the same number"),
        (lambda d: d["TS3"].pop("valid"), "TS3 has .* expected valid as well"),
        (lambda d: d.update(TS7=d["TS1"]), "has the key 'TS7', expected TS1 or TS2"),
    ],
)
def test_what_is_wrong_with_the_test_file_is_said(
    tmp_path: Path,
    training: Data,
    testing: Data,
    damage: Callable[[Data], None],
    message: str,
) -> None:
    damaged = copied(testing)
    damage(damaged)
    folder = write_npz(tmp_path / "a", training, damaged)
    with pytest.raises(DataError, match=message):
        load_dataset(CONFIG, folder)


def replace_array(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            array = file[name][()]
            del file[name]
            file[name] = change(array)

    return damage


def remove_array(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["annot2"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (replace_array("annot2", lambda a: a.T), r"\[?annot2\]? has shape \(2, 17, 1, \d+\), exp"),
        (replace_array("univ_annot3", lambda a: a[:, 0]), r"univ_annot3 has shape \(\d+, 17, 3\)"),
        (replace_array("univ_annot3", lambda a: a / 1000), "are the 3D in metres"),
        (replace_array("valid_frame", lambda a: a[:-1]), "flags of valid frames for"),
        (replace_array("valid_frame", lambda a: a + 0.5), "other values than 0 and 1"),
        (replace_array("annot2", lambda a: np.bytes_(b"x")), "expected an array of numbers"),
        (remove_array, r"found the arrays \['activity_annotation', 'annot3', .*\['annot2'\] as"),
        (truncate, "not a readable HDF5 file .*truncated or damaged"),
        (lambda p: p.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(600)), "save it .* with -v7.3"),
        (lambda p: p.write_bytes(b""), "not a readable HDF5 file"),
    ],
)
def test_what_is_wrong_with_a_matlab_file_is_said(
    tmp_path: Path,
    training: Data,
    testing: Data,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    folder = write_npz(tmp_path / "a", training, None)
    write_annotations(folder, testing)
    damage(folder / "TS4" / "annot_data.mat")
    with pytest.raises(DataError, match=f"TS4/annot_data.mat.*{message}"):
        load_dataset(CONFIG, folder)


def test_missing_files_are_listed_with_what_is_there(
    tmp_path: Path, training: Data, testing: Data
) -> None:
    with pytest.raises(DataError, match=r"looked for data_test_3dhp\.npz and for TS1/annot_data"):
        load_dataset(CONFIG, write_npz(tmp_path / "a", training, None))
    with pytest.raises(DataError, match=r"looked for data_train_3dhp\.npz, found data_test_3dhp"):
        load_dataset(CONFIG, write_npz(tmp_path / "b", None, testing))
    with pytest.raises(DataError, match="needs a data folder"):
        load_dataset(CONFIG)


def test_links_out_of_the_folder_are_refused(
    tmp_path: Path, training: Data, testing: Data
) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_npz(elsewhere, None, testing)
    write_annotations(elsewhere, testing)
    write_cameras(elsewhere)
    folder = write_npz(tmp_path / "a", training, None)
    (folder / "TS1").symlink_to(elsewhere / "TS1")
    with pytest.raises(UnsafeDataError, match=r"TS1/annot_data\.mat: is a link to"):
        load_dataset(CONFIG, folder)
    (folder / "data_test_3dhp.npz").symlink_to(elsewhere / "data_test_3dhp.npz")
    with pytest.raises(UnsafeDataError, match=r"data_test_3dhp\.npz: is a link to"):
        load_dataset(CONFIG, folder)
    (folder / "data_test_3dhp.npz").unlink()
    write_npz(folder, None, testing)
    (folder / "cameras_3dhp.json").symlink_to(elsewhere / "cameras_3dhp.json")
    with pytest.raises(UnsafeDataError, match=r"cameras_3dhp\.json: is a link to"):
        load_dataset(CONFIG, folder)


def test_a_malicious_pickle_is_refused(tmp_path: Path, testing: Data) -> None:
    with pytest.raises(UnsafeDataError, match="asks for pathlib"):
        load_dataset(CONFIG, write_npz(tmp_path / "a", {"S1 Seq1": Path}, testing))


GOOD = {"image_size": [10, 10], "focal_px": [10, 10], "centre_px": [5, 5]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ("{}", "is empty, expected a JSON object of cameras"),
        ("[" * 100_000, "not readable as JSON"),
        ("[]", "is list, expected a JSON object"),
        ('{"S1": 3}', "S1 is int, expected a JSON object"),
        ('{"S1": {"0": []}}', "S1, camera 0 is list, expected a JSON object"),
        (json.dumps({"TS1": GOOD | {"focal_px": 10}}), "TS1: focal_px=10, expected two positive"),
        (json.dumps({"TS1": GOOD | {"focal_px": [1, True]}}), "expected two positive numbers"),
        (json.dumps({"TS1": GOOD | {"centre_px": [1, float("nan")]}}), r"centre_px=\[1, nan\]"),
        (json.dumps({"S1": {"0": {"image_size": [10, 10]}}}), "camera 0: focal_px=None"),
    ],
)
def test_malformed_cameras_are_refused(
    tmp_path: Path, training: Data, testing: Data, text: str, message: str
) -> None:
    folder = write_npz(tmp_path / "a", training, testing)
    (folder / "cameras_3dhp.json").write_text(text)
    with pytest.raises(DataError, match=rf"cameras_3dhp\.json.*{message}"):
        load_dataset(CONFIG, folder)


def test_cameras_that_the_json_lacks_are_noted(
    tmp_path: Path, training: Data, testing: Data
) -> None:
    folder = write_npz(tmp_path / "a", training, testing)
    write_cameras(folder)
    path = folder / "cameras_3dhp.json"
    path.write_text(json.dumps({"S1": {"0": json.loads(path.read_text())["S1"]["0"]}}))
    dataset = load_dataset(CONFIG, folder)
    note = "cameras_3dhp.json lacks S1 8, S2 0, S2 8, S3 0, S3 8 and 6 more; calibration unknown"
    assert note in dataset.notes
