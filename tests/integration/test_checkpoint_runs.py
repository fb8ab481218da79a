"""Whole searches whose checkpoints lie in S3, are damaged, or find the disk full."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.greedy_cli import command, environment, run, start, table
from tests.integration.s3_server import S3Server, s3_server
from tuner.adapters.ray_reaper import session_processes

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.fault,
    pytest.mark.timeout(900),
]

SPACE = """
name: few
description: Two rates, one loss-net.
source: A test.
stages:
  lr_p:
    lr_p: {grid: [5.0e-4, 1.0e-3]}
  lr_l:
    lr_l: {grid: [1.0e-4]}
    alpha: {grid: [5.0e-3]}
  alpha:
    alpha: {grid: [5.0e-3, 1.0e-3]}
"""
EPOCHS = 16
"""Enough for a worker not to finish while its driver is killed."""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a search of four trainings, one at a time."""
    file = tmp_path_factory.mktemp("space") / "few.yaml"
    file.write_text(SPACE, encoding="utf-8")
    few = ["--name", "demo", "--space", str(file), "--epochs", str(EPOCHS)]
    return [*few, "--tracking-uri", "none", "--max-concurrent", "1"]


@pytest.fixture(scope="module")
def undisturbed(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return table(run(tmp_path_factory.mktemp("undisturbed"), *words))


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.variables.items():
            patch.setenv(name, value)
        yield server


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not reached():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(process: subprocess.Popen[str]) -> None:
    """End a search and its workers, which would train, and write, for a moment more."""
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 60
    while left := list(session_processes(process.pid)):
        assert time.monotonic() < deadline, left
        for one in left:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        time.sleep(0.02)


def again(home: Path, *words: str) -> tuple[dict[str, Any], str]:
    """Repeat a command; give what it printed, and its messages."""
    done = subprocess.run(
        command(home, *words), env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_killed_search_with_its_checkpoints_in_s3_ends_like_a_local_one(
    words: list[str], undisturbed: dict[str, Any], s3: S3Server, tmp_path: Path
) -> None:
    words = [*words, "--checkpoint-root", f"s3://{s3.bucket}/searches"]
    process = start(tmp_path, *words)
    # two epochs are trained: the state of the first has become the one before
    wait_until(lambda: any("last.previous" in key for key in s3.keys("searches/demo/")), process)
    kill(process)
    resume = ["runs", "resume", "demo", "--home", str(tmp_path), "--tracking-uri", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *resume, "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert table(printed) == undisturbed
    objects = s3.keys("searches/")
    names = [key.rsplit("/", 1)[1] for key in objects]
    assert (names.count("best.ckpt"), names.count("last.ckpt")) == (4, 4)
    assert len(names) == 8, "nothing of the way there is left"
    assert not (tmp_path / "runs" / "demo" / "checkpoints").exists()
    assert s3.secret not in done.stdout + done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if s3.secret.encode() in path.read_bytes()]

    evaluate = ["evaluate", "demo", "--home", str(tmp_path), "--json"]
    measured = subprocess.run(
        [sys.executable, "-m", "tuner", *evaluate],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    systems = {found["system"]: found for found in json.loads(measured.stdout)["systems"]}
    assert systems["seal"]["checkpoint"].startswith(f"s3://{s3.bucket}/searches/demo/")
    for name in ("baseline", "seal"):
        assert systems[name]["figures"]["mpjpe_mm"] == printed[name]["test"]["mpjpe_mm"]


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("both", [False, True], ids=["the last one", "the one before, too"])
def test_a_damaged_checkpoint_of_a_killed_search_is_told_and_changes_nothing(
    words: list[str], undisturbed: dict[str, Any], tmp_path: Path, both: bool
) -> None:
    folder = tmp_path / "elsewhere"
    words = [*words, "--checkpoint-root", str(folder)]
    process = start(tmp_path / "home", *words)
    wait_until(lambda: bool(list(folder.glob("demo/*/last.previous.ckpt"))), process)
    kill(process)
    (last,) = [path.with_name("last.ckpt") for path in folder.glob("demo/*/last.previous.ckpt")]
    damage(last)
    if both:
        damage(last.with_name("last.previous.ckpt"))
    printed, messages = again(tmp_path / "home", *words)

    assert table(printed) == undisturbed
    assert messages.count(f"{last} is damaged or truncated: its checksum does not match") == 1
    expected = "the training starts anew" if both else "the checkpoint before it is used"
    assert messages.count(expected) == 1


def test_a_loss_that_explodes_is_told_with_step_and_values_and_cannot_win(
    words: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "exploding.yaml"
    file.write_text(SPACE.replace("[5.0e-4, 1.0e-3]", "[5.0e-4, 1.0e30]"), encoding="utf-8")
    printed, messages = again(tmp_path, *words, "--space", str(file))

    first = printed["stages"][0]
    assert first["winner"]["params"] == {"lr_p": 5e-4}
    assert (first["trials"]["finished"], first["trials"]["failed"]) == (1, 1)
    (said,) = [line for line in messages.splitlines() if "became non-finite in epoch" in line]
    assert "step" in said
    assert "last finite values: " in said
    assert printed["state"] == "finished"


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[Path]:
    """A file system of its own; skips where this process may not mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the right to mount a small file system: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, *, leave_bytes: int) -> Path:
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    # a search that runs meanwhile takes its part: then the disk is full earlier, which will do
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while (rest := free - leave_bytes - file.tell()) > 0:
            file.write(bytes(min(rest, 65536)))
    return ballast


def test_a_full_disk_below_the_checkpoints_stops_the_search_until_there_is_room(
    words: list[str], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", megabytes=16) as disk:
        words = [*words, "--checkpoint-root", str(disk)]
        ballast = fill(disk, leave_bytes=500_000)
        process = start(tmp_path / "home", *words)
        _, messages = process.communicate(timeout=400)

        assert process.returncode == 1, messages
        last = messages.strip().splitlines()[-1]
        assert last.startswith(f"tuner: cannot write checkpoint {disk}/demo/")
        assert "No space left on device; check the free space" in last
        assert "give the same command again" in last
        assert not list(disk.rglob("*.tmp"))
        ballast.unlink()
        printed, _ = again(tmp_path / "home", *words)
        assert table(printed) == undisturbed


def test_a_search_whose_whole_home_is_full_stops_and_goes_on_when_there_is_room(
    words: list[str], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("store-patience-s: 2\n", encoding="utf-8")
    words = [*words, "--config", str(file)]
    with small_disk(tmp_path / "disk", megabytes=32) as home:
        process = start(home, *words)
        checkpoints = home / "runs" / "demo" / "checkpoints"
        wait_until(lambda: bool(list(checkpoints.glob("*/last.previous.ckpt"))), process)
        ballast = fill(home, leave_bytes=0)
        _, messages = process.communicate(timeout=400)

        assert process.returncode == 1, messages
        last = messages.strip().splitlines()[-1]
        assert last.startswith("tuner: ")
        assert "space left on device" in last or "disk is full" in last
        assert "Traceback" not in messages
        ballast.unlink()
        printed, _ = again(home, *words)
        assert table(printed) == undisturbed
