"""Runs `tuner greedy` as a user does, small enough for a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SMALL = [
    *("--backbone", "videopose", "--preset", "quick", "--epochs", "2", "--json"),
    *("--set", "steps_per_epoch=3", "--set", "energy_poses=4", "--set", "batch_size=32"),
    *("--set", "data.max_eval_poses=100", "--set", "backbone_options.channels=64"),
    *("--set", "loss_net_options.width=32", "--set", "loss_net_options.depth=2"),
]
"""The whole search with small nets: about 20 s on two CPU cores."""


def command(home: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "tuner", "greedy", *SMALL, "--home", str(home), *words]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def start(home: Path, *words: str) -> subprocess.Popen[str]:
    """Start a search; its lines come on `stderr`."""
    return subprocess.Popen(
        command(home, *words),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    """Read the lines of a search up to one that holds a text."""
    assert process.stderr is not None
    heard = []
    for line in process.stderr:
        if text in line:
            return
        heard.append(line)
    raise AssertionError(f"the search ended without saying {text!r}:\n{''.join(heard)}")


def run(home: Path, *words: str) -> dict[str, Any]:
    """Run a search to its end and return what it printed."""
    done = subprocess.run(
        command(home, *words),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def table(printed: dict[str, Any]) -> dict[str, Any]:
    """What two runs of the same seed must share, bit for bit."""
    names = ("stages", "baseline", "seal", "confirmation", "check", "trainings", "state")
    return {name: printed[name] for name in names}
