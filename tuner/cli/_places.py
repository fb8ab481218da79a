"""Options that say where things are kept, and finding out what is already there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.settings import Locations, resolve_locations

if TYPE_CHECKING:
    from tuner.ports import StudyStore
    from tuner.reports.run_summary import RunSummary

__all__ = [
    "ArtifactRootOption",
    "HomeOption",
    "JsonOption",
    "StorageOption",
    "TrackingUriOption",
    "local_file",
    "location_options",
    "open_existing_store",
]

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of everything [default: ./tuner-runs].", metavar="DIR"),
]
StorageOption = Annotated[
    str | None, typer.Option("--storage", help="Study store: database URL or journal:PATH.")
]
TrackingUriOption = Annotated[
    str | None, typer.Option("--tracking-uri", help="MLflow: database URL or server.")
]
ArtifactRootOption = Annotated[
    str | None, typer.Option("--artifact-root", help="Where MLflow keeps artifacts.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")
]


def local_file(url: str) -> Path | None:
    """The file behind `journal:PATH` or `sqlite:///PATH`; None for anything else."""
    for prefix in ("journal:", "sqlite:///"):
        path = url.removeprefix(prefix).split("?")[0]
        if url.startswith(prefix) and path:
            return Path(path)
    return None


def open_existing_store(locations: Locations) -> StudyStore | None:
    """Open the study store to read it; None if its file does not exist, which stays so.

    Raises:
        ConfigurationError: If its URL is malformed.
        StoreError: If it cannot be reached.
    """
    path = local_file(locations.storage)
    if path is not None and not path.exists():
        return None
    from tuner.wiring import open_store

    return open_store(locations)


def location_options(locations: Locations, summary: RunSummary) -> tuple[str, ...]:
    """Options that lead another command to the same stores; passwords are left out.

    Args:
        locations: Where a run is kept.
        summary: The run; it holds the stores' URLs in a form that may be shown.
    """
    default_home = resolve_locations().home
    options: list[str] = []
    if locations.home != default_home:
        options += ["--home", str(locations.home)]
    defaults = resolve_locations(home=locations.home)
    if locations.storage != defaults.storage:
        options += ["--storage", summary.storage]
    if locations.tracking_uri != defaults.tracking_uri:
        options += ["--tracking-uri", summary.tracking_uri]
    return tuple(options)
