"""The restricted reader: reads what the field writes, refuses what could run code."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from tests.trainables.data.npz_writer import Calls, object_array, write_pickled
from trainables.data.npz_reader import read_npz
from trainables.errors import DataError, UnsafeDataError

on_files = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


arrays = st_numpy.arrays(
    dtype=st.sampled_from(["<f4", "<f8", "<f2", ">f4", "<i4", "|u1", "|b1", "<U3", "|S4"]),
    shape=st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | arrays,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def assert_same(found: object, expected: object) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert isinstance(found, np.ndarray)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert isinstance(found, dict)
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, (list, tuple)):
        assert isinstance(found, (list, tuple))
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


@on_files
@given(value=values, protocol=st.integers(0, 4))
def test_reads_back_every_plain_value(tmp_path: Path, value: Any, protocol: int) -> None:
    path = write_pickled(tmp_path / "a.npz", pickle.dumps(object_array(value), protocol))
    assert_same(read_npz(path)["data"], value)


@on_files
@given(array=arrays)
def test_reads_back_plain_arrays(tmp_path: Path, array: np.ndarray) -> None:
    np.savez_compressed(tmp_path / "a.npz", first=array, second=np.asfortranarray(array))
    read = read_npz(tmp_path / "a.npz")
    assert_same(read["first"], array)
    assert_same(read["second"], array)


def test_reads_what_numpy_saves_and_only_the_keys_asked_for(tmp_path: Path) -> None:
    nested = {"S1": {"walk": [np.arange(6, dtype=np.float32).reshape(2, 3), np.float64(1.5)]}}
    many = np.asarray([{"a": 1}, "text", None], dtype=object)
    np.savez(tmp_path / "a.npz", positions=object_array(nested), many=many, rest=np.zeros(2))
    read = read_npz(tmp_path / "a.npz", ("positions", "many"))
    assert sorted(read) == ["many", "positions"]
    np.testing.assert_array_equal(read["positions"]["S1"]["walk"][0], [[0, 1, 2], [3, 4, 5]])
    assert read["positions"]["S1"]["walk"][1] == 1.5
    assert read["many"].tolist() == [{"a": 1}, "text", None]


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_knows_the_names_of_numpy_1_and_2(tmp_path: Path, module: str) -> None:
    pickled = pickle.dumps(object_array([np.arange(3), np.float32(2.0)]), protocol=2)
    for name in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        pickled = pickled.replace(b"c" + name + b"\n", b"c" + module.encode() + b"\n")
    assert module.encode() in pickled
    read = read_npz(write_pickled(tmp_path / "a.npz", pickled))["data"]
    assert read[0].tolist() == [0, 1, 2]
    assert read[1] == 2.0


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_malicious_pickle_is_refused_by_name_and_does_not_run(
    tmp_path: Path, protocol: int, wrapped: bool
) -> None:
    marker = tmp_path / "executed"
    payload = Calls(os.system, f"touch {marker}")
    value = object_array({"S1": [np.zeros(3), payload]}) if wrapped else payload
    path = write_pickled(tmp_path / "a.npz", pickle.dumps(value, protocol))
    with pytest.raises(UnsafeDataError, match=r"a\.npz.*asks for (posix|nt)\.system"):
        read_npz(path)
    assert not marker.exists()
    # the same file does run it in the ordinary reader, so the assertion above means something
    np.load(path, allow_pickle=True)["data"]
    assert marker.exists()


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (eval, ("1 + 1",), r"(builtins|__builtin__)\.eval"),
        (getattr, ("text", "upper"), r"(builtins|__builtin__)\.getattr"),
        (np.load, ("x.npy",), r"numpy\.load"),
        (np.frombuffer, (b"1234",), r"numpy.*frombuffer"),
        (os.getcwd, (), r"posix\.getcwd|nt\.getcwd"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_every_other_name_is_refused(
    tmp_path: Path,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    name: str,
    protocol: int,
) -> None:
    pickled = pickle.dumps(Calls(function, *arguments), protocol)
    with pytest.raises(UnsafeDataError, match=name):
        read_npz(write_pickled(tmp_path / "a.npz", pickled))


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"(S'true'\nios\nsystem\n.", r"INST os\.system"),
        (b"\x80\x02P1\n.", "PERSID"),
        (b"cnumpy\ndtype\n)\x81.", "NEWOBJ"),
        (b"\x82\x01.", "EXT1"),
        (b"cnumpy\ndtype\n}b.", "change what builds its arrays"),
        (b"cnumpy\ndtype\n(N}X\x09\x00\x00\x00_functionNstb.", "change what builds its arrays"),
    ],
)
def test_opcodes_that_build_objects_are_refused(
    tmp_path: Path, pickled: bytes, message: str
) -> None:
    with pytest.raises(UnsafeDataError, match=message):
        read_npz(write_pickled(tmp_path / "a.npz", pickled))


def array_pickle(shape: str, dtype: str, data: str, order: str = "<") -> bytes:
    """A hand-written protocol-0 pickle of an array; `data` and `shape` are pickle fragments."""
    return (
        "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        f"(I1\n{shape}cnumpy\ndtype\n(S'{dtype}'\nI00\nI01\ntR(I3\nS'{order}'\nNNNI-1\nI-1\nI0\ntb"
        f"I00\n{data}tb."
    ).encode()


@pytest.mark.parametrize(
    ("shape", "dtype", "data", "message"),
    [
        ("(I9999999999999\nt", "f4", "S'1234'\n", "no array shape"),
        ("(I100000\nt", "f4", "S'1234'\n", "4 bytes for shape"),
        ("(I-1\nt", "f4", "S'1234'\n", "no array shape"),
        ("(I3\nt", "O", "(lN0", "protocol|not a readable"),
        ("(I3\nt", "O8", "(lp1\nNa", "without as many objects"),
        ("(I1\nt", "V4", "S'1234'\n", "are not supported"),
        ("(I1\nt", "f4", "I1234\n", "array data of type int"),
    ],
)
def test_arrays_whose_sizes_lie_are_refused(
    tmp_path: Path, shape: str, dtype: str, data: str, message: str
) -> None:
    path = write_pickled(tmp_path / "a.npz", array_pickle(shape, dtype, data))
    with pytest.raises(DataError, match=message):
        read_npz(path)


def test_the_hand_written_pickle_is_right_when_its_sizes_are(tmp_path: Path) -> None:
    pickled = array_pickle("(I2\nt", "i2", "S'\\x01\\x00\\x02\\x00'\n")
    with pytest.raises(DataError, match=r"shape \(\), the pickle differs"):
        read_npz(write_pickled(tmp_path / "a.npz", pickled))
    inner = pickle.loads(pickled)
    assert inner.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "memo index 2147483647 is absurd"),
        (b"N0.", "not a readable npz"),
        (b"", "not a readable npz"),
        (b"(lp0\ng0\na.", "nested deeper"),
    ],
)
def test_absurd_pickles_are_data_errors(tmp_path: Path, pickled: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_npz(write_pickled(tmp_path / "a.npz", pickled))


def test_shared_parts_do_not_multiply(tmp_path: Path) -> None:
    value: list[Any] = [np.zeros(2)]
    for _ in range(25):  # 2^25 leaves if every reference were followed
        value = [value, value]
    read = read_npz(write_pickled(tmp_path / "a.npz", pickle.dumps(object_array(value), 3)))
    assert read["data"][0] is read["data"][1]


@pytest.fixture
def good_file(tmp_path: Path) -> Path:
    nested = {"S1": {"walk": [np.ones((4, 3), np.float32)] * 2}, "n": 17, "t": ("a", 2.5)}
    np.savez_compressed(tmp_path / "good.npz", data=object_array(nested), plain=np.arange(50))
    return tmp_path / "good.npz"


@on_files
@given(data=st.data())
def test_a_truncated_file_is_a_data_error(good_file: Path, data: st.DataObject) -> None:
    content = good_file.read_bytes()
    cut = good_file.with_name("cut.npz")
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(
        DataError, match=r"cut\.npz: not a readable npz file.*truncated or damaged"
    ):
        read_npz(cut)


@settings(on_files, max_examples=300)
@given(position=st.floats(0, 0.999), byte=st.integers(0, 255))
def test_a_damaged_pickle_is_read_or_refused_but_never_breaks(
    tmp_path: Path, position: float, byte: int
) -> None:
    nested = {"S1": [np.ones((2, 3), np.float32), np.float64(2.0)], "n": (17, b"x")}
    pickled = bytearray(pickle.dumps(object_array(nested), 2))
    pickled[int(position * len(pickled))] = byte
    path = write_pickled(tmp_path / "a.npz", bytes(pickled))
    with contextlib.suppress(DataError):  # any other error fails the test
        assert sorted(read_npz(path)) == ["data"]


def test_an_encrypted_file_is_refused(good_file: Path) -> None:
    content = bytearray(good_file.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # where the flags are
        at = content.find(magic)
        while at >= 0:
            content[at + offset] |= 0x1
            at = content.find(magic, at + 1)
    good_file.write_bytes(content)
    with zipfile.ZipFile(good_file) as archive, pytest.raises(RuntimeError, match="encrypted"):
        archive.read("data.npy")
    with pytest.raises(DataError, match=r"good\.npz \[data\.npy\]: encrypted, expected a plain"):
        read_npz(good_file)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_packings_that_numpy_does_not_write_are_refused(tmp_path: Path, method: int) -> None:
    np.save(tmp_path / "a.npy", np.arange(5000) % 77)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.write(tmp_path / "a.npy", "data.npy")
    with pytest.raises(DataError, match=rf"packed by method {method}, which numpy does not"):
        read_npz(tmp_path / "a.npz")


def test_a_member_that_does_not_decompress_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.save(tmp_path / "a.npy", np.arange(5000) % 77)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.npy", "data.npy")
    np.testing.assert_array_equal(read_npz(path)["data"], np.arange(5000) % 77)
    content = bytearray(path.read_bytes())
    start = 30 + len("data.npy")  # the member's data follow its header and name
    middle = (start + content.find(b"PK\x01\x02")) // 2
    refused = 0
    for position in (*range(start, start + 40), *range(middle, middle + 40)):
        damaged = content.copy()
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with contextlib.suppress(DataError):  # any other error fails the test
            read_npz(path)
            refused -= 1
        refused += 1
    assert refused >= 70


def test_an_array_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "data.npy")
        archive.write(tmp_path / "a.npy", "data")
    with pytest.raises(DataError, match="holds the array 'data' twice"):
        read_npz(tmp_path / "a.npz")


def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999,), }\n"
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\x00" * 16
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", body)
    with pytest.raises(DataError, match=r"16 bytes for shape \(999999999,\)"):
        read_npz(tmp_path / "a.npz")


def test_objects_are_refused_unread_where_there_may_be_none(good_file: Path) -> None:
    message = r"good\.npz \[data\.npy\]: holds pickled objects; refused, expected plain arrays"
    with pytest.raises(UnsafeDataError, match=message):
        read_npz(good_file, allow_objects=False)
    assert sorted(read_npz(good_file, ("plain",), allow_objects=False)) == ["plain"]


def test_structured_arrays_with_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", data=np.zeros(2, dtype=[("a", "f4"), ("b", "O")]))
    with pytest.raises(UnsafeDataError, match="structured arrays with objects"):
        read_npz(tmp_path / "a.npz")


def test_missing_files_and_keys_are_named(good_file: Path) -> None:
    with pytest.raises(DataError, match=r"none\.npz: no such file"):
        read_npz(good_file.with_name("none.npz"))
    with pytest.raises(DataError, match=r"found the arrays \['data', 'plain'\], expected \['x'\]"):
        read_npz(good_file, ("x", "data"))
    with pytest.raises(DataError, match="not a readable npz file"):
        read_npz(good_file.parent)
