"""A run's folder that is full, or cannot be locked: one message, never a traceback."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tuner.adapters.jsonl_tracker import JsonlTracker
from tuner.errors import ConfigurationError, RunFailedError
from tuner.records import StudyHistory
from tuner.reports.summary import summarise
from tuner.wiring.lock import driver_lock
from tuner.wiring.tracked import TrackedRun, write_json
from tuner.wiring.writing import writing


@contextmanager
def full_disk() -> Iterator[None]:
    """The kernel refuses every byte, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    with driver_lock(tmp_path / "demo", "demo"):
        held = json.loads((tmp_path / "demo" / "driver.lock").read_text(encoding="utf-8"))
        assert held["process"] == os.getpid()
        with (
            pytest.raises(ConfigurationError, match=f"driven by process {os.getpid()} on "),
            driver_lock(tmp_path / "demo", "demo"),
        ):
            pass
    with driver_lock(tmp_path / "demo", "demo"):
        pass


def test_a_lock_on_a_full_disk_can_be_taken_later(tmp_path: Path) -> None:
    told = r"driver\.lock cannot be written: File too large; make room there, then repeat"
    with full_disk(), pytest.raises(RunFailedError, match=told), driver_lock(tmp_path, "demo"):
        pass
    assert RunFailedError.exit_code == 1
    with driver_lock(tmp_path, "demo"):
        pass


def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    told = r"--home: .* cannot be locked: Function not implemented; give a folder on a file system"
    with pytest.raises(ConfigurationError, match=told), driver_lock(tmp_path, "demo"):
        pass


def test_a_home_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with (
        pytest.raises(ConfigurationError, match=r"--home: .* cannot be written: Not a directory"),
        driver_lock(file / "demo", "demo"),
    ):
        pass


def test_facts_that_find_no_room_stop_the_run(tmp_path: Path) -> None:
    path = write_json(tmp_path / "facts.json", {"a": 1})
    told = r"facts\.json cannot be written: File too large; make room there, then repeat"
    with full_disk(), pytest.raises(RunFailedError, match=told):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}


def test_a_folder_that_is_gone_is_no_lack_of_room(tmp_path: Path) -> None:
    told = r"gone cannot be written: No such file or directory; see to its folder, then repeat"
    with pytest.raises(RunFailedError, match=told), writing(tmp_path / "gone"):
        (tmp_path / "gone" / "file").touch()


def test_a_report_that_finds_no_room_stops_the_run(
    build_run: Callable[..., dict[str, StudyHistory]], tmp_path: Path
) -> None:
    histories = build_run()
    summary = summarise("demo", histories)
    tracker = JsonlTracker(tmp_path / "tracking.jsonl")
    tracked = TrackedRun(tracker, cast("Any", None), tmp_path, tmp_path)
    told = r"report cannot be written: File too large; make room there, then repeat"
    with full_disk(), pytest.raises(RunFailedError, match=told):
        tracked.finish(summary, histories)
