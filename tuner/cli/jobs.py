"""`tuner jobs list|status|logs|stop`: look at and stop runs on a cluster."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tuner.wiring.jobs import JobInfo, RayJobClient

__all__ = ["DEFAULT_ADDRESS", "AddressOption", "JsonOption", "connect", "register"]

AddressOption = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS",
        help="URL of the cluster's job server (the Ray dashboard).",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
]
_NameArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, or a job id.")]
DEFAULT_ADDRESS = "http://127.0.0.1:8265"


def connect(address: str, *, python: str = "python") -> RayJobClient:
    """Connect to a job server with the token of the environment; warn of what is unsafe.

    Raises:
        ConfigurationError: If nothing usable answers, or the token is missing or wrong.
    """
    from tuner.wiring.jobs import open_jobs

    client, warnings = open_jobs(address, python=python)
    for warning in warnings:
        typer.echo(f"Warning: {warning}", err=True)
    return client


def list_jobs(address: AddressOption = DEFAULT_ADDRESS, as_json: JsonOption = False) -> None:
    """List the runs that the cluster knows as jobs.

    Example: tuner jobs list --address http://127.0.0.1:8265
    """
    jobs = connect(address).jobs()
    if as_json:
        typer.echo(json.dumps({"jobs": [job.to_json() for job in jobs]}))
        return
    if not jobs:
        typer.echo("No runs were submitted to this cluster since its head started.")
    for line in _table(jobs):
        typer.echo(line)


def show_status(
    name: _NameArgument,
    address: AddressOption = DEFAULT_ADDRESS,
    as_json: JsonOption = False,
) -> None:
    """Show where a run stands.

    Example: tuner jobs status my-run --json
    """
    job = connect(address).status(name)
    if as_json:
        typer.echo(json.dumps(job.to_json()))
        return
    for line in _table([job]):
        typer.echo(line)
    if job.message:
        typer.echo(f"\n{job.message}")


def show_logs(
    name: _NameArgument,
    address: AddressOption = DEFAULT_ADDRESS,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print what a run has printed.

    Example: tuner jobs logs my-run --follow
    """
    if follow and as_json:
        raise typer.BadParameter("--follow prints as it goes, --json once at the end: choose one.")
    client = connect(address)
    if as_json:
        job = client.status(name)
        typer.echo(json.dumps({"run": job.run, "job": job.job, "logs": client.logs(job.job)}))
    elif follow:
        for text in client.follow(client.status(name).job):
            typer.echo(text, nl=False)
    else:
        typer.echo(client.logs(name), nl=False)


def stop_job(
    name: _NameArgument,
    address: AddressOption = DEFAULT_ADDRESS,
    as_json: JsonOption = False,
) -> None:
    """Stop a run; submitting it again resumes it.

    Its trials end at once: the epochs that had begun are repeated from their last checkpoints.

    Example: tuner jobs stop my-run
    """
    client = connect(address)
    before = client.status(name)
    after = client.stop(name)
    if as_json:
        typer.echo(json.dumps(after.to_json()))
    elif before.state.ended:
        typer.echo(f"Job {after.job} had ended before: {after.state}.")
    else:
        typer.echo(f"Job {after.job}: {after.state}. Submit run {after.run} again to resume it.")


def register(app: typer.Typer) -> None:
    """Add the command group `jobs` to the command line."""
    jobs = typer.Typer(no_args_is_help=True, help="Runs on a cluster: list, status, logs, stop.")
    jobs.command("list")(list_jobs)
    jobs.command("status")(show_status)
    jobs.command("logs")(show_logs)
    jobs.command("stop")(stop_job)
    app.add_typer(jobs, name="jobs")


def _table(jobs: list[JobInfo]) -> list[str]:
    """The jobs as aligned lines under a heading; nothing for no jobs."""
    if not jobs:
        return []
    rows = [("RUN", "JOB", "ATTEMPT", "STATE", "EXIT", "STARTED", "ENDED")]
    for job in jobs:
        code = "-" if job.exit_code is None else str(job.exit_code)
        times = (_clock(job.started_at), _clock(job.ended_at))
        rows.append((job.run, job.job, str(job.attempt), job.state.value, code, *times))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
