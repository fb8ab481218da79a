"""Options that say where things are kept, and finding out what is already there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.settings import Locations, local_file

if TYPE_CHECKING:
    from tuner.ports import StudyStore

__all__ = [
    "ArtifactRootOption",
    "HomeOption",
    "JsonOption",
    "StorageOption",
    "TrackingUriOption",
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


def open_existing_store(locations: Locations) -> StudyStore | None:
    """Open the study store to read it; None if its file does not exist, which stays so.

    Raises:
        ConfigurationError: If its URL is malformed.
        StoreError: If it cannot be reached.
    """
    path = local_file(locations.storage)
    if path is not None and not path.exists():
        return None
    from tuner.wiring.stores import open_store

    return open_store(locations)
