"""Files that are written as a whole: never half of one, and no leavings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.whole_file import whole_file

ROOT_FOLDER = Path(__file__).parents[2]
HANG = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from trainables.whole_file import whole_file\n"
    "with whole_file(Path(sys.argv[1])) as stream:\n"
    "    print('writing', flush=True)\n"
    "    time.sleep(600)\n"
)


def write(path: Path, content: bytes) -> None:
    with whole_file(path) as stream:
        stream.write(content)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_says_who_may_read_it(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, b"old")

    def fail() -> None:
        with whole_file(path) as stream:
            stream.write(b"new")
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        fail()
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("a", b"old")]


def test_the_next_writer_clears_away_after_a_killed_one_but_not_after_a_living_one(
    tmp_path: Path,
) -> None:
    path, other = tmp_path / "a", tmp_path / ".a.mine.part"
    other.write_bytes(b"somebody's")
    writer = subprocess.Popen(
        [sys.executable, "-c", HANG, str(path)], cwd=ROOT_FOLDER, stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        write(path, b"x")
        assert len(list(tmp_path.iterdir())) == 3
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    write(path, b"y")
    assert sorted(found.name for found in tmp_path.iterdir()) == [other.name, "a"]
    assert path.read_bytes() == b"y"
