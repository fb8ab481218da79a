"""The whole search, small, submitted by the command line to a real Ray head."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.jobs_head import Head, running_head

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

SMALL = [
    *("--backbone", "videopose", "--preset", "quick", "--epochs", "1", "--json"),
    *("--set", "steps_per_epoch=2", "--set", "energy_poses=4", "--set", "data.max_eval_poses=100"),
]
"""Real nets and data of the quick preset, as little training as there can be."""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with running_head(tmp_path_factory.mktemp("head") / "head.log") as running:
        yield running


def run_tuner(head: Head, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "RAY_AUTH_TOKEN": head.token,
        "RAY_API_SERVER_ADDRESS": head.address,
    }
    return subprocess.run(
        [sys.executable, "-m", "tuner", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )


def summary_in(logs: str) -> dict[str, Any]:
    """The object that `greedy --json` printed, among what it told on standard error."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(logs[logs.index("\n{") :].lstrip())[0]
    return found


def logs_of(head: Head, run: str) -> str:
    shown = run_tuner(head, "jobs", "logs", run, "--json")
    assert shown.returncode == 0, shown.stderr
    return str(json.loads(shown.stdout)["logs"])


def test_a_search_runs_as_a_job_and_is_shown_again_when_submitted_again(
    head: Head, tmp_path: Path
) -> None:
    submit = ("submit", "--json", "--name", "sub", "--home", str(tmp_path), "--", "greedy", *SMALL)
    first = run_tuner(head, *submit)
    assert first.returncode == 0, first.stdout + first.stderr
    job = json.loads(first.stdout)
    assert (job["state"], job["exit_code"], job["submission"]) == ("SUCCEEDED", 0, "started")

    summary = summary_in(logs_of(head, "sub"))
    assert (summary["run"], summary["state"]) == ("sub", "finished")
    assert [stage["name"] for stage in summary["stages"]] == ["1-lr_p", "2-lr_l", "3-alpha"]
    for system in ("baseline", "seal"):
        assert {"mpjpe_mm", "p_mpjpe_mm", "lse", "lle", "bsle"} <= set(summary[system]["test"])

    second = run_tuner(head, *submit)
    assert second.returncode == 0, second.stdout + second.stderr
    assert json.loads(second.stdout)["submission"] == "finished_before"
    assert summary_in(second.stderr) == summary


def test_a_stopped_search_is_resumed_under_its_name(head: Head, tmp_path: Path) -> None:
    submit = ("submit", "--json", "--name", "cut", "--home", str(tmp_path), "--", "greedy", *SMALL)
    started = run_tuner(head, submit[0], "--no-wait", *submit[1:])
    assert started.returncode == 0, started.stdout + started.stderr
    deadline = time.monotonic() + 400
    while not any((tmp_path / "checkpoints").glob("*/best.ckpt")):
        assert time.monotonic() < deadline, logs_of(head, "cut")
        time.sleep(0.5)

    stopped = run_tuner(head, "jobs", "stop", "cut", "--json")
    assert json.loads(stopped.stdout)["state"] == "STOPPED", stopped.stderr

    resumed = run_tuner(head, *submit)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    job = json.loads(resumed.stdout)
    assert (job["job"], job["run"], job["submission"]) == ("cut-a2", "cut", "resumed")
    summary = summary_in(logs_of(head, "cut"))
    assert summary["state"] == "finished"
    assert [stage["trials"]["finished"] for stage in summary["stages"]] == [3, 4, 4]


def test_a_mistake_in_the_arguments_ends_with_the_exit_code_of_greedy(
    head: Head, tmp_path: Path
) -> None:
    words = ("greedy", "--backbone", "nosuch", "--preset", "quick")
    failed = run_tuner(head, "submit", "--name", "bad", "--home", str(tmp_path), "--", *words)

    assert failed.returncode == 2
    assert "nosuch" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
