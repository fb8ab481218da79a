"""Whether MLflow answers, for `tuner doctor`."""

from __future__ import annotations

from tuner.adapters.mlflow_session import import_mlflow
from tuner.adapters.redact import redact_text
from tuner.errors import TrackingError

__all__ = ["count_experiments"]

LIMIT = 100
"""More experiments than these are not counted."""

TEXT_LIMIT = 300
"""MLflow answers with whole web pages, of which the beginning says enough."""


def count_experiments(tracking_uri: str) -> int:
    """Ask for the experiments: a server's /health says nothing of refused clients.

    Raises:
        ModuleNotFoundError: If MLflow is not installed.
        TrackingError: If it does not answer; the message holds no password.
    """
    client = import_mlflow().MlflowClient(tracking_uri=tracking_uri)
    try:
        return len(client.search_experiments(max_results=LIMIT))
    except Exception as error:  # MLflow raises what its back end raises
        text = redact_text(" ".join(str(error).split()))[:TEXT_LIMIT]
        raise TrackingError(f"{redact_text(tracking_uri)}: {text}") from error
