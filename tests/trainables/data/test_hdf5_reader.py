"""HDF5 files that lead out of themselves, claim too much, or hold no numbers are refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from trainables.data.hdf5_reader import MAX_DATASET_BYTES, read_hdf5
from trainables.errors import DataError, UnsafeDataError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.mat"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "u1", "<i2"])
def test_arrays_come_back_as_written(path: Path, chunked: bool, dtype: str) -> None:
    array = np.arange(210).reshape(7, 1, 30).astype(dtype)
    options = {"compression": "gzip", "shuffle": True, "chunks": (4, 1, 7)} if chunked else {}
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("a", data=array, **options)
        file["other"] = h5py.ExternalLink("nowhere.h5", "/a")
    found = read_hdf5(path, ("a",))
    assert list(found) == ["a"]
    assert found["a"].dtype == array.dtype
    np.testing.assert_array_equal(found["a"], array)


def test_links_are_refused_and_not_followed(path: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["a"] = np.ones(3)
    with h5py.File(path, "w") as file:
        file["external"] = h5py.ExternalLink(str(tmp_path / "b.h5"), "/a")
        file["soft"] = h5py.SoftLink("/external")
    for name in ("external", "soft"):
        with pytest.raises(UnsafeDataError, match=rf"a\.mat \[{name}\]: a link to another place"):
            read_hdf5(path, (name,))


def test_data_in_other_files_are_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(800))
    layout = h5py.VirtualLayout(shape=(100,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "b.h5"), "a", shape=(100,))
    with h5py.File(path, "w") as file:
        file.create_dataset("e", (100,), "f8", external=[(str(tmp_path / "secret"), 0, 800)])
        file.create_virtual_dataset("v", layout)
    with pytest.raises(UnsafeDataError, match=r"\[e\]: its data lie in another file, b'.*secret"):
        read_hdf5(path, ("e",))
    with pytest.raises(UnsafeDataError, match=r"\[v\]: a virtual data set"):
        read_hdf5(path, ("v",))


def test_what_is_no_plain_number_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("group")
        file["text"] = "text"
        file.create_dataset("reference", data=group.ref, dtype=h5py.ref_dtype)
        file["record"] = np.zeros(3, [("a", "f8"), ("b", "i4")])
        file["opaque"] = np.void(b"1234")
        file["complex"] = np.zeros(3, complex)
        file["type"] = np.dtype("f8")
        file["long"] = np.zeros(3, np.longdouble)
    for name in ("group", "text", "reference", "record", "opaque", "complex", "type"):
        with pytest.raises(DataError, match=rf"\[{name}\]: .*expected an array of numbers"):
            read_hdf5(path, (name,))
    with pytest.raises(DataError, match=r"\[long\]: shape \(3,\) of 16-byte items, expected plai"):
        read_hdf5(path, ("long",))


def test_other_filters_are_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("lzf", data=np.ones(100), compression="lzf")
        file.create_dataset("checked", data=np.ones(100), fletcher32=True)
    for name in ("lzf", "checked"):
        with pytest.raises(UnsafeDataError, match="only gzip and shuffle are read"):
            read_hdf5(path, (name,))


def test_absurd_sizes_are_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("declared", (MAX_DATASET_BYTES,), "f8", compression="gzip")
        file.create_dataset(
            "chunk", (10,), "u1", chunks=(MAX_DATASET_BYTES + 1,), maxshape=(None,)
        )
        file.create_dataset("bomb", data=np.zeros(65 << 20, "u1"), compression="gzip", chunks=True)
        file.create_dataset("empty", (10,), "f8", chunks=(5,))
        file.create_dataset("partly", (10,), "f8", chunks=(5,))[:5] = 1.0
    for name in ("declared", "chunk"):
        with pytest.raises(UnsafeDataError, match=rf"\[{name}\]: claims to unpack to \d+ bytes"):
            read_hdf5(path, (name,))
    with pytest.raises(UnsafeDataError, match=r"claims to unpack to \d+ bytes \(\d{3,} times"):
        read_hdf5(path, ("bomb",))
    with pytest.raises(DataError, match=r"declares the shape \(10,\) but holds no data"):
        read_hdf5(path, ("empty",))
    with pytest.raises(DataError, match="1 of 2 pieces are there"):
        read_hdf5(path, ("partly",))


@pytest.mark.parametrize(
    ("raw", "error", "message"),
    [
        (zlib.compress(bytes(1 << 20)), UnsafeDataError, "more than the 800 bytes"),
        (zlib.compress(bytes(799)), DataError, "piece 0 has 799 of 800 bytes"),
        (b"x" * 100, DataError, "not a readable HDF5 file .error"),
        (zlib.compress(np.random.default_rng(0).bytes(4000)), DataError, "not stored as declared"),
    ],
)
def test_pieces_that_unpack_to_another_size_are_refused(
    path: Path, raw: bytes, error: type[DataError], message: str
) -> None:
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("a", (100,), "f8", chunks=(100,), compression="gzip")
        dataset.id.write_direct_chunk((0,), raw)
    with pytest.raises(error, match=message):
        read_hdf5(path, ("a",))


def test_files_of_other_kinds_are_refused(path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_hdf5(path, ("a",))
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(DataError, match="not a readable HDF5 file"):
        read_hdf5(path, ("a",))
    path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(600))
    with pytest.raises(DataError, match=r"expected version 7\.3 .HDF5."):
        read_hdf5(path, ("a",))


def test_a_missing_array_is_named_with_what_is_there(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["b"] = 1.0
    with pytest.raises(DataError, match=r"found the arrays \['b'\], expected \['a'\] as well"):
        read_hdf5(path, ("a", "b"))


def test_damaged_bytes_give_an_error_or_the_same_shape(path: Path) -> None:
    array = np.arange(600.0).reshape(20, 30)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=array, compression="gzip", chunks=(10, 30))
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        place = int(rng.integers(len(content) - 4))
        damaged = bytearray(content)
        damaged[place : place + 4] = struct.pack("<I", int(rng.integers(1 << 32)))
        path.write_bytes(damaged)
        try:
            found = read_hdf5(path, ("a",))["a"]
        except DataError:
            refused += 1
        else:
            assert found.size <= MAX_DATASET_BYTES
    assert refused > 20
