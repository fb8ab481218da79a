"""What an npz file may not do to whoever reads it: fill the memory, write to the terminal."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trainables.data import npz_reader
from trainables.data.npz_reader import read_npz
from trainables.errors import DataError, UnsafeDataError


@pytest.fixture
def good_file(tmp_path: Path) -> Path:
    path = tmp_path / "good.npz"
    np.savez(path, data=np.arange(5000) % 77, plain=np.arange(60.0))
    return path


def test_a_zip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_reader, "RATIO_CHECKED_FROM_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "bomb.npz", data=np.zeros(1 << 19))
    with pytest.raises(
        UnsafeDataError, match=r"bomb\.npz \[data\.npy\]: claims to unpack to 4194"
    ):
        read_npz(tmp_path / "bomb.npz")


def test_a_member_beyond_the_limit_is_refused(
    good_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz_reader, "MAX_MEMBER_BYTES", 300)
    with pytest.raises(UnsafeDataError, match="the limits are 300 bytes"):
        read_npz(good_file)


def test_many_small_bombs_are_refused_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz_reader, "RATIO_CHECKED_FROM_BYTES", 1 << 20)
    small = np.zeros(1 << 16)  # half a MiB
    np.savez_compressed(tmp_path / "a.npz", one=small, two=small, three=small)
    assert sorted(read_npz(tmp_path / "a.npz", ("one",))) == ["one"]
    with pytest.raises(UnsafeDataError, match=r"a\.npz: claims to unpack to 1573\d+ bytes"):
        read_npz(tmp_path / "a.npz")


def test_a_member_never_unpacks_beyond_the_size_that_it_claims(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", data=np.zeros(1 << 23))  # 64 MiB in 64 KiB
    content = bytearray((tmp_path / "a.npz").read_bytes())
    entry = content.find(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (1000).to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="not a readable npz file"):
            read_npz(tmp_path / "a.npz")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_header_of_absurd_length_is_refused(tmp_path: Path) -> None:
    body = b"\x93NUMPY\x02\x00" + (20_000).to_bytes(4, "little") + b" " * 20_000
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", body)
    message = r"\[data\.npy\]: claims a header of 20000 bytes; refused, the limit is 10000"
    for allowed in (True, False):
        with pytest.raises(UnsafeDataError, match=message):
            read_npz(tmp_path / "a.npz", allow_objects=allowed)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_packed_header_is_not_unpacked_to_look_for_objects(tmp_path: Path, method: int) -> None:
    body = b"\x93NUMPY\x02\x00" + (32 << 20).to_bytes(4, "little") + b" " * (32 << 20)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("data.npy", body)
    del body
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"packed by method {method}"):
            read_npz(tmp_path / "a.npz", allow_objects=False)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_names_of_arrays_do_not_act_on_a_terminal(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("\x1b[2J.npy", b"x")
    with pytest.raises(DataError, match=r"packed by method") as caught:
        read_npz(tmp_path / "a.npz")
    assert str(caught.value).isprintable()
