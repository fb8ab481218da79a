"""Reads what a run left behind: studies, MLflow, checkpoints, spool."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient

from benchmarks.chaos_audit import ShownRun, TrialFact
from trainables.checkpoint import load_checkpoint
from trainables.errors import CheckpointError
from tuner.adapters.optuna_storage import open_storage
from tuner.settings import Locations
from tuner.wiring.stores import EXPERIMENT, load_histories, open_store

__all__ = ["FinishedWatch", "read_shown", "read_trials", "undelivered"]


class FinishedWatch:
    """Notices a finished training whose checkpoint is written again, or vanishes.

    Whoever trains writes `last.ckpt` after every epoch, as a new file. So once that file says
    that the training has finished, it must stay the very same file.

    Args:
        folder: Where the run keeps its checkpoints, one folder per fingerprint.
        epochs: How many epochs make a finished training.
    """

    def __init__(self, folder: Path, *, epochs: int) -> None:
        self._folder = folder
        self._epochs = epochs
        self._seen: dict[Path, tuple[int, int]] = {}
        self._finished: dict[Path, tuple[int, int]] = {}
        self.retrained: list[str] = []

    @property
    def finished(self) -> int:
        """How many finished trainings were seen."""
        return len(self._finished)

    def look(self) -> None:
        """Look at all checkpoints; to be called again and again while the run goes on."""
        found: dict[Path, tuple[int, int]] = {}
        for path in self._folder.glob("*/last.ckpt"):
            identity = _identity(path)
            if identity is not None:
                found[path] = identity
        for path, identity in list(self._finished.items()):
            if found.get(path) != identity:
                self.retrained.append(path.parent.name[:12])
                del self._finished[path]
        for path, identity in found.items():
            if identity != self._seen.get(path):
                self._seen[path] = identity
                self._take(path, identity)

    def _take(self, path: Path, identity: tuple[int, int]) -> None:
        try:
            epoch = int(load_checkpoint(path).meta["epoch"])
        except CheckpointError:
            return  # it was replaced this moment; the next look sees another file
        if epoch >= self._epochs and _identity(path) == identity:
            self._finished[path] = identity


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def read_trials(locations: Locations, run: str) -> tuple[TrialFact, ...]:
    """All trials of a run, with the state that Optuna itself has them in."""
    storage = open_storage(locations.storage)
    facts = []
    for stage, history in load_histories(open_store(locations), run).items():
        study = optuna.load_study(study_name=history.spec.study_name, storage=storage)
        states = {trial.number: trial.state.name for trial in study.trials}
        if len(states) != len(history.trials):
            raise RuntimeError(f"{stage}: {len(states)} trials, {len(history.trials)} as read")
        for trial in history.trials:
            facts.append(
                TrialFact(
                    stage=stage,
                    number=trial.number,
                    fingerprint=trial.spec.fingerprint,
                    state=states[trial.number],
                    trained=trial.imported_from is None,
                    curve=trial.curve,
                    value=trial.value,
                )
            )
    return tuple(facts)


def read_shown(database: str, run: str) -> tuple[ShownRun, ...]:
    """All of a run's runs in an MLflow database, straight from it: its server may be down."""
    client = MlflowClient(database)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found = client.search_runs(
        [experiment.experiment_id], f"tags.`tuner.run` = '{run}'", max_results=1000
    )
    shown = []
    for item in found:
        key = item.data.tags["tuner.key"].removeprefix(run).removeprefix("/")
        points = tuple(sorted(_points(client, item)))
        shown.append(ShownRun(key, item.info.status, points))
    return tuple(sorted(shown, key=lambda one: one.key))


def _points(client: Any, run: Any) -> list[tuple[str, int]]:
    """Of trials' epochs only: those of an end may be written again, as those of a later one."""
    if "epoch" not in run.data.metrics:
        return []
    names = [name for name in run.data.metrics if name not in _OF_THE_END and not _is_best(name)]
    return [
        (name, int(point.step))
        for name in names
        for point in client.get_metric_history(run.info.run_id, name)
    ]


_OF_THE_END = {"objective", "best_epoch", "epochs", "seconds", "device_seconds"}


def _is_best(name: str) -> bool:
    return name.startswith("best_")


def undelivered(run_folder: Path) -> int:
    """Tracking events in a run's spool that wait or were refused."""
    with closing(sqlite3.connect(run_folder / "outbox.db")) as connection:
        tables = ("events", "rejected")
        return sum(
            int(connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0])
            for name in tables
        )
