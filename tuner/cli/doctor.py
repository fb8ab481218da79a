"""`tuner doctor`: is everything there that a run needs; if not, what cures it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from tuner.cli._checks import CHECKS, Check, CheckResult
from tuner.cli._output import print_json, print_table
from tuner.cli._places import (
    ArtifactRootOption,
    HomeOption,
    JsonOption,
    StorageOption,
    TrackingUriOption,
)
from tuner.settings import resolve_locations

__all__ = ["register", "run_checks"]

HELP = """
Check what a run needs: packages, devices, Ray, study store, tracking, disk, data.

Each fault comes with its cure. The exit code is 1 if a run could not work.

Examples:

    tuner doctor

    tuner doctor --storage postgresql+psycopg2://… --tracking-uri http://… --address HOST:6379
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", help=HELP)(doctor)


def doctor(
    home: HomeOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    artifact_root: ArtifactRootOption = None,
    address: Annotated[
        str, typer.Option(help="Ray: local, auto, or HOST:PORT of a cluster.")
    ] = "local",
    json_: JsonOption = False,
) -> None:
    """Check everything and print what was found."""
    locations = resolve_locations(
        home=home, storage=storage, tracking_uri=tracking_uri, artifact_root=artifact_root
    )
    say: Callable[[str], None] = (lambda _: None) if json_ else _announce
    results = run_checks(CHECKS, lambda check: check(locations, address), say=say)
    failed = any(result.state == "fail" for result in results)
    if json_:
        checks = [result.to_json() for result in results]
        print_json({"state": "fail" if failed else "ok", "checks": checks})
    else:
        print_table(("check", "state", "found"), [(r.name, r.state, r.found) for r in results])
        for result in results:
            if result.cure:
                typer.echo(f"{result.name}: {result.cure}")
        typer.echo("a run cannot work yet" if failed else "everything a run needs is there")
    if failed:
        raise typer.Exit(1)


def run_checks(
    checks: Sequence[tuple[str, Check]],
    run: Callable[[Check], CheckResult],
    *,
    say: Callable[[str], None],
) -> list[CheckResult]:
    """Run every check; one that breaks is a failed check, and hides no other."""
    results = []
    for name, check in checks:
        say(name)
        try:
            results.append(run(check))
        except ModuleNotFoundError as error:
            cure = "see `packages` for what to install; then run this again"
            results.append(CheckResult(name, "fail", str(error), cure))
        except Exception as error:  # noqa: BLE001 - whatever is broken here, the rest matters too
            text = " ".join(str(error).split()) or type(error).__name__
            results.append(CheckResult(name, "fail", text, "see the message; then run this again"))
    return results


def _announce(name: str) -> None:
    typer.echo(f"checking {name} …", err=True)
