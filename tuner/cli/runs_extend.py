"""`tuner runs extend|refine`: a finished search goes on instead of starting anew."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli._places import (
    ArtifactRootOption,
    HomeOption,
    JsonOption,
    StorageOption,
    TrackingUriOption,
    open_existing_store,
)
from tuner.errors import ConfigurationError
from tuner.settings import resolve_locations

__all__ = ["register"]

EXTEND_HELP = """
Run more trials of a stage over its whole space, then whatever follows from them.

TPE proposes them, from all that the stage has tried (`random` goes on at random). Later stages
are done again only where another value is to be kept now; what is known is not trained again.

Examples:

    tuner runs extend RUN --stage lr_l --trials +8

    tuner runs extend RUN --stage 3-alpha --trials 4 --home DIR
"""

REFINE_HELP = """
Run more trials of a stage close to its winner, then whatever follows from them.

The window reaches from 1/FACTOR of the winner's value to FACTOR times it on a log scale, and has
1/FACTOR of the range's width on a linear one; it ends where the range ends. Only trials within the
window are taken as known.

Examples:

    tuner runs refine RUN --stage alpha --trials 6

    tuner runs refine RUN --stage lr_l --trials 6 --factor 2
"""

_NameArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")]
_StageOption = Annotated[
    str, typer.Option("--stage", help="lr_p, lr_l or alpha; or the full name, as 2-lr_l.")
]
_TrialsOption = Annotated[
    str, typer.Option("--trials", help="Trials to add: 8 or +8.", metavar="N")
]
_FactorOption = Annotated[
    float, typer.Option("--factor", help="Size of the window around the winner, above 1.")
]


def register(runs: typer.Typer) -> None:
    """Add the commands to `tuner runs`."""
    runs.command("extend", help=EXTEND_HELP)(extend)
    runs.command("refine", help=REFINE_HELP)(refine)


def extend(
    name: _NameArgument,
    stage: _StageOption,
    trials: _TrialsOption,
    home: HomeOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    artifact_root: ArtifactRootOption = None,
    json_: JsonOption = False,
) -> None:
    """Add trials over the whole space of a stage."""
    places = (home, storage, tracking_uri, artifact_root)
    _go_on(name, stage, _number(trials), None, places, json_mode=json_)


def refine(
    name: _NameArgument,
    stage: _StageOption,
    trials: _TrialsOption,
    factor: _FactorOption = 3.0,
    home: HomeOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    artifact_root: ArtifactRootOption = None,
    json_: JsonOption = False,
) -> None:
    """Add trials around the winner of a stage."""
    places = (home, storage, tracking_uri, artifact_root)
    _go_on(name, stage, _number(trials), factor, places, json_mode=json_)


_Places = tuple[Path | None, str | None, str | None, str | None]


def _go_on(
    name: str, stage: str, trials: int, factor: float | None, places: _Places, *, json_mode: bool
) -> None:
    from tuner.cli.greedy import resume_run
    from tuner.wiring.extending import ExtensionRequest, check_extension, write_extension

    home, storage, tracking_uri, artifact_root = places
    locations = resolve_locations(
        home=home, storage=storage, tracking_uri=tracking_uri, artifact_root=artifact_root
    )
    store = open_existing_store(locations)
    if store is None:
        raise ConfigurationError(
            f"no run {name!r}: there are no runs in {locations.home} yet; "
            "say where they are with --home or --storage"
        )
    request = ExtensionRequest(name, stage, trials, factor)
    check_extension(store, request)  # a mistake is refused before data are loaded
    prepare = partial(write_extension, request=request)
    resume_run(name, locations, json_mode, prepare=prepare)


def _number(text: str) -> int:
    if not re.fullmatch(r"\+?[1-9][0-9]{0,5}", text):
        raise ConfigurationError(
            f"--trials {text!r}: expected how many trials to add, 1 or more, as 8 or +8"
        )
    return int(text)
