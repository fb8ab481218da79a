"""Drivers that are interrupted, or killed outright."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tuner.adapters.ray_reaper import session_processes

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.fault,
    pytest.mark.timeout(240),
]

ROOT = Path(__file__).parents[2]
Driver = subprocess.Popen[str]


@pytest.fixture
def start_driver(tmp_path: Path) -> Iterator[Callable[[float], Driver]]:
    drivers: list[Driver] = []

    def start(step_s: float) -> Driver:
        command = [
            sys.executable,
            "-m",
            "tests.integration.ray_driver",
            str(tmp_path),
            str(step_s),
        ]
        with (tmp_path / "stderr").open("w") as log:
            driver = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
            )
        drivers.append(driver)
        return driver

    yield start
    for driver in drivers:
        driver.kill()
        driver.wait()
        if driver.stdout is not None:
            driver.stdout.close()


def read_until(driver: Driver, beginning: str, *, count: int = 1) -> None:
    assert driver.stdout is not None
    for line in driver.stdout:
        count -= line.startswith(beginning)
        if count == 0:
            return
    pytest.fail(f"the driver ended before it said {beginning!r}")


def descendants(process: int) -> set[int]:
    """All processes below one, from /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found: set[int] = set()
    front = {process}
    while front:
        front = {child for child, parent in parents.items() if parent in front} - found
        found |= front
    return found


def alive(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def running(processes: set[int]) -> set[int]:
    return {process for process in processes if alive(process)}


def wait_until_gone(processes: set[int], *, timeout_s: float = 30.0) -> set[int]:
    deadline = time.monotonic() + timeout_s
    while running(processes) and time.monotonic() < deadline:
        time.sleep(0.2)
    return running(processes)


@pytest.mark.parametrize(
    ("number", "step_s"),
    [
        pytest.param(signal.SIGINT, 0.2, id="SIGINT between epochs"),
        pytest.param(signal.SIGTERM, 600.0, id="SIGTERM in a long epoch"),
    ],
)
def test_an_interrupted_run_cancels_its_trials_and_says_so(
    start_driver: Callable[[float], Driver], number: signal.Signals, step_s: float
) -> None:
    driver = start_driver(step_s)
    read_until(driver, "started", count=2)
    if step_s < 1.0:
        read_until(driver, "epoch", count=2)
    below = descendants(driver.pid)
    driver.send_signal(number)
    said = driver.communicate(timeout=120)[0].splitlines()

    assert driver.returncode == 128 + number
    assert sorted(line for line in said if line.startswith("end")) == [
        "end 0 cancelled",
        "end 1 cancelled",
    ]
    assert f"error interrupted by {number.name}: 2 unfinished trials go on" in said[-1]
    assert not wait_until_gone(below)


def test_an_interrupt_lets_running_epochs_end(start_driver: Callable[[float], Driver]) -> None:
    driver = start_driver(4.0)
    read_until(driver, "started", count=2)
    driver.send_signal(signal.SIGINT)
    said = driver.communicate(timeout=120)[0].splitlines()

    assert driver.returncode == 128 + signal.SIGINT
    assert sorted(line for line in said if line.startswith("epoch")) == ["epoch 0 1", "epoch 1 1"]
    assert said.index("end 0 cancelled") > said.index("epoch 0 1")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find processes")
@pytest.mark.parametrize("step_s", [0.2, 600.0], ids=["between epochs", "in a long epoch"])
def test_nothing_of_ray_outlives_a_killed_driver(
    start_driver: Callable[[float], Driver], step_s: float
) -> None:
    driver = start_driver(step_s)
    read_until(driver, "started", count=2)
    below = descendants(driver.pid)
    assert set(session_processes(driver.pid)) - {driver.pid} <= below
    assert len(below) > 5, "Ray's processes and two workers"
    driver.kill()
    driver.wait()

    assert not wait_until_gone(below)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find processes")
def test_nothing_of_ray_outlives_a_driver_killed_while_ray_starts(
    start_driver: Callable[[float], Driver],
) -> None:
    driver = start_driver(0.2)
    while len(below := descendants(driver.pid)) < 3:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.kill()
    driver.wait()

    assert not wait_until_gone(below | set(session_processes(driver.pid)))
    assert not set(session_processes(driver.pid))
