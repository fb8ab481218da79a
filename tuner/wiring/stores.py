"""The study store and the tracker of a set of locations."""

from __future__ import annotations

from pathlib import Path

from tuner.adapters.jsonl_tracker import JsonlTracker
from tuner.adapters.mlflow_tracker import MlflowTracker
from tuner.adapters.optuna_store import open_study_store
from tuner.adapters.redact import redact_url
from tuner.errors import ConfigurationError
from tuner.greedy_config import GreedyConfig, parse_greedy_config
from tuner.ports import StudyStore, Tracker
from tuner.protocol.generations import current_studies
from tuner.records import StudyHistory
from tuner.reports.run_summary import RunSummary
from tuner.reports.summary import RUN_CONFIG, summarise
from tuner.settings import Locations, local_file, resolve_locations

__all__ = ["EXPERIMENT", "load_histories", "load_run_config", "open_store", "open_tracker"]
__all__ += ["load_studies", "run_names", "store_exists", "summarise_run"]

EXPERIMENT = "seal-pose-tuner"
"""MLflow experiment of all runs."""


def open_store(locations: Locations) -> StudyStore:
    """Open the study store.

    Raises:
        ConfigurationError: If `--storage` is malformed.
        StoreError: If it cannot be reached.
    """
    return open_study_store(locations.storage)


def store_exists(locations: Locations) -> bool:
    """Whether there is a study store to look into; a database is taken to exist."""
    path = local_file(locations.storage)
    return path is None or path.exists()


def open_tracker(locations: Locations, folder: Path) -> Tracker:
    """Open the tracker of the run that lives in a folder.

    `--tracking-uri none` keeps a plain log there instead.
    """
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
    """The studies of a run that count, by name of stage, in order.

    Raises:
        ConfigurationError: If there is no such run; the message names those that exist.
    """
    return current_studies(load_studies(store, run))


def load_studies(store: StudyStore, run: str) -> dict[str, StudyHistory]:
    """All studies of a run by label, those of earlier generations too.

    Raises:
        ConfigurationError: If there is no such run; the message names those that exist.
    """
    found = {}
    for study in store.studies():
        owner, label = study.rsplit("/", 1)
        history = store.history(study) if owner == run else None
        if history is not None:
            found[label] = history
    if not found:
        known = ", ".join(run_names(store)) or "none"
        raise ConfigurationError(f"no run {run!r} in this storage; there are: {known}")
    return found


def summarise_run(locations: Locations, store: StudyStore, run: str) -> RunSummary:
    """What the store knows of a run, with where everything is.

    Raises:
        ConfigurationError: If there is no such run.
    """
    histories = load_histories(store, run)
    first = next(iter(histories.values()))
    return summarise(
        run,
        histories,
        storage=redact_url(locations.storage),
        tracking_uri=redact_url(locations.tracking_uri),
        artifacts=str(locations.run_folder(run)),
        mlflow_run_id=first.attributes.get("mlflow_run_id"),
        location_options=location_options(locations),
    )


def load_run_config(store: StudyStore, run: str) -> GreedyConfig:
    """The configuration that a run was last started with, which from then on has its name.

    Raises:
        ConfigurationError: If there is no such run, or it kept no configuration.
    """
    first = next(iter(load_histories(store, run).values()))
    kept = first.attributes.get(RUN_CONFIG)
    if kept is None:
        raise ConfigurationError(
            f"run {run!r} kept no configuration; repeat its `tuner greedy` command instead"
        )
    # a name made from what was asked may be another one in a later version
    return parse_greedy_config({**kept, "name": run})


def location_options(locations: Locations) -> tuple[str, ...]:
    """Options that lead another command to the same places; passwords are left out."""
    options: list[str] = []
    if locations.home != resolve_locations().home:
        options += ["--home", str(locations.home)]
    defaults = resolve_locations(home=locations.home)
    if locations.storage != defaults.storage:
        options += ["--storage", redact_url(locations.storage)]
    if locations.tracking_uri != defaults.tracking_uri:
        options += ["--tracking-uri", redact_url(locations.tracking_uri)]
    return tuple(options)
