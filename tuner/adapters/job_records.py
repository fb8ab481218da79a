"""What is known about a submitted run: records and the rules about attempts (stdlib only)."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "EXIT_STOPPED",
    "JobHandle",
    "JobInfo",
    "JobState",
    "Submission",
    "arguments_digest",
    "attempt_id",
    "latest_attempt",
]

EXIT_STOPPED = 130
"""Exit code of a job that was stopped: that of a program ended by SIGINT."""


class JobState(enum.StrEnum):
    """State of a job on the cluster, as Ray names it."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether the job's process is gone for good."""
        return self not in (JobState.PENDING, JobState.RUNNING)


class Submission(enum.StrEnum):
    """What submitting a run came to."""

    STARTED = "started"
    ATTACHED = "attached"
    RESUMED = "resumed"
    FINISHED_BEFORE = "finished_before"


@dataclass(frozen=True)
class JobInfo:
    """A job of the tuner on a cluster.

    Attributes:
        job: Submission id on the cluster.
        run: Name of the run that it works on.
        attempt: 1 for the first job of the run, 2 for the one that resumed it, and so on.
        state: Where it stands.
        entrypoint: The command it runs.
        arguments: Digest of the command's arguments; empty if unknown.
        message: Ray's explanation of the state.
        exit_code: Exit status of the command, once it ended by itself.
        started_at: Unix time, seconds; None before it starts.
        ended_at: Unix time, seconds; None until it ended.
    """

    job: str
    run: str
    attempt: int
    state: JobState
    entrypoint: str = ""
    arguments: str = ""
    message: str = ""
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None

    def process_exit_code(self) -> int:
        """The exit status that a waiting command should end with."""
        if self.state is JobState.STOPPED:
            return EXIT_STOPPED
        if self.state is JobState.FAILED:
            return self.exit_code if self.exit_code and self.exit_code > 0 else 1
        return 0

    def to_json(self) -> dict[str, str | int | float | None]:
        """The record as JSON values."""
        return {
            "run": self.run,
            "job": self.job,
            "attempt": self.attempt,
            "state": self.state.value,
            "exit_code": self.exit_code,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "entrypoint": self.entrypoint,
            "message": self.message,
        }


@dataclass(frozen=True)
class JobHandle:
    """A submitted run.

    Attributes:
        run: Name of the run.
        job: Submission id of the job that works on it, or did.
        submission: Whether a job was started for it, or which it was joined to.
        note: One sentence on that, for people.
    """

    run: str
    job: str
    submission: Submission
    note: str


def arguments_digest(arguments: Sequence[str]) -> str:
    """Identity of a command line, by which a changed one is noticed."""
    return hashlib.sha256(json.dumps(list(arguments)).encode()).hexdigest()


def attempt_id(run: str, *, after: int, taken: Iterable[str]) -> tuple[str, int]:
    """The next free submission id of a run: `run`, then `run-a2`, `run-a3`, ….

    Ray never accepts an id twice, and another run may be called `run-a2`.

    Args:
        run: Name of the run.
        after: Highest attempt known, 0 if there is none.
        taken: Ids that exist on the cluster.
    """
    ids = set(taken)
    attempt = after + 1
    while (job := run if attempt == 1 else f"{run}-a{attempt}") in ids:
        attempt += 1
    return job, attempt


def latest_attempt(jobs: Iterable[JobInfo], name: str) -> JobInfo | None:
    """The newest job of a run; failing that, the job of that id; else None."""
    known = list(jobs)
    attempts = [job for job in known if job.run == name]
    if attempts:
        return max(attempts, key=lambda job: job.attempt)
    return next((job for job in known if job.job == name), None)
