"""Files of 2D poses: read in every form, refused by name, normalised by the image's size."""

from __future__ import annotations

import csv
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainables.skeletons import H36M_17
from tuner.errors import ConfigurationError
from tuner.wiring.pose_files import FORMATS, normalise, notes_on_range, read_keypoints
from tuner.wiring.pose_output import encode_poses

JOINTS = H36M_17.num_joints
POSES = np.random.default_rng(2).uniform(-1, 1, size=(3, JOINTS, 2))


def npy(array: Any, *, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def lines(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


FLAT = POSES.reshape(3, -1).tolist()
NAMES = [f"{joint}_{axis}" for joint in H36M_17.joints for axis in "xy"]

READ: dict[str, tuple[str, bytes]] = {
    "npy": ("k.npy", npy(POSES)),
    "upper case": ("k.NPY", npy(POSES)),
    "npz": ("k.npz", npz(keypoints=POSES, other=np.zeros(2))),
    "json": ("k.json", json.dumps(POSES.tolist()).encode()),
    "csv": ("k.csv", lines(FLAT)),
    "csv with names": ("k.csv", lines([NAMES, *FLAT])),
    "csv of a spreadsheet": ("k.csv", b"\xef\xbb\xbf" + lines([NAMES, *FLAT])),
}


@pytest.mark.parametrize(("name", "content"), READ.values(), ids=READ)
def test_every_form_gives_the_same_poses(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    np.testing.assert_array_equal(read_keypoints(path, H36M_17).values, POSES)


@pytest.mark.parametrize("blank_lines", [0, 2])
def test_a_header_that_is_passed_over_is_said(tmp_path: Path, blank_lines: int) -> None:
    path = tmp_path / "k.csv"
    path.write_bytes(b"\n" * blank_lines + lines([NAMES, *FLAT]))
    found = read_keypoints(path, H36M_17)
    np.testing.assert_array_equal(found.values, POSES)
    (note,) = found.notes
    assert f"line {1 + blank_lines} holds no number; passed over as a header" in note
    path.write_bytes(lines(FLAT))
    assert read_keypoints(path, H36M_17).notes == ()


@pytest.mark.parametrize(("low", "high", "noted"), [(0.0, 1.0, 1), (-0.1, 1.0, 0), (0.0, 1.1, 0)])
def test_coordinates_that_may_be_fractions_are_noted(low: float, high: float, noted: int) -> None:
    screen = np.full((1, JOINTS, 2), 0.5, dtype=np.float32)
    screen[0, 0] = (low, high)
    notes = notes_on_range(screen, path=Path("k.npy"))
    assert len(notes) == noted
    assert all("centred screen coordinates" in note for note in notes)


def with_value(value: float) -> NDArray[np.float64]:
    changed = POSES.copy()
    changed[1, 4, 0] = value
    return changed


class _Boom:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path("boom").write_text, ("run",)


def object_npz() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("keypoints.npy", npy(np.array([_Boom()]), allow_pickle=True))
    return stream.getvalue()


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "empty file": ("k.npy", b"", "is empty"),
    "empty csv lines": ("k.csv", b"\n\n", r"shape \(0,\)"),
    "no poses": ("k.npy", npy(np.zeros((0, JOINTS, 2))), "N of at least 1"),
    "one pose alone": ("k.npy", npy(POSES[0]), r"shape \(17, 2\), expected \(N, 17, 2\)"),
    "16 joints": ("k.npy", npy(POSES[:, :16]), r"\(3, 16, 2\).*order: hip, r_hip"),
    "3D poses": ("k.npy", npy(np.zeros((3, JOINTS, 3))), r"\(3, 17, 3\)"),
    "a number": ("k.npy", npy(np.float64(3.0)), r"shape \(\)"),
    "csv of 33 columns": ("k.csv", lines([row[:33] for row in FLAT]), "34 columns in a .csv"),
    "csv, uneven": ("k.csv", lines([FLAT[0], FLAT[1][:-1]]), "line 2: 33 columns, 34 before"),
    "csv, text": (
        "k.csv",
        lines([FLAT[0], ["x", *FLAT[1][1:]]]),
        "line 2, column 1: 'x' is no num",
    ),
    "csv, text in line 1": (
        "k.csv",
        lines([["n/a", *FLAT[0][1:]], FLAT[1]]),
        r"line 1, column 1: 'n/a' is no number",
    ),
    "csv, one number in line 1": ("k.csv", lines([[*NAMES[:-1], 0.5], *FLAT]), "line 1, column 1"),
    "csv, blank line 1": ("k.csv", lines([[""] * 34, *FLAT]), "line 1, column 1: ''"),
    "csv, names of other joints": ("k.csv", lines([NAMES[:-2], *FLAT]), "line 2: 34 columns, 32"),
    "csv, names alone": ("k.csv", lines([NAMES]), "N of at least 1"),
    "csv, binary": ("k.csv", b"\xff\xfe\x00", "is no valid CSV"),
    "csv, nan": ("k.csv", lines(with_value(np.nan).reshape(3, -1).tolist()), "pose 1.*l_hip"),
    "nan": ("k.npy", npy(with_value(np.nan)), r"NaN or infinity: 1 of 3 poses.*pose 1.*l_hip"),
    "infinity": ("k.json", json.dumps(with_value(np.inf).tolist()).encode(), "pose 1.*l_hip"),
    "json, cut": ("k.json", json.dumps(POSES.tolist()).encode()[:-9], "is no valid JSON"),
    "json, ragged": ("k.json", b"[[[1, 2], [3]]]", "no regular array of numbers"),
    "json, object": ("k.json", b'{"a": 1}', "no regular array of numbers"),
    "json, text": ("k.json", b'[["x"]]', "no regular array of numbers"),
    "json, deep": ("k.json", b"[" * 100_000, "is no valid JSON"),
    "npz, cut": ("k.npz", npz(keypoints=POSES)[:-60], "is damaged"),
    "npz, no array": ("k.npz", npz(poses=POSES), "holds poses; expected an array `keypoints`"),
    "npz, really npy": ("k.npz", npy(POSES), "is no npz archive"),
    "npz, pickled": ("k.npz", object_npz(), "pickled, which is refused"),
    "npy, really npz": ("k.npy", npz(keypoints=POSES), "no regular array of numbers"),
    "npy, cut": ("k.npy", npy(POSES)[:-8], "is damaged"),
    "npy, pickled": ("k.npy", npy(np.array([_Boom()]), allow_pickle=True), "pickled objects"),
    "npy, a pickle": ("k.npy", pickle.dumps(_Boom()), "pickled objects"),
    "npy, complex": ("k.npy", npy(POSES * 1j), "no regular array of numbers"),
    "npy, booleans": ("k.npy", npy(POSES > 0), "no regular array of numbers"),
    "unknown suffix": ("k.txt", b"1", r"suffix '\.txt' is unknown; known: \.npy"),
}


@pytest.mark.parametrize(("name", "content", "said"), REFUSED.values(), ids=REFUSED)
def test_what_holds_no_poses_is_refused_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_keypoints(path, H36M_17)
    assert str(path) in str(caught.value)
    assert not Path("boom").exists()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"k\.npy cannot be read: No such file"):
        read_keypoints(tmp_path / "k.npy", H36M_17)


@given(
    width=st.integers(50, 4000),
    height=st.integers(50, 4000),
    seed=st.integers(0, 2**32 - 1),
)
def test_pixels_become_what_the_data_sets_hold(width: int, height: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0.2, 1.0, size=(2, JOINTS, 2)) * [width, height]
    pixels[0, 0] = (width, height / 2)
    found = normalise(pixels, path=Path("k.npy"), width=width, height=height)
    expected = pixels / width * 2 - [1, height / width]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[0, 0], [1, 0], atol=1e-5)
    assert found.dtype == np.float32


SIZES: dict[str, tuple[float, int | None, int | None, str]] = {
    "pixels without a size": (700.0, None, None, "look like pixels; give the image's size"),
    "normalised with a size": (1.0, 1000, 1000, "look normalised already"),
    "width alone": (700.0, 1000, None, "--width and --height belong together"),
    "height alone": (700.0, None, 1000, "--width and --height belong together"),
    "another image": (7000.0, 1000, 1000, "far outside an image of 1000x1000"),
}


@pytest.mark.parametrize(("scale", "width", "height", "said"), SIZES.values(), ids=SIZES)
def test_coordinates_that_do_not_fit_the_size_are_refused(
    scale: float, width: int | None, height: int | None, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        normalise(np.abs(POSES) * scale, path=Path("k.npy"), width=width, height=height)


def test_every_format_holds_the_same_poses_their_unit_and_joints() -> None:
    poses = np.random.default_rng(3).normal(size=(4, JOINTS, 3)).astype(np.float32)
    content = {suffix: encode_poses(poses, H36M_17, suffix) for suffix in FORMATS}
    np.testing.assert_array_equal(np.load(io.BytesIO(content[".npy"])), poses)
    with np.load(io.BytesIO(content[".npz"]), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["poses"], poses)
        assert (str(archive["unit"]), str(archive["skeleton"])) == ("m", "h36m_17")
        assert tuple(archive["joints"]) == H36M_17.joints
    found = json.loads(content[".json"])
    np.testing.assert_array_equal(np.asarray(found["poses"], np.float32), poses)
    assert (found["unit"], tuple(found["joints"])) == ("m", H36M_17.joints)
    header, *rows = csv.reader(io.StringIO(content[".csv"].decode()))
    assert header[:4] == ["hip_x_m", "hip_y_m", "hip_z_m", "r_hip_x_m"]
    np.testing.assert_array_equal(np.asarray(rows, np.float32).reshape(poses.shape), poses)
