"""A real Ray head with token authentication, started and ended by a test."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tuner.adapters.job_access import open_access
from tuner.adapters.jobs import RayJobClient

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Head:
    """A running Ray head."""

    address: str
    agent_address: str
    token: str

    def client(self, script: Path) -> RayJobClient:
        """A client whose jobs run `script` in place of the tuner."""
        access = open_access(self.address, token=self.token)
        return RayJobClient(access, command=(sys.executable, str(script)))


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def wait_until_up(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/api/authentication_mode", timeout=2) as reply:
                assert json.load(reply) == {"authentication_mode": "token"}
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"The Ray head did not come up: {log.read_text()}")


@contextlib.contextmanager
def running_head(log: Path) -> Iterator[Head]:
    """Start a head with two CPUs, and end it and all it started.

    Args:
        log: File for its output.
    """
    # Ray's socket paths must be short, so its folder cannot lie beneath pytest's.
    folder = Path(f"/tmp/ray-{secrets.token_hex(4)}")
    token = secrets.token_hex(16)
    address, agent_address = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [
        *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"),
        *("--node-ip-address=127.0.0.1", f"--port={free_port()}", "--num-cpus=2"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={address.rpartition(':')[2]}"),
        f"--dashboard-agent-listen-port={agent_address.rpartition(':')[2]}",
        *(f"--temp-dir={folder}", "--disable-usage-stats", "--object-store-memory=100000000"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until_up(address, process, log)
        yield Head(address, agent_address, token)
    finally:
        process.terminate()  # `ray start --block` ends what it started
        try:
            process.wait(timeout=30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
