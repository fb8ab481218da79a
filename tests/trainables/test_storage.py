"""Files in folders: whole, replaced in one go, and refused with a reason."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trainables.errors import CheckpointError, StorageFullError
from trainables.storage import (
    FolderStorage,
    check_shared,
    check_writable,
    file_exists,
    is_remote,
    open_storage,
    read_file,
    write_fault,
)


def test_a_file_is_replaced_and_the_one_before_kept(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "root")
    storage.write("a/file", b"1")
    first = storage.version("a/file")
    storage.write("a/file", b"2", keep_as="a/before")
    assert (storage.read("a/file"), storage.read("a/before")) == (b"2", b"1")
    assert storage.version("a/file") != first
    assert storage.location("a/file") == str(tmp_path / "root" / "a" / "file")
    assert read_file(storage.location("a/file")) == b"2"


def test_what_is_not_there_is_no_version_and_deleted_twice(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    assert storage.version("a/file") is None
    storage.write("a/file", b"1")
    storage.delete("a/file")
    storage.delete("a/file")
    assert not (tmp_path / "a").exists(), "an empty folder is not left behind"
    with pytest.raises(FileNotFoundError, match="No such file"):
        storage.read("a/file")


def test_a_file_system_that_cannot_flush_folders_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    storage = FolderStorage(tmp_path)
    storage.write("a/file", b"1")
    assert storage.read("a/file") == b"1"


def test_a_root_is_checked_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "root")
    assert list((tmp_path / "new" / "root").iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"cannot write .*file.*(Not a directory|File exists)"
    ):
        check_writable(tmp_path / "file")


@pytest.mark.parametrize(
    "root", ["gs://bucket/x", "s3://", "s3://user:password@bucket/x?access_key=y", "s3://B U/x"]
)
def test_a_root_of_another_kind_is_refused_and_not_repeated(root: str) -> None:
    assert is_remote(root)
    with pytest.raises(CheckpointError, match="a folder or at s3://BUCKET/PREFIX") as caught:
        open_storage(root)
    assert "password" not in str(caught.value).replace("no user, password", "")
    assert not file_exists(f"{root}/file")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_an_error_of_its_own(number: int) -> None:
    fault = write_fault("/there/file", OSError(number, os.strerror(number)))
    assert isinstance(fault, StorageFullError)
    assert str(fault).startswith(f"cannot write /there/file: {os.strerror(number)}; check the")
    assert not isinstance(
        write_fault("/x", PermissionError(errno.EACCES, "denied")), StorageFullError
    )


def test_a_root_that_tells_nothing_of_what_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FolderStorage.read

    def forbid(storage: FolderStorage, name: str) -> bytes:
        try:
            return read(storage, name)
        except FileNotFoundError as error:
            raise PermissionError("ACCESS_DENIED") from error

    monkeypatch.setattr(FolderStorage, "read", forbid)
    with pytest.raises(CheckpointError, match=r"ACCESS_DENIED; .*grant s3:ListBucket on it"):
        check_writable(tmp_path)


def test_a_root_is_shared_if_what_was_written_elsewhere_is_seen_and_more_can_be(
    tmp_path: Path,
) -> None:
    there = tmp_path / "there"
    FolderStorage(there).write(".seen", b"1")
    assert check_shared(str(there), ".seen", b"1") is None
    assert [path.name for path in there.iterdir()] == [".seen"]
    for name, content in ((".seen", b"2"), (".other", b"1")):
        fault = check_shared(str(there), name, content)
        assert fault is not None
        assert fault.startswith(f"{there} there is not what it is here")
    assert not (tmp_path / "nowhere").exists()
    assert "is neither" in str(check_shared("gs://bucket", ".seen", b"1"))
