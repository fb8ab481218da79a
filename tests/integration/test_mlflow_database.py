"""A database that MLflow was making when its process was killed is no hindrance later."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.greedy_cli import environment
from tuner.adapters.mlflow_session import connect

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.fault]

CODE = "import sys; from tuner.adapters.mlflow_session import connect; connect(sys.argv[1])"


def wait_for_tables(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until MLflow has begun to write somewhere beneath a folder."""
    for _ in range(6000):
        if any(path.stat().st_size for path in folder.rglob("*.db")):
            return
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    raise AssertionError("no database was begun")


def test_a_database_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    process = subprocess.Popen([sys.executable, "-c", CODE, uri], env=environment())
    try:
        wait_for_tables(tmp_path, process)
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    client = connect(uri)
    created = client.create_experiment("after")
    assert client.get_experiment(created).name == "after"
    client.create_registered_model("model")
