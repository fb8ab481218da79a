"""What an import leaves in its folder: a checkpoint, and what makes the folder a training's."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from trainables.checkpoint import CheckpointStore
from trainables.config import TrainingConfig
from trainables.names import first_few
from trainables.skeletons import Skeleton
from trainables.skeletons.description import skeleton_reference
from tuner.errors import ConfigurationError
from tuner.wiring.files import write_whole
from tuner.wiring.lock import driver_lock
from tuner.wiring.training_record import (
    RECORD_FILE,
    RESULT_FILE,
    TrainingRecord,
    TrainingResult,
    read_record,
    read_result,
)

__all__ = ["STATE", "BuiltNet", "ImportedWeights", "checkpoint_path", "write_import"]

STATE = "imported"
"""What the result says in the place of `finished`, and what fingerprints begin with."""

_UNDONE = re.compile(r"driver\.lock|\.training\.json\.[0-9a-f]+\.part")
"""What a command that did nothing leaves in a folder."""


@dataclass(frozen=True)
class ImportedWeights:
    """What was imported; the fields are those of `tuner import-weights --json`.

    Attributes:
        target: What `tuner evaluate` and `tuner predict` take.
        checkpoint: File of the weights.
        fingerprint: Its identity.
        backbone: The pose-net.
        dataset: Data set whose joints and units it has.
        skeleton: Name of its joints.
        file: Name of the published file.
        sha256: Of the published file.
        entry: Entry of the file that was read; None if it holds nothing else.
        left_out: Other entries of the file.
        parameters: Trainable parameters.
        entries: Entries that were taken.
        renamed: How many of them have another name here.
        dropped: Entries beside the parameters that were not taken.
        options: Options of the net, from shapes, the release and the user.
        assumed: Options that shapes do not tell, as published.
        differences: What to know of the release.
    """

    target: str
    checkpoint: str
    fingerprint: str
    backbone: str
    dataset: str
    skeleton: str
    file: str
    sha256: str
    entry: str | None
    left_out: tuple[str, ...]
    parameters: int
    entries: int
    renamed: int
    dropped: tuple[str, ...]
    options: Mapping[str, Any]
    assumed: Mapping[str, Any]
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class BuiltNet:
    """A net with the published weights, and what it was built from.

    Attributes:
        config: Its configuration: the authors' recipe; it has not been trained by it here.
        skeleton: Its joints.
        net: The net.
    """

    config: TrainingConfig
    skeleton: Skeleton
    net: nn.Module


def checkpoint_path(folder: Path, fingerprint: str) -> Path:
    """Where the weights of an import into a folder lie, as those of a training do."""
    return _store(folder).path(fingerprint, "best")


def write_import(report: ImportedWeights, built: BuiltNet, folder: Path) -> None:
    """Write the checkpoint, then what makes the folder a training's.

    Raises:
        ConfigurationError: If the folder is of something else, is being trained in, or cannot be
            written.
        CheckpointError: If the checkpoint cannot be written.
    """
    _admit(report, folder)  # what is refused now leaves no folder behind
    with _locked(report, folder):
        _admit(report, folder)  # another process may have been here meanwhile
        _write(report, built, folder)


@contextmanager
def _locked(report: ImportedWeights, folder: Path) -> Iterator[None]:
    """The lock that `tuner train` and `tuner greedy` hold on their folders."""
    with ExitStack() as stack:
        try:
            stack.enter_context(driver_lock(folder, folder.name))
        except ConfigurationError as error:
            cause = error.__cause__
            why = "another command is at work in it; wait for it"
            if not isinstance(cause, BlockingIOError):
                why = f"cannot be written: {getattr(cause, 'strerror', cause)}"
            raise ConfigurationError(
                f"--to {report.target}: {folder} {why}, or choose another name"
            ) from error
        yield


def _admit(report: ImportedWeights, folder: Path) -> None:
    """Refuse a folder that holds anything but this very import, whole or begun."""
    where = f"--to {report.target}: {folder}"
    try:
        found = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise ConfigurationError(f"{where} is no folder; choose another name") from error
    except OSError as error:
        raise ConfigurationError(
            f"{where} cannot be read: {error.strerror}; choose another name"
        ) from error
    found = {name for name in found if not _UNDONE.fullmatch(name)}
    kept = (read_record(folder), read_result(folder)) if RECORD_FILE in found else (None, None)
    same = kept[0] is not None and all(
        one is None or one.fingerprint == report.fingerprint for one in kept
    )
    if found and not same:
        raise ConfigurationError(
            f"{where} is there already, with something else ({first_few(sorted(found))}); choose "
            "another name"
        )


def _write(report: ImportedWeights, built: BuiltNet, folder: Path) -> None:
    """The record first: by it the same import knows what an interrupted one has left."""
    config = built.config.model_dump(mode="json")
    meta = {
        "config": config,
        "skeleton": skeleton_reference(built.skeleton),
        "epoch": 0,
        "imported": {
            "note": f"imported from {report.file}, sha256 {report.sha256}",
            **{name: value for name, value in report.to_json().items() if name != "target"},
        },
    }
    state = {"pose_net": built.net.state_dict(), "epoch": 0, "step": 0}
    record = TrainingRecord(folder.name, report.fingerprint, report.fingerprint, config, None)
    write_whole(folder / RECORD_FILE, _json(record.to_json()))
    _store(folder).save(report.fingerprint, "best", state, meta)
    write_whole(folder / RESULT_FILE, _json(_result(report, record, built.config.select_on)))


def _result(report: ImportedWeights, record: TrainingRecord, select_on: str) -> dict[str, Any]:
    """What stands in the place of how a training ended: nothing was trained or measured."""
    result = TrainingResult(
        name=record.name,
        state=STATE,
        config=record.config,
        fingerprint=report.fingerprint,
        epochs=0,
        best_epoch=0,
        val_mpjpe_mm=math.nan,
        test={},
        checkpoint=report.checkpoint,
        seconds=0.0,
        tracking_uri="none",
        mlflow_run_id=None,
        select_on=select_on,
        model=None,
        competes=False,
    )
    return {**result.to_json(), "val_mpjpe_mm": None}  # JSON has no NaN


def _store(folder: Path) -> CheckpointStore:
    return CheckpointStore(folder / "checkpoints")


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()
