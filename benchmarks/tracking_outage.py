"""Training while MLflow is away: `python -m benchmarks.tracking_outage [--seconds 60]`.

A search trains two trials at a time and is shown by a real MLflow server over HTTP, which is
killed and started again. The epochs that ended in the outage, by the driver's own times, are
compared with those of as long a time before it, and after it. Then every metric point of every
epoch has to be there once. The exit code is 1 if one is not, or if the ratio during/before is
below 0.95: a driver that stood still for some of the time trained less in it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
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

__all__ = ["Epoch", "Phases", "faulty_points", "main", "steps_per_s", "undisturbed_names"]

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
        trial: Key of its trial, `STAGE/NUMBER`.
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

    def spans(self) -> dict[str, tuple[float, float]]:
        """Begin and end of what is compared, all equally long."""
        length_s = self.back_s - self.killed_s
        return {
            "before": (self.killed_s - length_s, self.killed_s),
            "during": (self.killed_s, self.back_s),
            "after": (self.settled_s, self.settled_s + length_s),
        }


def steps_per_s(epochs: Sequence[Epoch], phases: Phases, *, steps: int) -> dict[str, float]:
    """Training steps per second of all trials together, within spans of time.

    The spans are the outage, from kill to return, and as long a time before it and after it has
    settled. An epoch that reaches into a span counts with that part. So a span in which all stood
    still for a while has so much less, and one in which nothing went on has next to nothing.

    Args:
        epochs: Epochs of any trials, in any order.
        phases: When what was the case.
        steps: Training steps per epoch.
    """
    ordered = sorted(epochs, key=lambda epoch: (epoch.trial, epoch.number))
    pairs = [(a, b) for a, b in itertools.pairwise(ordered) if a.trial == b.trial]
    rates = {}
    for name, (begin_s, end_s) in phases.spans().items():
        within = sum(
            (b.number - a.number)
            * max(0.0, min(b.at_s, end_s) - max(a.at_s, begin_s))
            / (b.at_s - a.at_s)
            for a, b in pairs
        )
        rates[name] = steps * within / (end_s - begin_s)
    return rates


def faulty_points(
    points: Sequence[tuple[str, int]], epochs: int, *, names: Collection[str]
) -> list[str]:
    """What is missing, doubled or surplus among a trial's metric points.

    Args:
        points: (metric, epoch), repeated as often as it is there.
        epochs: How many epochs the study knows; each has to show every metric once.
        names: The metrics of an epoch, from somewhere that the outage did not touch.
    """
    there = Counter(points)
    wanted = {(name, epoch) for name in names for epoch in range(1, epochs + 1)}
    missing, surplus = sorted(wanted - there.keys()), sorted(there.keys() - wanted)
    faults = [f"{name} of epoch {epoch} is missing" for name, epoch in missing]
    faults += [f"{name} of epoch {epoch} is surplus" for name, epoch in surplus]
    return faults + [f"{p} is there {count} times" for p, count in there.items() if count > 1]


def undisturbed_names(
    epochs: Sequence[Epoch], points: Mapping[str, Sequence[tuple[str, int]]], killed_s: float
) -> frozenset[str]:
    """Names of the metrics of an epoch, as they were shown before the outage.

    Args:
        epochs: Epochs of any trials.
        points: (metric, epoch) of every trial by its key.
        killed_s: When the outage began.

    Raises:
        ValueError: If no epoch ended before it.
    """
    before = {(epoch.trial, epoch.number) for epoch in epochs if epoch.at_s < killed_s}
    names = [{name for name, n in points.get(key, ()) if n == number} for key, number in before]
    if not any(names):
        raise ValueError("no epoch was shown before the outage; make --epochs larger")
    # the union: that an epoch lacks one of them is a fault of its own
    return frozenset().union(*names)


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
            key = run.data.tags["tuner.key"].removeprefix(RUN).removeprefix("/")
            for point in client.get_metric_history(run.info.run_id, "epoch"):
                found.append(Epoch(key, int(point.value), point.timestamp / 1000.0))
        return found

    def faults(self, epochs: Sequence[Epoch], *, killed_s: float) -> list[str]:
        """Metric points that are not there exactly once, and events that did not arrive."""
        shown = {run.key: run.points for run in read_shown(self.database, RUN)}
        names = undisturbed_names(epochs, shown, killed_s)
        faults = [
            f"{key}: {fault}"
            for key, count in self.epochs_in_study().items()
            if count
            for fault in faulty_points(shown.get(key, ()), count, names=names)
        ]
        waiting = undelivered(self.folder)
        return [*faults, f"{waiting} events did not arrive"] if waiting else faults


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the outage")
    parser.add_argument(
        "--epochs", type=int, default=40, help="epochs before, and after, at least"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="outage-"))
    search = _Search(folder)
    try:
        phases = _disturb(search, seconds=arguments.seconds, epochs=arguments.epochs)
        epochs = search.epochs_shown()
        faults = search.faults(epochs, killed_s=phases.killed_s)
        trained = sum(search.epochs_in_study().values())
    finally:
        search.close()
    rates = steps_per_s(epochs, phases, steps=STEPS)
    ratio = rates["during"] / rates["before"] if rates["before"] else 0.0
    row = {
        "case": f"MLflow away for {arguments.seconds:g} s",
        "ratio": ratio,
        "steps_per_s": {phase: round(rate, 2) for phase, rate in rates.items()},
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
    _train_on(search, seconds=seconds, epochs=epochs)
    killed_s = time.time()
    search.server.kill()
    time.sleep(seconds)
    back_s = time.time()
    search.server.start()
    search.wait_until_settled()
    settled_s = time.time()
    _train_on(search, seconds=seconds, epochs=epochs)
    search.wait_for_epochs(1)  # the last one of the time that counts has ended
    search.interrupt()
    return Phases(killed_s, back_s, settled_s)


def _train_on(search: _Search, *, seconds: float, epochs: int) -> None:
    """Let the search train for so long, and so many epochs, undisturbed."""
    begun_s = time.monotonic()
    search.wait_for_epochs(epochs)
    time.sleep(max(0.0, seconds - (time.monotonic() - begun_s)))


def _print(row: dict[str, Any], *, json_mode: bool) -> None:
    if json_mode:
        print(json.dumps({"rows": [row], "machine": machine(WORKERS)}))
        return
    print("| time | steps/s |\n|---|---|")
    for phase, rate in row["steps_per_s"].items():
        print(f"| {phase} | {rate:.2f} |")
    print(
        f"\n{row['case']}: ratio during/before {row['ratio']:.3f}; of {row['epochs']} epochs "
        f"{row['faulty_points']} metric points are missing or doubled"
    )


if __name__ == "__main__":
    sys.exit(main())
