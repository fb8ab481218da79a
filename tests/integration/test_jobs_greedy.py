"""The whole search, small, submitted by the command line to a real Ray head."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.greedy_cli import SMALL
from tests.integration.jobs_head import Head, running_head
from tuner.cli import main

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


RunTuner = Callable[..., Ended]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with running_head(tmp_path_factory.mktemp("head") / "head.log") as running:
        yield running


@pytest.fixture
def run_tuner(
    head: Head, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunTuner:
    """Run `tuner ARGUMENTS` in this process; what it submits runs on the head."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head.address)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tuner", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run


def summary_in(logs: str) -> dict[str, Any]:
    """The object that `greedy --json` printed, among what it told on standard error."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(logs[logs.index("\n{") :].lstrip())[0]
    return found


def test_a_search_is_stopped_resumed_under_its_name_and_shown_again(
    run_tuner: RunTuner, tmp_path: Path
) -> None:
    options = ("--json", "--name", "cut", "--home", str(tmp_path), "--", "greedy", *SMALL)
    started = run_tuner("submit", "--no-wait", *options)
    assert started.code == 0, started.err
    assert json.loads(started.out)["submission"] == "started"
    deadline = time.monotonic() + 240
    while not any((tmp_path / "runs" / "cut" / "checkpoints").glob("*/*.ckpt")):
        assert time.monotonic() < deadline, run_tuner("jobs", "logs", "cut").out
        time.sleep(0.2)

    stopped = run_tuner("jobs", "stop", "cut", "--json")
    assert json.loads(stopped.out)["state"] == "STOPPED", stopped.err

    resumed = run_tuner("submit", *options)
    assert resumed.code == 0, resumed.err
    job = json.loads(resumed.out)
    assert (job["job"], job["run"], job["submission"]) == ("cut-a2", "cut", "resumed")
    assert (job["state"], job["exit_code"]) == ("SUCCEEDED", 0)

    summary = summary_in(json.loads(run_tuner("jobs", "logs", "cut", "--json").out)["logs"])
    assert (summary["run"], summary["state"]) == ("cut", "finished")
    assert [stage["name"] for stage in summary["stages"]] == ["1-lr_p", "2-lr_l", "3-alpha"]
    assert [stage["trials"]["finished"] for stage in summary["stages"]] == [3, 4, 4]
    for system in ("baseline", "seal"):
        assert {"mpjpe_mm", "p_mpjpe_mm", "lse", "lle", "bsle"} <= set(summary[system]["test"])

    again = run_tuner("submit", *options)
    assert again.code == 0, again.err
    assert json.loads(again.out)["submission"] == "finished_before"
    assert summary_in(again.err) == summary


def test_a_mistake_in_the_arguments_ends_with_the_exit_code_of_greedy(
    run_tuner: RunTuner, tmp_path: Path
) -> None:
    words = ("greedy", "--backbone", "nosuch", "--preset", "quick")
    failed = run_tuner("submit", "--name", "bad", "--home", str(tmp_path), "--", *words)

    assert failed.code == 2
    assert "nosuch" in failed.out
    assert "Traceback" not in failed.out + failed.err
