"""A runner that answers from a published sweep: the whole protocol in milliseconds."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.checkpoint import CheckpointStore
from tuner.ports import FeedState, OnMetrics, TrialFeed, TrialObserver
from tuner.records import EpochReport, OutcomeKind, TrialOutcome, TrialRequest, TrialSpec

Point = tuple[tuple[str, float], ...]


def point_of(params: Mapping[str, float]) -> Point:
    return tuple(sorted((name, float(value)) for name, value in params.items()))


def read_sweep(path: Path) -> dict[Point, float]:
    """Rows of the paper's Table 8 by (lr_p, lr_l, alpha), millimetres."""
    with path.open(newline="") as file:
        return {
            point_of({k: float(row[k]) for k in ("lr_p", "lr_l", "alpha")}): float(row["mpjpe_mm"])
            for row in csv.DictReader(file)
        }


class TableRunner:
    """Answers each trial from a table; a point that is not in it fails.

    Attributes:
        trained: Every request that was run, in order.
        die_after: Raise KeyboardInterrupt after so many trials, as if the driver was killed.
        pretrained: Every trial that was pre-trained for, in order.
        die_in_pretraining: Raise KeyboardInterrupt there, once.
        tested: How many checkpoints were evaluated.
        die_after_tests: Raise KeyboardInterrupt after so many evaluations of a batch.
    """

    def __init__(
        self,
        table: Mapping[Point, float],
        *,
        die_after: int | None = None,
        checkpoint_root: Path | None = None,
    ) -> None:
        self.table = dict(table)
        self._checkpoints = CheckpointStore(checkpoint_root) if checkpoint_root else None
        self.trained: list[TrialRequest] = []
        self.die_after = die_after
        self.pretrained: list[TrialSpec] = []
        self.die_in_pretraining = False
        self.tested = 0
        self.die_after_tests: int | None = None

    def run(self, feed: TrialFeed, observer: TrialObserver) -> None:
        while True:
            request = feed.next_request()
            if isinstance(request, FeedState):
                assert request is FeedState.DONE, "one trial at a time never has to wait"
                return
            if self.die_after is not None and len(self.trained) >= self.die_after:
                raise KeyboardInterrupt
            self.trained.append(request)
            observer.on_start(request, attempt=1)
            observer.on_end(request.stage, self._outcome(request, observer))

    def _outcome(self, request: TrialRequest, observer: TrialObserver) -> TrialOutcome:
        value = self.table.get(point_of(request.spec.params))
        if value is None:
            reason = f"{dict(request.spec.params)} is not in the table"
            return TrialOutcome(request.trial, OutcomeKind.FAILED, reason=reason)
        if self._checkpoints is not None:
            self._checkpoints.save(request.spec.fingerprint, "best", {}, {})
        metrics = {"val_mpjpe_mm": value}
        observer.on_epoch(request.stage, EpochReport(request.trial, 1, metrics))
        return TrialOutcome(
            request.trial,
            OutcomeKind.COMPLETED,
            value=value,
            epochs=1,
            best_epoch=1,
            metrics=metrics,
            checkpoint=f"table/{request.spec.fingerprint}",
        )

    def evaluate(
        self, jobs: Sequence[tuple[TrialSpec, str]], *, split: str, on_metrics: OnMetrics
    ) -> None:
        assert split == "test"
        for index, (spec, _) in enumerate(jobs):
            if index == self.die_after_tests:
                raise KeyboardInterrupt
            self.tested += 1
            on_metrics(index, {"mpjpe_mm": self.table[point_of(spec.params)]})

    def pretrain(
        self, spec: TrialSpec, on_epoch: Callable[[int, Mapping[str, float]], None]
    ) -> dict[str, Any]:
        self.pretrained.append(spec)
        on_epoch(1, {"pretrain_loss": 0.5, "epoch_s": 1.0})
        if self.die_in_pretraining:
            self.die_in_pretraining = False
            raise KeyboardInterrupt
        on_epoch(2, {"pretrain_loss": 0.25, "epoch_s": 1.0})
        return {
            "fingerprint": "ab12",
            "epochs": 2,
            "first_loss": 0.5,
            "last_loss": 0.25,
            "seconds": 2.0,
        }
