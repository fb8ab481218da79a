"""Searches on PostgreSQL: the server goes and comes back; two drivers want the same run."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.integration.greedy_cli import run, start, table, wait_for_line
from tests.integration.postgresql import PASSWORD, PostgresqlServer, postgresql_server
from tuner.settings import resolve_locations
from tuner.wiring.driving import DRIVER_ATTEMPT
from tuner.wiring.stores import load_histories, open_store

__all__ = ["postgresql_server"]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.fault,
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A search on SQLite."""
    home = tmp_path_factory.mktemp("undisturbed")
    return run(home, "--name", "demo", "--storage", f"sqlite:///{home}/studies.db")


def mlflow_states(home: Path) -> set[str]:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    return {item.info.status for item in client.search_runs(experiments, max_results=1000)}


def check_accounts(home: Path, url: str, *, drivers: int) -> None:
    """Nothing is left running, nothing is there twice, no curve has a hole."""
    histories = load_histories(open_store(resolve_locations(home=home, storage=url)), "demo")
    first = next(iter(histories.values()))
    assert first.attributes[DRIVER_ATTEMPT] == drivers
    for study in histories.values():
        keys = [trial.spec.configuration_key for trial in study.trials]
        assert len(keys) == len(set(keys))
        assert all(trial.state.ended for trial in study.trials)
        assert all([epoch for epoch, _ in trial.curve] == [1, 2] for trial in study.trials)
    assert mlflow_states(home) == {"FINISHED"}


def test_a_server_that_comes_back_changes_nothing(
    postgresql_server: PostgresqlServer, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """It is stopped twice while trials run: once as by a crash, once in good order."""
    url = postgresql_server.new_database()
    process = start(tmp_path, "--name", "demo", "--storage", url)
    for line, mode in (("1-lr_p: 3 trials to run", "immediate"), ("2-lr_l: 4 trials", "fast")):
        wait_for_line(process, line)
        time.sleep(0.5)
        postgresql_server.stop(mode)
        wait_for_line(process, "it is tried again, and running trials go on")
        time.sleep(2.0)
        postgresql_server.start()
        wait_for_line(process, "the study store is back")
    printed, messages = process.communicate(timeout=400)
    assert process.returncode == 0, messages
    assert PASSWORD not in messages + printed
    # the same command, once more
    assert table(run(tmp_path, "--name", "demo", "--storage", url)) == table(undisturbed)
    check_accounts(tmp_path, url, drivers=1)


def test_an_outage_beyond_the_patience_ends_the_run_so_that_it_can_go_on(
    postgresql_server: PostgresqlServer, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    url = postgresql_server.new_database()
    settings = tmp_path / "settings.yaml"
    settings.write_text("store_patience_s: 2\n", encoding="utf-8")
    process = start(tmp_path, "--name", "demo", "--storage", url, "--config", str(settings))
    wait_for_line(process, "1-lr_p: 3 trials to run")
    postgresql_server.stop()
    try:
        _, messages = process.communicate(timeout=120)
    finally:
        postgresql_server.start()
    assert process.returncode == 1, messages
    assert "is away" in messages
    assert "after 2 s of waiting" in messages
    assert f"Go on with: tuner runs resume demo --home {tmp_path}" in messages
    assert "Traceback" not in messages
    assert PASSWORD not in messages
    assert "RUNNING" not in mlflow_states(tmp_path)
    again = run(tmp_path, "--name", "demo", "--storage", url, "--config", str(settings))
    assert table(again) == table(undisturbed)
    check_accounts(tmp_path, url, drivers=2)


@pytest.mark.parametrize("kind", ["journal", "postgresql"])
def test_of_two_drivers_started_at_once_one_works(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """From two homes, so that nothing but the lease keeps them apart."""
    if kind == "postgresql":
        server: PostgresqlServer = request.getfixturevalue("postgresql_server")
        url = server.new_database()
    else:
        url = f"journal:{tmp_path}/studies.journal"
    drivers = [start(tmp_path / n, "--name", "demo", "--storage", url) for n in ("a", "b")]
    try:
        refused = wait_for_end(drivers)
        (working,) = (driver for driver in drivers if driver is not refused)
        _, refusal = refused.communicate(timeout=60)
        assert refused.returncode == 2, refusal
        assert f"run 'demo' is being driven by process {working.pid} on " in refusal
        assert "give this run another --name" in refusal
        wait_for_line(working, "1-lr_p: 3 trials to run")
        assert working.poll() is None
    finally:
        for driver in drivers:
            driver.kill()
            driver.communicate()


def wait_for_end(drivers: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """The first of some processes to end."""
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        for driver in drivers:
            if driver.poll() is not None:
                return driver
        time.sleep(0.1)
    raise AssertionError("both drivers work on the run")
