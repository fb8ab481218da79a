"""Runs as jobs on a Ray cluster, through Ray's Job Submission API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from tuner import __version__
from tuner.adapters.job_access import ClusterAccess, wrong_token_message
from tuner.adapters.job_records import (
    JobHandle,
    JobInfo,
    JobState,
    Submission,
    arguments_digest,
    attempt_id,
    latest_attempt,
)
from tuner.errors import ConfigurationError, RunnerError

__all__ = ["RayJobClient"]

_logger = logging.getLogger(__name__)

PRODUCT = "seal-pose-tuner"
STOP_GRACE_S = 30
"""How long a stopped job may take to end its trials and record them, before Ray kills it."""
STOP_LIMIT_S = STOP_GRACE_S + 30
POLL_S = 1.0
RECONNECT_LIMIT = 30


class RayJobClient:
    """Submits, watches and stops runs on one cluster.

    Args:
        access: The job server, from `open_access`.
        command: Command on the cluster that the arguments are handed to.

    Raises:
        ConfigurationError: If the server cannot be reached or refuses the token.
        RunnerError: From any method, if the server answers with an error of its own.
    """

    def __init__(
        self, access: ClusterAccess, *, command: Sequence[str] = ("python", "-m", "tuner")
    ) -> None:
        self.address = access.address
        self._command = tuple(command)
        # the end of a log stream is no news, least of all among the job's own lines
        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
        with self._translated(), _without_ray_addresses():
            self._client = JobSubmissionClient(access.address, headers=access.headers())

    def submit(
        self,
        run: str,
        arguments: Sequence[str],
        *,
        packages: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> JobHandle:
        """Start a run as a job, or join the job that already works on it.

        One job at a time works on a run. If the newest one is pending or running, it is joined;
        if it failed or was stopped, the run is resumed by a further job; if it succeeded, it is
        joined when the arguments are the same, else a further job runs with the new ones.

        Args:
            run: Name of the run, a plain word; becomes the submission id.
            arguments: Arguments of the command, each a word of its own.
            packages: Folders of Python packages to ship with the job.
            environment: Environment variables of the job. No secrets: Ray shows them.

        Raises:
            ConfigurationError: If the address or token is wrong.
            RunnerError: If the server refuses the job.
        """
        for _ in range(3):
            jobs = self._details()
            infos = [info for job in jobs if (info := _to_info(job)) is not None]
            latest = max(
                (job for job in infos if job.run == run), key=lambda job: job.attempt, default=None
            )
            if latest is not None and (joined := _joined(latest, arguments)) is not None:
                return joined
            after = latest.attempt if latest else 0
            job, attempt = attempt_id(
                run, after=after, taken=[str(job.submission_id) for job in jobs]
            )
            entry = {"run": run, "attempt": str(attempt), "arguments": arguments_digest(arguments)}
            if self._start(job, entry, arguments, packages, environment or {}):
                return _started(run, job, latest)
            # Someone submitted the same name at the same moment: look again, and join it.
        raise RunnerError(f"Job {run} could not be submitted: its id was taken three times over.")

    def jobs(self) -> list[JobInfo]:
        """All jobs of the tuner that the cluster remembers, oldest first."""
        infos = [info for job in self._details() if (info := _to_info(job)) is not None]
        return sorted(infos, key=lambda info: (info.started_at or float("inf"), info.job))

    def status(self, name: str) -> JobInfo:
        """The newest job of a run (or the job of that id).

        Raises:
            ConfigurationError: If the cluster knows none; the message lists those it knows.
        """
        jobs = self.jobs()
        job = latest_attempt(jobs, name)
        if job is None:
            known = ", ".join(sorted({info.run for info in jobs})) or "none"
            raise ConfigurationError(
                f"The cluster at {self.address} knows no run or job {name!r}. Known runs: "
                f"{known}. (A cluster forgets its jobs when its head ends; the run itself is "
                "kept, and submitting it again resumes it.)"
            )
        return job

    def job(self, job: str) -> JobInfo:
        """The job of exactly this id.

        Raises:
            RunnerError: If there is none, or it is not the tuner's.
        """
        with self._translated():
            info = _to_info(self._client.get_job_info(job))
        if info is None:
            raise RunnerError(f"Job {job} at {self.address} is not one of the tuner's.")
        return info

    def logs(self, name: str) -> str:
        """Everything that the newest job of a run has printed so far."""
        job = self.status(name).job
        with self._translated():
            return str(self._client.get_job_logs(job))

    def follow(self, job: str) -> Iterator[str]:
        """Yield what the job of this id prints, from its beginning, until it has ended.

        Survives interruptions of the connection: it reconnects and goes on where it was.

        Raises:
            RunnerError: If the server stays away; the job itself is not touched.
        """
        shown = 0
        failures = 0
        while True:
            try:
                for text in self._tail(job, skip=shown):
                    shown += len(text)
                    failures = 0
                    yield text
                if self.job(job).state.ended:
                    return
            except (RunnerError, ConfigurationError) as error:
                failures += 1
                if failures > RECONNECT_LIMIT:
                    raise RunnerError(
                        f"Lost contact with {self.address} while following job {job}: {error} "
                        "The job goes on without this command; submit the same run again, or "
                        f"`tuner jobs logs --follow {job}`, to watch it further."
                    ) from error
                _logger.warning("Connection to %s lost, trying again: %s", self.address, error)
            time.sleep(POLL_S)

    def wait(self, job: str, *, limit_s: float | None = None) -> JobInfo:
        """Wait until the job of this id has ended, or `limit_s` seconds; return its state."""
        deadline_s = None if limit_s is None else time.monotonic() + limit_s
        while True:
            info = self.job(job)
            if info.state.ended or (deadline_s is not None and time.monotonic() > deadline_s):
                return info
            time.sleep(POLL_S)

    def stop(self, name: str) -> JobInfo:
        """Ask a run's newest job to end, and wait; an ended one is left alone.

        Its trials end at once; a later job repeats their begun epochs from the last checkpoints.

        Raises:
            RunnerError: If it is still there long after the time that Ray gives it.
        """
        info = self.status(name)
        if info.state.ended:
            return info
        with self._translated():
            self._client.stop_job(info.job)
        info = self.wait(info.job, limit_s=STOP_LIMIT_S)
        if not info.state.ended:
            raise RunnerError(
                f"Job {info.job} was told to stop, but is still {info.state} after "
                f"{STOP_LIMIT_S} s. Look at its logs, and at the head node."
            )
        return info

    def _start(
        self,
        job: str,
        entry: Mapping[str, str],
        arguments: Sequence[str],
        packages: Sequence[Path],
        environment: Mapping[str, str],
    ) -> bool:
        """Submit one job; False if its id has been taken meanwhile."""
        # Ray's own stop is SIGTERM and 3 s; the driver needs longer to end its trials.
        variables = {
            "RAY_JOB_STOP_SIGNAL": "SIGINT",
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_GRACE_S),
            **environment,
        }
        runtime_env: dict[str, Any] = {"env_vars": variables}
        if packages:
            runtime_env["py_modules"] = [str(folder) for folder in packages]
            runtime_env["excludes"] = ["**/__pycache__"]
        try:
            with self._translated():
                self._client.submit_job(
                    entrypoint="exec " + shlex.join([*self._command, *arguments]),
                    submission_id=job,
                    runtime_env=runtime_env,
                    metadata={"product": PRODUCT, "version": __version__, **entry},
                    entrypoint_num_cpus=0,
                )
        except RunnerError as error:
            if "already exists" in str(error):
                return False
            raise
        return True

    def _details(self) -> list[Any]:
        with self._translated():
            jobs: list[Any] = self._client.list_jobs()
        # Drivers that connected by themselves are listed too; they have no submission id.
        return [job for job in jobs if job.submission_id is not None]

    def _tail(self, job: str, *, skip: int) -> Iterator[str]:
        """Yield the log as it grows, without its first `skip` characters."""
        loop = asyncio.new_event_loop()
        chunks: AsyncGenerator[str, None] = self._client.tail_job_logs(job)
        try:
            while True:
                with self._translated():
                    text = loop.run_until_complete(_next_or_none(chunks))
                if text is None:
                    return
                cut = min(skip, len(text))
                skip -= cut
                if text[cut:]:
                    yield text[cut:]
        finally:
            loop.run_until_complete(chunks.aclose())
            loop.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what Ray's client raises into errors with a cure."""
        try:
            yield
        except AuthenticationError as error:
            raise ConfigurationError(wrong_token_message(self.address)) from error
        except (OSError, aiohttp.ClientError) as error:  # requests' errors are OSErrors
            raise ConfigurationError(
                f"The Ray job server at {self.address} does not answer any more "
                f"({type(error).__name__}). Check that the head runs and can be reached."
            ) from error
        except (RuntimeError, ValueError) as error:
            raise RunnerError(
                f"The Ray job server at {self.address} refused: {_last_line(error)}"
            ) from error


async def _next_or_none(chunks: AsyncIterator[str]) -> str | None:
    return await anext(chunks, None)


def _joined(latest: JobInfo, arguments: Sequence[str]) -> JobHandle | None:
    """The newest job of a run as the answer to a submission; None if a further one is due."""
    changed = latest.arguments != arguments_digest(arguments)
    if not latest.state.ended:
        note = f"Run {latest.run} is {latest.state.lower()} as job {latest.job}: attached to it."
        if changed:
            note += " Your arguments differ from its own and have no effect while it runs."
        return JobHandle(latest.run, latest.job, Submission.ATTACHED, note)
    if latest.state is JobState.SUCCEEDED and not changed:
        note = (
            f"Run {latest.run} finished as job {latest.job}; nothing is left to do. Its output "
            "follows. For a fresh run give another --name."
        )
        return JobHandle(latest.run, latest.job, Submission.FINISHED_BEFORE, note)
    return None


def _started(run: str, job: str, latest: JobInfo | None) -> JobHandle:
    if latest is None:
        return JobHandle(run, job, Submission.STARTED, f"Run {run} submitted as job {job}.")
    how = "finished with other arguments" if latest.state is JobState.SUCCEEDED else "ended"
    note = f"Job {latest.job} ({latest.state}) {how}: run {run} goes on as job {job}."
    return JobHandle(run, job, Submission.RESUMED, note)


def _to_info(job: Any) -> JobInfo | None:
    """Ray's record as ours; None for a job that is not the tuner's."""
    metadata = job.metadata or {}
    if metadata.get("product") != PRODUCT:
        return None
    attempt = str(metadata.get("attempt", "1"))
    return JobInfo(
        job=job.submission_id,
        run=metadata.get("run", job.submission_id),
        attempt=int(attempt) if attempt.isdecimal() else 1,
        state=JobState(str(job.status.value)),
        entrypoint=job.entrypoint,
        arguments=metadata.get("arguments", ""),
        message=job.message or "",
        exit_code=job.driver_exit_code,
        started_at=None if job.start_time is None else job.start_time / 1000,
        ended_at=None if job.end_time is None else job.end_time / 1000,
    )


def _last_line(error: Exception) -> str:
    """The last line that says something: Ray sends whole tracebacks as messages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .\n")]
    return lines[-1] if lines else type(error).__name__


@contextlib.contextmanager
def _without_ray_addresses() -> Iterator[None]:
    """Hide the variables that Ray's client prefers to the address it is given."""
    names = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    saved = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(saved)
