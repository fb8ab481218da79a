"""The rules about attempts, states and exit codes."""

from __future__ import annotations

import dataclasses

import pytest

from tuner.adapters.job_records import (
    JobInfo,
    JobState,
    arguments_digest,
    attempt_id,
    latest_attempt,
)
from tuner.cli.submit import closing_line


@pytest.mark.parametrize(
    ("after", "taken", "expected"),
    [
        (0, [], ("sub", 1)),
        (1, ["sub"], ("sub-a2", 2)),
        (2, ["sub", "sub-a2"], ("sub-a3", 3)),
        (1, ["sub", "sub-a2"], ("sub-a3", 3)),
        (0, ["sub"], ("sub-a2", 2)),
    ],
)
def test_attempt_ids_are_never_used_twice(
    after: int, taken: list[str], expected: tuple[str, int]
) -> None:
    assert attempt_id("sub", after=after, taken=taken) == expected


def job(name: str, run: str, attempt: int) -> JobInfo:
    return JobInfo(job=name, run=run, attempt=attempt, state=JobState.FAILED)


def test_a_run_means_its_newest_job_and_an_id_only_that_job() -> None:
    jobs = [job("sub-a10", "sub", 10), job("sub", "sub", 1), job("sub-a9", "sub", 9)]

    assert latest_attempt(jobs, "sub") == jobs[0]
    assert latest_attempt(jobs, "sub-a9") == jobs[2]
    assert latest_attempt(jobs, "other") is None


def test_a_run_that_is_called_like_an_attempt_is_told_apart() -> None:
    jobs = [job("sub-a2", "sub-a2", 1), job("sub-a3", "sub", 2)]

    assert latest_attempt(jobs, "sub-a2") == jobs[0]
    assert latest_attempt(jobs, "sub") == jobs[1]


@pytest.mark.parametrize(
    ("state", "exit_code", "expected"),
    [
        (JobState.SUCCEEDED, 0, 0),
        (JobState.FAILED, 2, 2),
        (JobState.FAILED, None, 1),
        (JobState.FAILED, -9, 1),
        (JobState.STOPPED, None, 130),
    ],
)
def test_the_exit_code_mirrors_the_job(
    state: JobState, exit_code: int | None, expected: int
) -> None:
    info = JobInfo(job="sub", run="sub", attempt=1, state=state, exit_code=exit_code)

    assert info.process_exit_code() == expected


@pytest.mark.parametrize(
    ("exit_code", "expected"),
    [(None, "Job sub: FAILED. runtime_env setup failed"), (2, "Job sub: FAILED.")],
)
def test_why_a_command_never_ran_is_told(exit_code: int | None, expected: str) -> None:
    info = JobInfo("sub", "sub", 1, JobState.FAILED, message="runtime_env setup failed")

    assert closing_line(dataclasses.replace(info, exit_code=exit_code)) == expected


def test_only_pending_and_running_jobs_have_not_ended() -> None:
    assert [state for state in JobState if not state.ended] == [JobState.PENDING, JobState.RUNNING]


def test_the_digest_tells_word_boundaries_apart() -> None:
    assert arguments_digest(["a b"]) != arguments_digest(["a", "b"])
