"""One run of the small search, hit as planned and brought to its end by the same command."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos_audit import Account
from benchmarks.chaos_cluster import KillableCluster
from benchmarks.chaos_plan import Kill
from benchmarks.chaos_reading import FinishedWatch, read_shown, read_trials, undelivered
from tests.contracts.mlflow_view import MlflowServer
from tests.integration.greedy_cli import command, environment, table
from tuner.settings import resolve_locations

__all__ = ["Arena", "Played", "play"]

EPOCHS = 2
"""Of the small search's trainings."""

POLL_S = 0.05
LIMIT_S = 900.0
MOST_LIVES = 12


@dataclass(frozen=True)
class Arena:
    """Where runs happen.

    Attributes:
        cluster: Where they train.
        server: What they are shown by.
        database: URL of the server's database.
        storage: The study store, with `{home}` for a run's own folder; None for the default.
    """

    cluster: KillableCluster
    server: MlflowServer
    database: str
    storage: str | None = None

    def words(self, home: Path, name: str) -> list[str]:
        """What follows `tuner greedy` for a run of that name."""
        places = ["--name", name, "--address", self.cluster.address]
        places += ["--tracking-uri", self.server.uri]
        if self.storage is not None:
            # runs that share a store would find each other's trainings
            places += ["--storage", self.storage.format(home=home), "--no-cache"]
        return places


@dataclass
class Played:
    """What became of a run.

    Attributes:
        account: What it left behind.
        seconds: From the first start to the end, all lives.
        lives: How often the driver was started.
        landed: The kills that hit something.
        finished_seen: Trainings that were watched from their end on.
    """

    account: Account
    seconds: float
    lives: int
    landed: list[Kill] = field(default_factory=list)
    finished_seen: int = 0


def play(arena: Arena, home: Path, name: str, kills: Sequence[Kill], *, length_s: float) -> Played:
    """Run a search under fire to its end.

    Args:
        arena: Where.
        home: The run's own folder.
        name: Its name.
        kills: What hits it, in order of their moments.
        length_s: The undisturbed run's length, which the moments are fractions of.

    Raises:
        RuntimeError: If it does not come to its end.
    """
    home.mkdir(parents=True)
    stage = _Stage(arena, home, name, list(kills), length_s)
    return stage.play()


class _Stage:
    """State of a run that is being played."""

    def __init__(
        self, arena: Arena, home: Path, name: str, kills: list[Kill], length_s: float
    ) -> None:
        self._arena = arena
        self._home = home
        self._name = name
        self._kills = kills
        self._length_s = length_s
        self._watch = FinishedWatch(home / "runs" / name / "checkpoints", epochs=EPOCHS)
        self._landed: list[Kill] = []
        self._own_faults: list[str] = []
        self._lives = 0
        self._server_back_s: float | None = None

    def play(self) -> Played:
        started = time.monotonic()
        driver = self._start()
        while (code := self._outlast(driver, started)) != 0 or self._undelivered():
            if code > 0:
                self._own_faults.append(f"the driver ended with {code}: {self._last_words()}")
            if self._lives >= MOST_LIVES or time.monotonic() - started > LIMIT_S:
                raise RuntimeError(
                    f"{self._name} does not end; its messages: {self._last_words()}"
                )
            if code >= 0:
                self._wait_for_server()
            driver = self._start()
        seconds = time.monotonic() - started
        self._wait_for_server()
        return Played(self._account(), seconds, self._lives, self._landed, self._watch.finished)

    def _start(self) -> subprocess.Popen[bytes]:
        self._lives += 1
        with self._log("out").open("wb") as out, self._log("err").open("wb") as err:
            return subprocess.Popen(
                command(self._home, *self._arena.words(self._home, self._name)),
                env=environment(),
                stdout=out,
                stderr=err,
            )

    def _outlast(self, driver: subprocess.Popen[bytes], started: float) -> int:
        """Stay with one life of the driver to its end; its exit code, negative if killed."""
        try:
            while driver.poll() is None:
                now = time.monotonic() - started
                self._watch.look()
                self._revive_server(now)
                if self._kills and now >= self._kills[0].moment * self._length_s:
                    self._strike(driver, now)
                if now > LIMIT_S:
                    raise RuntimeError(f"{self._name} hangs: {self._last_words()}")
                time.sleep(POLL_S)
        finally:
            driver.kill()
            driver.wait()
        self._watch.look()
        return driver.returncode

    def _strike(self, driver: subprocess.Popen[bytes], now: float) -> None:
        """Deal the next blow; one for which there is no victim yet waits for one."""
        kill = self._kills[0]
        match kill.kind:
            case "driver":
                driver.kill()
            case "worker":
                if not self._arena.cluster.kill_worker(kill.choice):
                    return
            case "node":
                self._arena.cluster.replace_node(kill.choice)
            case "tracking":
                if self._server_back_s is not None:
                    return
                self._arena.server.kill()
                self._server_back_s = now + kill.outage_s
        self._landed.append(self._kills.pop(0))

    def _revive_server(self, now: float) -> None:
        if self._server_back_s is not None and now >= self._server_back_s:
            self._arena.server.start()
            self._server_back_s = None

    def _wait_for_server(self) -> None:
        if self._server_back_s is not None:
            self._revive_server(self._server_back_s)
        self._arena.server.wait_until_up()

    def _undelivered(self) -> int:
        return undelivered(self._home / "runs" / self._name)

    def _account(self) -> Account:
        locations = resolve_locations(
            home=self._home,
            storage=self._arena.storage and self._arena.storage.format(home=self._home),
            tracking_uri=self._arena.database,
        )
        self._watch.look()
        return Account(
            trials=read_trials(locations, self._name),
            shown=read_shown(self._arena.database, self._name),
            table=self._table(),
            retrained=tuple(self._watch.retrained),
            undelivered=self._undelivered(),
            left_behind=self._arena.cluster.leftovers(),
            own_faults=tuple(self._own_faults),
        )

    def _table(self) -> dict[str, Any]:
        """What was printed, with the run's own name taken out."""
        printed = json.loads(self._log("out").read_text())
        for stage in printed["stages"]:
            stage["study"] = stage["study"].removeprefix(f"{self._name}/")
        return table(printed)

    def _last_words(self) -> str:
        return self._log("err").read_text(errors="replace")[-1500:]

    def _log(self, kind: str) -> Path:
        return self._home / f"life-{self._lives}.{kind}"
