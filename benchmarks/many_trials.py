"""What a search costs per trial as it grows: thousands of trials that end at once.

    python -m benchmarks.many_trials --trials 2000 --storage journal

Everything but the training is real: Ray, the engine, the study store, the tracker. A window is 100
trials that end one after another; its figure is wall time per trial, its memory the driver's
resident set at the end of the window. The ratio is the last window's to the first's. The exit code
is 1 if either is above 1.3.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from search_spaces import StageSpace
from tuner.adapters.jsonl_tracker import JsonlTracker
from tuner.adapters.mlflow_tracker import MlflowTracker
from tuner.adapters.optuna_sampler import build_sampler
from tuner.adapters.optuna_store import open_study_store
from tuner.adapters.ray_runner import RayTuneRunner
from tuner.adapters.ray_session import RaySession
from tuner.engine import Ports, run_protocol
from tuner.ports import RunInfo, Sampler, Tracker
from tuner.protocol.stages import Protocol, Stage
from tuner.records import EpochReport, TrialOutcome, TrialRequest

WINDOW = 100
MARKS = (100, 500, 1000, 2000, 5000, 10000)
STAGE = "1-lr_p"
MOST_RATIO = 1.3
"""A window's time and memory against those of the first, at most."""


class InstantTrainable(tune.Trainable):  # type: ignore[misc]  # ray has no types
    """One epoch that costs nothing."""

    def setup(self, config: dict[str, Any]) -> None:
        """Keep the configuration."""
        self._training = config["training"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with another trial."""
        self._training = new_config["training"]
        return True

    def step(self) -> dict[str, Any]:
        """Report a figure that depends on the hyperparameter alone."""
        value = 40.0 + self._training["lr_p"]
        return {
            "epoch": 1,
            "metrics": {"val_mpjpe_mm": value},
            "finished": True,
            "best_epoch": 1,
            "best_value": value,
            "best_metrics": {"val_mpjpe_mm": value},
            "checkpoint": "none",
            "node": "here",
        }

    @staticmethod
    def evaluate_checkpoint(
        config: dict[str, Any], checkpoint: str, split: str, dataset: object
    ) -> dict[str, Any]:
        """Stand in for the test of the winner."""
        del checkpoint, split, dataset
        figures = {"test_mpjpe_mm": 40.0 + config["training"]["lr_p"]}
        return {"metrics": figures, "notes": []}


@dataclass
class Clock:
    """A listener that writes down when trials end, and what the driver holds then."""

    ended_s: list[float] = field(default_factory=list)
    resident_mib: list[float] = field(default_factory=list)

    def on_stage(
        self,
        stage: str,
        *,
        planned: int,
        done: int,
        message: str,
        best_mm: Mapping[str, float],
    ) -> None:
        """Nothing to measure."""

    def on_trial_started(self, request: TrialRequest) -> None:
        """Nothing to measure."""

    def on_epoch(self, stage: str, report: EpochReport, *, epochs: int) -> None:
        """Nothing to measure."""

    def on_trial_parked(self, stage: str, trial: int) -> None:
        """Nothing to measure."""

    def on_trial_ended(self, stage: str, outcome: TrialOutcome) -> None:
        """Take the time, and the memory."""
        self.ended_s.append(time.monotonic())
        self.resident_mib.append(_resident_mib())

    def on_message(self, text: str) -> None:
        """Say what goes on."""
        print(text, file=sys.stderr)


def _resident_mib() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmRSS")


def rows_of(clock: Clock) -> list[dict[str, float]]:
    """Seconds per trial, and memory, of the windows at the marks, and of the last one."""
    rows = []
    trials = len(clock.ended_s)
    for mark in sorted({*MARKS, trials}):
        # around the mark; the last trials end their window there
        end = min(mark + WINDOW // 2, trials) - 1
        start = end - WINDOW
        if start < 0 or mark > trials:
            continue
        seconds = (clock.ended_s[end] - clock.ended_s[start]) / WINDOW
        rows.append({"trials": mark, "seconds": seconds, "mib": clock.resident_mib[end]})
    return rows


def run_trials(
    trials: int, storage: str, tracker: Tracker, folder: Path, *, sampler: str
) -> Clock:
    """Run a stage of so many trials through the engine."""
    space = StageSpace.model_validate({"lr_p": {"low": 1e-5, "high": 1e-2, "log": True}})
    stage = Stage(
        name=STAGE,
        keeps=("lr_p",),
        space=space,
        fixed_from={},
        base={"epochs": 1},
        sampler="tpe" if sampler == "tpe" else "random",
        trials=trials,
    )
    clock = Clock()

    def sampler_for(name: str) -> Sampler:
        return build_sampler(stage.sampler, seed=0, stage=name)

    with RaySession("local", num_cpus=2) as session:
        session.open()
        runner = RayTuneRunner(
            trainable=InstantTrainable,
            dataset=None,
            checkpoint_root=folder / "checkpoints",
            scratch=folder / "scratch",
        )
        with runner:
            store = open_study_store(storage)
            name = f"many-{time.time_ns()}"
            tracker.start_run(RunInfo(run=name, tags={}, params={}, dataset={}))
            ports = Ports(store, runner, tracker, clock, sampler_for)
            run_protocol(Protocol(run=name, seed=0, stages=(stage,)), ports)
    return clock


def open_tracker(kind: str, folder: Path) -> Tracker:
    """The tracker without a server, or the outbox before an MLflow database."""
    if kind == "jsonl":
        return JsonlTracker(folder / "events.jsonl")
    return MlflowTracker(
        tracking_uri=f"sqlite:///{folder}/mlflow.db",
        experiment="many",
        outbox_path=folder / "outbox.db",
        artifact_root=None,
        run_folder=folder,
    )


def _storage_url(given: str, folder: Path) -> str:
    urls = {"journal": f"journal:{folder}/store.log", "sqlite": f"sqlite:///{folder}/store.db"}
    return urls.get(given, given)


def ratios_of(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The last window against the first, by what is measured.

    Raises:
        ValueError: If the two overlap.
    """
    if not rows or rows[-1]["trials"] < 2 * WINDOW:
        raise ValueError(f"there is nothing to compare: give --trials {2 * WINDOW} or more")
    names = {"seconds per trial": "seconds", "driver memory": "mib"}
    return {what: rows[-1][key] / rows[0][key] for what, key in names.items()}


def main(words: Sequence[str] | None = None) -> int:
    """Run the trials, print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--storage", default="journal", help="journal, sqlite, or a URL")
    parser.add_argument("--tracker", choices=("jsonl", "mlflow"), default="jsonl")
    parser.add_argument("--sampler", choices=("random", "tpe"), default="random")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    gc.collect()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tracker = open_tracker(given.tracker, folder)
        storage = _storage_url(given.storage, folder)
        clock = run_trials(given.trials, storage, tracker, folder, sampler=given.sampler)
        tracker.close(timeout_s=10.0)
    rows = rows_of(clock)
    found = ratios_of(rows)
    _show(rows, found, given)
    return int(max(found.values()) > MOST_RATIO)


def _show(
    rows: list[dict[str, float]], found: Mapping[str, float], given: argparse.Namespace
) -> None:
    kind = given.storage.partition(":")[0].partition("+")[0]
    ratios: list[dict[str, Any]] = [
        {"case": f"{what}, {kind}", "ratio": ratio} for what, ratio in found.items()
    ]
    if given.json:
        machine = {"system": platform.platform(), "python": platform.python_version()}
        print(json.dumps({"rows": ratios, "windows": rows, "machine": machine}))
        return
    print("| finished trials | s per trial | driver MiB |\n|---|---|---|")
    for row in rows:
        print(f"| {row['trials']:.0f} | {row['seconds']:.3f} | {row['mib']:.0f} |")
    for ratio in ratios:
        print(f"{ratio['case']}: last / first = {ratio['ratio']:.2f}")


if __name__ == "__main__":
    sys.exit(main())
