"""Training while MLflow is away: `python -m benchmarks.tracking_outage [--seconds 60]`.

A search trains two trials at a time and is shown by a real MLflow server over HTTP, which is
killed and started again. The time from one epoch of a trial to its next, as the driver saw them,
gives training steps per second before, during and after the outage. Then every metric point of
every epoch has to be there once. The exit code is 1 if one is not, or if the ratio during/before
is below 0.95.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from benchmarks.chaos_reading import read_shown, undelivered
from benchmarks.trainings import machine
from tests.contracts.mlflow_view import MlflowServer
from tests.integration.greedy_cli import SMALL, environment
from tuner.adapters.mlflow_session import connect
from tuner.settings import Locations, resolve_locations
from tuner.wiring.stores import EXPERIMENT, load_histories, open_store, open_tracker

__all__ = ["Epoch", "Phases", "faulty_points", "main", "steps_per_s"]

RUN = "outage"
STEPS = 40
"""Training steps per epoch; about a second on one CPU core."""

WORKERS = 2
LEAST_RATIO = 0.95
START_LIMIT_S = 300.0


@dataclass(frozen=True)
class Epoch:
    """An epoch as the driver logged it.

    Attributes:
        trial: Key of its trial.
        number: From 1.
        at_s: When, seconds since 1970.
    """

    trial: str
    number: int
    at_s: float


@dataclass(frozen=True)
class Phases:
    """When what was the case; seconds since 1970.

    Attributes:
        killed_s: The server was killed.
        back_s: It was started again (until it answers, its start takes CPU time itself).
        settled_s: It had everything that waited.
    """

    killed_s: float
    back_s: float
    settled_s: float

    def of(self, begun_s: float, ended_s: float) -> str | None:
        """The phase that a span of time lies in; None if in more than one."""
        starts = [
            *((0.0, "before"), (self.killed_s, "during")),
            *((self.back_s, "coming back"), (self.settled_s, "after")),
        ]
        begun, ended = (
            max(start for start in starts if start[0] <= moment)[1]
            for moment in (begun_s, ended_s)
        )
        return begun if begun == ended else None


def steps_per_s(epochs: Sequence[Epoch], phases: Phases, *, steps: int) -> dict[str, list[float]]:
    """Training steps per second of each span between two epochs of a trial, by phase.

    Spans that reach from one phase into another are left out.

    Args:
        epochs: Epochs of any trials, in any order.
        phases: When what was the case.
        steps: Training steps per epoch.
    """
    rates: dict[str, list[float]] = defaultdict(list)
    ordered = sorted(epochs, key=lambda epoch: (epoch.trial, epoch.number))
    for one, other in itertools.pairwise(ordered):
        phase = phases.of(one.at_s, other.at_s)
        if one.trial == other.trial and other.number == one.number + 1 and phase is not None:
            rates[phase].append(steps / (other.at_s - one.at_s))
    return dict(rates)


def faulty_points(points: Sequence[tuple[str, int]], epochs: int) -> list[str]:
    """What is missing, doubled or surplus among a trial's metric points.

    Args:
        points: (metric, epoch), repeated as often as it is there.
        epochs: How many epochs the study knows; each has to show every metric once.
    """
    there = Counter(points)
    wanted = {(name, epoch) for name, _ in there for epoch in range(1, epochs + 1)}
    faults = [f"{name} of epoch {epoch} is missing" for name, epoch in wanted - there.keys()]
    faults += [f"{name} of epoch {epoch} is surplus" for name, epoch in there.keys() - wanted]
    faults += [f"{point} is there {count} times" for point, count in there.items() if count > 1]
    if epochs and not there:
        faults.append(f"none of {epochs} epochs is shown")
    return faults


class _Search:
    """The search, its server, and where both keep their files."""

    def __init__(self, folder: Path) -> None:
        self.database = f"sqlite:///{folder}/mlflow.db"
        connect(self.database).search_experiments()
        self.server = MlflowServer(folder, self.database)
        self.locations: Locations = resolve_locations(home=folder, tracking_uri=self.server.uri)
        self.folder = self.locations.run_folder(RUN)
        self._messages = folder / "messages"
        self._driver: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, then the search, whose trainings have no end."""
        self.server.start()
        self.server.wait_until_up()
        small = [f"steps_per_epoch={STEPS}" if "steps_per" in word else word for word in SMALL]
        words = [*small, "--epochs", "100000", "--name", RUN, "--max-concurrent", str(WORKERS)]
        places = ["--home", str(self.locations.home), "--tracking-uri", self.server.uri]
        with self._messages.open("wb") as log:
            self._driver = subprocess.Popen(
                [sys.executable, "-m", "tuner", "greedy", *words, *places],
                env=environment(),
                stdout=log,
                stderr=log,
            )

    def epochs_in_study(self) -> dict[str, int]:
        """Epochs by key of trial."""
        try:
            histories = load_histories(open_store(self.locations), RUN)
        except Exception:  # noqa: BLE001 - there is no study yet
            return {}
        return {
            f"{stage}/{trial.number}": len(trial.curve)
            for stage, history in histories.items()
            for trial in history.trials
        }

    def wait_for_epochs(self, further: int) -> None:
        """Wait until each of the running trials has so many epochs more."""
        begun = self.epochs_in_study()
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            now = self.epochs_in_study()
            grown = [count for key, count in now.items() if count - begun.get(key, 0) >= further]
            if len(grown) >= WORKERS:
                return
            if self._driver is not None and self._driver.poll() is not None:
                break
            time.sleep(1.0)
        raise RuntimeError(f"the search does not get on: {self._messages.read_text()[-2000:]}")

    def wait_until_settled(self) -> None:
        """Wait until the server has what waited for it."""
        self.server.wait_until_up()
        most = 2 * WORKERS  # an epoch of each may just have ended
        deadline = time.monotonic() + START_LIMIT_S
        while undelivered(self.folder) > most:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{undelivered(self.folder)} events are still waiting")
            time.sleep(0.5)

    def interrupt(self) -> None:
        """End the search as a user would, and deliver what it still had to say."""
        if self._driver is None:
            return
        self._driver.send_signal(signal.SIGINT)
        try:
            self._driver.wait(timeout=120.0)
        finally:
            self._driver.kill()
            self._driver.wait()
        open_tracker(self.locations, self.folder).close(timeout_s=120.0)

    def close(self) -> None:
        """End whatever still runs."""
        if self._driver is not None:
            self._driver.kill()
            self._driver.wait()
        self.server.kill()

    def epochs_shown(self) -> list[Epoch]:
        """Every epoch with its time, from MLflow."""
        client = MlflowClient(self.database)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        found = []
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            for point in client.get_metric_history(run.info.run_id, "epoch"):
                epoch = Epoch(run.info.run_id, int(point.value), point.timestamp / 1000.0)
                found.append(epoch)
        return found

    def faults(self) -> list[str]:
        """Metric points that are not there exactly once, and events that did not arrive."""
        shown = {run.key: run.points for run in read_shown(self.database, RUN)}
        faults = [
            f"{key}: {fault}"
            for key, epochs in self.epochs_in_study().items()
            if epochs
            for fault in faulty_points(shown.get(key, ()), epochs)
        ]
        waiting = undelivered(self.folder)
        return [*faults, f"{waiting} events did not arrive"] if waiting else faults


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the outage")
    parser.add_argument("--epochs", type=int, default=40, help="epochs before, and after")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="outage-"))
    search = _Search(folder)
    try:
        phases = _disturb(search, seconds=arguments.seconds, epochs=arguments.epochs)
        rates = steps_per_s(search.epochs_shown(), phases, steps=STEPS)
        faults = search.faults()
        trained = sum(search.epochs_in_study().values())
    finally:
        search.close()
    medians = {phase: statistics.median(found) for phase, found in rates.items()}
    ratio = medians["during"] / medians["before"]
    row = {
        "case": f"MLflow away for {arguments.seconds:g} s",
        "ratio": ratio,
        "steps_per_s": {phase: round(rate, 2) for phase, rate in medians.items()},
        "spans": {phase: len(found) for phase, found in rates.items()},
        "epochs": trained,
        "faulty_points": len(faults),
    }
    _print(row, json_mode=arguments.json)
    for fault in faults[:10]:
        print(fault, file=sys.stderr)
    shutil.rmtree(folder)
    return int(bool(faults) or ratio < LEAST_RATIO)


def _disturb(search: _Search, *, seconds: float, epochs: int) -> Phases:
    search.start()
    search.wait_for_epochs(3)  # the first ones are slower
    search.wait_for_epochs(epochs)
    killed_s = time.time()
    search.server.kill()
    time.sleep(seconds)
    back_s = time.time()
    search.server.start()
    search.wait_until_settled()
    settled_s = time.time()
    search.wait_for_epochs(epochs)
    search.interrupt()
    return Phases(killed_s, back_s, settled_s)


def _print(row: dict[str, Any], *, json_mode: bool) -> None:
    if json_mode:
        print(json.dumps({"rows": [row], "machine": machine(WORKERS)}))
        return
    print("| phase | steps/s (median) | spans |\n|---|---|---|")
    for phase in ("before", "during", "coming back", "after"):
        if phase in row["spans"]:
            print(f"| {phase} | {row['steps_per_s'][phase]:.2f} | {row['spans'][phase]} |")
    print(
        f"\n{row['case']}: ratio during/before {row['ratio']:.3f}; of {row['epochs']} epochs "
        f"{row['faulty_points']} metric points are missing or doubled"
    )


if __name__ == "__main__":
    sys.exit(main())
