"""The study store and the tracker of a set of locations."""

from __future__ import annotations

from tuner.adapters.jsonl_tracker import JsonlTracker
from tuner.adapters.mlflow_tracker import MlflowTracker
from tuner.adapters.optuna_store import open_study_store
from tuner.errors import ConfigurationError
from tuner.ports import StudyStore, Tracker
from tuner.records import StudyHistory
from tuner.settings import Locations

__all__ = ["EXPERIMENT", "load_histories", "open_store", "open_tracker", "run_names"]

EXPERIMENT = "seal-pose-tuner"
"""MLflow experiment of all runs."""


def open_store(locations: Locations) -> StudyStore:
    """Open the study store.

    Raises:
        ConfigurationError: If `--storage` is malformed.
        StoreError: If it cannot be reached.
    """
    return open_study_store(locations.storage)


def open_tracker(locations: Locations, run: str) -> Tracker:
    """Open the tracker of one run; `--tracking-uri none` keeps a plain log instead."""
    folder = locations.run_folder(run)
    if locations.tracking_uri == "none":
        return JsonlTracker(folder / "tracking.jsonl")
    return MlflowTracker(
        tracking_uri=locations.tracking_uri,
        experiment=EXPERIMENT,
        outbox_path=folder / "outbox.db",
        artifact_root=locations.artifact_root,
        run_folder=folder,
    )


def run_names(store: StudyStore) -> list[str]:
    """Names of all runs in a store, sorted."""
    return sorted({study.rsplit("/", 1)[0] for study in store.studies()})


def load_histories(store: StudyStore, run: str) -> dict[str, StudyHistory]:
    """One run's studies by name of stage, in order.

    Raises:
        ConfigurationError: If there is no such run; the message names those that exist.
    """
    found = {}
    for study in store.studies():
        owner, stage = study.rsplit("/", 1)
        history = store.history(study) if owner == run else None
        if history is not None:
            found[stage] = history
    if not found:
        known = ", ".join(run_names(store)) or "none"
        raise ConfigurationError(f"no run {run!r} in this storage; there are: {known}")
    return found
