"""From what a user names to checkpoints: a file, a training, a search's winners, a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tuner.adapters.mlflow_fetch import fetch_checkpoint, is_model_uri
from tuner.errors import ConfigurationError
from tuner.settings import Locations
from tuner.wiring.stores import (
    load_run_config,
    open_store,
    run_names,
    store_exists,
    summarise_run,
)
from tuner.wiring.training_plan import training_folder
from tuner.wiring.training_record import RECORD_FILE, read_record, read_result

__all__ = ["Target", "find_targets"]

RUN_PREFIX = "run:"
TRAINING_PREFIX = "training:"
BEST = "best.ckpt"


@dataclass(frozen=True)
class Target:
    """A checkpoint that was named.

    Attributes:
        system: `model`, or of a search `seal` and `baseline`.
        checkpoint: The file.
        data_dir: Where the data of its training were; None if unknown or bundled.
    """

    system: str
    checkpoint: Path
    data_dir: Path | None = None


@contextmanager
def find_targets(named: str, locations: Locations) -> Iterator[list[Target]]:
    """Find what a user named; files that had to be fetched are there as long as the context.

    Args:
        named: A checkpoint (or a folder with one), the name of a training or of a search, also as
            `training:NAME` or `run:NAME`, or a model's address in MLflow.
        locations: Where trainings, searches and models are.

    Raises:
        ConfigurationError: If there is no such thing, it has no result yet, or two things bear
            the name.
        TrackingError: If MLflow cannot be reached.
    """
    if is_model_uri(named):
        with TemporaryDirectory(prefix="tuner-model-") as folder:
            path = fetch_checkpoint(
                named, tracking_uri=_tracking_uri(named, locations), folder=Path(folder)
            )
            yield [Target("model", path)]
        return
    yield _local_targets(named, locations)


def _tracking_uri(named: str, locations: Locations) -> str:
    if locations.tracking_uri == "none":
        raise ConfigurationError(f"{named}: --tracking-uri none keeps no models")
    return locations.tracking_uri


def _local_targets(named: str, locations: Locations) -> list[Target]:
    if named.startswith(RUN_PREFIX):
        return _of_run(named.removeprefix(RUN_PREFIX), locations)
    if named.startswith(TRAINING_PREFIX):
        return _of_training(named.removeprefix(TRAINING_PREFIX), locations)
    path = Path(named).expanduser()
    if path.is_file():
        return [Target("model", path)]
    if (path / BEST).is_file():
        return [Target("model", path / BEST)]
    if "/" in named or path.suffix == ".ckpt":
        raise ConfigurationError(f"{named}: there is no such checkpoint")
    return _of_name(named, locations)


def _of_name(name: str, locations: Locations) -> list[Target]:
    trainings, runs = _training_names(locations), _run_names(locations)
    match (name in trainings, name in runs):
        case (True, True):
            raise ConfigurationError(
                f"{name!r} is a training and a search; say {TRAINING_PREFIX}{name} or "
                f"{RUN_PREFIX}{name}"
            )
        case (True, False):
            return _of_training(name, locations)
        case (False, True):
            return _of_run(name, locations)
    raise ConfigurationError(
        f"{name!r} is no checkpoint, training, search or model in {locations.home}; trainings: "
        f"{', '.join(trainings) or 'none'}; searches: {', '.join(runs) or 'none'}; a checkpoint "
        "is given by its path, a model as models:/NAME@champion, and --home says where to look"
    )


def _training_names(locations: Locations) -> list[str]:
    root = locations.home / "trainings"
    return sorted(path.parent.name for path in root.glob(f"*/{RECORD_FILE}"))


def _run_names(locations: Locations) -> list[str]:
    return run_names(open_store(locations)) if store_exists(locations) else []


def _of_training(name: str, locations: Locations) -> list[Target]:
    folder = training_folder(locations, name)
    record, result = read_record(folder), read_result(folder)
    if record is None:
        known = ", ".join(_training_names(locations)) or "none"
        raise ConfigurationError(f"no training {name!r} in {locations.home}; there are: {known}")
    if result is None:
        raise ConfigurationError(
            f"training {name!r} has not finished; repeat its `tuner train` command first"
        )
    data_dir = None if record.data_dir is None else Path(record.data_dir)
    return [Target("model", _moved(Path(result.checkpoint), folder), data_dir)]


def _of_run(name: str, locations: Locations) -> list[Target]:
    if not store_exists(locations):
        raise ConfigurationError(f"no search {name!r}: there are none in {locations.home}")
    store = open_store(locations)
    summary = summarise_run(locations, store, name)
    found = {"baseline": summary.baseline, "seal": summary.seal}
    data_dir = load_run_config(store, name).data_dir
    targets = [
        Target(system, _moved(Path(winner.checkpoint), locations.run_folder(name)), data_dir)
        for system, winner in found.items()
        if winner is not None and winner.checkpoint is not None
    ]
    if not targets:
        raise ConfigurationError(
            f"search {name!r} has no winner yet; go on with `tuner runs resume {name}`"
        )
    return targets


def _moved(checkpoint: Path, folder: Path) -> Path:
    """A checkpoint where it was written, or, if its home has moved, where it lies now."""
    here = folder / "checkpoints" / checkpoint.parent.name / checkpoint.name
    return checkpoint if checkpoint.exists() or not here.exists() else here
