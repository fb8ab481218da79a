"""A trainable whose every way to end can be chosen, and a feed and observer that record."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from tuner.ports import Decision, FeedState
from tuner.records import EpochReport, OutcomeKind, TrialOutcome, TrialRequest, TrialSpec


class ToyTrainable(tune.Trainable):  # type: ignore[misc]  # ray has no types
    """Counts epochs in a file, as checkpoint, and ends the way its configuration says."""

    lives = 0

    def setup(self, config: dict[str, Any], dataset: Any = None) -> None:
        self._dataset = dataset
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        type(self).lives += 1
        self._training = new_config["training"]
        self._threads = float(new_config["threads"])
        self._root = Path(new_config["checkpoint_root"])
        self._root.mkdir(parents=True, exist_ok=True)
        self._file = self._root / new_config["fingerprint"][:12]
        self._epoch = int(self._file.read_text()) if self._file.exists() else 0
        return True

    def step(self) -> dict[str, Any]:
        training = self._training
        self._epoch += 1
        getattr(self, f"_{training['behaviour']}", lambda: None)()
        if training.get("step_s"):
            time.sleep(training["step_s"])
        self._file.write_text(str(self._epoch))
        value = training["lr_p"] + 10.0 - self._epoch
        if training["behaviour"] == "nan" and self._epoch == 2:
            value = float("nan")
        return {
            "epoch": self._epoch,
            "metrics": {
                "val_mpjpe_mm": value,
                "life": float(self.lives),
                "threads": self._threads,
            },
            "finished": self._epoch >= training["epochs"],
            "best_epoch": self._epoch,
            "best_value": value,
            "best_metrics": {"val_mpjpe_mm": value},
            "checkpoint": str(self._file),
            "node": "here",
            "state": "invalid_metric" if training["behaviour"] == "invalid" else "ok",
            "reason": "loss became non-finite" if training["behaviour"] == "invalid" else "",
            **({"history": training["history"]} if "history" in training else {}),
        }

    def _raises(self) -> None:
        raise ValueError("this toy always breaks")

    def _raises_once(self) -> None:
        if self._epoch == 2 and self._first_time("raised"):
            raise ValueError("this toy breaks once")

    def _dies_once(self) -> None:
        if self._epoch == 2 and self._first_time("died"):
            os.kill(os.getpid(), signal.SIGKILL)

    def _no_gpu_memory(self) -> None:
        import torch

        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def _eats_memory_once(self) -> None:
        if self._epoch == 2 and self._first_time("ate"):
            eaten = []
            for _ in range(self._training["eats_mib"] // 64):
                eaten.append(bytearray(os.urandom(1024)) * (64 * 1024))
                time.sleep(0.01)
            time.sleep(60)

    def _reads_dataset(self) -> None:
        assert self._dataset["x"].flags.writeable is False

    def _environment(self) -> None:
        seen = "\n".join(f"{name}={value}" for name, value in os.environ.items())
        (self._root / "environment").write_text(seen)

    def _first_time(self, what: str) -> bool:
        marker = self._root / f"{self._file.name}.{what}"
        if marker.exists():
            return False
        marker.touch()
        return True

    @staticmethod
    def evaluate_checkpoint(
        config: dict[str, Any], checkpoint: str, split: str, dataset: Any
    ) -> dict[str, Any]:
        epochs = int(Path(checkpoint).read_text())
        metrics = {f"{split}_epochs": epochs, "lr_p": config["training"]["lr_p"]}
        return {"metrics": metrics, "notes": []}


def request(trial: int, behaviour: str = "fine", **base: Any) -> TrialRequest:
    """A trial of the toy."""
    base = {"behaviour": behaviour, "epochs": 3, **base}
    return TrialRequest("1-lr_p", trial, TrialSpec(base, {"lr_p": float(trial)}, seed=trial))


@dataclass
class ListFeed:
    """Gives requests in order; in batches, if asked to."""

    requests: list[TrialRequest]
    batch: int = 10**6
    given: int = 0
    ended: Callable[[], int] = lambda: 0
    waits: int = 0

    def next_request(self) -> TrialRequest | FeedState:
        if self.given == len(self.requests):
            return FeedState.DONE
        if self.given - self.ended() and self.given % self.batch == 0:
            self.waits += 1
            return FeedState.WAIT
        self.given += 1
        return self.requests[self.given - 1]


@dataclass
class Recorder:
    """Writes down what it is told; stops trials after the epochs given in `stops`."""

    stops: dict[int, int] = field(default_factory=dict)
    starts: list[tuple[int, int]] = field(default_factory=list)
    epochs: list[tuple[int, int]] = field(default_factory=list)
    metrics: dict[tuple[int, int], dict[str, float]] = field(default_factory=dict)
    outcomes: dict[int, TrialOutcome] = field(default_factory=dict)
    ends: int = 0
    most_at_once: int = 0

    def on_start(self, request: TrialRequest, *, attempt: int) -> None:
        self.starts.append((request.trial, attempt))
        self.most_at_once = max(self.most_at_once, len(dict(self.starts)) - len(self.outcomes))

    def on_epoch(self, stage: str, report: EpochReport) -> Decision:
        self.epochs.append((report.trial, report.epoch))
        self.metrics[report.trial, report.epoch] = dict(report.metrics)
        stop = self.stops.get(report.trial) == report.epoch
        return Decision.STOP if stop else Decision.CONTINUE

    def on_end(self, stage: str, outcome: TrialOutcome) -> None:
        self.ends += 1
        self.outcomes[outcome.trial] = outcome

    def kinds(self) -> dict[int, OutcomeKind]:
        return {trial: outcome.kind for trial, outcome in sorted(self.outcomes.items())}
