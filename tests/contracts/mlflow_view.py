"""Reads runs back from MLflow as the contract suite wants to see them; serves MLflow."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from tests.contracts.tracker import RunView, View
from tuner.adapters.mlflow_session import connect

EXPERIMENT = "seal-pose-tuner/tests"


def all_runs(tracking_uri: str, experiment_name: str = EXPERIMENT) -> list[Any]:
    client = connect(tracking_uri)
    experiment = client.get_experiment_by_name(experiment_name)
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def read_view(tracking_uri: str, experiment_name: str = EXPERIMENT) -> View:
    """All active runs by key. Two runs of one key fail the test that reads them."""
    client = connect(tracking_uri)
    runs = all_runs(tracking_uri, experiment_name)
    key_of = {r.info.run_id: _short_key(r) for r in runs}
    counts = Counter(key_of.values())
    assert max(counts.values()) == 1, f"doubled: {counts.most_common(3)}"
    view: View = {}
    for r in runs:
        points: Counter[tuple[str, int]] = Counter()
        figures = dict(r.data.metrics)
        if "epoch" in figures:
            epochs = {int(p.value) for p in client.get_metric_history(r.info.run_id, "epoch")}
            for name in list(figures):
                history = client.get_metric_history(r.info.run_id, name)
                if name == "epoch":
                    assert len(history) == len(epochs)
                elif name not in _SUMMARY and not name.startswith("best_"):
                    points.update((name, int(point.step)) for point in history)
        parent = r.data.tags.get("mlflow.parentRunId")
        view[key_of[r.info.run_id]] = RunView(
            status=r.info.status,
            parent=None if parent is None else key_of[parent],
            tags=dict(r.data.tags),
            params=dict(r.data.params),
            figures=figures,
            points=points,
        )
    return view


def _short_key(run: Any) -> str:
    tags = run.data.tags
    return str(tags["tuner.key"].removeprefix(tags["tuner.run"]).removeprefix("/"))


_SUMMARY = {"objective", "best_epoch", "epochs", "seconds", "device_seconds"}


class MlflowServer:
    """A real `mlflow server` on a free port; it can be killed and started again."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self._database = database
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {
            "--host": "127.0.0.1",
            "--port": str(self.port),
            "--workers": "1",
            "--backend-store-uri": self._database,
            "--artifacts-destination": str(self.folder / "artifacts"),
        }
        words = [word for pair in options.items() for word in pair]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )

    def wait_until_up(self, *, limit_s: float = 240.0) -> None:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2.0) as answer:
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                time.sleep(0.3)
        raise AssertionError((self.folder / "server.log").read_text()[-2000:])

    def kill(self) -> None:
        """SIGKILL to the server and its workers (its own process group)."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
