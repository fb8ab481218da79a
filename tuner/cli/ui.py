"""`tuner ui`: MLflow's pages, or Optuna's dashboard, on the stores of the runs."""

from __future__ import annotations

import signal
import socket
from contextlib import closing
from types import FrameType
from typing import Annotated

import typer

from tuner.cli._places import (
    ArtifactRootOption,
    HomeOption,
    StorageOption,
    TrackingUriOption,
)
from tuner.errors import ConfigurationError
from tuner.settings import Locations, local_file, resolve_locations
from tuner.wiring.ui import HOST, Page, mlflow_page, optuna_page, serving, shown_server

__all__ = ["choose_port", "register"]

MLFLOW_PORT = 5000
OPTUNA_PORT = 8080

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
    server = shown_server(locations.tracking_uri)
    if server is not None:
        typer.echo(f"the runs are tracked by a server: {server}")
        return
    if locations.tracking_uri == "none":
        raise ConfigurationError(
            "--tracking-uri none keeps a plain log, which MLflow cannot show; "
            "see `tuner runs show RUN`, and report.html in the run's folder"
        )
    _check_there(locations.tracking_uri, "--tracking-uri")
    _serve(mlflow_page(locations, choose_port(port, MLFLOW_PORT)))


def _serve_optuna(locations: Locations, port: int | None) -> None:
    page = optuna_page(locations, choose_port(port, OPTUNA_PORT))
    _check_there(locations.storage, "--storage")
    _serve(page)


def _check_there(url: str, option: str) -> None:
    """Refuse a file that does not exist: a server would create an empty one."""
    path = local_file(url)
    if path is not None and not path.exists():
        raise ConfigurationError(
            f"nothing to show: {path} does not exist; run `tuner greedy --backbone videopose` "
            f"first, or say where the runs are with --home or {option}"
        )


def choose_port(wanted: int | None, default: int) -> int:
    """The port that was asked for; else the default, or a free one if that is taken.

    Raises:
        ConfigurationError: If the port that was asked for is taken.
    """
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


def _serve(page: Page) -> None:
    """Run a server, say where it is once it answers, and end it with us."""
    typer.echo(f"starting the {page.title} …", err=True)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with serving(page) as running:
            running.wait_until_up()
            typer.echo(f"{page.title}: {page.url}  (Ctrl+C ends it)")
            running.wait_for_its_end()
    except KeyboardInterrupt:
        typer.echo(f"the {page.title} has ended", err=True)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
