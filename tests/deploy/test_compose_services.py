"""The MLflow server as compose starts it, really started (on SQLite and local files)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]


def service() -> dict[str, list[str]]:
    compose = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())
    mlflow = compose["services"]["mlflow"]
    return {"command": mlflow["command"], "check": mlflow["healthcheck"]["test"]}


def status_of(url: str, *, host: str) -> int:
    try:
        request = urllib.request.Request(url, headers={"Host": host})
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def check_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The health check's URL, on a server started by the command of the compose file."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    local = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
        "--artifacts-destination": str(folder / "artifacts"),
    }
    words = [
        f"{name}={local.get(name, value)}" if sign else word
        for word in service()["command"]
        for name, sign, value in [word.partition("=")]
    ]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
    }
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = service()["check"][-1].replace(":5000", f":{port}")
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                status_of(url, host="localhost:5000")
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("mlflow:5000", 200),
        ("localhost:5000", 200),
        ("127.0.0.1:5000", 200),
        ("attacker.example", 403),
    ],
)
def test_clients_are_told_apart_by_the_name_they_use(
    check_url: str, host: str, expected: int
) -> None:
    assert status_of(check_url, host=host) == expected
