"""Jobs on a real Ray head with token authentication, started and ended by these tests."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.integration.jobs_head import Head, running_head
from tuner.adapters.job_access import open_access
from tuner.adapters.job_records import JobState, Submission
from tuner.adapters.jobs import RayJobClient
from tuner.cli import jobs as jobs_command
from tuner.cli import submit as submit_command
from tuner.errors import ConfigurationError

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

STAND_IN = """
import signal, sys, time, pathlib
words = sys.argv[1:]
print("words", words, flush=True)
if "exit" in words:
    sys.exit(int(words[words.index("exit") + 1]))
if "sleep" in words:
    def save(number, frame):
        time.sleep(4)  # longer than the 3 s that Ray gives by default
        pathlib.Path(words[words.index("sleep") + 1]).write_text(signal.Signals(number).name)
        sys.exit(130)
    signal.signal(signal.SIGINT, save)
    print("asleep", flush=True)
    time.sleep(120)
print("done", flush=True)
"""
"""What the jobs run in place of the tuner: fast, and with an end that can be chosen."""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with running_head(tmp_path_factory.mktemp("head") / "head.log") as running:
        yield running


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    return path


@pytest.fixture
def command_line() -> typer.Typer:
    app = typer.Typer()
    submit_command.register(app)
    jobs_command.register(app)
    return app


def test_a_job_runs_to_its_end_and_keeps_words_apart(head: Head, script: Path) -> None:
    client = head.client(script)
    handle = client.submit("plain", ["greedy", "a b", "$HOME; false"])
    assert (handle.job, handle.submission) == ("plain", Submission.STARTED)

    assert "".join(client.follow("plain")).rstrip().endswith("done")
    info = client.status("plain")

    assert (info.state, info.exit_code, info.attempt) == (JobState.SUCCEEDED, 0, 1)
    assert "words ['greedy', 'a b', '$HOME; false']" in client.logs("plain")
    assert "plain" in [job.run for job in client.jobs()]
    assert head.token not in json.dumps(info.to_json()) + client.logs("plain")


def test_submitting_a_finished_run_again_starts_nothing_unless_changed(
    head: Head, script: Path
) -> None:
    client = head.client(script)
    client.submit("again", ["greedy"])
    client.wait("again")

    same = client.submit("again", ["greedy"])
    assert (same.job, same.submission) == ("again", Submission.FINISHED_BEFORE)

    changed = client.submit("again", ["greedy", "--trials", "9"])
    assert (changed.job, changed.submission) == ("again-a2", Submission.RESUMED)
    assert client.wait("again-a2").state is JobState.SUCCEEDED
    assert client.status("again").job == "again-a2"


def test_a_running_name_is_attached_to_then_stopped_softly_then_resumed(
    head: Head, script: Path, tmp_path: Path
) -> None:
    client = head.client(script)
    saved = tmp_path / "saved"
    arguments = ["greedy", "sleep", str(saved)]
    client.submit("long", arguments)
    for text in client.follow("long"):
        if "asleep" in text:
            break

    second = client.submit("long", arguments)
    assert (second.job, second.submission) == ("long", Submission.ATTACHED)
    assert [job.job for job in client.jobs() if job.run == "long"] == ["long"]

    stopped = client.stop("long")
    assert (stopped.state, stopped.process_exit_code()) == (JobState.STOPPED, 130)
    assert saved.read_text() == "SIGINT"
    assert client.stop("long") == stopped

    third = client.submit("long", ["greedy"])
    assert (third.job, third.submission) == ("long-a2", Submission.RESUMED)
    assert client.wait("long-a2").attempt == 2


def test_a_failed_job_keeps_its_exit_code(head: Head, script: Path) -> None:
    client = head.client(script)
    client.submit("broken", ["greedy", "exit", "2"])

    info = client.wait("broken")

    assert (info.state, info.exit_code, info.process_exit_code()) == (JobState.FAILED, 2, 2)


def test_the_address_given_beats_the_environment(
    head: Head, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")

    assert head.client(script).address == head.address
    assert os.environ["RAY_ADDRESS"] == "127.0.0.1:1"


def test_no_token_and_a_wrong_token_each_say_what_to_set(head: Head) -> None:
    with pytest.raises(ConfigurationError, match=r"asks for a token, and none.*RAY_AUTH"):
        open_access(head.address, token=None)

    wrong = open_access(head.address, token="deadbeef" * 4)
    with pytest.raises(ConfigurationError, match=r"refused the token.*RAY_AUTH_TOKEN") as refused:
        RayJobClient(wrong)
    assert "deadbeef" not in str(refused.value)


def test_the_probes_of_the_manifests_need_no_token(head: Head) -> None:
    for url in (
        f"{head.address}/api/gcs_healthz",
        f"{head.agent_address}/api/local_raylet_healthz",
    ):
        with urllib.request.urlopen(url, timeout=10) as reply:
            assert reply.status == 200


def test_an_unknown_run_is_named_with_those_that_exist(head: Head, script: Path) -> None:
    client = head.client(script)
    client.submit("known", ["greedy"])

    with pytest.raises(ConfigurationError, match=r"no run or job 'nosuch'.*Known runs: .*known"):
        client.logs("nosuch")
    client.wait("known")


def test_shipped_packages_are_imported_by_the_job(head: Head, tmp_path: Path) -> None:
    package = tmp_path / "shipped_only"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys; print('shipped', sys.argv[1:])")
    access = open_access(head.address, token=head.token)
    client = RayJobClient(access, command=(sys.executable, "-m", "shipped_only"))

    client.submit("shipped", ["greedy"], packages=[package])

    assert client.wait("shipped").state is JobState.SUCCEEDED, client.logs("shipped")
    assert "shipped ['greedy']" in client.logs("shipped")


def test_the_commands_submit_list_show_and_stop(
    head: Head,
    command_line: typer.Typer,
    script: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head.address)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {script} "$@"\n')
    python.chmod(0o755)
    runner = CliRunner()
    base = ["submit", "--python", str(python), "--home", "/tmp/home"]

    done = runner.invoke(command_line, [*base, "--json", "--name", "cli", "--", "greedy"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["run"], summary["state"], summary["submission"]) == (
        *("cli", "SUCCEEDED", "started"),
    )
    assert "'--name', 'cli', '--home', '/tmp/home', '--address', 'auto'" in done.stderr

    failed = runner.invoke(command_line, [*base, "--name", "bad", "--", "greedy", "exit", "3"])
    assert failed.exit_code == 3
    assert "words" in failed.stdout

    left = runner.invoke(
        command_line,
        [*base, "--no-wait", "--name", "left", "--", "greedy", "sleep", str(tmp_path / "saved")],
    )
    assert left.exit_code == 0, left.output

    listed = json.loads(runner.invoke(command_line, ["jobs", "list", "--json"]).stdout)
    assert {"cli", "bad", "left"} <= {job["run"] for job in listed["jobs"]}
    assert "left" in runner.invoke(command_line, ["jobs", "list"]).stdout

    stopped = runner.invoke(command_line, ["jobs", "stop", "left", "--json"])
    assert json.loads(stopped.stdout)["state"] == "STOPPED"
    status = runner.invoke(command_line, ["jobs", "status", "bad", "--json"])
    assert json.loads(status.stdout)["exit_code"] == 3
    logs = runner.invoke(command_line, ["jobs", "logs", "cli", "--follow"])
    assert "done" in logs.stdout
