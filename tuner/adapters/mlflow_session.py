"""Connecting to MLflow: quiet, with short time limits, without touching global state."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from tuner.adapters.redact import redact_text

__all__ = ["connect", "experiment_id", "import_mlflow", "is_permanent", "is_unknown_resource"]

_logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 10

_PERMANENT_CODES = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})
"""Faults that trying again cannot cure. All others (authentication too) may pass."""


def import_mlflow() -> Any:
    """Import MLflow (about two seconds) and set it up for a background thread.

    - A request is sent once and may take 10 s. MLflow's own default, seven retries of two
      minutes, blocks for minutes when a server is down; and it repeats requests that
      create something, which doubles runs. We try again ourselves, after asking what arrived.
      The user's own `MLFLOW_HTTP_REQUEST_*` variables win.
    - MLflow reports usage to its makers unless told not to; a tuner must not do so silently.
    - Log lines about database tables, and URLs printed to standard output, are switched off:
      standard output belongs to the command line.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow
    from mlflow import environment_variables as variables

    variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.default = 0
    variables.MLFLOW_HTTP_REQUEST_TIMEOUT.default = REQUEST_TIMEOUT_S
    variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.default = True
    variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.default = False
    for name in ("mlflow", "alembic"):
        if logging.getLogger(name).getEffectiveLevel() < logging.WARNING:
            logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def connect(tracking_uri: str) -> Any:
    """An `MlflowClient`; for a database file its folder is created."""
    mlflow = import_mlflow()
    if tracking_uri.startswith("sqlite:///"):
        _create_database(mlflow, Path(tracking_uri.removeprefix("sqlite:///").split("?")[0]))
    return mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _create_database(mlflow: Any, path: Path) -> None:
    """Make a database file as a whole or not at all.

    MLflow makes its tables one by one, which takes seconds. A process that is killed meanwhile
    would leave a database that MLflow can neither use nor repair.
    """
    if not path.name or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        made = Path(folder) / path.name
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{made}").search_experiments(max_results=1)
        try:
            path.hardlink_to(made)
        except FileExistsError:  # another process was faster
            return
        except OSError:  # a file system without links
            made.replace(path)


def experiment_id(client: Any, name: str, artifact_root: str | None) -> str:
    """Id of the experiment called `name`, created if there is none.

    Args:
        client: The client.
        name: Name of the experiment.
        artifact_root: Folder or URI under which a new experiment keeps its files; None leaves
            it to the server.

    Raises:
        ConnectionError: If the experiment has been deleted; an outage until it is restored.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        location = None
        if artifact_root is not None:
            root = artifact_root if "://" in artifact_root else Path(artifact_root).resolve()
            location = f"{str(root).rstrip('/')}/{name}"
        return str(client.create_experiment(name, artifact_location=location))
    if found.lifecycle_stage != "active":
        raise ConnectionError(
            f"the MLflow experiment {name!r} has been deleted; bring it back with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return str(found.experiment_id)


def is_permanent(error: BaseException) -> bool:
    """Whether MLflow refuses a request for good, because of what it asks for."""
    return getattr(error, "error_code", None) in _PERMANENT_CODES


def is_unknown_resource(error: BaseException) -> bool:
    """Whether MLflow does not know the run or experiment that was asked for."""
    return getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


def describe(error: BaseException) -> str:
    """An MLflow error in one line, without secrets."""
    return " ".join(redact_text(str(error)).split())[:500]
