"""`tuner ui`: MLflow's pages, or Optuna's dashboard, on the stores of the runs."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from types import FrameType
from typing import IO, Annotated

import typer

from tuner.cli._places import (
    ArtifactRootOption,
    HomeOption,
    StorageOption,
    TrackingUriOption,
    local_file,
)
from tuner.errors import ConfigurationError, TrackingError
from tuner.settings import Locations, resolve_locations

__all__ = ["register"]

HOST = "127.0.0.1"
"""Nothing is shown to other machines; use an SSH tunnel for that."""

MLFLOW_PORT = 5000
OPTUNA_PORT = 8080
START_LIMIT_S = 90.0
STOP_LIMIT_S = 10.0

HELP = """
Open the MLflow UI on the runs' tracking store (Ctrl+C ends it).

Examples:

    tuner ui

    tuner ui --home DIR --port 5001

    tuner ui --optuna
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ui", help=HELP)(ui)


def ui(
    home: HomeOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    artifact_root: ArtifactRootOption = None,
    port: Annotated[
        int | None,
        typer.Option(
            help="Port on this machine [default: 5000, or a free one].", min=1, max=65535
        ),
    ] = None,
    optuna: Annotated[
        bool, typer.Option("--optuna", help="Optuna's dashboard on the studies instead.")
    ] = False,
) -> None:
    """Serve until interrupted."""
    locations = resolve_locations(
        home=home, storage=storage, tracking_uri=tracking_uri, artifact_root=artifact_root
    )
    if optuna:
        _serve_optuna(locations, port)
    else:
        _serve_mlflow(locations, port)


def _serve_mlflow(locations: Locations, port: int | None) -> None:
    uri = locations.tracking_uri
    if uri.startswith(("http://", "https://")):
        from tuner.adapters.redact import redact_url

        typer.echo(f"the runs are tracked by a server: {redact_url(uri)}")
        return
    if uri == "none":
        raise ConfigurationError(
            "--tracking-uri none keeps a plain log, which MLflow cannot show; "
            "see `tuner runs show RUN`, and report.html in the run's folder"
        )
    _check_there(uri, "--tracking-uri")
    chosen = _choose_port(port, MLFLOW_PORT)
    # in the environment, since everybody on the machine can read a command line's password
    environment = {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": locations.artifact_root,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST]
    command += ["--port", str(chosen), "--workers", "1"]
    _serve("MLflow UI", command, environment, chosen)


def _serve_optuna(locations: Locations, port: int | None) -> None:
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise ConfigurationError(
            "--optuna needs the package optuna-dashboard; "
            "install it with: pip install 'seal-pose-tuner[dashboard]'"
        )
    _check_there(locations.storage, "--storage")
    chosen = _choose_port(port, OPTUNA_PORT)
    command = [sys.executable, "-m", "tuner.adapters.optuna_dashboard_server", HOST, str(chosen)]
    _serve("Optuna dashboard", command, {"TUNER_STORAGE": locations.storage}, chosen)


def _check_there(url: str, option: str) -> None:
    """Refuse a file that does not exist: a server would create an empty one."""
    path = local_file(url)
    if path is not None and not path.exists():
        raise ConfigurationError(
            f"nothing to show: {path} does not exist; run `tuner greedy --backbone videopose` "
            f"first, or say where the runs are with --home or {option}"
        )


def _choose_port(wanted: int | None, default: int) -> int:
    port = default if wanted is None else wanted
    if _is_free(port):
        return port
    if wanted is not None:
        raise ConfigurationError(
            f"--port {wanted} is taken on {HOST}; choose another, or leave the option out"
        )
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _serve(what: str, command: Sequence[str], environment: Mapping[str, str], port: int) -> None:
    """Run a server as a child, say where it is once it answers, and end it with us."""
    typer.echo(f"starting the {what} …", err=True)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        # a process group of its own: servers start workers, which must end with them
        child = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            _wait_until_up(what, child, port, log)
            typer.echo(f"{what}: http://{HOST}:{port}  (Ctrl+C ends it)")
            child.wait()
            raise TrackingError(f"the {what} ended: {_last_words(child, log)}")
        except KeyboardInterrupt:
            typer.echo(f"ending the {what}", err=True)
        finally:
            signal.signal(signal.SIGTERM, previous)
            _end(child)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _wait_until_up(what: str, child: subprocess.Popen[bytes], port: int, log: IO[str]) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while time.monotonic() < limit:
        if child.poll() is not None:
            raise TrackingError(
                f"the {what} could not start: {_last_words(child, log)}; "
                "`tuner doctor` checks the stores"
            )
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
            return
        time.sleep(0.2)
    raise TrackingError(f"the {what} did not answer on port {port} within {START_LIMIT_S:.0f} s")


def _last_words(child: subprocess.Popen[bytes], log: IO[str]) -> str:
    from tuner.adapters.redact import redact_text

    log.seek(0)
    lines = [line.strip() for line in log if line.strip()]
    # the cause comes before where its explanation can be read
    said = [line for line in lines if "Error" in line] or lines
    text = redact_text(said[-1])[:400] if said else "it said nothing"
    return f"{text} (exit code {child.returncode})"


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child's whole group, gently first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=STOP_LIMIT_S)
            return
