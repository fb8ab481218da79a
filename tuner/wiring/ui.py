"""The servers of `tuner ui`: MLflow's pages, and Optuna's dashboard."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from tuner.adapters.redact import redact_text, redact_url
from tuner.errors import ConfigurationError, TrackingError
from tuner.settings import Locations

__all__ = ["HOST", "Page", "RunningPage", "mlflow_page", "optuna_page", "serving", "shown_server"]

HOST = "127.0.0.1"
"""Nothing is shown to other machines; use an SSH tunnel for that."""

START_LIMIT_S = 90.0
STOP_LIMIT_S = 10.0
REASON_LIMIT = 400
"""Characters of a server's last words."""


@dataclass(frozen=True)
class Page:
    """A server that can be started.

    Attributes:
        title: Its name, for people.
        command: What to run.
        environment: Variables to add.
        port: The port it will listen on.
    """

    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{HOST}:{self.port}"


def shown_server(tracking_uri: str) -> str | None:
    """The tracking server, if it is one, without its password: it has pages of its own."""
    is_server = tracking_uri.startswith(("http://", "https://"))
    return redact_url(tracking_uri) if is_server else None


def mlflow_page(locations: Locations, port: int) -> Page:
    """MLflow's pages on the runs' tracking database."""
    # in the environment, since everybody on the machine can read a command line's password
    environment = {
        "MLFLOW_BACKEND_STORE_URI": locations.tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    if locations.artifact_root is not None:
        environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = locations.artifact_root
    command = (sys.executable, "-m", "mlflow", "server", "--host", HOST)
    return Page("MLflow UI", (*command, "--port", str(port), "--workers", "1"), environment, port)


def optuna_page(locations: Locations, port: int) -> Page:
    """Optuna's dashboard on the study store.

    Raises:
        ConfigurationError: If it is not installed.
    """
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise ConfigurationError(
            "--optuna needs the package optuna-dashboard; "
            "install it with: pip install 'seal-pose-tuner[dashboard]'"
        )
    command = (sys.executable, "-m", "tuner.adapters.optuna_dashboard_server", HOST, str(port))
    return Page("Optuna dashboard", command, {"TUNER_STORAGE": locations.storage}, port)


class RunningPage:
    """A server that was started as a child of this process."""

    def __init__(self, page: Page, child: subprocess.Popen[bytes], log: IO[str]) -> None:
        self._page = page
        self._child = child
        self._log = log

    def wait_until_up(self) -> None:
        """Wait until it takes connections.

        Raises:
            TrackingError: If it ends first, with what it said, or takes too long.
        """
        limit = time.monotonic() + START_LIMIT_S
        while time.monotonic() < limit:
            if self._child.poll() is not None:
                raise TrackingError(
                    f"the {self._page.title} could not start: {self._last_words()}; "
                    "`tuner doctor` checks the stores"
                )
            with (
                suppress(OSError),
                socket.create_connection((HOST, self._page.port), timeout=1.0),
            ):
                return
            time.sleep(0.2)
        raise TrackingError(
            f"the {self._page.title} did not answer on port {self._page.port} within "
            f"{START_LIMIT_S:.0f} s"
        )

    def wait_for_its_end(self) -> None:
        """Wait for as long as it serves.

        Raises:
            TrackingError: When it ends by itself, with what it said.
        """
        self._child.wait()
        raise TrackingError(f"the {self._page.title} ended: {self._last_words()}")

    def end(self) -> None:
        """End its whole process group, gently first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=STOP_LIMIT_S)
                return

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        # the cause comes before where its explanation can be read
        said = [line for line in lines if "Error" in line] or lines
        text = redact_text(said[-1])[:REASON_LIMIT] if said else "it said nothing"
        return f"{text} (exit code {self._child.returncode})"


@contextmanager
def serving(page: Page) -> Iterator[RunningPage]:
    """Run a server as a child; it ends with the block."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        # a process group of its own: servers start workers, which must end with them
        child = subprocess.Popen(
            page.command,
            env={**os.environ, **page.environment},
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        running = RunningPage(page, child, log)
        try:
            yield running
        finally:
            running.end()
