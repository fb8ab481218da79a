"""`tuner submit -- greedy …`: run the greedy protocol as a job on a Ray cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.job_plan import plan_job
from tuner.cli.jobs import DEFAULT_ADDRESS, AddressOption, JsonOption, connect

if TYPE_CHECKING:
    from tuner.wiring.jobs import JobHandle, JobInfo, RayJobClient

__all__ = ["closing_line", "register"]


def submit(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- greedy …", help="The command to run on the cluster."),
    ] = None,
    address: AddressOption = DEFAULT_ADDRESS,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    home: Annotated[
        str | None,
        typer.Option(help="The run's home folder: on storage that all nodes share."),
    ] = None,
    wait: Annotated[
        bool, typer.Option(help="Show the run's output and end with its exit code.")
    ] = True,
    ship_code: Annotated[
        bool, typer.Option("--ship-code", help="Send this installation's code with the job.")
    ] = False,
    python: Annotated[
        str, typer.Option(help="Interpreter on the cluster that has the tuner installed.")
    ] = "python",
    as_json: JsonOption = False,
) -> None:
    """Run `greedy` as a job on a Ray cluster; the same name again attaches or resumes.

    Example: tuner submit --name my-run --home /shared/tuner -- greedy --backbone videopose
    """
    from tuner.wiring.jobs import shipped_packages

    plan = plan_job(arguments or [], name=name, home=home)
    packages = shipped_packages() if ship_code else []
    client = connect(address, python=python)
    handle = client.submit(plan.run, plan.arguments, packages=packages)
    for line in (handle.note, *plan.notes):
        typer.echo(line, err=True)
    job = _watched(client, handle, as_json=as_json) if wait else client.job(handle.job)
    if as_json:
        origin = {"submission": handle.submission.value, "address": client.address}
        typer.echo(json.dumps({**job.to_json(), **origin}))
    if wait:
        typer.echo(closing_line(job), err=True)
        raise typer.Exit(job.process_exit_code())
    typer.echo(f"Watch it: tuner jobs logs --follow {handle.run}", err=True)


def register(app: typer.Typer) -> None:
    """Add the command `submit` to the command line."""
    # Options of `greedy` must not be taken for ours, even when `--` is forgotten.
    app.command("submit", context_settings={"allow_interspersed_args": False})(submit)


def closing_line(job: JobInfo) -> str:
    """How a job ended. Without an exit code its command never ran, and only Ray knows why."""
    reason = f" {job.message}" if job.state == "FAILED" and job.exit_code is None else ""
    return f"Job {job.job}: {job.state}.{reason}"


def _watched(client: RayJobClient, handle: JobHandle, *, as_json: bool) -> JobInfo:
    """Show a job's output until it has ended; Ctrl-C leaves it running."""
    try:
        for text in client.follow(handle.job):
            typer.echo(text, nl=False, err=as_json)
        return client.wait(handle.job)
    except KeyboardInterrupt:
        typer.echo(
            f"\nNo longer watching; run {handle.run} goes on as job {handle.job}. Watch it again "
            f"by the same command, or stop it: tuner jobs stop {handle.run}",
            err=True,
        )
        raise typer.Exit(130) from None
