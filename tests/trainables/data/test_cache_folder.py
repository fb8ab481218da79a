"""The cache's folder: whose it is, how much it holds, and doing without it."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainables.data.cache_toys import CONFIG, Loader, is_mapped, make_dataset, write_source

ROOT = Path(__file__).parents[3]
STRIDES = [CONFIG.model_copy(update={"stride": number}) for number in (1, 2, 3, 4)]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "data", 1)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_the_folder_and_its_files_are_for_the_user_alone(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "a" / "b"
    previous = os.umask(0)
    try:
        Loader(source, cache)()
    finally:
        os.umask(previous)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir()} == {0o600}


def test_a_folder_that_others_may_write_to_is_not_used(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    loader = Loader(source, cache)
    assert loader().content_hash() == make_dataset(1).content_hash()
    (said,) = warnings_of(caplog)
    assert "the folder may be written by others (drwxrwxrwx); name another one, or: chmod" in said
    assert not list(cache.iterdir())


@needs_root
def test_folders_and_files_of_others_are_not_used(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader = Loader(source, tmp_path / "cache")
    loader()
    for path in loader.cache.path.glob("*.poses"):
        os.chown(path, 12345, -1)
    loader()
    assert "belongs to user 12345" in warnings_of(caplog)[0]
    loader()
    assert loader.reads == 2, "rebuilt as our own"
    os.chown(loader.cache.path, 12345, -1)
    loader()
    assert loader.reads == 3
    assert "the folder belongs to user 12345" in warnings_of(caplog)[1]


def test_without_a_folder_it_works_and_warns_once(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    dataset = Loader(source, tmp_path / "file" / "cache")()
    assert dataset.content_hash() == make_dataset(1).content_hash()
    (said,) = warnings_of(caplog)
    assert "not used for decoded data: [Errno 20] Not a directory" in said


def test_what_cannot_be_replaced_is_left_alone(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader = Loader(source, tmp_path / "cache")
    loader()
    (path,) = loader.cache.path.glob("*.poses")
    path.unlink()
    path.mkdir()
    assert loader().content_hash() == make_dataset(1).content_hash()
    assert "decoded data are not kept" in warnings_of(caplog)[-1]
    assert path.is_dir()
    assert not list(loader.cache.path.glob("*.part"))


FULL_DISK = """
import logging, resource, signal, sys
from pathlib import Path
from tests.trainables.data.cache_toys import Loader, is_mapped
logging.basicConfig(format="%(levelname)s %(message)s")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
data = Loader(Path(sys.argv[1]), Path(sys.argv[2]), poses=1000)()
sys.stdout.write(f"{data.content_hash()} {is_mapped(data)}")
"""


def test_a_full_disk_costs_one_warning(source: Path, tmp_path: Path) -> None:
    """A limit on a process's files ends a write halfway, as a full disk does."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(source), str(cache)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == f"{make_dataset(1, 1000).content_hash()} False"
    assert done.stderr.count("WARNING") == 1
    assert "decoded data are not kept: [Errno 27] File too large" in done.stderr
    assert [path.name for path in cache.iterdir()] == ["lock"]


def test_the_least_recently_used_goes_first(source: Path, tmp_path: Path) -> None:
    one = Loader(source, tmp_path / "cache")
    one(STRIDES[0])
    size = sum(path.stat().st_size for path in one.cache.path.iterdir())
    loader = Loader(source, tmp_path / "cache", limit_bytes=3 * size + size // 2)
    loader(STRIDES[1])
    loader(STRIDES[2])
    loader(STRIDES[0])  # used again: the second is the oldest now
    loader(STRIDES[3])
    assert loader.reads == 3
    assert len(list(loader.cache.path.glob("*.poses"))) == 3
    for used in (STRIDES[0], STRIDES[2], STRIDES[3]):
        loader(used)
    assert loader.reads == 3
    loader(STRIDES[1])
    assert loader.reads == 4


def test_one_that_exceeds_the_limit_is_kept_alone(source: Path, tmp_path: Path) -> None:
    loader = Loader(source, tmp_path / "cache", limit_bytes=10)
    for stride in STRIDES:
        loader(stride)
    assert is_mapped(loader(STRIDES[3]))
    assert loader.reads == 4
    assert len(list(loader.cache.path.glob("*.poses"))) == 1


def test_what_belongs_to_no_entry_is_removed_and_other_files_are_not(
    source: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    orphan = cache / f"h36m-{'0' * 24}-{'0' * 16}.poses"
    for path in (orphan, cache / "left.part", cache / "mine.txt"):
        path.write_text("a")
    Loader(source, cache)()
    names = {path.name for path in cache.iterdir() if not path.name.startswith("h36m-")}
    assert names == {"lock", "mine.txt"}
    assert not orphan.exists()
