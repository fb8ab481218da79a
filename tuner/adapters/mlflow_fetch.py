"""Fetches the weights of a model that MLflow keeps; code that comes with it is never run."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tuner.adapters.mlflow_session import (
    connect,
    describe,
    import_mlflow,
    is_permanent,
    is_unknown_resource,
)
from tuner.adapters.redact import redact_url
from tuner.errors import ConfigurationError, TrackingError

__all__ = ["fetch_checkpoint", "is_model_uri"]

_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")
_LOGGED = re.compile(r"models:/(?P<model>m-[0-9a-f]+)")
_OF_RUN = re.compile(r"runs:/(?P<run>[0-9a-f]{32})(?:/(?P<name>[^/]+))?")
_SCHEMES = ("models:/", "runs:/")
_FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, models:/MODEL_ID, runs:/RUN_ID[/NAME]"


def is_model_uri(text: str) -> bool:
    """Whether a text is meant as a model that MLflow keeps."""
    return text.startswith(_SCHEMES)


def fetch_checkpoint(uri: str, *, tracking_uri: str, folder: Path) -> Path:
    """Download a registered pose-net and find the checkpoint in it.

    Args:
        uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `models:/MODEL_ID`, or
            `runs:/RUN_ID[/NAME]`.
        tracking_uri: The MLflow server or database.
        folder: Where the model's files go.

    Returns:
        Path of the checkpoint.

    Raises:
        ConfigurationError: If the URI is malformed, there is no such model, or it is not one of
            ours.
        TrackingError: If MLflow cannot be reached.
    """
    mlflow = import_mlflow()
    from mlflow.artifacts import download_artifacts

    try:
        client = connect(tracking_uri)
        location = _location(client, uri)
        found = download_artifacts(
            artifact_uri=location, dst_path=str(folder), tracking_uri=tracking_uri
        )
    except (OSError, mlflow.exceptions.MlflowException) as error:
        if is_unknown_resource(error) or is_permanent(error):  # the latter: an unknown alias
            raise ConfigurationError(
                f"{uri}: there is no such model in {redact_url(tracking_uri)}; "
                "look at `tuner ui`, or say where it is with --home or --tracking-uri"
            ) from error
        raise TrackingError(
            f"{uri}: cannot be fetched from {redact_url(tracking_uri)}: {describe(error)}"
        ) from error
    return _checkpoint(uri, Path(found))


def _location(client: Any, uri: str) -> str:
    """Where a model's files lie."""
    if (match := _LOGGED.fullmatch(uri)) is not None:
        return str(client.get_logged_model(match["model"]).artifact_location)
    if (match := _REGISTERED.fullmatch(uri)) is not None:
        version = match["version"]
        if version is None:
            version = client.get_model_version_by_alias(match["name"], match["alias"]).version
        return str(client.get_model_version_download_uri(match["name"], str(version)))
    if (match := _OF_RUN.fullmatch(uri)) is not None:
        return _location_in_run(client, uri, match["run"], match["name"])
    raise ConfigurationError(f"{uri}: is no model's address; expected one of {_FORMS}")


def _location_in_run(client: Any, uri: str, run_id: str, name: str | None) -> str:
    outputs = client.get_run(run_id).outputs
    logged = [client.get_logged_model(o.model_id) for o in (outputs.model_outputs or ())]
    fitting = [model for model in logged if name in (None, model.name)]
    if not fitting:
        names = ", ".join(sorted(model.name for model in logged)) or "none"
        raise ConfigurationError(f"{uri}: that run has no such model; it has {names}")
    return str(fitting[-1].artifact_location)


def _checkpoint(uri: str, folder: Path) -> Path:
    """The checkpoint that a model's description names; it must lie in the model's folder."""
    try:
        described = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        inside = described["flavors"]["python_function"]["artifacts"]["checkpoint"]["path"]
        path = folder / PurePosixPath(inside)
        if path.resolve().is_relative_to(folder.resolve()) and path.is_file():
            return path
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        pass
    raise ConfigurationError(
        f"{uri}: is no pose-net of this tuner: it holds no checkpoint; "
        "give a model that `tuner greedy` or `tuner train` has registered"
    )
