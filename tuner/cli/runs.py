"""`tuner runs list|show|resume|…`: what has been run, and going on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import runs_extend
from tuner.cli._output import print_json, print_summary, print_table
from tuner.cli._places import (
    ArtifactRootOption,
    HomeOption,
    JsonOption,
    StorageOption,
    TrackingUriOption,
    open_existing_store,
)
from tuner.errors import ConfigurationError
from tuner.settings import Locations, resolve_locations

if TYPE_CHECKING:
    from tuner.ports import StudyStore
    from tuner.reports.run_summary import RunSummary

__all__ = ["register"]

_NameArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    runs = typer.Typer(help="Look at runs, and go on with them.", no_args_is_help=True)
    runs.command("list", help="List all runs in the study store.")(list_runs)
    runs.command("show", help=SHOW_HELP)(show)
    runs.command("resume", help=RESUME_HELP)(resume)
    runs_extend.register(runs)
    app.add_typer(runs, name="runs")


SHOW_HELP = """
Show a run: baseline against SEAL, each stage's decision, where everything is.

Examples:

    tuner runs show RUN

    tuner runs show RUN --json | jq .seal.test
"""

RESUME_HELP = """
Go on with a run where it stopped; what has finished is never trained again.

Examples:

    tuner runs resume RUN

    tuner runs resume RUN --home DIR
"""


def list_runs(
    home: HomeOption = None, storage: StorageOption = None, json_: JsonOption = False
) -> None:
    """Print one line per run."""
    locations = resolve_locations(home=home, storage=storage)
    store = open_existing_store(locations)
    summaries = [] if store is None else _summaries(locations, store)
    if json_:
        print_json({"runs": [_brief(summary) for summary in summaries]})
    elif not summaries:
        typer.echo(f"{_nothing_yet(locations)}.")
    else:
        print_table(LIST_COLUMNS, [_line(summary) for summary in summaries])


def show(
    name: _NameArgument,
    home: HomeOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    json_: JsonOption = False,
) -> None:
    """Print a run in full."""
    locations = resolve_locations(home=home, storage=storage, tracking_uri=tracking_uri)
    store = _store(locations, name)
    from tuner.wiring.stores import summarise_run

    summary = summarise_run(locations, store, name)
    if json_:
        print_json(summary.to_json())
        return
    print_summary(summary)


def resume(
    name: _NameArgument,
    home: HomeOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    artifact_root: ArtifactRootOption = None,
    json_: JsonOption = False,
) -> None:
    """Go on with a run."""
    from tuner.cli.greedy import resume_run

    locations = resolve_locations(
        home=home, storage=storage, tracking_uri=tracking_uri, artifact_root=artifact_root
    )
    _store(locations, name)  # a mistyped --home must not create a store
    resume_run(name, locations, json_)


def _store(locations: Locations, name: str) -> StudyStore:
    store = open_existing_store(locations)
    if store is None:
        raise ConfigurationError(f"no run {name!r}: {_nothing_yet(locations)}")
    return store


def _nothing_yet(locations: Locations) -> str:
    return (
        f"there are no runs in {locations.home} yet; start one with "
        "`tuner greedy --backbone videopose`, or say where they are with --home or --storage"
    )


def _summaries(locations: Locations, store: StudyStore) -> list[RunSummary]:
    from tuner.wiring.stores import run_names, summarise_run

    return [summarise_run(locations, store, run) for run in run_names(store)]


LIST_COLUMNS = (
    *("run", "state", "stages closed", "trainings"),
    *("best val MPJPE", "test MPJPE: baseline", "SEAL"),
)


def _brief(summary: RunSummary) -> dict[str, object]:
    finished = [stage.winner for stage in summary.stages if stage.winner is not None]
    values = [winner.val_mpjpe_mm for winner in finished if winner.val_mpjpe_mm is not None]
    baseline = summary.baseline.test if summary.baseline else None
    seal = summary.seal.test if summary.seal else None
    return {
        "run": summary.run,
        "state": summary.state,
        "backbone": summary.configuration.get("backbone"),
        "dataset": summary.configuration.get("dataset"),
        "stages_begun": len(summary.stages),
        "stages_closed": sum(stage.closed for stage in summary.stages),
        "trainings": summary.trainings,
        "best_val_mpjpe_mm": min(values, default=None),
        "baseline_test_mpjpe_mm": (baseline or {}).get("mpjpe_mm"),
        "seal_test_mpjpe_mm": (seal or {}).get("mpjpe_mm"),
        "seconds": summary.seconds,
        "artifacts": summary.artifacts,
    }


def _line(summary: RunSummary) -> list[str]:
    brief = _brief(summary)
    figures = ("best_val_mpjpe_mm", "baseline_test_mpjpe_mm", "seal_test_mpjpe_mm")
    values = [brief[name] for name in figures]
    return [
        summary.run,
        summary.state,
        f"{brief['stages_closed']} of {brief['stages_begun']} begun",
        str(summary.trainings),
        *(f"{value:.2f}" if isinstance(value, float) else "-" for value in values),
    ]
