"""What a training leaves in its folder, besides checkpoints: what it is, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from tuner.errors import ConfigurationError, DefinitionMismatchError
from tuner.wiring.environment import flatten

__all__ = ["FAILURE_FILE", "RECORD_FILE", "RESULT_FILE", "TrainingRecord", "TrainingResult"]
__all__ += ["check_same", "read_failure", "read_record", "read_result"]

RECORD_FILE = "training.json"
RESULT_FILE = "result.json"
FAILURE_FILE = "failure.json"


@dataclass(frozen=True)
class TrainingRecord:
    """What a training of this name is; written before it starts.

    Attributes:
        name: Its name.
        fingerprint: Identity of its configuration.
        uid: Identity for the tracker.
        config: The training configuration, as JSON values.
        data_dir: Folder of the data; None for bundled data.
    """

    name: str
    fingerprint: str
    uid: str
    config: Mapping[str, Any]
    data_dir: str | None

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended; the fields are those of `tuner train --json`.

    Attributes:
        name: Its name.
        state: `finished`.
        config: The training configuration, as JSON values.
        fingerprint: Identity of the configuration.
        epochs: Epochs trained.
        best_epoch: Epoch with the lowest validation MPJPE.
        val_mpjpe_mm: That MPJPE, millimetres.
        test: Metrics of that epoch on all poses of the test split.
        checkpoint: Where that epoch's nets lie.
        seconds: Time of training, over all lives.
        tracking_uri: Tracking store or server, without password.
        mlflow_run_id: Its tracking run; None if the server was never reached.
        select_on: Split that the epoch was chosen on; with `test` its figures are optimistic.
        model: Name under which MLflow was asked to register it; None without MLflow.
        competes: Whether that model competes for the alias `champion`.
    """

    name: str
    state: str
    config: Mapping[str, Any]
    fingerprint: str
    epochs: int
    best_epoch: int
    val_mpjpe_mm: float
    test: Mapping[str, float]
    checkpoint: str
    seconds: float
    tracking_uri: str
    mlflow_run_id: str | None
    select_on: str
    model: str | None
    competes: bool

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return asdict(self)


Kept = TypeVar("Kept", TrainingRecord, TrainingResult)


def read_record(folder: Path) -> TrainingRecord | None:
    """What the training of a folder is; None if there is none.

    Raises:
        ConfigurationError: If the file is damaged.
    """
    return _read_as(TrainingRecord, folder / RECORD_FILE)


def read_result(folder: Path) -> TrainingResult | None:
    """How the training of a folder ended; None if it has not.

    Raises:
        ConfigurationError: If the file is damaged.
    """
    return _read_as(TrainingResult, folder / RESULT_FILE)


def read_failure(folder: Path) -> str | None:
    """Why the last life of a training failed; None if it did not.

    Raises:
        ConfigurationError: If the file is damaged.
    """
    values = _read(folder / FAILURE_FILE)
    return None if values is None else str(values.get("reason", "no reason was kept"))


def check_same(kept: TrainingRecord | TrainingResult, asked: TrainingRecord) -> None:
    """Refuse another training under a name that is taken.

    Args:
        kept: What the folder holds: what was started, or what was trained to the end.
        asked: What is to be trained.

    Raises:
        DefinitionMismatchError: If the configurations differ; the message says where.
    """
    if kept.fingerprint == asked.fingerprint:
        return
    before, now = flatten(kept.config), flatten(asked.config)
    added = sorted(now.keys() - before.keys())
    if added and before.items() <= now.items():
        raise DefinitionMismatchError(
            f"training {kept.name!r} was begun by an earlier version, whose configurations "
            f"lacked {', '.join(added)}; choose another --name, or finish it with that version"
        )
    changes = [
        f"{name}: {before.get(name, 'none')} before, {now.get(name, 'none')} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    what = "; ".join(changes) or "another version of the trainer"
    raise DefinitionMismatchError(
        f"training {kept.name!r} exists with another configuration ({what}); "
        "choose another --name, or repeat the first command"
    )


def _read_as(kind: type[Kept], path: Path) -> Kept | None:
    values = _read(path)
    try:
        return None if values is None else kind(**values)
    except TypeError as error:
        raise _damaged(path, error) from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(values, dict):
        raise _damaged(path, f"found {type(values).__name__}, expected an object")
    return values


def _damaged(path: Path, why: object) -> ConfigurationError:
    return ConfigurationError(
        f"{path} cannot be read: {why}; restore it, or remove the folder to start anew"
    )
