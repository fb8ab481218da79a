"""What is wrong with files of MPI-INF-3DHP, H3WB, and one's own poses."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.trainables.data import mpi_inf_3dhp_writer, poses_writer
from tests.trainables.data.malformed.case import Case
from trainables.skeletons import H36M_17

__all__ = ["OTHER_SETS"]

MATLAB = "TS4/annot_data.mat"
H3WB_JSON = "2Dto3D_train.json"


def _bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def _training_3d(change: Callable[[Any], Any]) -> Callable[[Path], object]:
    """Change the 3D of every view of MPI-INF-3DHP's training file."""

    def spoil(folder: Path) -> None:
        data = mpi_inf_3dhp_writer.make_training()
        for cameras, _fps in data.values():
            for view in cameras.values():
                view["data_3d"] = change(view["data_3d"])
        mpi_inf_3dhp_writer.write_npz(folder, data, None)

    return spoil


def _array(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change an array of a MATLAB file."""

    def spoil(folder: Path) -> None:
        with h5py.File(folder / MATLAB, "r+") as file:
            array = file[name][()]
            del file[name]
            file[name] = change(array)

    return spoil


def _external_link(folder: Path) -> None:
    other = folder.parent / "outside.h5"
    with h5py.File(other, "w") as file:
        file["annot2"] = np.zeros(3)
    with h5py.File(folder / MATLAB, "r+") as file:
        del file["annot2"]
        file["annot2"] = h5py.ExternalLink(str(other), "annot2")


def _external_storage(folder: Path) -> None:
    other = folder.parent / "outside.raw"
    other.write_bytes(bytes(24))
    with h5py.File(folder / MATLAB, "r+") as file:
        del file["annot2"]
        file.create_dataset("annot2", (3,), "f8", external=[(str(other), 0, 24)])


def _huge(folder: Path) -> None:
    with h5py.File(folder / MATLAB, "r+") as file:
        del file["annot2"]
        file.create_dataset("annot2", (1 << 40, 1, 17, 2), "f8", chunks=True, compression="gzip")


def _joint(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change the first sample of H3WB's JSON."""

    def spoil(folder: Path) -> None:
        samples = json.loads((folder / H3WB_JSON).read_text())
        change(samples["0"])
        (folder / H3WB_JSON).write_text(json.dumps(samples))

    return spoil


def _scaled(factor: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        samples = json.loads((folder / H3WB_JSON).read_text())
        for sample in samples.values():
            for joint in sample["keypoints_3d"].values():
                joint.update({axis: factor * value for axis, value in joint.items()})
        (folder / H3WB_JSON).write_text(json.dumps(samples))

    return spoil


def _poses(**changes: Any) -> Callable[[Path], object]:
    """Replace columns of a poses file; None leaves one out."""

    def spoil(folder: Path) -> None:
        columns = {**poses_writer.small_columns(), **changes}
        kept = {name: value for name, value in columns.items() if value is not None}
        poses_writer.write_npz(folder, kept, poses_writer.small_metadata())

    return spoil


def _facts(**changes: Any) -> Callable[[Path], object]:
    metadata = {**poses_writer.small_metadata(), **changes}
    return lambda folder: poses_writer.write_npz(folder, poses_writer.small_columns(), metadata)


def _packed_header(folder: Path) -> None:
    """A megabyte-long header in a packing that is unpacked without a bound."""
    with zipfile.ZipFile(folder / "poses.npz", "w", zipfile.ZIP_BZIP2) as archive:
        header = b"\x93NUMPY\x02\x00" + (1 << 24).to_bytes(4, "little") + b" " * (1 << 24)
        archive.writestr("frame.npy", header)


def _long_header(folder: Path) -> None:
    with zipfile.ZipFile(folder / "poses.npz", "w") as archive:
        archive.writestr("frame.npy", b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f" + b" " * 99)


def _long_lists(folder: Path) -> None:
    """Parquet of a few kilobytes of which one list has a million numbers."""
    (folder / "poses.npz").unlink()
    path = poses_writer.write_parquet(
        folder, poses_writer.small_columns(), poses_writer.small_metadata()
    )
    table = pq.read_table(path)
    lists = pa.array([np.zeros(1_000_000, np.float32), *[np.zeros(51, np.float32)] * 17])
    at = table.schema.get_field_index("pose_3d")
    pq.write_table(table.set_column(at, "pose_3d", lists), path, compression="zstd")


def _of_two_splits(folder: Path) -> None:
    """Each take twice, once for each of two cameras, which disagree about its split."""
    columns = {
        name: np.concatenate([values, values])
        for name, values in poses_writer.small_columns().items()
    }
    half = len(columns["split"]) // 2
    columns["camera"] = np.repeat(["left", "right"], half)
    columns["split"][half:] = np.roll(columns["split"][half:], half // 3)
    camera = poses_writer.small_metadata()["cameras"]["left"]
    metadata = poses_writer.small_metadata(cameras={"left": camera, "right": camera})
    poses_writer.write_npz(folder, columns, metadata)


_POSES_3D = poses_writer.small_columns()["pose_3d"]

OTHER_SETS: tuple[Case, ...] = (
    Case(
        "metres for millimetres",
        "are the 3D in metres",
        _training_3d(lambda p: p / 1000),
        "mpi_inf_3dhp",
    ),
    Case(
        "poses without their place",
        "not in front of the camera",
        _training_3d(lambda p: p - p[:, 14:15]),
        "mpi_inf_3dhp",
    ),
    Case(
        "28 joints",
        "another skeleton",
        _training_3d(lambda p: np.tile(p, (1, 2, 1))[:, :28]),
        "mpi_inf_3dhp",
    ),
    Case(
        "HDF5: cut in half",
        "not a readable HDF5 file",
        _bytes(MATLAB, lambda c: c[: len(c) // 2]),
        "mpi_inf_3dhp",
    ),
    Case(
        "HDF5: an older MATLAB format",
        "with -v7.3",
        _bytes(MATLAB, lambda _: b"MATLAB 5.0 MAT-file" + bytes(600)),
        "mpi_inf_3dhp",
    ),
    Case(
        "HDF5: transposed", "annot2.* has shape", _array("annot2", lambda a: a.T), "mpi_inf_3dhp"
    ),
    Case(
        "HDF5: text for numbers",
        "expected an array of numbers",
        _array("annot2", lambda _: np.bytes_(b"x")),
        "mpi_inf_3dhp",
    ),
    Case("HDF5: a link to another file", "annot2", _external_link, "mpi_inf_3dhp", unsafe=True),
    Case(
        "HDF5: numbers kept in another file",
        "annot2",
        _external_storage,
        "mpi_inf_3dhp",
        unsafe=True,
    ),
    Case("HDF5: claims 2^48 bytes", "annot2", _huge, "mpi_inf_3dhp", unsafe=True),
    Case(
        "JSON: cut in half",
        "no readable JSON",
        _bytes(H3WB_JSON, lambda c: c[: len(c) // 2]),
        "h3wb",
    ),
    Case(
        "JSON: a list",
        "expected an object of samples",
        _bytes(H3WB_JSON, lambda _: b"[1, 2]"),
        "h3wb",
    ),
    Case("JSON: not UTF-8", "2Dto3D_train", _bytes(H3WB_JSON, lambda _: b'{"\xff": 1}'), "h3wb"),
    Case(
        "JSON: 100,000 lists in one another",
        "2Dto3D_train",
        _bytes(H3WB_JSON, lambda _: b'{"0": ' + b"[" * 100_000),
        "h3wb",
    ),
    Case(
        "JSON: a sample twice",
        "twice|again",
        _bytes(
            H3WB_JSON, lambda c: c.replace(b'"1": {"keypoints_2d"', b'"0": {"keypoints_2d"', 1)
        ),
        "h3wb",
    ),
    Case(
        "JSON: a joint is missing",
        "132|lacks|joint",
        _joint(lambda s: s["keypoints_3d"].pop("132")),
        "h3wb",
    ),
    Case(
        "JSON: a joint too many",
        "133",
        _joint(lambda s: s["keypoints_3d"].update({"133": {"x": 1, "y": 1, "z": 1}})),
        "h3wb",
    ),
    Case(
        "JSON: NaN",
        "2Dto3D_train",
        _joint(lambda s: s["keypoints_3d"]["5"].update(x=float("nan"))),
        "h3wb",
    ),
    Case(
        "JSON: text for a number",
        "2Dto3D_train",
        _joint(lambda s: s["keypoints_3d"]["5"].update(x="1")),
        "h3wb",
    ),
    Case("JSON: metres for millimetres", "thigh|metres", _scaled(0.001), "h3wb"),
    Case(
        "own poses: metadata that are no JSON",
        "metadata",
        lambda f: poses_writer.write_npz(f, poses_writer.small_columns(), "{"),
        "poses",
    ),
    Case("own poses: an unknown unit", "unit", _facts(unit="furlong"), "poses"),
    Case("own poses: the wrong unit", "thigh|metres", _facts(unit="mm"), "poses"),
    Case("own poses: a column is missing", "subject", _poses(subject=None), "poses"),
    Case(
        "own poses: an unknown split", "dev", _poses(split=np.full(len(_POSES_3D), "dev")), "poses"
    ),
    Case(
        "own poses: swapped axes", "pose_3d", _poses(pose_3d=_POSES_3D.transpose(0, 2, 1)), "poses"
    ),
    Case(
        "own poses: columns of objects",
        "pose_3d|object",
        _poses(pose_3d=_POSES_3D.astype(object)),
        "poses",
        unsafe=True,
    ),
    Case("own poses: a packed bomb", "packed by method 12", _packed_header, "poses"),
    Case(
        "own poses: a header of 2 GB", "a header of 2147483647", _long_header, "poses", unsafe=True
    ),
    Case("own poses: a list of a million numbers", "1000867 values in 18", _long_lists, "poses"),
    Case("own poses: a take in two splits", "column split, row 18", _of_two_splits, "poses"),
    Case(
        "own poses: a note that writes to the terminal",
        "notes.0: holds characters that cannot be printed",
        _facts(notes=["\x1b]0;owned\x07"]),
        "poses",
    ),
    Case("own poses: a lone surrogate", "notes.0", _facts(notes=["\ud800"]), "poses"),
    Case("own poses: true frames per second", "fps: expected a number", _facts(fps=True), "poses"),
    Case(
        "own poses: limbs in another order",
        "expected, in this order, upper arm",
        _facts(
            skeleton={
                **json.loads(json.dumps(asdict(H36M_17))),
                "name": "own",
                "limb_pairs": [H36M_17.limb_pairs[index] for index in (1, 0, 2, 3)],
            }
        ),
        "poses",
    ),
    Case(
        "own poses: integers for coordinates",
        "pose_3d is int8, expected floating-point",
        _poses(pose_3d=np.zeros(_POSES_3D.shape, np.int8)),
        "poses",
    ),
)
"""Cases of the other formats."""
