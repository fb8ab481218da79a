"""`--address auto`: joins what `ray start` left a note of, and only that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
PROBE = """
import json, os, sys
from tuner.adapters.ray_session import RaySession
from tuner.adapters.ray_placement import Slot
import ray

def accelerators():
    return os.environ.get("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")

with RaySession(sys.argv[1], num_cpus=2) as session:
    fitting = session.fitting(Slot(1.0), {})
    accelerators = ray.get(ray.remote(accelerators).remote())
print(json.dumps({"fitting": fitting, "accelerators": accelerators}))
"""


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Ray's files in a folder of their own; its sockets need a short path."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    yield {**kept, "RAY_TMPDIR": folder}
    shutil.rmtree(folder, ignore_errors=True)


def probe(environment: dict[str, str], address: str = "auto") -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, address],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout), done.stderr


def test_auto_joins_a_started_cluster_and_does_without_one_that_has_ended(
    environment: dict[str, str],
) -> None:
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--port=0"]
    command += ["--num-cpus=3", "--include-dashboard=false", "--disable-usage-stats", "--block"]
    note = Path(environment["RAY_TMPDIR"]) / "ray" / "ray_current_cluster"
    head = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not note.exists():
            assert head.poll() is None, "the cluster ended while it started"
            time.sleep(0.2)
        address = note.read_text()
        joined, _ = probe(environment)
        assert joined == {"fitting": 3, "accelerators": "1"}, "the cluster's CPUs, our variables"
        assert head.poll() is None, "a cluster that was joined goes on"
    finally:
        head.terminate()
        head.wait(timeout=60)

    note.write_text(address)
    alone, warning = probe(environment)
    assert alone == {"fitting": 2, "accelerators": "1"}
    assert f"nothing answers at {address}" in warning
    assert "starting Ray on this machine instead" in warning
