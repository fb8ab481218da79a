from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.cli._checks import (
    Check,
    CheckResult,
    check_disk,
    check_packages,
    check_study_store,
    check_tracking,
)
from tuner.cli.doctor import run_checks
from tuner.settings import resolve_locations

Call = Callable[..., Any]
Usage = namedtuple("Usage", "total used free")
GIB = 1024**3
ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_healthy_machine_passes_and_nothing_is_written(call: Call, tmp_path: Path) -> None:
    home = tmp_path / "nowhere"
    done = call("doctor", "--home", home, "--json")
    found = done.json()
    assert done.code == 0
    assert found["state"] == "ok"
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert set(states) == {
        *("packages", "devices", "disk", "study store", "tracking", "sample data"),
        *("data cache", "ray"),
    }
    assert "fail" not in states.values()
    assert not home.exists()


def test_what_is_installed_fits(tmp_path: Path) -> None:
    result = check_packages(resolve_locations(home=tmp_path), "local")
    assert result.state == "ok"
    assert "ray 2.60" in result.found


DOCTOR_WITHOUT_RAY = """
import json, sys
from pathlib import Path
from tuner.cli._checks import CHECKS
from tuner.cli.doctor import run_checks
from tuner.settings import resolve_locations

locations = resolve_locations(home=Path(sys.argv[1]), tracking_uri="http://127.0.0.1:9")
checks = [check for check in CHECKS if check[0] != "ray"]
results = run_checks(checks, lambda check: check(locations, "local"), say=lambda _: None)
print(json.dumps({result.name: result.to_json() for result in results}))
"""


@pytest.mark.integration
@pytest.mark.slow
def test_a_missing_package_is_named_and_spoils_no_other_check(tmp_path: Path) -> None:
    installed = Path(str(importlib.metadata.distribution("mlflow").locate_file("")))
    packages = tmp_path / "packages"
    packages.mkdir()
    for entry in installed.iterdir():
        if not entry.name.startswith("mlflow"):
            (packages / entry.name).symlink_to(entry)

    done = subprocess.run(
        [sys.executable, "-S", "-c", DOCTOR_WITHOUT_RAY, str(tmp_path / "home")],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}"},
        capture_output=True,
        text=True,
        check=True,
    )

    found = json.loads(done.stdout)
    asked = next(
        line
        for line in importlib.metadata.requires("seal-pose-tuner") or []
        if line.startswith("mlflow")
    )
    assert found["packages"] == {
        "name": "packages",
        "state": "fail",
        "found": f"{asked} is missing",
        "cure": f"pip install '{asked}'",
    }
    assert found["tracking"]["found"] == "No module named 'mlflow'"
    assert "see `packages`" in found["tracking"]["cure"]
    failed = {name for name, result in found.items() if result["state"] == "fail"}
    assert failed == {"packages", "tracking"}


@pytest.mark.integration
def test_a_tracking_server_that_is_down_fails_with_a_cure(tmp_path: Path) -> None:
    uri = f"http://ann:hunter2@127.0.0.1:{free_port()}"
    result = check_tracking(resolve_locations(home=tmp_path, tracking_uri=uri), "local")
    assert result.state == "fail"
    assert "--tracking-uri" in result.cure
    assert "hunter2" not in result.found + result.cure


@pytest.mark.integration
def test_a_database_that_is_down_fails_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql+psycopg2://ann:hunter2@127.0.0.1:{free_port()}/tuner"
    result = check_study_store(resolve_locations(home=tmp_path, storage=url), "local")
    assert result.state == "fail"
    assert "hunter2" not in result.found + result.cure


def test_a_store_that_is_no_store_fails(tmp_path: Path) -> None:
    path = tmp_path / "studies.db"
    path.write_bytes(b"this is no database" * 100)
    locations = resolve_locations(home=tmp_path, storage=f"sqlite:///{path}")
    assert check_study_store(locations, "local").state == "fail"


def test_a_store_that_is_not_there_yet_is_fine(tmp_path: Path) -> None:
    result = check_study_store(resolve_locations(home=tmp_path / "new" / "home"), "local")
    assert result.state == "ok"
    assert "will be created" in result.found


@pytest.mark.parametrize(
    ("free_gib", "state"), [(0.5, "fail"), (1.0, "warn"), (4.9, "warn"), (5.0, "ok")]
)
def test_little_disk_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_gib: float, state: str
) -> None:
    free = int(free_gib * GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free, 0, free))
    result = check_disk(resolve_locations(home=tmp_path), "local")
    assert result.state == state
    assert bool(result.cure) == (state != "ok")


def test_a_check_that_breaks_hides_no_other() -> None:
    def breaks(*_: object) -> CheckResult:
        raise RuntimeError("torn\nlibrary")

    def works(*_: object) -> CheckResult:
        return CheckResult("second", "ok", "fine")

    checks: list[tuple[str, Check]] = [("first", breaks), ("second", works)]
    said: list[str] = []
    locations = resolve_locations()
    results = run_checks(checks, lambda check: check(locations, "local"), say=said.append)
    assert [(r.name, r.state, r.found) for r in results] == [
        ("first", "fail", "torn library"),
        ("second", "ok", "fine"),
    ]
    assert said == ["first", "second"]


@pytest.mark.integration
def test_a_failed_check_makes_the_exit_code_one(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = ("study store", check_study_store)
    monkeypatch.setattr("tuner.cli.doctor.CHECKS", (store,))
    url = f"postgresql+psycopg2://ann@127.0.0.1:{free_port()}/tuner"
    done = call("doctor", "--home", tmp_path, "--storage", url)
    assert done.code == 1
    assert "study store: see the message" in done.out
    assert "a run cannot work yet" in done.out
