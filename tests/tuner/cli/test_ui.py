from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tuner.cli.ui import choose_port
from tuner.records import StudyHistory

Call = Callable[..., Any]
BuildRun = Callable[..., dict[str, StudyHistory]]
StoreRun = Callable[[Mapping[str, StudyHistory]], Path]
ROOT = Path(__file__).parents[3]


def free_port() -> int:
    """Not the usual one, which another program on this machine may take meanwhile."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """Run `tuner ui ARGUMENTS` until its URL is printed; ends it as Ctrl+C does."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tuner", "ui", "--port", str(free_port()), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert match, f"no URL in {line!r}"
        yield match[0]
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 0
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            child.wait(timeout=30)


def refuses_connections(url: str) -> bool:
    port = int(url.rsplit(":", 1)[1])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_mlflow_is_served_on_this_machine_and_ends_with_the_command(tmp_path: Path) -> None:
    from tuner.adapters.mlflow_session import connect

    client = connect(f"sqlite:///{tmp_path}/mlflow.db")
    client.create_experiment("seen")
    with served("--home", str(tmp_path)) as url:
        request = urllib.request.Request(
            f"{url}/api/2.0/mlflow/experiments/search",
            data=b'{"max_results": 10}',
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert b'"seen"' in answer.read()
    assert refuses_connections(url)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_optunas_dashboard_shows_the_studies(store_run: StoreRun, build_run: BuildRun) -> None:
    pytest.importorskip("optuna_dashboard", reason="needs the extra `dashboard`")
    home = store_run(build_run())
    with (
        served("--home", str(home), "--optuna") as url,
        urllib.request.urlopen(f"{url}/api/studies", timeout=30) as answer,
    ):
        assert b"demo/1-lr_p" in answer.read()
    assert refuses_connections(url)


def test_a_tracking_server_is_only_named(call: Call) -> None:
    done = call("ui", "--tracking-uri", "http://ann:hunter2@tracking.example:5000")
    assert done.code == 0
    assert done.out == ("the runs are tracked by a server: http://ann:***@tracking.example:5000\n")


@pytest.mark.parametrize("option", [(), ("--optuna",)])
def test_nothing_to_show_is_refused_and_not_created(
    call: Call, tmp_path: Path, option: tuple[str, ...]
) -> None:
    home = tmp_path / "nowhere"
    done = call("ui", "--home", home, *option)
    assert done.code == 2
    assert "nothing to show" in done.err
    assert not home.exists()


def test_a_plain_log_cannot_be_shown(call: Call) -> None:
    done = call("ui", "--tracking-uri", "none")
    assert done.code == 2
    assert "tuner runs show RUN" in done.err


def test_a_missing_dashboard_names_the_extra(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    done = call("ui", "--home", tmp_path, "--optuna")
    assert done.code == 2
    assert "pip install 'seal-pose-tuner[dashboard]'" in done.err


def test_another_port_is_chosen_where_the_usual_one_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        usual = other.getsockname()[1]
        chosen = choose_port(None, usual)
    assert chosen not in (0, usual)
    free = free_port()
    assert choose_port(None, free) == free


def test_a_port_that_is_taken_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = call("ui", "--home", tmp_path, "--port", port)
    assert done.code == 2
    assert f"--port {port} is taken" in done.err


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_store_that_mlflow_cannot_read_is_reported(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    done = call("ui", "--home", tmp_path, "--port", free_port())
    assert done.code == 1
    assert "the MLflow UI could not start" in done.err
    assert "file is not a database" in done.err
