"""Where things are kept: the only reader of environment variables and settings files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from search_spaces import parse_yaml
from tuner.errors import ConfigurationError

__all__ = [
    "RUN_NAME",
    "Locations",
    "data_cache",
    "local_file",
    "read_yaml",
    "resolve_locations",
]

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a run may be called: it becomes a folder, a study name and a job id."""


@dataclass(frozen=True)
class Locations:
    """Where a run's state, tracking and files live.

    Attributes:
        home: Folder of everything that is not elsewhere by choice.
        storage: Study store: a database URL, or `journal:PATH`.
        tracking_uri: MLflow tracking: a database URL or a server; `none` for a plain log.
        artifact_root: Where MLflow keeps artifacts; None where a server decides itself.
    """

    home: Path
    storage: str
    tracking_uri: str
    artifact_root: str | None

    def run_folder(self, run: str) -> Path:
        """Folder of one run's checkpoints, report, decision log and spool.

        Raises:
            ConfigurationError: If the name is no plain word.
        """
        if not RUN_NAME.fullmatch(run):
            raise ConfigurationError(
                f"--name {run!r}: a run's name consists of letters, digits, '.', '_' and '-', "
                "starts with a letter or digit and has at most 100 characters"
            )
        return self.home / "runs" / run

    @property
    def pretrainings(self) -> Path:
        """Folder of all pre-trainings, by fingerprint: searches and single trainings share it."""
        return self.home / "pretrainings"


def resolve_locations(
    *,
    home: Path | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
    artifact_root: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Locations:
    """Fill in what the command line left open: environment variables, then defaults.

    Args:
        home: `--home`, else TUNER_HOME, else `./tuner-runs`.
        storage: `--storage`, else TUNER_STORAGE, else one journal file in `home`.
        tracking_uri: `--tracking-uri`, else MLFLOW_TRACKING_URI, else a SQLite file in `home`.
        artifact_root: `--artifact-root`, else TUNER_ARTIFACT_ROOT, else a folder in `home`, but
            for a tracking server, which decides itself.
        environment: Variables to read; the process's own by default.

    Raises:
        ConfigurationError: If the tracking URI is a plain folder.
    """
    variables = os.environ if environment is None else environment
    folder = Path(home or variables.get("TUNER_HOME") or "tuner-runs").expanduser().absolute()
    uri = tracking_uri or variables.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder}/mlflow.db"
    if uri != "none" and ("://" not in uri or uri.startswith("file:")):
        raise ConfigurationError(
            f"--tracking-uri {uri}: MLflow 3 keeps runs in a database, not in plain folders; give "
            "sqlite:////absolute/path/mlflow.db, a server such as http://127.0.0.1:5000, or none"
        )
    return Locations(
        home=folder,
        storage=storage or variables.get("TUNER_STORAGE") or f"journal:{folder}/studies.journal",
        tracking_uri=uri,
        artifact_root=artifact_root
        or variables.get("TUNER_ARTIFACT_ROOT")
        or (None if uri.startswith(("http://", "https://")) else f"{folder}/mlflow-artifacts"),
    )


def data_cache(environment: Mapping[str, str] | None = None) -> Path | None:
    """Folder where decoded data sets are kept; None if they are to be decoded every time.

    Args:
        environment: TUNER_DATA_CACHE, a folder or `off`, else XDG_CACHE_HOME; the process's own
            variables by default.
    """
    variables = os.environ if environment is None else environment
    chosen = variables.get("TUNER_DATA_CACHE")
    if chosen == "off":
        return None
    try:
        if chosen:
            return Path(chosen).expanduser().absolute()
        base = Path(variables.get("XDG_CACHE_HOME") or "")
        # the XDG specification has relative paths ignored
        base = base if base.is_absolute() else Path("~/.cache").expanduser()
    except RuntimeError:  # a user without a home
        return None
    return base / "seal-pose-tuner" / "data"


def local_file(url: str) -> Path | None:
    """The file behind `journal:PATH` or `sqlite:///PATH`; None for anything else."""
    for prefix in ("journal:", "sqlite:///"):
        path = url.removeprefix(prefix).split("?")[0]
        if url.startswith(prefix) and path:
            return Path(path)
    return None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a settings file: a mapping at its top, `-` in its options' names read as `_`.

    Raises:
        ConfigurationError: If it cannot be read, is no YAML, is no mapping, or gives something
            twice.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--config {path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"--config {path}: no valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"--config {path}: found {type(content).__name__}, expected `option: value` lines"
        )
    values: dict[str, Any] = {}
    for key, value in content.items():
        option = str(key).replace("-", "_")
        if option in values:
            raise ConfigurationError(
                f"--config {path}: {key} is given twice, with '-' and with '_'; remove one"
            )
        values[option] = value
    return values
