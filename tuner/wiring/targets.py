"""From what a user names to checkpoints: a file, a training, a search's winners, a model."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from trainables.storage import is_remote
from tuner.adapters.mlflow_fetch import fetch_checkpoint, is_model_uri
from tuner.errors import ConfigurationError
from tuner.settings import Locations
from tuner.wiring.checkpoints import checkpoint_root, weights_now
from tuner.wiring.stores import (
    load_run_config,
    location_options,
    open_store,
    run_names,
    store_exists,
    summarise_run,
)
from tuner.wiring.training_plan import training_folder
from tuner.wiring.training_record import RECORD_FILE, read_failure, read_record, read_result

__all__ = ["Target", "find_targets", "model_of"]

RUN_PREFIX = "run:"
TRAINING_PREFIX = "training:"
BEST = "best.ckpt"


@dataclass(frozen=True)
class Target:
    """A checkpoint that was named.

    Attributes:
        system: `model`, or of a search `seal` and `baseline`.
        checkpoint: The file, or its URI.
        data_dir: Where the data of its training were; None if unknown or bundled.
        notes: What a user has to know of it.
    """

    system: str
    checkpoint: Path | str
    data_dir: Path | None = None
    notes: tuple[str, ...] = ()


@contextmanager
def find_targets(named: str, locations: Locations) -> Iterator[list[Target]]:
    """Find what a user named; files that had to be fetched are there as long as the context.

    Args:
        named: A checkpoint (its file, its folder, or `s3://…`), a training's folder, the name of a
            training or of a search, also as `training:NAME` or `run:NAME`, or a model's address
            in MLflow. A plain word is a name first: a file beside us does not hide what bears its
            name.
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


def model_of(targets: Sequence[Target]) -> Target:
    """The one to use of what was found: of a search SEAL's winner, which comes last.

    Raises:
        ConfigurationError: If a search has a baseline alone.
    """
    target = targets[-1]
    if target.system == "baseline":
        why = "; ".join(target.notes) or "the search has no SEAL winner"
        raise ConfigurationError(f"{why}; the baseline is used if you name {target.checkpoint}")
    return target


def _tracking_uri(named: str, locations: Locations) -> str:
    if locations.tracking_uri == "none":
        raise ConfigurationError(f"{named}: --tracking-uri none keeps no models")
    return locations.tracking_uri


def _local_targets(named: str, locations: Locations) -> list[Target]:
    if named.startswith(RUN_PREFIX):
        return _of_run(named.removeprefix(RUN_PREFIX), locations)
    if named.startswith(TRAINING_PREFIX):
        return _of_training(named.removeprefix(TRAINING_PREFIX), locations)
    if is_remote(named):
        return [Target("model", named)]
    path = Path(named).expanduser()
    if "/" not in named and path.suffix != ".ckpt":
        return _of_word(named, locations)
    target = _at_path(path)
    if target is None:
        what = f"a folder without {BEST} or {RECORD_FILE}" if path.is_dir() else "not there"
        raise ConfigurationError(f"{named}: there is no such checkpoint: it is {what}")
    return [target]


def _at_path(path: Path) -> Target | None:
    """A checkpoint, the one in a folder, or that of a training's folder."""
    if path.is_file():
        return Target("model", path)
    if (path / BEST).is_file():
        return Target("model", path / BEST)
    if (path / RECORD_FILE).is_file():
        return _in_folder(path)
    return None


def _of_word(word: str, locations: Locations) -> list[Target]:
    """What bears the name; a checkpoint of that name only where nothing does."""
    path = Path(word).expanduser()
    if word in (*_training_names(locations), *_run_names(locations)):
        targets = _of_name(word, locations)
        if not path.is_file() and not (path / BEST).is_file():
            return targets
        note = f"{word} is also a file or folder here; ./{word} names that"
        return [replace(target, notes=(*target.notes, note)) for target in targets]
    target = _at_path(path)
    return _of_name(word, locations) if target is None else [target]


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
    known = ", ".join(_training_names(locations)) or "none"
    if not name:
        raise ConfigurationError(f"{TRAINING_PREFIX} needs a name behind it; there are: {known}")
    target = _in_folder(training_folder(locations, name))
    if target is None:
        raise ConfigurationError(f"no training {name!r} in {locations.home}; there are: {known}")
    return [target]


def _in_folder(folder: Path) -> Target | None:
    """The model of a training's folder; None if it is none."""
    record, result = read_record(folder), read_result(folder)
    if record is None:
        return None
    if result is None:
        failure = read_failure(folder)
        if failure is not None:
            raise ConfigurationError(f"training {record.name!r} failed: {failure}")
        raise ConfigurationError(
            f"training {record.name!r} has not finished; repeat its `tuner train` command first"
        )
    data_dir = None if record.data_dir is None else Path(record.data_dir)
    root = folder / "checkpoints"
    return Target("model", weights_now(result.checkpoint, root), data_dir)


def _of_run(name: str, locations: Locations) -> list[Target]:
    known = ", ".join(_run_names(locations)) or "none"
    if not name:
        raise ConfigurationError(f"{RUN_PREFIX} needs a name behind it; there are: {known}")
    if not store_exists(locations):
        raise ConfigurationError(f"no search {name!r}: there are none in {locations.home}")
    store = open_store(locations)
    summary = summarise_run(locations, store, name)
    found = {"baseline": summary.baseline, "seal": summary.seal}
    config = load_run_config(store, name)
    go_on = shlex.join(["tuner", "runs", "resume", name, *location_options(locations)])
    notes: tuple[str, ...] = ()
    if summary.seal is None:
        notes = (f"search {name!r} is {summary.state}: baseline only; go on with `{go_on}`",)
    root = checkpoint_root(config, locations, name)
    targets = [
        Target(system, weights_now(winner.checkpoint, root), config.data_dir, notes)
        for system, winner in found.items()
        if winner is not None and winner.checkpoint is not None
    ]
    if not targets:
        raise ConfigurationError(f"search {name!r} has no winner yet; go on with `{go_on}`")
    return targets
